//! What one record says of itself.
//!
//! Here so that the tree sees facts and not headers. Must not keep a header, key or value.

use std::fmt;

use crate::propagation::{
    Carried, CorrelationNames, DeadLetter, Position, Sent, Traceparent, derive,
};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Where it stands.
    pub position: Position,
    /// Its time as the topic keeps it, ms since the Unix epoch.
    pub record_ms: i64,
    /// Trace id and its own span id.
    pub context: Option<Traceparent>,
    /// The context is not on the record: it follows from its position, as sidecars derive it for its consumers.
    pub derived: bool,
    /// When and from where, as our member says.
    pub sent: Option<Sent>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// It is one.
    pub dead_letter: Option<DeadLetter>,
    /// Equal for equal keys and values.
    pub identity: u64,
    /// Part of a transaction that was aborted.
    pub aborted: bool,
}

/// Why a record cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// No context and no correlation id.
    Everything,
    /// Only the context of a tracer whose headers are not followed.
    Foreign(&'static str),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = match self {
            Self::Everything => "it has neither traceparent nor a correlation id".to_owned(),
            Self::Foreign(tracer) => format!(
                "it has {tracer} headers, which are not followed, and neither traceparent nor a correlation id"
            ),
        };
        write!(
            f,
            "{has}; run its producer behind a sidecar with context.mode: inject, or name the header of its ids as \
             context.correlation_header"
        )
    }
}

impl Observed {
    /// Reads a record's headers.
    pub fn read<'r>(
        position: Position,
        record_ms: i64,
        headers: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>)> + Clone,
        names: &CorrelationNames,
    ) -> Self {
        let carried = Carried::read(headers.clone(), names);
        let context = carried.traceparent.and_then(Result::ok);
        Self {
            dead_letter: DeadLetter::read(&position.topic, headers),
            position,
            record_ms,
            context,
            derived: false,
            sent: carried.sent(),
            correlation_id: carried.correlation_id.map(str::to_owned),
            identity: 0,
            aborted: false,
        }
    }

    /// Gives a record without context the one that its position stands for.
    #[must_use]
    pub fn or_derived(self, cluster_id: Option<&str>) -> Self {
        let Position {
            topic,
            partition,
            offset,
        } = &self.position;
        let ids = cluster_id.and_then(|id| derive(id, topic, *partition, *offset));
        let (None, Some((trace_id, span_id))) = (self.context, ids) else {
            return self;
        };
        Self {
            context: Some(Traceparent {
                trace_id,
                span_id,
                sampled: false,
                random: false,
            }),
            derived: true,
            ..self
        }
    }

    /// What a record whose headers are these lacks to be followed; `None` = nothing.
    pub fn lack<'r>(
        headers: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>)>,
        names: &CorrelationNames,
    ) -> Option<Lack> {
        let carried = Carried::read(headers, names);
        if carried.traceparent.is_some_and(|read| read.is_ok()) || carried.correlation_id.is_some()
        {
            return None;
        }
        let foreign = carried.foreign.map(|format| Lack::Foreign(format.as_str()));
        Some(foreign.unwrap_or(Lack::Everything))
    }

    /// When it was sent: as our member says, else the record's time.
    #[must_use]
    pub fn sent_ms(&self) -> i64 {
        self.sent.map_or(self.record_ms, |sent| sent.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'h> = [(&'h str, &'h str)];

    fn bytes<'h>(
        headers: &'h Headers<'h>,
    ) -> impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone {
        headers
            .iter()
            .map(|(k, v)| (k.as_bytes(), Some(v.as_bytes())))
    }

    #[test]
    fn a_record_says_as_much_as_its_headers() {
        let names = CorrelationNames::default();
        let sent = Sent {
            at_ms: 77,
            parent: None,
            evidence: crate::propagation::Evidence::Root,
        };
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let own = Traceparent::parse(parent.as_bytes()).unwrap().span_id;
        let state = format!(
            "tl={},x=y",
            String::from_utf8(sent.encode(own).into()).unwrap()
        );
        let at = || Position::new("a", 0, 1);
        let all = [
            ("traceparent", parent),
            ("tracestate", &state),
            ("correlation-id", "7"),
        ];
        let read = Observed::read(at(), 99, bytes(&all), &names);
        assert_eq!((read.sent, read.sent_ms()), (Some(sent), 77));
        assert_eq!(read.context.unwrap().to_string(), parent);
        assert_eq!(read.correlation_id.as_deref(), Some("7"));
        let read = Observed::read(at(), 99, bytes(&all[1..]), &names);
        assert_eq!((read.sent, read.sent_ms()), (None, 99));
        assert_eq!(read.position.to_string(), "a:0:1");
    }

    #[test]
    fn only_a_record_without_context_is_given_a_derived_one() {
        let names = CorrelationNames::default();
        let at = || Position::new("a", 0, 1);
        let bare = Observed::read(at(), 99, bytes(&[("seq", "1")]), &names);
        assert_eq!(bare.clone().or_derived(None), bare);
        let derived = bare.or_derived(Some("cluster"));
        let (trace_id, span_id) = derive("cluster", "a", 0, 1).unwrap();
        let context = derived.context.unwrap();
        assert_eq!((context.trace_id, context.span_id), (trace_id, span_id));
        assert!(derived.derived);
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let carried = Observed::read(at(), 99, bytes(&[("traceparent", parent)]), &names);
        assert_eq!(carried.clone().or_derived(Some("cluster")), carried);
    }

    #[test]
    fn what_a_record_lacks_is_said() {
        let names = CorrelationNames::default();
        let lack = |headers: &Headers<'_>| Observed::lack(bytes(headers), &names);
        assert_eq!(lack(&[("seq", "1")]), Some(Lack::Everything));
        assert_eq!(lack(&[("b3", "1")]), Some(Lack::Foreign("b3")));
        assert_eq!(lack(&[("traceparent", "00-1")]), Some(Lack::Everything));
        assert_eq!(lack(&[("correlationId", "1")]), None);
        assert!(
            Lack::Everything
                .to_string()
                .contains("context.mode: inject")
        );
    }
}
