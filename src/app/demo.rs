//! `throughline demo`: the embedded cluster or the user's, one sidecar per service, and the pipeline between them.
//!
//! Here because only `app` may start sidecars. Must not compute or hand over a figure.

use std::{
    io::{self, IsTerminal},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::runtime::{Builder, Handle as Runtime};

use super::{
    FAILED, logging,
    sidecar::{Sidecar, StartError},
    telemetry, trace,
};
use crate::{
    cli::{Demo, Streams, Trace, TraceFormat, TracedEvent, USAGE_ERROR},
    config::{Config, HostPort, ListenAddress, ListenHost, LogLevel, Sources},
    demo::{self, DemoError, Options, SERVICES, ServiceAddresses},
    lifecycle::{Signals, Told},
};

/// Records whose trees are shown at the end: what they are, and the topic whose first one is taken.
const FOLLOWED: [(&str, &str); 2] = [
    ("one order, from Kafka alone", "shipments"),
    ("one order that failed", "orders.billing.dlq"),
];
/// The topics of the demo.
const DEMO_TOPICS: &str = "^(orders|payments|reservations|shipments)";
/// From the beginning, for the embedded cluster finds no offset by time.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(4_000_000_000);
/// No topic of these has more partitions.
const PARTITIONS_TRIED: i32 = 3;
/// Threads of the demo's dataplanes and clients.
const THREADS: usize = 2;

/// Runs the demo and gives the exit status: 1 where a figure did not fit.
pub(super) fn demo_role(wanted: &Demo, streams: &mut Streams<'_>) -> io::Result<u8> {
    let mut log = Config::default().log;
    log.level = LogLevel::Warn;
    let _log = logging::start(&log, streams.err_color && !wanted.no_color, None)
        .map_err(io::Error::other)?;
    let telemetry = telemetry()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("demo")
        .enable_all()
        .build()?;
    let done = runtime.block_on(show(wanted, telemetry.handle(), streams));
    telemetry.shutdown_background();
    match done {
        Ok(status) => Ok(status),
        Err(DemoError::Output(fault)) => Err(fault),
        Err(fault) => {
            writeln!(streams.err, "{fault}")?;
            Ok(FAILED)
        }
    }
}

async fn show(
    wanted: &Demo,
    telemetry: &Runtime,
    streams: &mut Streams<'_>,
) -> Result<u8, DemoError> {
    let mut signals = Signals::listen().map_err(DemoError::Output)?;
    let embedded = if wanted.bootstrap.is_empty() {
        writeln!(
            streams.out,
            "embedded cluster: 3 brokers in this process, gone when it ends"
        )?;
        Some(demo::embed()?)
    } else {
        None
    };
    let bootstrap = match &embedded {
        Some(cluster) => cluster.bootstrap().to_owned(),
        None => {
            let all: Vec<_> = wanted.bootstrap.iter().map(ToString::to_string).collect();
            all.join(",")
        }
    };
    if embedded.is_none() {
        demo::prepare(&bootstrap, streams.out).await?;
    }
    let mut sidecars = Vec::new();
    for (nth, service) in (0..).zip(SERVICES) {
        match start(&bootstrap, service, nth, wanted, telemetry) {
            Ok(sidecar) => sidecars.push(sidecar),
            Err(fault) => {
                writeln!(streams.err, "{service}: {fault}")?;
                return Ok(USAGE_ERROR);
            }
        }
    }
    let addresses: Vec<_> = SERVICES.iter().zip(&sidecars).map(of).collect();
    // NO_COLOR declines colour, not the redrawing; a dumb terminal can do neither.
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let live = io::stdout().is_terminal() && !dumb;
    let options = Options {
        duration: wanted.duration,
        live,
        color: streams.out_color && !wanted.no_color,
        seed: 1,
    };
    let stop = async { while signals.next().await != Told::Stop {} };
    let summary = demo::run(&addresses, &bootstrap, options, stop, streams.out).await;
    for sidecar in sidecars {
        sidecar.stop().await;
    }
    let summary = summary?;
    for followed in FOLLOWED {
        follow(followed, &bootstrap, streams).await?;
    }
    Ok(if summary.consistent { 0 } else { FAILED })
}

/// Prints the tree of the first record of a topic, read from Kafka alone.
async fn follow(
    (what, topic): (&str, &str),
    bootstrap: &str,
    streams: &mut Streams<'_>,
) -> io::Result<()> {
    let config = at(bootstrap);
    for partition in 0..PARTITIONS_TRIED {
        let event = TracedEvent::Position {
            topic: topic.to_owned(),
            partition,
            offset: 0,
        };
        let wanted = Trace {
            sources: Sources::default(),
            event,
            within: FOLLOWED_WITHIN,
            topics: DEMO_TOPICS.parse().ok(),
            format: TraceFormat::Tree,
        };
        let mut tree = Vec::new();
        let mut quiet = Streams {
            out: &mut tree,
            err: &mut io::sink(),
            out_color: false,
            err_color: false,
        };
        // A partition may hold no record: then the next one does.
        if trace::trace(&config, &wanted, &mut quiet).await? == 0 {
            writeln!(
                streams.out,
                "\n{what}: throughline trace {topic}:{partition}:0\n"
            )?;
            return streams.out.write_all(&tree);
        }
    }
    Ok(())
}

fn of((service, sidecar): (&&'static str, &Sidecar)) -> ServiceAddresses {
    ServiceAddresses {
        name: (*service).to_owned(),
        bootstrap: sidecar
            .listen
            .first()
            .map(SocketAddr::to_string)
            .unwrap_or_default(),
        admin: sidecar.admin,
    }
}

/// The first service has the port that was asked for, the others those after it, so that all can be scraped from outside.
fn after(first: ListenAddress, nth: u16) -> ListenAddress {
    let port = match first.port {
        0 => 0,
        port => port.saturating_add(nth),
    };
    ListenAddress { port, ..first }
}

/// The defaults, with these brokers.
fn at(bootstrap: &str) -> Config {
    let mut config = Config::default();
    config.kafka.bootstrap = bootstrap
        .split(',')
        .filter_map(|address| address.parse::<HostPort>().ok())
        .collect();
    config
}

fn start(
    bootstrap: &str,
    service: &str,
    nth: u16,
    wanted: &Demo,
    telemetry: &Runtime,
) -> Result<Sidecar, StartError> {
    let any = ListenAddress {
        host: ListenHost::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: 0,
    };
    let mut config = at(bootstrap);
    config.kafka.listen = any;
    config.kafka.broker_listen = any;
    config.admin.listen = wanted.admin.map_or(any, |first| after(first, nth));
    config.otlp.endpoint.clone_from(&wanted.otlp_endpoint);
    config.otlp.logs = wanted.otlp_endpoint.is_some();
    config.otlp.service_name = Some(service.to_owned());
    Sidecar::start(&config, telemetry, None, None)
}
