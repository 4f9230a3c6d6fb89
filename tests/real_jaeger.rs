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
    deadline::try_poll_until,
    jaeger::{Jaeger, JaegerSpan},
    kafka::{Kafka, Listener, Version},
    stage::traced,
    throughline::{Throughline, ThroughlineSpec},
};

const COUNT: usize = 120;
/// Jaeger says of every child that does not lie within its parent, as behind a queue none does, what it did not do about it.
const SKEW: &str = "clock skew adjustment disabled";
const LIMIT: Duration = Duration::from_secs(60);
/// What each record has of its own; `send` and `fetch` are of a batch and stand in one of its traces.
const OPERATIONS: [&str; 3] = ["create", "process", "commit"];

fn operation(span: &JaegerSpan) -> &str {
    span.tag("messaging.operation.name")
}

fn of_record(spans: &[JaegerSpan]) -> Vec<&JaegerSpan> {
    let of_record = |span: &&JaegerSpan| OPERATIONS.contains(&operation(span));
    spans.iter().filter(of_record).collect()
}

/// The trace of one record, once it is whole.
fn whole(jaeger: &Jaeger, hops: &[Hop; 3]) -> Vec<JaegerSpan> {
    let id = &hops[0].trace_id;
    let complete = try_poll_until(LIMIT, || {
        let spans = jaeger.trace(id);
        (of_record(&spans).len() >= OPERATIONS.len() * hops.len()).then_some(spans)
    });
    complete.unwrap_or_else(|| panic!("not whole after {LIMIT:?}: {:?}", jaeger.trace(id)))
}

/// Its own spans in order, each hop under the one before; nothing without a parent but the first.
fn assert_whole(broker: &str, hops: &[Hop; 3], spans: &[JaegerSpan]) {
    let by_name: BTreeMap<&str, &JaegerSpan> = of_record(spans)
        .into_iter()
        .map(|span| (span.name.as_str(), span))
        .collect();
    let wanted = OPERATIONS.len() * hops.len();
    assert_eq!((by_name.len(), of_record(spans).len()), (wanted, wanted));
    let mut parent = None;
    for (at, hop) in hops.iter().enumerate() {
        assert_eq!(hop.trace_id, hops[0].trace_id, "{hops:?}");
        let [create, process, commit] =
            OPERATIONS.map(|operation| by_name[format!("{operation} {}", hop.topic).as_str()]);
        assert_eq!(
            (create.id.as_str(), create.parent.as_deref()),
            (hop.span_id.as_str(), parent)
        );
        assert_eq!(process.parent.as_ref(), Some(&create.id));
        assert_eq!(commit.parent.as_ref(), Some(&process.id));
        assert_eq!(create.tag("span.kind"), "producer");
        assert_eq!(process.tag("span.kind"), "consumer");
        assert_eq!(commit.tag("span.kind"), "client");
        assert_eq!(create.service, chain::SERVICES[at]);
        for span in [process, commit] {
            assert_eq!(span.service, chain::SERVICES[at + 1]);
        }
        assert_eq!(
            process.tag("messaging.kafka.offset"),
            hop.offset.to_string()
        );
        parent = Some(hop.span_id.as_str());
    }
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let roots = spans.iter().filter(|span| span.parent.is_none());
    assert_eq!(roots.count(), 1, "{hops:?}");
    for span in spans {
        let complaints = span.warnings.iter().filter(|text| !text.starts_with(SKEW));
        assert_eq!(complaints.count(), 0, "{span:?}");
        let parent = span.parent.as_deref();
        assert!(
            parent.is_none_or(|parent| known.contains(parent)),
            "{span:?}"
        );
        let server = format!("{}:{}", span.tag("server.address"), span.tag("server.port"));
        assert_eq!(server, broker, "the real broker's: {span:?}");
    }
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
        of_batches += spans.len() - of_record(&spans).len();
    }
    assert!(
        of_batches >= 6,
        "a send and a fetch for each topic: {of_batches}"
    );
}
