//! OTLP's metrics against what was recorded.

use tokio::time::Instant;

use super::*;
use crate::metrics::{Build, IDLE_LIMIT, Metrics, Recorder, Settings};

const BEGINNING: u64 = 1_000;

struct Bench {
    metrics: Metrics,
    recorder: Recorder,
    starts: Starts,
    begun: Instant,
}

impl Bench {
    fn new() -> Self {
        let metrics = Metrics::new(&Settings {
            max_series: 20_000,
            latency_bounds: vec![0.1, 0.5],
            push: true,
        })
        .unwrap();
        metrics.set_cluster("c");
        let begun = Instant::now();
        Self {
            recorder: metrics.recorder(begun),
            metrics,
            starts: Starts::new(BEGINNING),
            begun,
        }
    }

    /// One whole collection.
    fn collect(&mut self, now: u64) -> Vec<Metric> {
        let pushed = self.metrics.gather_pushed();
        let all = metrics(&pushed, &self.metrics.cluster(), &mut self.starts, now).collect();
        self.starts.collected(now);
        all
    }
}

fn named<'m>(all: &'m [Metric], name: &str) -> &'m Metric {
    let mut found = all.iter().filter(|metric| metric.name == name);
    let one = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} twice");
    one
}

fn numbers(metric: &Metric) -> &[NumberDataPoint] {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
            &sum.data_points
        }
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    }
}

fn exponentials(metric: &Metric) -> &[ExponentialHistogramDataPoint] {
    match metric.data.as_ref().unwrap() {
        Data::ExponentialHistogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
            &histogram.data_points
        }
        other => panic!("{other:?}"),
    }
}

fn attributes(all: &[KeyValue]) -> Vec<(&str, &str)> {
    let pairs =
        all.iter().map(
            |pair| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(any_value::Value::StringValue(text)) => (pair.key.as_str(), text.as_str()),
                other => panic!("{other:?}"),
            },
        );
    pairs.collect()
}

#[test]
fn counters_become_monotonic_sums_and_gauges_gauges_under_their_own_names() {
    let mut bench = Bench::new();
    bench.recorder.add(Id::ProducedRecords, &["t"], 7);
    let half = std::time::Duration::from_millis(500);
    bench
        .recorder
        .add_seconds(Id::ThrottledSeconds, &["in"], half);
    bench
        .recorder
        .replace(Id::ConsumerLagRecords, [(["t", "g"], 3.0)]);
    bench.recorder.add_pair(&["publish", "t", "", ""], 7, 6);
    let all = bench.collect(5_000);
    let records = named(&all, "throughline_produced_records_total");
    assert_eq!(records.unit, "{record}");
    let [point] = numbers(records) else { panic!() };
    assert_eq!(point.value, Some(Value::AsInt(7)));
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano),
        (BEGINNING, 5_000)
    );
    assert_eq!(
        attributes(&point.attributes),
        [("cluster", "c"), ("topic", "t")]
    );
    let seconds = named(&all, "throughline_throttled_seconds_total");
    assert_eq!(seconds.unit, "s");
    assert_eq!(numbers(seconds)[0].value, Some(Value::AsDouble(0.5)));
    let lag = named(&all, "throughline_consumer_lag_records");
    assert!(matches!(lag.data, Some(Data::Gauge(_))));
    assert_eq!(numbers(lag)[0].value, Some(Value::AsDouble(3.0)));
    // A label without a value is none.
    let good = named(&all, "throughline_sli_good_events_total");
    assert_eq!(
        attributes(&numbers(good)[0].attributes),
        [("cluster", "c"), ("sli", "publish"), ("topic", "t")]
    );
}

#[test]
fn the_four_instruments_have_the_names_and_attributes_of_the_conventions() {
    let mut bench = Bench::new();
    let recorder = &mut bench.recorder;
    let refused = ["send", "t", "", "NOT_ENOUGH_REPLICAS"];
    recorder.observe(Id::OperationDuration, &refused, 0.25, 1);
    recorder.observe(Id::ProcessDuration, &["process", "t", "g", ""], 2.0, 3);
    recorder.add(Id::SentMessages, &refused, 5);
    recorder.add(Id::ConsumedMessages, &["fetch", "t", "g", ""], 8);
    let all = bench.collect(2_000);
    let mut pushed_only: Vec<(&str, &str)> = all
        .iter()
        .filter(|metric| metric.name.starts_with("messaging."))
        .map(|metric| (metric.name.as_str(), metric.unit.as_str()))
        .collect();
    pushed_only.sort_unstable();
    assert_eq!(
        pushed_only,
        [
            ("messaging.client.consumed.messages", "{message}"),
            ("messaging.client.operation.duration", "s"),
            ("messaging.client.sent.messages", "{message}"),
            ("messaging.process.duration", "s"),
        ]
    );
    let failed = [
        ("messaging.system", "kafka"),
        ("error.type", "NOT_ENOUGH_REPLICAS"),
        ("messaging.operation.name", "send"),
        ("messaging.destination.name", "t"),
    ];
    let sent = &numbers(named(&all, semconv::CLIENT_SENT_MESSAGES))[0];
    assert_eq!(attributes(&sent.attributes), failed);
    assert_eq!(sent.value, Some(Value::AsInt(5)));
    let operation = &exponentials(named(&all, semconv::CLIENT_OPERATION_DURATION))[0];
    assert_eq!(attributes(&operation.attributes), failed);
    let process = &exponentials(named(&all, semconv::PROCESS_DURATION))[0];
    assert_eq!(
        attributes(&process.attributes),
        [
            ("messaging.system", "kafka"),
            ("messaging.consumer.group.name", "g"),
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", "t"),
        ]
    );
    assert_eq!((process.count, process.sum), (3, Some(6.0)));
    let own = all.iter().filter(|m| m.name.contains("operation_duration"));
    assert_eq!(own.count(), 0, "under the standard name only");
}

#[test]
fn a_histogram_is_pushed_with_exponential_buckets_and_not_twice() {
    let mut bench = Bench::new();
    for (value, count) in [(0.25, 2), (0.5, 1), (0.0, 4)] {
        bench
            .recorder
            .observe(Id::ProduceDuration, &["t"], value, count);
    }
    let all = bench.collect(2_000);
    let [point] = exponentials(named(&all, "throughline_produce_duration_seconds")) else {
        panic!()
    };
    assert_eq!((point.count, point.sum), (7, Some(1.0)));
    assert_eq!((point.min, point.max), (Some(0.0), Some(0.5)));
    let buckets = point.positive.as_ref().unwrap();
    let last = buckets.bucket_counts.len() - 1;
    assert_eq!(point.zero_count, 4);
    assert_eq!(
        (buckets.bucket_counts[0], buckets.bucket_counts[last]),
        (2, 1)
    );
    // Both are the upper bounds of their buckets: base^(index + 1).
    let bound = |slot: usize| {
        let index = f64::from(buckets.offset) + slot as f64 + 1.0;
        (index * f64::from(-point.scale).exp2()).exp2()
    };
    assert_eq!((bound(0), bound(last)), (0.25, 0.5));
}

#[test]
fn the_dataplanes_own_histogram_stays_what_it_is() {
    let mut bench = Bench::new();
    bench
        .metrics
        .serve_dataplane(std::sync::Arc::default(), |_| "Fetch")
        .unwrap();
    let all = bench.collect(2_000);
    let added = named(&all, "throughline_proxy_added_latency_seconds");
    let Some(Data::Histogram(histogram)) = &added.data else {
        panic!("{added:?}")
    };
    for point in &histogram.data_points {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    }
}

#[test]
fn a_series_begins_after_the_collection_that_did_not_see_it_and_again_after_it_vanished() {
    let mut bench = Bench::new();
    let start = |all: &[Metric], topic: &str| {
        let points = numbers(named(all, "throughline_produced_records_total"));
        let of =
            |point: &&NumberDataPoint| attributes(&point.attributes).contains(&("topic", topic));
        points.iter().find(of).unwrap().start_time_unix_nano
    };
    bench.recorder.add(Id::ProducedRecords, &["a"], 9);
    let all = bench.collect(2_000);
    assert_eq!(start(&all, "a"), BEGINNING);
    bench.recorder.add(Id::ProducedRecords, &["b"], 1);
    let all = bench.collect(3_000);
    assert_eq!((start(&all, "a"), start(&all, "b")), (BEGINNING, 2_000));
    // Gone and back between two collections: only the smaller total tells.
    bench.recorder.set_now(bench.begun + IDLE_LIMIT);
    bench.recorder.expire();
    bench.recorder.add(Id::ProducedRecords, &["a"], 1);
    let all = bench.collect(4_000);
    assert_eq!(start(&all, "a"), 3_000);
    // Gone while a collection was made.
    bench.recorder.add(Id::ProducedRecords, &["b"], 50);
    let all = bench.collect(5_000);
    assert_eq!((start(&all, "a"), start(&all, "b")), (3_000, 4_000));
    // Both, and how often the family was capped.
    assert_eq!(bench.starts.series.len(), 3);
}

#[test]
fn no_metric_has_more_points_than_a_request_takes() {
    let mut bench = Bench::new();
    for number in 0..POINTS_MAX + 1 {
        let topic = number.to_string();
        bench.recorder.add(Id::ProducedRecords, &[&topic], 1);
    }
    let all = bench.collect(2_000);
    let sizes: Vec<usize> = all
        .iter()
        .filter(|m| m.name == "throughline_produced_records_total")
        .map(points)
        .collect();
    assert_eq!(sizes, [POINTS_MAX, 1]);
}

#[test]
fn every_family_of_the_catalogue_has_a_name_and_a_unit_of_its_own_in_otlp() {
    let mut names: Vec<String> = Id::ALL
        .iter()
        .map(|id| metric(*id, Data::Gauge(Gauge::default())).name)
        .collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    let standard = names.iter().filter(|name| name.starts_with("messaging."));
    assert_eq!(standard.count(), 4);
}

#[test]
fn an_info_family_is_a_gauge_of_one() {
    let mut bench = Bench::new();
    bench
        .metrics
        .serve_process(&Build {
            version: "1".into(),
            commit: "c".into(),
        })
        .unwrap();
    let all = bench.collect(2_000);
    let build = named(&all, "throughline_build_info");
    assert!(matches!(build.data, Some(Data::Gauge(_))));
    assert_eq!(numbers(build)[0].value, Some(Value::AsDouble(1.0)));
}
