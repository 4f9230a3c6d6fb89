//! The headers of a record that carries nothing and comes from nothing that is known: within a batch the same but for the digits
//! of their ids. Most records that are given headers are such ones.
//!
//! Must not decide what is written: it repeats what [`HeaderChoice::write`] wrote.

use super::{
    Carried, CorrelationNames, HeaderChoice, NewContext, SENT_MEMBER, SpanId, TRACEPARENT,
    TRACESTATE, TraceId,
    send::{OWN_DIGITS, PACKED},
    traceparent::{SPAN_ID_AT, TRACE_ID_AT, put_hex},
};

/// Digits of a trace id.
const TRACE_DIGITS: usize = 32;
/// Digits of a span id.
const SPAN_DIGITS: usize = 16;

/// Encoded headers, and where in them the digits stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern {
    encoded: Vec<u8>,
    count: i32,
    /// Where a trace id begins: in the context, and as correlation id.
    trace_ids: [Option<usize>; 2],
    span_id: Option<usize>,
    /// Where the last digits of the span id are repeated.
    own_digits: Option<usize>,
}

impl Pattern {
    /// What `choice` writes for `context`, which has no parent and inherits nothing. `encode` appends one header to the bytes it
    /// is given, with the value at the end.
    #[must_use]
    pub fn new(
        choice: HeaderChoice,
        context: &NewContext<'_>,
        names: Option<&CorrelationNames>,
        mut encode: impl FnMut(&mut Vec<u8>, &str, &[u8]),
    ) -> Self {
        let mut pattern = Self::default();
        choice.write(&Carried::default(), context, names, |key, value| {
            encode(&mut pattern.encoded, key, value);
            pattern.count = pattern.count.saturating_add(1);
            let begins = pattern.encoded.len().saturating_sub(value.len());
            let at = |behind: usize| Some(begins.saturating_add(behind));
            match key {
                TRACEPARENT => {
                    pattern.trace_ids[0] = at(TRACE_ID_AT);
                    pattern.span_id = at(SPAN_ID_AT);
                }
                TRACESTATE => pattern.own_digits = at(SENT_MEMBER.len() + 1 + PACKED),
                _ => pattern.trace_ids[1] = at(0),
            }
        });
        pattern
    }

    /// Number of headers.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Appends the headers with other ids.
    pub fn write(&self, out: &mut Vec<u8>, trace_id: TraceId, span_id: SpanId) {
        let from = out.len();
        out.extend_from_slice(&self.encoded);
        let out = out.get_mut(from..).unwrap_or_default();
        let (mut trace, mut span) = ([0; TRACE_DIGITS], [0; SPAN_DIGITS]);
        put_hex(&mut trace, 0, &trace_id.bytes());
        put_hex(&mut span, 0, &span_id.bytes());
        for at in self.trace_ids.into_iter().flatten() {
            put(out, at, trace);
        }
        if let Some(at) = self.span_id {
            put(out, at, span);
        }
        if let (Some(at), Some(own)) = (self.own_digits, span.last_chunk::<OWN_DIGITS>()) {
            put(out, at, *own);
        }
    }
}

fn put<const N: usize>(out: &mut [u8], at: usize, digits: [u8; N]) {
    if let Some(room) = out.get_mut(at..).and_then(|out| out.first_chunk_mut()) {
        *room = digits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::{Evidence, IdSource, Sampling, Sent, Traceparent};

    fn encode(out: &mut Vec<u8>, key: &str, value: &[u8]) {
        out.extend_from_slice(format!("{key}:{}:", value.len()).as_bytes());
        out.extend_from_slice(value);
    }

    fn context(number: u64) -> NewContext<'static> {
        let (trace_id, span_id) = IdSource::of_producer("c", "t", 0, 1, 0, 0).pair(number);
        NewContext {
            traceparent: Traceparent {
                trace_id,
                span_id,
                sampled: false,
                random: true,
            },
            sent: Sent {
                at_ms: 1_795_000_000_000,
                parent: None,
                evidence: Evidence::Root,
            },
            sampling: Sampling::default(),
            inherited: None,
            correlation: None,
        }
    }

    #[test]
    fn a_pattern_repeats_what_is_written_one_by_one() {
        let renamed = CorrelationNames::new("order-trace", &[]);
        for names in [None, Some(&CorrelationNames::default()), Some(&renamed)] {
            for choice in HeaderChoice::ALL {
                let pattern = Pattern::new(choice, &context(0), names, encode);
                for number in 0..50 {
                    let context = context(number);
                    let (mut expected, mut count) = (Vec::new(), 0);
                    choice.write(&Carried::default(), &context, names, |key, value| {
                        encode(&mut expected, key, value);
                        count += 1;
                    });
                    let mut out = b"before".to_vec();
                    let Traceparent {
                        trace_id, span_id, ..
                    } = context.traceparent;
                    pattern.write(&mut out, trace_id, span_id);
                    assert_eq!(out, [b"before", &expected[..]].concat());
                    assert_eq!(pattern.count(), count);
                }
            }
        }
    }
}
