//! The headers that are added to a record.
//!
//! Only what is missing: a record that any tracer has touched keeps its context, one that has a correlation id keeps that.
//! Must not decide who the parent is or what is sampled.

use super::{
    Carried, CorrelationNames, SENT_MEMBER, Sampling, Sent, TRACEPARENT, TRACESTATE, Traceparent,
    send::SENT_CHARACTERS, traceparent::put_hex,
};

/// Which headers are added: more say more and cost more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HeaderChoice {
    /// `traceparent`, `tracestate` with our member, and the correlation id.
    #[default]
    Full,
    /// `traceparent` only: traces, but no tree from Kafka alone.
    Traceparent,
    /// The correlation id only: no trace.
    Correlation,
}

impl HeaderChoice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Traceparent, Self::Correlation];

    /// As in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Traceparent => "traceparent",
            Self::Correlation => "correlation",
        }
    }
}

/// What a record without context is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewContext<'a> {
    /// Its own context.
    pub traceparent: Traceparent,
    /// When, and from where.
    pub sent: Sent,
    /// What the decision to sample was, where it was to sample.
    pub sampling: Sampling,
    /// Members of other tracers that came with the parent, in the grammar of `tracestate`.
    pub inherited: Option<&'a str>,
    /// The parent's correlation id; `None` = the trace id stands for it.
    pub correlation: Option<&'a str>,
}

impl HeaderChoice {
    /// Gives each header that the record lacks to `push`, in the order `traceparent`, `tracestate`, correlation id. `names`
    /// is `None` where correlation ids are switched off.
    pub fn write(
        self,
        carried: &Carried<'_>,
        new: &NewContext<'_>,
        names: Option<&CorrelationNames>,
        mut push: impl FnMut(&str, &[u8]),
    ) {
        if self != Self::Correlation && !carried.is_traced() {
            push(TRACEPARENT, &new.traceparent.encode());
            // A list without its traceparent is somebody's damage; a second list would be read as its continuation.
            if self == Self::Full && !carried.has_tracestate {
                with_tracestate(new, |value| push(TRACESTATE, value));
            }
        }
        let Some(names) = names else { return };
        if self == Self::Traceparent || carried.has_correlation {
            return;
        }
        if let Some(inherited) = new.correlation {
            push(names.preferred(), inherited.as_bytes());
            return;
        }
        let trace_id = match carried.traceparent {
            Some(Ok(theirs)) => theirs.trace_id,
            _ => new.traceparent.trace_id,
        };
        let mut digits = [0; 32];
        put_hex(&mut digits, 0, &trace_id.bytes());
        push(names.preferred(), &digits);
    }
}

fn with_tracestate(new: &NewContext<'_>, push: impl FnOnce(&[u8])) {
    let sent = new.sent.encode(new.traceparent.span_id);
    let sampling = new.sampling.format();
    if sampling.is_none() && new.inherited.is_none() {
        // Nearly every record: no allocation.
        let mut value = [b'='; SENT_MEMBER.len() + 1 + SENT_CHARACTERS];
        if let Some(name) = value.first_chunk_mut::<{ SENT_MEMBER.len() }>() {
            name.copy_from_slice(SENT_MEMBER.as_bytes());
        }
        if let Some(room) = value.last_chunk_mut() {
            *room = sent;
        }
        push(&value);
        return;
    }
    let mut value = format!(
        "{SENT_MEMBER}={}",
        str::from_utf8(&sent).unwrap_or_default()
    );
    if let Some(sampling) = sampling {
        value.push_str(",ot=");
        value.push_str(&sampling);
    }
    if let Some(inherited) = new.inherited {
        value.push(',');
        value.push_str(inherited);
    }
    push(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::{Evidence, IdSource};

    fn new(sampled: bool) -> NewContext<'static> {
        let (trace_id, span_id) = IdSource::of_producer("c", "t", 0, 1, 0, 0).pair(0);
        NewContext {
            traceparent: Traceparent {
                trace_id,
                span_id,
                sampled,
                random: true,
            },
            sent: Sent {
                at_ms: 5,
                parent: None,
                evidence: Evidence::Root,
            },
            sampling: Sampling {
                threshold: sampled.then_some(0),
                randomness: None,
            },
            inherited: None,
            correlation: None,
        }
    }

    fn added(
        choice: HeaderChoice,
        has: &[(&str, &str)],
        new: &NewContext<'_>,
    ) -> Vec<(String, String)> {
        let names = CorrelationNames::default();
        let headers = has.iter().map(|(k, v)| (k.as_bytes(), Some(v.as_bytes())));
        let carried = Carried::read(headers, &names);
        let mut out = Vec::new();
        choice.write(&carried, new, Some(&names), |key, value| {
            out.push((key.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
        });
        out
    }

    #[test]
    fn what_is_written_reads_back() {
        for sampled in [false, true] {
            let new = new(sampled);
            let out = added(HeaderChoice::Full, &[], &new);
            let headers: Vec<_> = out.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let [(_, parent), (_, state), (_, correlation)] = headers[..] else {
                panic!("{headers:?}");
            };
            assert_eq!(Traceparent::parse(parent.as_bytes()), Ok(new.traceparent));
            assert_eq!(parent, new.traceparent.to_string());
            assert_eq!(correlation, new.traceparent.trace_id.to_string());
            let names = CorrelationNames::default();
            let again = headers
                .iter()
                .map(|(k, v)| (k.as_bytes(), Some(v.as_bytes())));
            let carried = Carried::read(again, &names);
            let member = |key| carried.tracestate.member(key);
            assert_eq!(carried.sent(), Some(new.sent));
            assert_eq!(member("ot"), sampled.then_some("th:0"), "{state}");
            // Nothing is ever added twice.
            assert_eq!(added(HeaderChoice::Full, &headers, &new), []);
        }
    }

    #[test]
    fn a_choice_writes_what_it_says() {
        let keys = |choice, has: &[(&str, &str)]| {
            let out = added(choice, has, &new(false));
            out.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let context = [TRACEPARENT, TRACESTATE, "correlation-id"];
        assert_eq!(keys(HeaderChoice::Full, &[]), context);
        assert_eq!(keys(HeaderChoice::Traceparent, &[]), [TRACEPARENT]);
        assert_eq!(keys(HeaderChoice::Correlation, &[]), ["correlation-id"]);
        for tracer in ["b3", "uber-trace-id", "traceparent", "x-datadog-trace-id"] {
            assert_eq!(
                keys(HeaderChoice::Full, &[(tracer, "x")]),
                ["correlation-id"]
            );
        }
        assert_eq!(
            keys(HeaderChoice::Full, &[("X-Correlation-ID", "7")]),
            [TRACEPARENT, TRACESTATE]
        );
        assert_eq!(
            keys(HeaderChoice::Full, &[("tracestate", "a=b")]),
            [TRACEPARENT, "correlation-id"]
        );
    }

    #[test]
    fn the_correlation_id_is_the_parents_else_the_trace_id_in_force() {
        let mut with_parent = new(false);
        with_parent.correlation = Some("order-7");
        with_parent.inherited = Some("vendor=x");
        let out = added(HeaderChoice::Full, &[], &with_parent);
        assert_eq!(out[2].1, "order-7");
        assert!(out[1].1.ends_with(",vendor=x"), "{}", out[1].1);
        let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let out = added(HeaderChoice::Full, &[("traceparent", theirs)], &new(false));
        assert_eq!(out[0].1, "0af7651916cd43dd8448eb211c80319c");
    }
}
