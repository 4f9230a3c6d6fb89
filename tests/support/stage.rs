//! A broker, a collector, and sidecars whose spans it receives.
//!
//! Why: every test of spans needs the same three. Must not know what the spans should be.

use std::collections::BTreeMap;
use std::time::Duration;

use super::collector::{Collector, Span};
use super::deadline::try_poll_until;
use super::kafka::{Kafka, Listener, Version};
use super::throughline::{Throughline, ThroughlineSpec};

/// How long spans may take to arrive on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// What the sidecars are put between.
pub(crate) struct Stage {
    pub(crate) kafka: Kafka,
    pub(crate) collector: Collector,
}

impl Stage {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self {
            kafka: Kafka::single(Version::V4_4_0),
            collector: Collector::start(),
        }
    }

    /// A sidecar of the broker that records every trace and sends the spans to `endpoint`.
    #[track_caller]
    pub(crate) fn sidecar(&self, service: &str, endpoint: &str, protocol: &str) -> Throughline {
        let spec = ThroughlineSpec::new(&self.kafka.bootstrap(Listener::Plaintext));
        Throughline::start(traced(spec, service, endpoint, protocol))
    }

    /// What the collector has, once `enough` says so of the spans that `keep` picks.
    #[track_caller]
    pub(crate) fn spans_where(
        &self,
        what: &str,
        keep: impl Fn(&Span) -> bool,
        enough: impl Fn(&[Span]) -> bool,
    ) -> Vec<Span> {
        let seen = || {
            let mut spans = self.collector.spans();
            spans.retain(|span| keep(span));
            spans
        };
        let complete = try_poll_until(LIMIT, || Some(seen()).filter(|spans| enough(spans)));
        complete.unwrap_or_else(|| {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for span in seen() {
                *counts
                    .entry(format!("{} of {}", span.name, span.service))
                    .or_default() += 1;
            }
            panic!("not all spans of {what} after {LIMIT:?}: {counts:?}")
        })
    }

    /// As [`Stage::spans_where`], of the spans that name this topic.
    #[track_caller]
    pub(crate) fn spans(&self, topic: &str, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let of_topic = |span: &Span| span.text("messaging.destination.name") == topic;
        self.spans_where(topic, of_topic, enough)
    }
}

/// Makes a sidecar record every trace and send the spans to `endpoint`.
pub(crate) fn traced(
    spec: ThroughlineSpec,
    service: &str,
    endpoint: &str,
    protocol: &str,
) -> ThroughlineSpec {
    spec.set("otlp.endpoint", endpoint)
        .set("otlp.protocol", protocol)
        .set("otlp.service_name", service)
        .set("sampling.traces_per_second_per_topic", "100000")
        // This build may not be optimized, and the machine is shared.
        .set("lineage.hold_us_max", "1000000")
        .set("limits.edit_cpu_ms_per_second", "1000")
}

/// The spans of one operation, as `messaging.operation.name` says it.
pub(crate) fn named<'s>(spans: &'s [Span], operation: &str) -> Vec<&'s Span> {
    let of = |span: &&Span| span.text("messaging.operation.name") == operation;
    spans.iter().filter(of).collect()
}
