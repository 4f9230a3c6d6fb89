//! What a record's headers already say: a context, another tracer's context, a correlation id.
//!
//! Walks the headers once. Of several `traceparent` the last wins, as a consumer that asks for the last header of a name
//! reads it. Must not change or judge a header: whether something is added is decided by who asks.

use std::fmt;

use super::{
    CORRELATION_ID, SENT_MEMBER, Sent, TRACEPARENT, TRACESTATE,
    traceparent::{Traceparent, TraceparentFault},
    tracestate::{TRACESTATE_MEMBERS_MAX, Tracestate},
};

/// Longest correlation id that is read, bytes; a longer one is there, but not repeated anywhere.
const CORRELATION_BYTES_MAX: usize = 256;

/// A tracer that does not speak W3C, known by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForeignFormat {
    /// Zipkin's `b3`, in one header or several.
    B3,
    /// Jaeger's `uber-trace-id`.
    Jaeger,
    /// `x-datadog-trace-id`, and the data-streams pathway `dd-pathway-ctx`.
    Datadog,
    /// `elasticapmtraceparent`.
    Elastic,
    /// `X_INSTANA_T`.
    Instana,
    /// `newrelic`.
    NewRelic,
}

impl ForeignFormat {
    /// The metric label and span attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::B3 => "b3",
            Self::Jaeger => "jaeger",
            Self::Datadog => "datadog",
            Self::Elastic => "elastic",
            Self::Instana => "instana",
            Self::NewRelic => "newrelic",
        }
    }

    fn of(key: &[u8]) -> Option<Self> {
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        let begins = |name: &str| {
            key.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        };
        if is("b3") || is("x-b3-traceid") {
            Some(Self::B3)
        } else if is("uber-trace-id") {
            Some(Self::Jaeger)
        } else if is("x-datadog-trace-id") || begins("dd-pathway-ctx") {
            Some(Self::Datadog)
        } else if is("elasticapmtraceparent") {
            Some(Self::Elastic)
        } else if begins("x_instana_t") {
            Some(Self::Instana)
        } else if is("newrelic") {
            Some(Self::NewRelic)
        } else {
            None
        }
    }
}

impl fmt::Display for ForeignFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The names a correlation id goes by: the configured one first, then the aliases. Compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationNames(Vec<String>);

/// Names that frameworks use.
const CORRELATION_ALIASES: [&str; 7] = [
    CORRELATION_ID,
    "correlationId",
    "correlation_id",
    "X-Correlation-ID",
    "kafka_correlationId",
    "ce_correlationid",
    "messaging.message.conversation_id",
];

impl Default for CorrelationNames {
    fn default() -> Self {
        Self::new(CORRELATION_ID, &[])
    }
}

impl CorrelationNames {
    /// The name to write and prefer, and more to read beside the well-known ones.
    #[must_use]
    pub fn new(preferred: &str, aliases: &[&str]) -> Self {
        let all = [&[preferred], aliases, &CORRELATION_ALIASES].concat();
        let mut names: Vec<String> = Vec::new();
        for name in all {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        Self(names)
    }

    /// The name to write.
    #[must_use]
    pub fn preferred(&self) -> &str {
        self.0.first().map_or(CORRELATION_ID, String::as_str)
    }

    /// How much a header of this key is preferred: 0 most.
    fn rank(&self, key: &[u8]) -> Option<usize> {
        self.0.iter().position(|name| is(key, name))
    }
}

/// Whether a key is this name, whatever the case; nearly always it is the same.
fn is(key: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    key.len() == name.len() && (key == name || key.eq_ignore_ascii_case(name))
}

/// What the headers of one record say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried<'r> {
    /// The W3C context: the last `traceparent`, or why that is none.
    pub traceparent: Option<Result<Traceparent, TraceparentFault>>,
    /// The list that goes with it; empty where there is none or it breaks its grammar.
    pub tracestate: Tracestate<'r>,
    /// A `tracestate` header is there, readable or not.
    pub has_tracestate: bool,
    /// Another tracer's context.
    pub foreign: Option<ForeignFormat>,
    /// The correlation id, where it is text; of several the one under the most preferred name, of those the last.
    pub correlation_id: Option<&'r str>,
    /// A correlation header is there, readable or not.
    pub has_correlation: bool,
}

impl<'r> Carried<'r> {
    /// Reads a record's headers.
    pub fn read(
        headers: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>)>,
        names: &CorrelationNames,
    ) -> Self {
        let mut carried = Self::default();
        let (mut states, mut state) = (0, Some(Tracestate::default()));
        let mut best = usize::MAX;
        for (key, value) in headers {
            if is(key, TRACEPARENT) {
                carried.traceparent = Some(Traceparent::parse(value.unwrap_or_default()));
            } else if is(key, TRACESTATE) {
                carried.has_tracestate = true;
                if let Some(value) = value.filter(|_| states < TRACESTATE_MEMBERS_MAX) {
                    states = states.saturating_add(1);
                    state = state.and_then(|state| state.and(value));
                }
            } else if let Some(rank) = names.rank(key) {
                carried.has_correlation = true;
                let text = value
                    .filter(|v| (1..=CORRELATION_BYTES_MAX).contains(&v.len()))
                    .and_then(|v| str::from_utf8(v).ok());
                if rank <= best && text.is_some() {
                    best = rank;
                    carried.correlation_id = text;
                }
            } else if let Some(format) = ForeignFormat::of(key) {
                carried.foreign = Some(format);
            }
        }
        carried.tracestate = state.unwrap_or_default();
        carried
    }

    /// What our member says of this record; `None` where another tracer handed it on from the record that it had read.
    #[must_use]
    pub fn sent(&self) -> Option<Sent> {
        let own = self.traceparent?.ok()?.span_id;
        Sent::parse(self.tracestate.member(SENT_MEMBER)?, own)
    }

    /// Whether nothing of a context or a correlation id is there, readable or not.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        !self.is_traced() && !self.has_tracestate && !self.has_correlation
    }

    /// Whether any tracer has been at work: then no context is added, for a second one would contradict the first.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.traceparent.is_some() || self.foreign.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::Evidence;

    const ONE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn read<'r>(headers: &[(&'r str, &'r [u8])]) -> Carried<'r> {
        let headers = headers.iter().map(|(k, v)| (k.as_bytes(), Some(*v)));
        Carried::read(headers, &CorrelationNames::default())
    }

    #[test]
    fn the_last_traceparent_wins_even_where_it_is_malformed() {
        let carried = read(&[("traceparent", ONE), ("traceparent", OTHER)]);
        assert_eq!(carried.traceparent, Some(Traceparent::parse(OTHER)));
        let carried = read(&[("traceparent", ONE), ("traceparent", b"\xff\xfe")]);
        assert_eq!(carried.traceparent, Some(Err(TraceparentFault::Shape)));
        assert!(carried.is_traced());
        let none = Carried::read([(&b"traceparent"[..], None)], &CorrelationNames::default());
        assert_eq!(none.traceparent, Some(Err(TraceparentFault::Shape)));
    }

    #[test]
    fn several_tracestates_are_one_and_a_broken_one_is_none() {
        let carried = read(&[
            ("tracestate", b"a=1"),
            ("traceparent", ONE),
            ("tracestate", b"b=2"),
        ]);
        assert_eq!(carried.tracestate.with("c", "3"), "c=3,a=1,b=2");
        let carried = read(&[("traceparent", ONE), ("tracestate", b"\xff")]);
        assert_eq!(carried.tracestate, Tracestate::default());
        assert_eq!(carried.traceparent, Some(Traceparent::parse(ONE)));
    }

    #[test]
    fn our_member_is_read_on_the_record_that_it_was_written_for() {
        let sent = Sent {
            at_ms: 7,
            parent: None,
            evidence: Evidence::Root,
        };
        let one = Traceparent::parse(ONE).unwrap();
        let state = [b"x=y,tl=", &sent.encode(one.span_id)[..]].concat();
        let of = |context| read(&[("traceparent", context), ("tracestate", &state)]).sent();
        assert_eq!((of(ONE), of(OTHER), of(b"")), (Some(sent), None, None));
        assert_eq!(read(&[("tracestate", &state)]).sent(), None);
    }

    #[test]
    fn every_tracer_is_known_by_its_header() {
        for (key, format) in [
            ("b3", ForeignFormat::B3),
            ("X-B3-TraceId", ForeignFormat::B3),
            ("uber-trace-id", ForeignFormat::Jaeger),
            ("x-datadog-trace-id", ForeignFormat::Datadog),
            ("dd-pathway-ctx", ForeignFormat::Datadog),
            ("dd-pathway-ctx-base64", ForeignFormat::Datadog),
            ("elasticapmtraceparent", ForeignFormat::Elastic),
            ("X_INSTANA_T", ForeignFormat::Instana),
            ("newrelic", ForeignFormat::NewRelic),
        ] {
            let carried = read(&[("seq", b"1"), (key, b"\x00\xff")]);
            assert_eq!(carried.foreign, Some(format), "{key}");
            assert!(carried.is_traced());
        }
        assert!(!read(&[("seq", b"1"), ("b3x", b""), ("", b"")]).is_traced());
    }

    #[test]
    fn the_configured_correlation_name_is_preferred_and_the_last_of_a_name_wins() {
        let both: [(&str, &[u8]); 3] = [
            ("correlation-id", b"a"),
            ("X-Correlation-Id", b"b"),
            ("X-CORRELATION-ID", b"c"),
        ];
        assert_eq!(read(&both).correlation_id, Some("a"));
        let names = CorrelationNames::new("x-correlation-id", &[]);
        let headers = both.iter().map(|(k, v)| (k.as_bytes(), Some(*v)));
        assert_eq!(Carried::read(headers, &names).correlation_id, Some("c"));
        let names = CorrelationNames::new("correlation-id", &["order-id"]);
        let carried = Carried::read([(&b"order-id"[..], Some(&b"7"[..]))], &names);
        assert_eq!(carried.correlation_id, Some("7"));
    }

    #[test]
    fn a_correlation_id_that_is_no_text_is_there_but_not_read() {
        let long = [b'x'; CORRELATION_BYTES_MAX + 1];
        for value in [&b"\xff\xfe"[..], b"", &long] {
            let carried = read(&[("correlation-id", value)]);
            assert_eq!(
                (carried.correlation_id, carried.has_correlation),
                (None, true)
            );
        }
        assert!(!read(&[]).has_correlation);
    }
}
