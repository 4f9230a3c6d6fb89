//! What it costs the traffic that nobody takes the spans: the same load through a sidecar whose collector is there and through
//! one whose collector is away, in one run.
//!
//! Rounds are interleaved and take turns at being first. Prints one markdown table: medians, ranges and the ratio.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench talks to a person and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "another bench uses the rest")]
mod load {
    pub(crate) mod cpu;
    pub(crate) mod table;
    pub(crate) mod volume;
}

use load::{
    cpu::{self, Usage},
    table::Table,
    volume::{self, Load},
};
use support::{
    collector::Collector,
    kafka::{Kafka, KafkaSpec, Listener, Version},
    ports,
    throughline::{Throughline, ThroughlineSpec},
};

/// Traces a second and topic: far more than by default, so that exporting is work.
const SAMPLED: &str = "1000";

fn main() {
    let rounds = number("THROUGHLINE_BENCH_ROUNDS", 7);
    let megabytes = number("THROUGHLINE_BENCH_MB", 400) / 2;
    let spec = KafkaSpec::new(Version::V4_4_0)
        .property("log.retention.bytes", "1500000000")
        .property("log.segment.bytes", "100000000")
        .property("log.retention.check.interval.ms", "5000");
    let kafka = Kafka::start(spec);
    let collector = Collector::start();
    let sidecar = |collector: &str| {
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext))
            .mode("inject")
            .set("sampling.traces_per_second_per_topic", SAMPLED)
            .set("otlp.endpoint", collector);
        Throughline::start(spec)
    };
    let up = sidecar(&collector.grpc());
    let down = sidecar(&format!("http://127.0.0.1:{}", ports::free()));
    let mut table = Table::new(rounds);
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let mut both = [("up", &up), ("down", &down)];
        if round % 2 == 1 {
            both.reverse();
        }
        for (which, sidecar) in both {
            one(&mut table, (which, sidecar), round, megabytes);
        }
    }
    for (which, sidecar) in [("up", &up), ("down", &down)] {
        table.add(
            "resident MB, afterwards",
            which,
            cpu::resident_mb(sidecar.id()),
        );
        let metrics = sidecar.metrics();
        let dropped = metrics.sum(
            "throughline_telemetry_dropped_total",
            &[("signal", "traces")],
        );
        table.add("spans dropped and counted", which, dropped);
        let failed = metrics.sum("throughline_export_failures_total", &[("signal", "traces")]);
        table.add("exports failed", which, failed);
    }
    let received = collector.spans().len() as f64;
    table.add("spans the collector has", "up", received);
    println!("{}", table.markdown(&["up", "down"], &[("down", "up")]));
}

fn one(
    table: &mut Table,
    (which, sidecar): (&'static str, &Throughline),
    round: usize,
    megabytes: usize,
) {
    let (bootstrap, pid) = (sidecar.bootstrap(), Some(sidecar.id()));
    let topic = format!("export-{which}-{round}");
    volume::create(&bootstrap, &topic, 6);
    let load = Load::plain(megabytes);
    let before = Usage::of(pid);
    let produced = volume::produce(&bootstrap, &topic, load);
    let consumed = volume::consume(&bootstrap, &topic, load);
    let used = Usage::of(pid).since(before);
    let megabytes = megabytes as f64;
    table.add("produce MB/s", which, megabytes / produced.as_secs_f64());
    table.add("consume MB/s", which, megabytes / consumed.as_secs_f64());
    table.add("CPU s per GB", which, used * 1_000.0 / megabytes);
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}
