//! Spans as a real Jaeger stores them and tells them again: one trace per record, through three hops of plain programs.
//!
//! Building Jaeger takes up to ten minutes once: `make acceptance` runs this, `make test` does not.
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
    chain::{self, Hop},
    collector::Span,
    deadline::try_poll_until,
    jaeger::Jaeger,
    kafka::{Kafka, Listener, Version},
    stage::traced,
    throughline::{Throughline, ThroughlineSpec},
};

const COUNT: usize = 120;
/// Jaeger says of every child that does not lie within its parent, as behind a queue none does, what it did not do about it.
const SKEW: &str = "clock skew adjustment disabled";
const CLIENT: i64 = 3;
const PRODUCER: i64 = 4;
const CONSUMER: i64 = 5;
const LIMIT: Duration = Duration::from_secs(120);
/// What each record has of its own; `send` and `fetch` are of a batch and stand in one of its traces.
const OPERATIONS: [&str; 3] = ["create", "process", "commit"];

fn of_record(spans: &[Span]) -> Vec<&Span> {
    let of_record =
        |span: &&Span| OPERATIONS.contains(&span.text("messaging.operation.name").as_str());
    spans.iter().filter(of_record).collect()
}

/// The trace of one record, once it is whole.
fn whole(jaeger: &Jaeger, hops: &[Hop; 3]) -> Vec<Span> {
    let id = &hops[0].trace_id;
    let complete = try_poll_until(LIMIT, || {
        let spans = jaeger.trace(id);
        (of_record(&spans).len() >= OPERATIONS.len() * hops.len()).then_some(spans)
    });
    complete.unwrap_or_else(|| panic!("not whole after {LIMIT:?}: {:?}", jaeger.trace(id)))
}

/// Its own spans in order, each hop under the one before; nothing without a parent but the first.
fn assert_whole(broker: &str, hops: &[Hop; 3], spans: &[Span]) {
    let by_name: BTreeMap<&str, &Span> = of_record(spans)
        .into_iter()
        .map(|span| (span.name.as_str(), span))
        .collect();
    let wanted = OPERATIONS.len() * hops.len();
    assert_eq!((by_name.len(), of_record(spans).len()), (wanted, wanted));
    let mut parent = "";
    for (hop, services) in hops.iter().zip(chain::SERVICES.windows(2)) {
        assert_eq!(hop.trace_id, hops[0].trace_id, "{hops:?}");
        let [create, process, commit] =
            OPERATIONS.map(|operation| by_name[format!("{operation} {}", hop.topic).as_str()]);
        assert_eq!(
            (create.span_id.as_str(), create.parent.as_str()),
            (hop.span_id.as_str(), parent)
        );
        assert_eq!(process.parent, create.span_id);
        assert_eq!(commit.parent, process.span_id);
        for (span, kind, service) in [
            (create, PRODUCER, services[0]),
            (process, CONSUMER, services[1]),
            (commit, CLIENT, services[1]),
        ] {
            assert_eq!((span.kind, span.service.as_str()), (kind, service));
        }
        let offset = process.text("messaging.kafka.offset");
        assert_eq!(offset, hop.offset.to_string());
        parent = hop.span_id.as_str();
    }
    let known: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let roots = spans.iter().filter(|span| span.parent.is_empty());
    assert_eq!(roots.count(), 1, "{hops:?}");
    for span in spans {
        let parent = span.parent.as_str();
        assert!(parent.is_empty() || known.contains(parent), "{span:?}");
        let host = span.text("server.address");
        let server = format!("{host}:{}", span.text("server.port"));
        assert_eq!(server, broker, "the real broker's: {span:?}");
    }
}

/// The page shows the same spans, and has nothing to complain of.
fn assert_shown(jaeger: &Jaeger, id: &str, spans: &[Span]) {
    let (shown, warnings) = jaeger.shown(id);
    let stored = spans
        .iter()
        .map(|span| (span.name.clone(), span.service.clone()));
    assert_eq!(shown, stored.collect(), "{id}");
    let complaints = warnings.iter().filter(|text| !text.starts_with(SKEW));
    assert_eq!(complaints.count(), 0, "{id}: {warnings:?}");
}

#[test]
#[ignore = "builds Jaeger, up to ten minutes once; make acceptance runs it"]
fn jaeger_tells_one_trace_from_the_first_produce_to_the_last_commit() {
    let kafka = Kafka::single(Version::V4_4_0);
    let jaeger = Jaeger::start();
    let sidecar = |service: &str| {
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext));
        Throughline::start(traced(spec, service, &jaeger.grpc(), "grpc"))
    };
    let events = chain::run(&kafka, COUNT, sidecar);
    let broker = kafka.address(Listener::Plaintext, 1);
    let traces: BTreeSet<&str> = events
        .iter()
        .map(|hops| hops[0].trace_id.as_str())
        .collect();
    assert_eq!(
        (events.len(), traces.len()),
        (COUNT, COUNT),
        "one trace for each record"
    );
    let mut of_batches = 0;
    for hops in &events {
        let spans = whole(&jaeger, hops);
        assert_whole(&broker, hops, &spans);
        assert_shown(&jaeger, &hops[0].trace_id, &spans);
        of_batches += spans.len() - of_record(&spans).len();
    }
    assert!(
        of_batches >= 6,
        "a send and a fetch for each topic: {of_batches}"
    );
}
