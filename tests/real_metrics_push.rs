//! Metrics as a real OpenTelemetry Collector receives them, against the page of the same sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use support::{
    clients::Client,
    collector::{Collector, Data, Point},
    deadline::try_poll_until,
    kafka::{Kafka, Listener, Version},
    metrics::Metrics,
    throughline::{Throughline, ThroughlineSpec},
};

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: usize = 60;
/// Counts on whether anything happens or not.
const CPU: &str = "process_cpu_seconds_total";
/// Stands at 0 for every family that has series.
const CAPPED: &str = "throughline_series_capped_total";
/// The dataplane's own, which has fixed buckets everywhere.
const FIXED: &str = "throughline_proxy_added_latency_seconds";
/// Gauges of what is now, which stand still where nothing happens.
const STILL: [&str; 3] = [
    "throughline_proxy_connections",
    "throughline_series",
    "throughline_build_info",
];

type Labels = BTreeMap<String, String>;
type Key = (String, Labels);

/// Everything of one page, or of one push, by name and labels.
#[derive(Debug, Default)]
struct Figures {
    counters: BTreeMap<Key, f64>,
    gauges: BTreeMap<Key, f64>,
    /// (count, sum)
    histograms: BTreeMap<Key, (u64, f64)>,
}

impl Figures {
    fn of_page(page: &Metrics) -> Self {
        let mut figures = Self::default();
        let histograms: BTreeSet<&str> = page
            .samples
            .iter()
            .filter_map(|sample| sample.name.strip_suffix("_bucket"))
            .collect();
        for sample in &page.samples {
            let mut labels = sample.labels.clone();
            // Prometheus holds a label without a value to be none.
            labels.retain(|_, value| !value.is_empty());
            let base = |suffix: &str| {
                let base = sample.name.strip_suffix(suffix)?;
                histograms.contains(base).then(|| base.to_owned())
            };
            if base("_bucket").is_some() {
                continue;
            }
            if let Some(name) = base("_count") {
                let (count, _) = figures.histograms.entry((name, labels)).or_default();
                *count = sample.value as u64;
            } else if let Some(name) = base("_sum") {
                let (_, sum) = figures.histograms.entry((name, labels)).or_default();
                *sum = sample.value;
            } else if sample.name.ends_with("_total") {
                let key = (sample.name.clone(), labels);
                figures.counters.insert(key, sample.value);
            } else {
                let key = (sample.name.clone(), labels);
                figures.gauges.insert(key, sample.value);
            }
        }
        figures
    }

    fn of_push(points: &[Point]) -> Self {
        let mut figures = Self::default();
        for point in points {
            let key = (point.name.clone(), point.attributes.clone());
            let before = match &point.data {
                Data::Sum(value) => figures.counters.insert(key, *value).is_some(),
                Data::Gauge(value) => figures.gauges.insert(key, *value).is_some(),
                Data::Histogram { count, sum, .. } | Data::Exponential { count, sum, .. } => {
                    let value = (*count, *sum);
                    figures.histograms.insert(key, value).is_some()
                }
            };
            assert!(!before, "twice in one push: {point:?}");
        }
        figures
    }

    /// Without the instruments of the conventions, which are not on the page.
    fn of_families(points: &[Point]) -> Self {
        let mut points = points.to_vec();
        points.retain(|point| !point.name.starts_with("messaging."));
        Self::of_push(&points)
    }
}

/// The reader of the collector's JSON may miss the last bit of a fraction; whole numbers are exact.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= f64::EPSILON * a.abs()
}

/// Where counters and histograms of a page and of a push differ.
fn differences(page: &Figures, push: &Figures) -> Vec<String> {
    let mut found = Vec::new();
    let counters: BTreeSet<&Key> = page.counters.keys().chain(push.counters.keys()).collect();
    for key in counters {
        let (shown, pushed) = (page.counters.get(key), push.counters.get(key));
        let equal = match (shown, pushed) {
            (Some(shown), Some(pushed)) if key.0 == CPU => pushed >= shown,
            (Some(shown), Some(pushed)) => same(*shown, *pushed),
            // Born at 0 with the first series of its family, which may be after the page was made.
            (None, Some(pushed)) if key.0 == CAPPED => same(*pushed, 0.0),
            _ => false,
        };
        if !equal {
            found.push(format!("{key:?}: shown {shown:?}, pushed {pushed:?}"));
        }
    }
    let shown = page.histograms.keys();
    let histograms: BTreeSet<&Key> = shown.chain(push.histograms.keys()).collect();
    for key in histograms {
        let (shown, pushed) = (page.histograms.get(key), push.histograms.get(key));
        let equal = shown
            .zip(pushed)
            .is_some_and(|(a, b)| a.0 == b.0 && same(a.1, b.1));
        if !equal {
            found.push(format!("{key:?}: shown {shown:?}, pushed {pushed:?}"));
        }
    }
    found
}

/// Where the gauges of a page and of a push made at rest differ.
fn gauge_differences(page: &Figures, push: &Figures) -> Vec<String> {
    let mut found = Vec::new();
    let gauges: BTreeSet<&Key> = page.gauges.keys().chain(push.gauges.keys()).collect();
    for key in gauges {
        let (shown, pushed) = (page.gauges.get(key), push.gauges.get(key));
        let equal = match (shown, pushed) {
            (Some(shown), Some(pushed)) => !STILL.contains(&&*key.0) || same(*shown, *pushed),
            _ => false,
        };
        if !equal {
            found.push(format!("{key:?}: shown {shown:?}, pushed {pushed:?}"));
        }
    }
    found
}

struct Stage {
    kafka: Kafka,
    collector: Collector,
}

impl Stage {
    fn start() -> Self {
        Self {
            kafka: Kafka::single(Version::V4_4_0),
            collector: Collector::start(),
        }
    }

    fn spec(&self, service: &str, endpoint: &str, protocol: &str) -> ThroughlineSpec {
        ThroughlineSpec::new(&self.kafka.bootstrap(Listener::Plaintext))
            .set("otlp.endpoint", endpoint)
            .set("otlp.protocol", protocol)
            .set("otlp.service_name", service)
            .set("otlp.metrics", "true")
    }

    /// The points of the last push of this service; each push has one time.
    fn last(&self, service: &str) -> Vec<Point> {
        let mut points = self.collector.points();
        points.retain(|point| point.resource["service.name"] == service);
        let last = points.iter().map(|point| point.time_ns).max();
        points.retain(|point| Some(point.time_ns) == last);
        points
    }

    /// The page once the last push says the same. Processor time never rests: pushed is at least what was shown at first.
    fn settled(&self, sidecar: &Throughline, service: &str) -> Figures {
        let mut at_first = Figures::of_page(&sidecar.metrics()).counters;
        at_first.retain(|key, _| key.0 == CPU);
        let compared = || {
            let mut page = Figures::of_page(&sidecar.metrics());
            page.counters.extend(at_first.clone());
            let push = Figures::of_families(&self.last(service));
            let mut differences = differences(&page, &push);
            differences.extend(gauge_differences(&page, &push));
            (page, differences)
        };
        let alike = try_poll_until(LIMIT, || {
            let (page, differences) = compared();
            differences.is_empty().then_some(page)
        });
        alike.unwrap_or_else(|| panic!("after {LIMIT:?}: {:#?}", compared().1))
    }
}

fn produce(bootstrap: &str, client: Client, topic: &str) {
    let count = COUNT.to_string();
    let at = ["produce", "--bootstrap", bootstrap, "--topic", topic];
    let output = client.run(&[&at[..], &["--count", &count, "--now"]].concat());
    assert_eq!(output.of_type("error").count(), 0);
}

fn consume(bootstrap: &str, client: Client, topic: &str) {
    let group = group_of(topic);
    let count = COUNT.to_string();
    let at = ["consume", "--bootstrap", bootstrap, "--topic", topic];
    let how = ["--group", &group, "--until", &count];
    let output = client.run(&[&at[..], &how].concat());
    assert_eq!(output.records().len(), COUNT);
}

fn group_of(topic: &str) -> String {
    format!("{topic}-readers")
}

/// The page once all was delivered, committed and closed: nothing more will be counted.
fn at_rest(sidecar: &Throughline, topic: &str) -> Metrics {
    let settled = || {
        let page = sidecar.metrics();
        let of_topic = [("topic", topic)];
        let done = |name| page.sum(name, &of_topic) == COUNT as f64;
        let closed = page.sum("throughline_connections_closed_total", &[]);
        let accepted = page.sum("throughline_proxy_connections_accepted_total", &[]);
        let rest = done("throughline_produced_records_total")
            && done("throughline_delivered_records_total")
            && done("throughline_processing_duration_seconds_count")
            && accepted > 0.0
            && closed == accepted;
        rest.then_some(page)
    };
    try_poll_until(LIMIT, settled).unwrap_or_else(|| panic!("no rest\n{}", sidecar.tail()))
}

/// Who says it, when, and that every bucket is where the count is.
fn assert_sound(points: &[Point], service: &str) {
    for point in points {
        assert_eq!(point.resource["service.name"], service);
        assert!(!point.resource["service.instance.id"].is_empty());
        assert_eq!(point.scope, "throughline");
        assert_eq!(point.schema, "https://opentelemetry.io/schemas/1.44.0");
        let of_now = matches!(point.data, Data::Gauge(_));
        let began = point.start_ns > 0 && point.start_ns <= point.time_ns;
        assert!(began != of_now, "{point:?}");
        match &point.data {
            Data::Exponential {
                count,
                zero,
                counts,
                scale,
                ..
            } => {
                assert_eq!(zero + counts.iter().sum::<u64>(), *count, "{point:?}");
                assert!(counts.len() <= 160 && (-10..=20).contains(scale));
                assert_ne!(point.name, FIXED);
            }
            Data::Histogram {
                count,
                counts,
                bounds,
                ..
            } => {
                assert_eq!(counts.iter().sum::<u64>(), *count, "{point:?}");
                assert_eq!(counts.len(), bounds.len() + 1);
                assert_eq!(point.name, FIXED);
            }
            Data::Gauge(_) | Data::Sum(_) => {}
        }
    }
}

/// A series of an instrument of the conventions.
fn key(name: &str, operation: &str, topic: Option<&str>, group: Option<&str>) -> Key {
    let mut labels = Labels::new();
    labels.insert("messaging.system".to_owned(), "kafka".to_owned());
    labels.insert("messaging.operation.name".to_owned(), operation.to_owned());
    for (name, value) in [
        ("messaging.destination.name", topic),
        ("messaging.consumer.group.name", group),
    ] {
        if let Some(value) = value {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    (name.to_owned(), labels)
}

/// The four instruments of the conventions, against the families of the page that count the same.
fn assert_conventions(points: &[Point], page: &Figures, topic: &str) {
    let mut points = points.to_vec();
    points.retain(|point| point.name.starts_with("messaging."));
    let units: BTreeSet<(&str, &str)> = points
        .iter()
        .map(|point| (point.name.as_str(), point.unit.as_str()))
        .collect();
    let wanted = [
        ("messaging.client.consumed.messages", "{message}"),
        ("messaging.client.operation.duration", "s"),
        ("messaging.client.sent.messages", "{message}"),
        ("messaging.process.duration", "s"),
    ];
    assert_eq!(units, BTreeSet::from(wanted));
    let pushed = Figures::of_push(&points);
    let group = group_of(topic);
    let (of_topic, of_group) = (Some(topic), Some(group.as_str()));
    let sent = key(wanted[2].0, "send", of_topic, None);
    let consumed = key(wanted[0].0, "fetch", of_topic, of_group);
    let all = BTreeMap::from([(sent, COUNT as f64), (consumed, COUNT as f64)]);
    assert_eq!(pushed.counters, all);
    // Of the page: the same observations under its own name.
    let shown = |family: &str, label: &str, value: &str| {
        let mut found = page.histograms.iter().filter(|((name, labels), _)| {
            name == family && labels.get(label).is_some_and(|held| held == value)
        });
        let figures = found.next().map(|(_, figures)| *figures);
        assert!(found.next().is_none(), "{family}: several");
        figures
    };
    let all = [
        (
            key(wanted[1].0, "send", of_topic, None),
            shown("throughline_produce_duration_seconds", "topic", topic),
        ),
        (
            // There only where a fetch found data waiting.
            key(wanted[1].0, "fetch", of_topic, None),
            shown("throughline_fetch_duration_seconds", "topic", topic),
        ),
        (
            key(wanted[1].0, "commit", None, of_group),
            shown("throughline_commit_duration_seconds", "group", &group),
        ),
        (
            key(wanted[3].0, "process", of_topic, of_group),
            shown("throughline_processing_duration_seconds", "topic", topic),
        ),
    ];
    let all = all.into_iter().filter_map(|(key, of)| Some((key, of?)));
    let all: BTreeMap<Key, (u64, f64)> = all.collect();
    assert_eq!(
        pushed.histograms.keys().collect::<Vec<_>>(),
        all.keys().collect::<Vec<_>>()
    );
    for (key, (count, sum)) in &all {
        let pushed = pushed.histograms[key];
        assert!(pushed.0 == *count && same(*sum, pushed.1), "{key:?}");
    }
    let count = |key: &Key| pushed.histograms[key].0;
    let process = key(wanted[3].0, "process", of_topic, of_group);
    assert_eq!(count(&process), COUNT as u64);
    assert!(count(&key(wanted[1].0, "send", of_topic, None)) > 0);
    assert!(count(&key(wanted[1].0, "commit", None, of_group)) > 0);
}

#[test]
fn every_push_is_the_page_and_so_is_the_last_one() {
    let stage = Stage::start();
    let endpoint = stage.collector.grpc();
    let spec = stage.spec("often", &endpoint, "grpc");
    let sidecar = Throughline::start(spec.environment("OTEL_METRIC_EXPORT_INTERVAL", "200"));
    let topic = "orders";
    stage.kafka.create_topic(topic, 6);
    produce(&sidecar.bootstrap(), Client::Java, topic);
    consume(&sidecar.bootstrap(), Client::Java, topic);
    at_rest(&sidecar, topic);
    let page = stage.settled(&sidecar, "often");
    sidecar.terminate();
    let points = stage.last("often");
    let found = differences(&page, &Figures::of_families(&points));
    assert!(found.is_empty(), "{found:#?}");
    assert_sound(&points, "often");
    assert_conventions(&points, &page, topic);
    let mut instances: Vec<String> = stage
        .collector
        .points()
        .iter()
        .map(|point| point.resource["service.instance.id"].clone())
        .collect();
    instances.dedup();
    assert_eq!(instances.len(), 1, "one program, one instance");
}

#[test]
fn what_was_counted_is_pushed_at_the_end_over_http_too() {
    let stage = Stage::start();
    let endpoint = stage.collector.http();
    let spec = stage.spec("once", &endpoint, "http/protobuf");
    // Building the clients may take longer than the interval of a minute.
    let sidecar = Throughline::start(spec.environment("OTEL_METRIC_EXPORT_INTERVAL", "3600000"));
    let topic = "payments";
    stage.kafka.create_topic(topic, 6);
    produce(&sidecar.bootstrap(), Client::Librdkafka, topic);
    consume(&sidecar.bootstrap(), Client::Librdkafka, topic);
    let page = Figures::of_page(&at_rest(&sidecar, topic));
    sidecar.terminate();
    let points = stage.last("once");
    let times: BTreeSet<u64> = stage
        .collector
        .points()
        .iter()
        .map(|point| point.time_ns)
        .collect();
    assert_eq!(times.len(), 1, "the interval is an hour");
    let found = differences(&page, &Figures::of_families(&points));
    assert!(found.is_empty(), "{found:#?}");
    assert_sound(&points, "once");
    assert_conventions(&points, &page, topic);
}

#[test]
fn a_collector_that_was_away_has_every_total_once_it_is_back() {
    let mut stage = Stage::start();
    stage.collector.stop();
    let endpoint = stage.collector.grpc();
    let spec = stage
        .spec("away", &endpoint, "grpc")
        .set("otlp.traces", "false");
    let sidecar = Throughline::start(spec.environment("OTEL_METRIC_EXPORT_INTERVAL", "200"));
    let topic = "unseen";
    stage.kafka.create_topic(topic, 6);
    produce(&sidecar.bootstrap(), Client::Java, topic);
    consume(&sidecar.bootstrap(), Client::Java, topic);
    at_rest(&sidecar, topic);
    let counted = || {
        let page = sidecar.metrics();
        let lost = [("signal", "metrics"), ("reason", "export")];
        let lost = page.sum("throughline_telemetry_dropped_total", &lost);
        let failed = page.sum(
            "throughline_export_failures_total",
            &[("signal", "metrics")],
        );
        (lost >= 1.0 && failed >= 1.0).then_some(())
    };
    assert!(
        try_poll_until(LIMIT, counted).is_some(),
        "{}",
        sidecar.tail()
    );
    stage.collector.restart();
    let page = stage.settled(&sidecar, "away");
    sidecar.terminate();
    let points = stage.last("away");
    let found = differences(&page, &Figures::of_families(&points));
    assert!(found.is_empty(), "{found:#?}");
    assert_conventions(&points, &page, topic);
}
