//! The page against a strict parser written from the format specifications.
#![allow(clippy::string_slice, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::*;
use crate::metrics::{Id, Metrics, Settings};

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Parses one page strictly; panics with the line at fault.
fn parse(page: &str, format: Format) -> Vec<Sample> {
    assert!(page.ends_with('\n'));
    let mut lines: Vec<&str> = page.lines().collect();
    if format == Format::OpenMetrics {
        assert_eq!(lines.pop(), Some("# EOF"));
    }
    let (mut samples, mut seen) = (Vec::new(), HashSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut closed = HashSet::new();
    for line in lines {
        assert!(!line.is_empty() && line != "# EOF", "{line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name) = (words.next().unwrap(), words.next().unwrap());
            let text = words.next().unwrap();
            match word {
                "HELP" => {
                    assert!(closed.insert(name.to_owned()), "{name} twice");
                    name.clone_into(&mut family);
                }
                "TYPE" => text.clone_into(&mut kind),
                "UNIT" => {
                    assert_eq!(format, Format::OpenMetrics);
                    assert!(name.ends_with(&format!("_{text}")), "{line}");
                }
                other => panic!("{other}"),
            }
            assert_eq!(name, family, "{line}");
            continue;
        }
        let sample = parse_sample(line);
        let suffixes: &[&str] = match (kind.as_str(), format) {
            ("counter", Format::OpenMetrics) => &["_total"],
            ("info", Format::OpenMetrics) => &["_info"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter" | "gauge", _) => &[""],
            other => panic!("{other:?}"),
        };
        let suffix = sample.name.strip_prefix(family.as_str()).expect(line);
        assert!(suffixes.contains(&suffix), "{line}");
        let identity = format!("{}{:?}", sample.name, sample.labels);
        assert!(seen.insert(identity), "{line} twice");
        samples.push(sample);
    }
    samples
}

fn parse_sample(line: &str) -> Sample {
    let (name, mut rest) = line.split_once('{').expect(line);
    let valid = |n: &str| {
        !n.is_empty()
            && !n.starts_with(|c: char| c.is_ascii_digit())
            && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(valid(name), "{line}");
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        let (label, after) = rest.split_once("=\"").expect(line);
        assert!(valid(label), "{line}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect(line) {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect(line).1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    other => panic!("escape {other}: {line}"),
                },
                (_, c) => value.push(c),
            }
        };
        assert!(labels.iter().all(|(n, _)| n != label), "{line}");
        labels.push((label.to_owned(), value));
        rest = after.get(end + 1..).expect(line);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").expect(line);
    let value = value.split(" # ").next().unwrap();
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().expect(line),
    };
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

fn filled() -> Metrics {
    let metrics = Metrics::new(&Settings {
        max_series: 200_000,
        latency_bounds: vec![0.000_1, 0.5, 1.0, 21_600.0],
        push: false,
    })
    .unwrap();
    metrics
        .serve_process(&crate::metrics::Build {
            version: "0.1.0".into(),
            commit: "abc".into(),
        })
        .unwrap();
    metrics
        .serve_dataplane(std::sync::Arc::default(), |_| "Fetch")
        .unwrap();
    metrics.dropped("events", "queue_full").add(3);
    let mut recorder = metrics.recorder(Instant::now());
    recorder.add(Id::ProducedRecords, &["a\"b\\c\nd"], 7);
    recorder.add_seconds(
        Id::ThrottledSeconds,
        &["client_to_broker"],
        std::time::Duration::from_millis(1500),
    );
    for (latency, count) in [(0.2, 5), (0.9, 2), (30_000.0, 1)] {
        recorder.observe(Id::EndToEndLatency, &["t", "g", "fetched"], latency, count);
    }
    recorder.replace(
        Id::ConsumerLagSecondsBound,
        [
            (["t", "g", "lower"], 1.25),
            (["t", "g", "upper"], f64::INFINITY),
        ],
    );
    recorder.replace(Id::Client, [(["apache-kafka-java", "4.4.0"], 1.0)]);
    metrics
}

fn find<'a>(samples: &'a [Sample], name: &str, label: (&str, &str)) -> &'a Sample {
    samples
        .iter()
        .find(|s| s.name == name && s.labels.contains(&(label.0.to_owned(), label.1.to_owned())))
        .unwrap_or_else(|| panic!("{name} {label:?}"))
}

#[test]
fn both_formats_parse_strictly_and_say_the_same() {
    let families = filled().gather();
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let page = encode(&families, "c\"1", format, &Exemplars::default());
        let samples = parse(&page, format);
        assert!(
            samples
                .iter()
                .all(|s| s.labels[0] == ("cluster".to_owned(), "c\"1".to_owned()))
        );
        let value = |name, label| find(&samples, name, label).value;
        let exact = |name, label, expected: f64| {
            assert!((value(name, label) - expected).abs() < 1e-9, "{name}");
        };
        exact(
            "throughline_produced_records_total",
            ("topic", "a\"b\\c\nd"),
            7.0,
        );
        exact(
            "throughline_throttled_seconds_total",
            ("direction", "client_to_broker"),
            1.5,
        );
        exact(
            "throughline_consumer_lag_seconds_bound",
            ("bound", "lower"),
            1.25,
        );
        assert!(value("throughline_consumer_lag_seconds_bound", ("bound", "upper")).is_infinite());
        exact("throughline_client_info", ("version", "4.4.0"), 1.0);
        exact(
            "throughline_end_to_end_latency_seconds_count",
            ("topic", "t"),
            8.0,
        );
        exact(
            "throughline_telemetry_dropped_total",
            ("reason", "queue_full"),
            3.0,
        );
    }
}

#[test]
fn buckets_grow_and_end_at_the_count() {
    let families = filled().gather();
    let page = encode(&families, "", Format::OpenMetrics, &Exemplars::default());
    let samples = parse(&page, Format::OpenMetrics);
    let mut last: HashMap<String, (f64, f64)> = HashMap::new();
    for sample in samples.iter().filter(|s| s.name.ends_with("_bucket")) {
        let (labels, le): (Vec<_>, Vec<_>) = sample.labels.iter().partition(|(n, _)| n != "le");
        let le: f64 = le[0].1.replace("+Inf", "inf").parse().unwrap();
        let key = format!("{}{labels:?}", sample.name);
        if let Some((bound, count)) = last.insert(key, (le, sample.value)) {
            assert!(bound < le && count <= sample.value, "{sample:?}");
        }
    }
    assert!(!last.is_empty() && last.values().all(|(bound, _)| bound.is_infinite()));
    assert!(page.contains("le=\"1.0\"") && page.contains("le=\"0.0001\""));
}

#[test]
fn openmetrics_headers_name_the_unit_and_drop_the_suffix() {
    let families = filled().gather();
    let page = encode(&families, "c", Format::OpenMetrics, &Exemplars::default());
    for line in [
        "# TYPE throughline_produced_records counter",
        "# UNIT throughline_produced_records records",
        "# UNIT throughline_end_to_end_latency_seconds seconds",
        "# TYPE throughline_build info",
        "# TYPE process_cpu_seconds counter",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}");
    }
    let plain = encode(&families, "c", Format::Prometheus, &Exemplars::default());
    assert!(plain.contains("# TYPE throughline_build_info gauge\n"));
    assert!(!plain.contains("# UNIT") && !plain.contains("# EOF"));
}

#[test]
fn an_exemplar_stands_behind_its_bucket_and_only_in_openmetrics() {
    let metrics = filled();
    let mut recorder = metrics.recorder(Instant::now());
    let labels = ["t", "g", "fetched"];
    // Not there, or of another recorder: it makes no series.
    let exemplar = |value: f64| Exemplar {
        trace_id: [0xab; 16],
        span_id: [0x12; 8],
        value,
        at_ms: 1_500,
    };
    recorder.exemplify(Id::EndToEndLatency, &labels, exemplar(0.2));
    assert!(!page(&metrics, Format::OpenMetrics).contains("trace_id"));
    for value in [0.2, 30_000.0] {
        recorder.observe(Id::EndToEndLatency, &labels, value, 1);
        recorder.exemplify(Id::EndToEndLatency, &labels, exemplar(value));
    }
    let text = page(&metrics, Format::OpenMetrics);
    let lines: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("} ") && l.contains(" # {"))
        .collect();
    let series = "throughline_end_to_end_latency_seconds_bucket{cluster=\"c\",group=\"g\",\
                  stage=\"fetched\",topic=\"t\",le=";
    let span = format!(
        "{{trace_id=\"{}\",span_id=\"{}\"}}",
        "ab".repeat(16),
        "12".repeat(8)
    );
    assert_eq!(
        lines,
        [
            format!("{series}\"0.5\"}} 6 # {span} 0.2 1.500"),
            format!("{series}\"+Inf\"}} 10 # {span} 30000 1.500"),
        ]
    );
    parse(&text, Format::OpenMetrics);
    assert!(!page(&metrics, Format::Prometheus).contains("trace_id"));
}

fn page(metrics: &Metrics, format: Format) -> String {
    encode(&metrics.gather(), "c", format, &metrics.exemplars())
}

#[test]
fn a_hundred_thousand_series_are_encoded() {
    let metrics = Metrics::new(&Settings {
        max_series: 200_000,
        latency_bounds: vec![1.0],
        push: false,
    })
    .unwrap();
    let mut recorder = metrics.recorder(Instant::now());
    for n in 0..100_000 {
        recorder.add(Id::ProducedRecords, &[&format!("topic-{n}")], n);
    }
    let page = encode(
        &metrics.gather(),
        "c",
        Format::OpenMetrics,
        &Exemplars::default(),
    );
    // One more: how often the family was capped.
    assert_eq!(
        page.lines().filter(|l| !l.starts_with('#')).count(),
        100_001
    );
}
