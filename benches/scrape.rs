//! A scrape of 100,000 series, as text, as OpenMetrics and compressed: the page is made from what is held, no broker is asked.
//!
//! Run: `cargo bench --bench scrape`.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros, and a bench that fails says why"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throughline::{
    export::page,
    metrics::{Id, Metrics, Settings},
    sli::Engine,
};
use tokio::time::Instant;

const SERIES: u64 = 100_000;

/// Counters, gauges and histograms in the mixture of a busy pod.
fn filled() -> Metrics {
    let engine = Engine::new(Vec::new()).expect("no objectives");
    let metrics = Metrics::new(&Settings {
        max_series: 200_000,
        latency_bounds: engine.bounds().seconds(),
        push: false,
    });
    let metrics = metrics.expect("a catalogue");
    let mut recorder = metrics.recorder(Instant::now());
    for topic in 0.. {
        if recorder.series() >= usize::try_from(SERIES).unwrap_or(usize::MAX) {
            break;
        }
        let topic = format!("orders.checkout.eu-west-1.{topic}");
        recorder.add(Id::ProducedRecords, &[&topic], 1_234_567);
        recorder.add(Id::ProducedBytes, &[&topic], 1_234_567_890);
        recorder.observe(Id::ProduceDuration, &[&topic], 0.012, 1_000);
        for group in ["billing", "shipping"] {
            recorder.add_pair(&["latency", &topic, group, "fetched"], 1_000, 990);
            recorder.add(Id::DeliveredRecords, &[&topic, group], 1_234_567);
            recorder.observe(
                Id::EndToEndLatency,
                &[&topic, group, "fetched"],
                0.3,
                10_000,
            );
        }
    }
    metrics
}

fn scraping(c: &mut Criterion) {
    let metrics = filled();
    let mut group = c.benchmark_group("scrape");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(SERIES));
    let open = "application/openmetrics-text; version=1.0.0";
    for (name, accept, encoding) in [
        ("text", None, None),
        ("openmetrics", Some(open), None),
        ("text gzip", None, Some("gzip")),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| page(black_box(&metrics), accept, encoding).body.len());
        });
    }
    group.finish();
}

criterion_group!(scrape, scraping);
criterion_main!(scrape);
