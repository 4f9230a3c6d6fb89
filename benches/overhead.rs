//! What a proxy costs: the same load direct, through a null proxy (a plain tokio copy) and through Throughline, in one run.
//!
//! Rounds are interleaved, so that a busy machine is equally busy for all. Prints one markdown table: medians, ranges and
//! ratios. Absolute times mean nothing on a shared machine; ratios in one run do.
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

mod load {
    pub(crate) mod cpu;
    pub(crate) mod paced;
    pub(crate) mod table;
    pub(crate) mod volume;
}

use std::{net::SocketAddr, process::Command, time::Duration};

use load::{
    cpu::{self, Usage},
    paced,
    table::Table,
    volume::{self, Load},
};
use support::{
    kafka::{Kafka, KafkaSpec, Listener, Version},
    ports,
    process::Process,
    throughline::{Throughline, ThroughlineSpec},
};

const PATHS: [&str; 3] = ["direct", "null", "throughline"];
const RATIOS: [(&str, &str); 2] = [("throughline", "null"), ("throughline", "direct")];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "null-proxy") {
        return null_proxy(&arguments[at + 1], &arguments[at + 2]);
    }
    let rounds = number("THROUGHLINE_BENCH_ROUNDS", 5);
    let megabytes = number("THROUGHLINE_BENCH_MB", 400);
    let null_port = ports::free();
    let spec = KafkaSpec::new(Version::V4_4_0)
        .advertise(Listener::Relayed, 1, null_port)
        .property("num.network.threads", "2")
        .property("num.io.threads", "2")
        .property("log.retention.bytes", "1500000000")
        .property("log.segment.bytes", "100000000")
        .property("log.retention.check.interval.ms", "5000")
        .property("socket.request.max.bytes", "104857600");
    let kafka = Kafka::start(spec);
    let bench = Bench::start(&kafka, null_port);
    bench.idle_memory();
    if std::env::var("THROUGHLINE_BENCH_ONLY").as_deref() != Ok("injection") {
        bench.observing(rounds, megabytes);
    }
    let mut table = Table::new(rounds);
    for round in 0..rounds {
        eprintln!("injection, round {} of {rounds}", round + 1);
        bench.injection(&mut table, round, megabytes / 4);
        bench.hold(&mut table, round, megabytes / 4);
    }
    println!(
        "Injection on, megabytes as the client has them:\n\n{}",
        table.markdown(&PATHS, &RATIOS)
    );
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// What a sidecar says it added, in sum, then as a mean.
#[derive(Clone, Copy)]
struct Added {
    requests_us: f64,
    responses_us: f64,
    requests: f64,
    responses: f64,
}

impl Added {
    fn of(sidecar: &Throughline) -> Self {
        let metrics = sidecar.metrics();
        let of = |what: &str, direction: &str| {
            let family = format!("throughline_proxy_added_latency_seconds_{what}");
            metrics.sum(&family, &[("direction", direction)])
        };
        Self {
            requests_us: of("sum", "client_to_broker") * 1e6,
            responses_us: of("sum", "broker_to_client") * 1e6,
            requests: of("count", "client_to_broker"),
            responses: of("count", "broker_to_client"),
        }
    }

    fn since(self, before: Self) -> Self {
        let mean = |sum: f64, count: f64| sum / count.max(1.0);
        let requests = self.requests - before.requests;
        let responses = self.responses - before.responses;
        Self {
            requests_us: mean(self.requests_us - before.requests_us, requests),
            responses_us: mean(self.responses_us - before.responses_us, responses),
            requests,
            responses,
        }
    }
}

fn spec_of(cluster: SocketAddr, mode: &str) -> ThroughlineSpec {
    ThroughlineSpec::new(&cluster.to_string()).mode(mode)
}

/// Bytes of answers that a sidecar has passed on.
fn answered(sidecar: &Throughline) -> f64 {
    let direction = [("direction", "broker_to_client")];
    sidecar
        .metrics()
        .sum("throughline_proxy_bytes_total", &direction)
}

/// Delivered batches that were not indexed in time.
fn unindexed(sidecar: &Throughline) -> f64 {
    let metrics = sidecar.metrics();
    metrics.sum("throughline_lineage_unindexed_batches_total", &[])
}

/// Processor time per GB, of what is sent, of what is read by another program, and by one that sends too (`both`); the null proxy does
/// not know them apart. `gigabytes` of a path: sent, read.
fn add_processor_time(
    table: &mut Table,
    of: &str,
    row: &impl Fn(&str) -> String,
    used: &[(&'static str, f64, f64)],
    both: f64,
    gigabytes: impl Fn(&str) -> (f64, f64),
) {
    let of = format!("CPU s per GB of {of}");
    for (path, sent, read) in used.iter().copied() {
        let through = gigabytes(path);
        let both = if path == "throughline" { both } else { read };
        let consume = format!("{of}, consume");
        table.add(&row(&format!("{of}, produce")), path, sent / through.0);
        table.add(&row(&consume), path, read / through.1);
        let consume = format!("{consume}, a program that sends too");
        table.add(&row(&consume), path, both / through.1);
    }
}

struct Bench {
    direct: SocketAddr,
    null: (SocketAddr, Process),
    throughline: Throughline,
    injecting: Throughline,
    /// As `injecting`, but what is delivered is not indexed first.
    unheld: Throughline,
}

impl Bench {
    fn start(kafka: &Kafka, null_port: u16) -> Self {
        let direct: SocketAddr = kafka
            .bootstrap(Listener::Plaintext)
            .parse()
            .expect("an address");
        let relayed: SocketAddr = kafka
            .address(Listener::Relayed, 1)
            .parse()
            .expect("an address");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let listen = SocketAddr::from(([127, 0, 0, 1], null_port));
        command.args(["null-proxy", &listen.to_string(), &relayed.to_string()]);
        let null = Process::spawn("null proxy", &mut command);
        null.wait_for("listening", Duration::from_secs(10), |lines| {
            lines
                .iter()
                .any(|l| l.starts_with("listening"))
                .then_some(())
        });
        let spec = |mode| spec_of(direct, mode);
        Self {
            direct,
            null: (listen, null),
            throughline: Throughline::start(spec("observe")),
            injecting: Throughline::start(spec("inject")),
            unheld: Throughline::start(spec("inject").set("lineage.hold_us_max", "0")),
        }
    }

    fn paths(&self) -> [(&'static str, String, Option<u32>); 3] {
        [
            ("direct", self.direct.to_string(), None),
            ("null", self.null.0.to_string(), Some(self.null.1.id())),
            (
                "throughline",
                self.throughline.bootstrap(),
                Some(self.throughline.id()),
            ),
        ]
    }

    /// As [`Self::paths`], with the sidecar that edits records.
    fn injecting_paths(&self) -> [(&'static str, String, Option<u32>); 3] {
        let [direct, null, _] = self.paths();
        let injecting = &self.injecting;
        let ours = ("throughline", injecting.bootstrap(), Some(injecting.id()));
        [direct, null, ours]
    }

    /// Everything in mode `observe`.
    fn observing(&self, rounds: usize, megabytes: usize) {
        let mut table = Table::new(rounds);
        for round in 0..rounds {
            eprintln!("round {} of {rounds}", round + 1);
            for (path, bootstrap, pid) in self.paths() {
                self.volume(&mut table, path, &bootstrap, pid, round, megabytes);
            }
            for (path, bootstrap, pid) in self.paths() {
                self.latency(&mut table, path, &bootstrap, pid);
            }
        }
        for (path, bootstrap, pid) in self.paths() {
            self.memory(&mut table, path, &bootstrap, pid);
        }
        println!("{}", table.markdown(&PATHS, &RATIOS));
    }

    /// What it costs that a delivered record is indexed before it leaves, and what an edited request waits.
    fn hold(&self, table: &mut Table, round: usize, megabytes: usize) {
        let load = Load {
            megabytes,
            record_bytes: 1_000,
            codec: "none",
        };
        let sidecars = [("indexed", &self.injecting), ("not indexed", &self.unheld)];
        for (what, sidecar) in sidecars {
            let bootstrap = sidecar.bootstrap();
            let topic = format!("hold-{}-{round}", what.replace(' ', "-"));
            volume::create(&bootstrap, &topic, 6);
            let before = Added::of(sidecar);
            volume::produce(&bootstrap, &topic, load);
            let consumed = volume::consume(&bootstrap, &topic, load);
            let added = Added::of(sidecar).since(before);
            let rate = megabytes as f64 / consumed.as_secs_f64();
            let row = |of: &str| format!("{of} (deliveries {what})");
            table.add(&row("consume MB/s"), "throughline", rate);
            let answers = row("mean added latency of an answer, µs");
            table.add(&answers, "throughline", added.responses_us);
            let requests = row("mean added latency of a request, µs");
            table.add(&requests, "throughline", added.requests_us);
        }
        for (path, bootstrap, _) in self.injecting_paths() {
            let address: SocketAddr = bootstrap.parse().expect("an address");
            let alone = paced::ping_pong(address, 4_000);
            for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
                let row = format!("ack {name}, one connection, µs");
                table.add(&row, path, alone.quantile_us(share));
            }
        }
    }

    /// What injection costs, by codec and size of record.
    fn injection(&self, table: &mut Table, round: usize, megabytes: usize) {
        for codec in ["none", "lz4", "zstd"] {
            for record_bytes in [100, 1_000] {
                let load = Load {
                    megabytes,
                    record_bytes,
                    codec,
                };
                self.injection_of(table, round, load);
            }
        }
        let metrics = self.injecting.metrics();
        let injected = metrics.sum("throughline_injected_records_total", &[]);
        let skipped = metrics.sum("throughline_injection_skipped_total", &[]);
        eprintln!("so far {injected} records injected, {skipped} skipped");
    }

    /// One load by every path. The program that reads is another one than that which sends, and has a sidecar of its own: a new one
    /// each time, for one that has sent nothing is spared the index after a minute.
    fn injection_of(&self, table: &mut Table, round: usize, load: Load) {
        let Load {
            megabytes,
            record_bytes,
            codec,
        } = load;
        let row = |what: &str| format!("{what} ({codec}, {record_bytes} B)");
        let rate = |took: Duration| megabytes as f64 / took.as_secs_f64();
        let mut used = Vec::new();
        for (path, bootstrap, pid) in self.injecting_paths() {
            let topic = format!("inject-{path}-{codec}-{record_bytes}-{round}");
            volume::create(&bootstrap, &topic, 6);
            let before = Usage::of(pid);
            let produced = volume::produce(&bootstrap, &topic, load);
            let sent = Usage::of(pid).since(before);
            table.add(&row("produce MB/s"), path, rate(produced));
            if path != "throughline" {
                let before = Usage::of(pid);
                let consumed = volume::consume(&bootstrap, &topic, load);
                let read = Usage::of(pid).since(before);
                table.add(&row("consume MB/s"), path, rate(consumed));
                used.extend(pid.map(|_| (path, sent, read)));
                continue;
            }
            let reading = Throughline::start(spec_of(self.direct, "inject"));
            let (before, passed) = (Usage::of(Some(reading.id())), answered(&reading));
            let consumed = volume::consume(&reading.bootstrap(), &topic, load);
            let read = Usage::of(Some(reading.id())).since(before);
            let passed = answered(&reading) - passed;
            table.add(&row("consume MB/s"), path, rate(consumed));
            used.push((path, sent, read));
            let before = Usage::of(pid);
            let late = unindexed(&self.injecting);
            let consumed = volume::consume(&bootstrap, &topic, load);
            let both = Usage::of(pid).since(before);
            let late = (unindexed(&reading), unindexed(&self.injecting) - late);
            let what = "delivered batches not indexed, by a program that only reads";
            eprintln!(
                "{}: {}, by one that sends too: {}",
                row(what),
                late.0,
                late.1
            );
            table.add(
                &row("consume MB/s, a program that sends too"),
                path,
                rate(consumed),
            );
            let gigabytes = 2.0 * megabytes as f64 / 1_000.0;
            let clients = |_: &str| (gigabytes, gigabytes);
            add_processor_time(table, "the client's in+out", &row, &used, both, clients);
            if codec == "none" {
                // What the client wrote, and what the broker has of it.
                let metrics = self.injecting.metrics();
                let written =
                    metrics.sum("throughline_produced_bytes_total", &[("topic", &topic)]) / 1e9;
                let stored = passed / 1e9;
                let through = |path: &str| match path {
                    "throughline" => (written + stored, 2.0 * stored),
                    _ => (2.0 * written, 2.0 * written),
                };
                add_processor_time(table, "in+out of the proxy", &row, &used, both, through);
            }
        }
    }

    fn idle_memory(&self) {
        for (path, _, pid) in self.paths() {
            if let Some(pid) = pid {
                eprintln!(
                    "{path}: {:.1} MB resident before any connection",
                    cpu::resident_mb(pid)
                );
            }
        }
    }

    fn volume(
        &self,
        table: &mut Table,
        path: &'static str,
        bootstrap: &str,
        pid: Option<u32>,
        round: usize,
        megabytes: usize,
    ) {
        let topic = format!("volume-{path}-{round}");
        volume::create(bootstrap, &topic, 6);
        let before = Usage::of(pid);
        let load = Load::plain(megabytes);
        let produced = volume::produce(bootstrap, &topic, load);
        let between = Usage::of(pid);
        let consumed = volume::consume(bootstrap, &topic, load);
        let after = Usage::of(pid);
        // Bytes enter and leave the proxy: CPU is per GB of in + out.
        let gigabytes = 2.0 * megabytes as f64 / 1000.0;
        table.add(
            "produce MB/s (1 KB, uncompressed)",
            path,
            megabytes as f64 / produced.as_secs_f64(),
        );
        table.add(
            "consume MB/s",
            path,
            megabytes as f64 / consumed.as_secs_f64(),
        );
        if pid.is_some() {
            table.add(
                "CPU s per GB of in+out, produce",
                path,
                between.since(before) / gigabytes,
            );
            table.add(
                "CPU s per GB of in+out, consume",
                path,
                after.since(between) / gigabytes,
            );
        }
    }

    fn latency(&self, table: &mut Table, path: &'static str, bootstrap: &str, pid: Option<u32>) {
        let address: SocketAddr = bootstrap.parse().expect("an address");
        let before = Usage::of(pid);
        let alone = paced::ping_pong(address, 4_000);
        let used = Usage::of(pid).since(before);
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            table.add(
                &format!("ack {name}, one connection, µs"),
                path,
                alone.quantile_us(share),
            );
        }
        if pid.is_some() {
            table.add(
                "CPU µs per small request, one connection",
                path,
                used * 1e6 / 4_000.0,
            );
        }
        let before = Usage::of(pid);
        let many = paced::many(address, 100, 200, 50, Duration::from_secs(6));
        let used = Usage::of(pid).since(before);
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            table.add(
                &format!("ack {name}, 100 topics × 50/s, 200 connections, µs"),
                path,
                many.quantile_us(share),
            );
        }
        if pid.is_some() {
            table.add(
                "CPU µs per small request, 200 connections",
                path,
                used * 1e6 / many.count() as f64,
            );
        }
    }

    fn memory(&self, table: &mut Table, path: &'static str, bootstrap: &str, pid: Option<u32>) {
        let Some(_) = pid else { return };
        let address: SocketAddr = bootstrap.parse().expect("an address");
        // A process that has served nothing yet: what a pod pays that mostly sleeps.
        let (fresh, pid, address) = self.fresh(path, address);
        table.add("resident MB, idle", path, cpu::resident_mb(pid));
        let idle = paced::idle(address, 100);
        table.add(
            "resident MB, 100 idle connections",
            path,
            cpu::resident_mb(pid),
        );
        drop(idle);
        let peak = paced::watching(pid, || {
            paced::many(address, 100, 200, 50, Duration::from_secs(6));
        });
        table.add("resident MB, 200 active connections", path, peak);
        table.add("resident MB, afterwards", path, cpu::resident_mb(pid));
        if let Fresh::Throughline(started) = &fresh {
            for took in started.ready_ms() {
                table.add("ms from start to ready", path, took);
            }
        }
    }

    fn fresh(&self, path: &str, address: SocketAddr) -> (Fresh, u32, SocketAddr) {
        if path == "null" {
            let listen = SocketAddr::from(([127, 0, 0, 1], ports::free()));
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["null-proxy", &listen.to_string(), &self.direct.to_string()]);
            let null = Process::spawn("null proxy", &mut command);
            null.wait_for("listening", Duration::from_secs(10), |lines| {
                lines
                    .iter()
                    .any(|l| l.starts_with("listening"))
                    .then_some(())
            });
            let pid = null.id();
            return (Fresh::Null(null), pid, listen);
        }
        let spec = ThroughlineSpec::new(&self.direct.to_string()).mode("observe");
        let throughline = Throughline::start(spec);
        let pid = throughline.id();
        let address = throughline.bootstrap().parse().unwrap_or(address);
        (
            Fresh::Throughline(Started {
                _running: throughline,
                broker: self.direct,
            }),
            pid,
            address,
        )
    }
}

enum Fresh {
    #[allow(dead_code, reason = "keeps the process alive")]
    Null(Process),
    Throughline(Started),
}

struct Started {
    _running: Throughline,
    broker: SocketAddr,
}

impl Started {
    /// Starts it a few times and asks `/readyz` in a tight loop.
    fn ready_ms(&self) -> Vec<f64> {
        (0..9).map(|_| cpu::ready_ms(self.broker)).collect()
    }
}

/// Copies bytes both ways and nothing else: what any proxy in user space must pay.
fn null_proxy(listen: &str, target: &str) {
    let target: SocketAddr = target.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .expect("a listener");
        println!("listening {listen}");
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut broker) = tokio::net::TcpStream::connect(target).await else {
                    return;
                };
                client.set_nodelay(true).ok();
                broker.set_nodelay(true).ok();
                tokio::io::copy_bidirectional(&mut client, &mut broker)
                    .await
                    .ok();
            });
        }
    });
}
