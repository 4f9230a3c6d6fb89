//! Transactions under way: the create spans of what they wrote wait until it is known what they read.
//!
//! A program's positions are committed in the transaction that also writes what was made of them, after the records have
//! gone. At the end every record of the transaction is linked to every record whose position it moved past. Bounded by
//! number and age: what does not fit goes unlinked, at once. Must not make a parent: the record carries its own trace.

use std::{collections::HashMap, time::Duration};

use opentelemetry::{KeyValue, trace::Link};
use opentelemetry_sdk::trace::SpanData;
use tokio::time::Instant;

use super::{build::LINKS_MAX, semconv};

/// Spans that wait for the end of their transactions; a span is about 1 KB.
const SPANS_MAX: usize = 4_096;
/// Inputs kept for one transaction. Of more than OpenTelemetry's limit of links only the number is told.
const INPUTS_MAX: usize = 1_024;
/// Producers with a transaction under way.
const OPEN_MAX: usize = 1_024;
/// Longest a broker lets a transaction run (`transaction.max.timeout.ms`).
const AGE_MAX: Duration = Duration::from_secs(900);

#[derive(Debug)]
struct Open {
    began: Instant,
    created: Vec<SpanData>,
    inputs: Vec<Link>,
    more_inputs: u32,
}

/// By producer id: each has one at a time.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: HashMap<i64, Open>,
    spans: usize,
}

impl Transactions {
    /// Keeps a create span until the end of its transaction; gives it back where there is no room.
    pub(super) fn created(
        &mut self,
        producer_id: i64,
        span: SpanData,
        now: Instant,
    ) -> Option<SpanData> {
        if self.spans >= SPANS_MAX {
            return Some(span);
        }
        let Some(open) = self.of(producer_id, now) else {
            return Some(span);
        };
        open.created.push(span);
        self.spans = self.spans.saturating_add(1);
        None
    }

    /// The transaction moves past this record.
    pub(super) fn read(&mut self, producer_id: i64, input: Link, now: Instant) {
        let Some(open) = self.of(producer_id, now) else {
            return;
        };
        if open.inputs.len() < INPUTS_MAX {
            open.inputs.push(input);
        } else {
            open.more_inputs = open.more_inputs.saturating_add(1);
        }
    }

    fn of(&mut self, producer_id: i64, now: Instant) -> Option<&mut Open> {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&producer_id) {
            return None;
        }
        Some(self.open.entry(producer_id).or_insert_with(|| Open {
            began: now,
            created: Vec::new(),
            inputs: Vec::new(),
            more_inputs: 0,
        }))
    }

    /// The transaction is over: its create spans, linked to what it read where it committed.
    pub(super) fn ended(&mut self, producer_id: i64, committed: bool) -> Vec<SpanData> {
        let Some(mut open) = self.open.remove(&producer_id) else {
            return Vec::new();
        };
        self.spans = self.spans.saturating_sub(open.created.len());
        for span in &mut open.created {
            if committed {
                link(span, &open.inputs, open.more_inputs);
            } else {
                let aborted = KeyValue::new(semconv::TRANSACTION, "aborted");
                span.attributes.push(aborted);
            }
        }
        open.created
    }

    /// Spans of transactions whose end was never seen: after their time, or all of them.
    pub(super) fn forgotten(&mut self, now: Option<Instant>) -> Vec<SpanData> {
        let is_old = |open: &Open| {
            now.is_none_or(|now| now.saturating_duration_since(open.began) >= AGE_MAX)
        };
        let old = self.open.extract_if(|_, open| is_old(open));
        let spans: Vec<SpanData> = old.flat_map(|(_, open)| open.created).collect();
        self.spans = self.spans.saturating_sub(spans.len());
        spans
    }
}

/// Links a record to what its transaction read, as far as it is not linked already.
fn link(span: &mut SpanData, inputs: &[Link], more: u32) {
    let known: Vec<_> = span.links.iter().map(|l| l.span_context.clone()).collect();
    let mut dropped = more;
    let mut linked = false;
    for input in inputs {
        if known.contains(&input.span_context) {
            continue;
        }
        if span.links.len() >= LINKS_MAX {
            dropped = dropped.saturating_add(1);
            continue;
        }
        span.links.links.push(input.clone());
        linked = true;
    }
    span.links.dropped_count = span.links.dropped_count.saturating_add(dropped);
    if linked && known.is_empty() {
        let is_evidence = |a: &&mut KeyValue| a.key.as_str() == semconv::EVIDENCE;
        if let Some(evidence) = span.attributes.iter_mut().find(is_evidence) {
            evidence.value = "transaction".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::{super::build::span_for_test, *};

    fn input(number: u128) -> Link {
        let span_id = SpanId::from_bytes([9; 8]);
        let trace_id = TraceId::from_bytes(number.to_be_bytes());
        let flags = TraceFlags::SAMPLED;
        let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
        Link::new(context, Vec::new(), 0)
    }

    #[tokio::test]
    async fn what_a_transaction_wrote_waits_for_its_end_and_is_linked_once_to_what_it_read() {
        let now = Instant::now();
        let mut transactions = Transactions::default();
        let mut known = span_for_test();
        known.links.links.push(input(1));
        assert!(transactions.created(7, known, now).is_none());
        transactions.read(7, input(1), now);
        transactions.read(7, input(2), now);
        transactions.read(8, input(3), now);
        assert!(transactions.created(7, span_for_test(), now).is_none());
        let ended = transactions.ended(7, true);
        let linked: Vec<usize> = ended.iter().map(|span| span.links.len()).collect();
        assert_eq!(linked, [2, 2]);
        assert!(transactions.ended(7, true).is_empty(), "over");
        assert_eq!(transactions.spans, 0);
    }

    #[tokio::test]
    async fn an_aborted_transaction_says_so_and_links_nothing() {
        let now = Instant::now();
        let mut transactions = Transactions::default();
        assert!(transactions.created(7, span_for_test(), now).is_none());
        transactions.read(7, input(1), now);
        let ended = transactions.ended(7, false);
        let span = ended.first().unwrap();
        assert_eq!(span.links.len(), 0);
        let aborted = KeyValue::new(semconv::TRANSACTION, "aborted");
        assert!(span.attributes.contains(&aborted));
    }

    #[tokio::test(start_paused = true)]
    async fn transactions_that_never_end_are_given_up_and_more_links_than_the_limit_are_counted() {
        let mut transactions = Transactions::default();
        for number in 0..2_000 {
            transactions.read(7, input(number), Instant::now());
        }
        for producer in 0..2_000 {
            transactions.read(producer, input(1), Instant::now());
        }
        assert_eq!(transactions.open.len(), OPEN_MAX);
        let now = Instant::now();
        assert!(transactions.created(7, span_for_test(), now).is_none());
        assert!(transactions.created(1_999, span_for_test(), now).is_some());
        let ended = transactions.ended(7, true);
        let span = ended.first().unwrap();
        assert_eq!(span.links.len(), LINKS_MAX);
        assert_eq!(
            span.links.dropped_count,
            2_001 - u32::try_from(LINKS_MAX).unwrap()
        );
        for _ in 0..SPANS_MAX {
            assert!(transactions.created(3, span_for_test(), now).is_none());
        }
        assert!(transactions.created(3, span_for_test(), now).is_some());
        tokio::time::advance(AGE_MAX).await;
        let forgotten = transactions.forgotten(Some(Instant::now()));
        assert_eq!(forgotten.len(), SPANS_MAX);
        assert_eq!((transactions.open.len(), transactions.spans), (0, 0));
    }
}
