//! Which topic a program makes from which, how often, how fast and how it is known.
//!
//! One sidecar sees one program: its edges lead from the topics delivered to it to the topics it sends to. Joined over
//! programs they are the map of the event flow. Must not guess: a record without a parent is counted under no topic.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use crate::{
    event::{Delivered, Event, EventKind, Facts, Name, Produced, Settled, Traced},
    propagation::Evidence,
};

/// Edges kept; more are not told apart and not kept.
const EDGES_MAX: usize = 2_000;
/// Sightings of recorded traces kept; the oldest go first.
const SIGHTINGS_MAX: usize = 2_000;
/// Transactions followed at a time; the oldest go first.
const TRANSACTIONS_MAX: usize = 1_000;
/// Topics of one transaction, on either side; of one with more nothing is said.
const TRANSACTION_TOPICS_MAX: usize = 64;
/// Over which a rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// Records of one topic that were made from records of another.
#[derive(Debug, Clone, Serialize)]
pub struct Edge {
    /// Topic of the parents; `None` where none was found.
    pub from: Option<Name>,
    /// Topic they were sent to.
    pub to: Name,
    /// Records, since start.
    pub records: u64,
    /// Per second, over the last whole minute.
    pub records_per_second: f64,
    /// Mean time from a parent's delivery to the sending, seconds.
    pub mean_seconds: Option<f64>,
    /// Records by kind of evidence.
    pub evidence: BTreeMap<&'static str, u64>,
    /// When the last one was sent, ms since the Unix epoch.
    pub last_seen_ms: i64,
}

/// One record of a recorded trace, as this sidecar saw it.
#[derive(Debug, Clone, Serialize)]
pub struct Sighting {
    /// When, ms since the Unix epoch.
    pub at_ms: i64,
    /// `sent` or `delivered`.
    pub seen: &'static str,
    /// Trace.
    pub trace_id: String,
    /// The record's own span.
    pub span_id: String,
    /// Its parent's, where our member names one.
    pub parent_span_id: Option<String>,
    /// How that was found.
    pub evidence: Option<&'static str>,
    /// Correlation id.
    pub correlation_id: String,
    /// Topic.
    pub topic: Name,
    /// Partition.
    pub partition: i32,
    /// Offset, where it is known.
    pub offset: Option<i64>,
}

#[derive(Debug, Default)]
struct Weight {
    records: u64,
    timed: u64,
    seconds: f64,
    evidence: BTreeMap<&'static str, u64>,
    last_seen_ms: i64,
    /// Records when the minute began.
    before: u64,
    records_per_second: f64,
}

impl Weight {
    fn add(&mut self, evidence: Evidence, records: u64, at_ms: i64) {
        self.records = self.records.saturating_add(records);
        self.last_seen_ms = at_ms;
        let kind = self.evidence.entry(evidence.as_str()).or_default();
        *kind = kind.saturating_add(records);
    }

    fn take(&mut self, evidence: Evidence, records: u64) {
        self.records = self.records.saturating_sub(records);
        // The minute's count may have begun with them.
        self.before = self.before.min(self.records);
        if let Some(kind) = self.evidence.get_mut(evidence.as_str()) {
            *kind = kind.saturating_sub(records);
            if *kind == 0 {
                self.evidence.remove(evidence.as_str());
            }
        }
    }
}

/// A transaction under way.
#[derive(Debug, Default)]
struct Transaction {
    /// Topics whose positions are committed in it.
    read: BTreeSet<Name>,
    /// Records without a parent that are written in it, by topic.
    wrote: BTreeMap<Name, u64>,
}

/// The edges and the recent sightings of one program.
#[derive(Debug, Default)]
pub struct Graph {
    /// By producer id, in the order of their beginning.
    transactions: VecDeque<(i64, Transaction)>,
    edges: BTreeMap<(Option<Name>, Name), Weight>,
    sightings: VecDeque<Arc<Sighting>>,
    minute: Option<Instant>,
}

impl Graph {
    /// Takes in one event.
    pub fn take(&mut self, event: &Event) {
        let EventKind::Answered(answer) = &event.kind else {
            return;
        };
        match &answer.facts {
            Facts::Produced(produced) => self.produced(produced, event.at.wall_ms),
            Facts::Delivered(delivered) => self.delivered(delivered, event.at.wall_ms),
            Facts::Settled(settled) => self.settled(settled),
            Facts::TransactionEnded {
                producer_id,
                committed,
            } => self.ended(*producer_id, *committed, event.at.wall_ms),
            _ => {}
        }
    }

    fn transaction(&mut self, id: i64) -> Option<&mut Transaction> {
        if !self.transactions.iter().any(|(known, _)| *known == id) {
            if self.transactions.len() >= TRANSACTIONS_MAX {
                self.transactions.pop_front();
            }
            self.transactions.push_back((id, Transaction::default()));
        }
        let mut all = self.transactions.iter_mut();
        all.find(|(known, _)| *known == id).map(|(_, found)| found)
    }

    fn settled(&mut self, settled: &Settled) {
        let transaction = settled.transaction.and_then(|id| self.transaction(id));
        let Some(transaction) = transaction else {
            return;
        };
        for part in settled.parts.iter().filter(|part| part.error.is_none()) {
            if transaction.read.len() <= TRANSACTION_TOPICS_MAX {
                transaction.read.insert(Name::clone(&part.topic));
            }
        }
    }

    /// What was written in a transaction that read from one topic comes from that, however it was made.
    fn ended(&mut self, producer_id: i64, committed: bool, at_ms: i64) {
        let known = |(id, _): &(i64, Transaction)| *id == producer_id;
        let Some(at) = self.transactions.iter().position(known) else {
            return;
        };
        let Some((_, Transaction { read, wrote })) = self.transactions.remove(at) else {
            return;
        };
        let (Some(from), 1) = (read.first(), read.len()) else {
            return;
        };
        for (to, records) in wrote.into_iter().filter(|_| committed) {
            let Some(weight) = self.edge((Some(Name::clone(from)), Name::clone(&to))) else {
                continue;
            };
            weight.add(Evidence::Transaction, records, at_ms);
            if let Some(root) = self.edges.get_mut(&(None, to)) {
                root.take(Evidence::Root, records);
            }
        }
    }

    /// `None` where there are too many.
    fn edge(&mut self, key: (Option<Name>, Name)) -> Option<&mut Weight> {
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
            return None;
        }
        Some(self.edges.entry(key).or_default())
    }

    fn produced(&mut self, produced: &Produced, at_ms: i64) {
        use crate::event::PublishOutcome::{Acknowledged, NotAsked};
        for part in &produced.parts {
            let base = match part.outcome {
                Acknowledged { base_offset, .. } => Some(base_offset).filter(|o| *o >= 0),
                NotAsked => None,
                // What comes of it the next attempt says.
                _ => continue,
            };
            for descent in &part.descent {
                let key = (descent.from.clone(), Name::clone(&part.topic));
                let Some(weight) = self.edge(key) else {
                    continue;
                };
                weight.add(descent.evidence, descent.records, at_ms);
                if descent.from.is_some() {
                    weight.timed = weight.timed.saturating_add(descent.records);
                    weight.seconds += descent.waited.as_secs_f64();
                    continue;
                }
                let transaction = part.transaction.and_then(|id| self.transaction(id));
                if let Some(transaction) = transaction
                    && transaction.wrote.len() < TRANSACTION_TOPICS_MAX
                {
                    let wrote = transaction.wrote.entry(Name::clone(&part.topic));
                    let wrote = wrote.or_default();
                    *wrote = wrote.saturating_add(descent.records);
                }
            }
            for record in &part.traced {
                let offset = base.map(|base| base.saturating_add(record.offset));
                self.sight("sent", &part.topic, part.partition, offset, record, at_ms);
            }
        }
    }

    fn delivered(&mut self, delivered: &Delivered, at_ms: i64) {
        for part in &delivered.parts {
            for record in &part.traced {
                let offset = Some(record.offset);
                let (topic, partition) = (&part.topic, part.partition);
                self.sight("delivered", topic, partition, offset, record, at_ms);
            }
        }
    }

    fn sight(
        &mut self,
        seen: &'static str,
        topic: &Name,
        partition: i32,
        offset: Option<i64>,
        record: &Traced,
        at_ms: i64,
    ) {
        if self.sightings.len() >= SIGHTINGS_MAX {
            self.sightings.pop_front();
        }
        let trace_id = record.context.trace_id.to_string();
        let parent = record.sent.and_then(|sent| sent.parent);
        self.sightings.push_back(Arc::new(Sighting {
            at_ms,
            seen,
            span_id: record.context.span_id.to_string(),
            parent_span_id: parent.map(|id| id.to_string()),
            evidence: record.sent.map(|sent| sent.evidence.as_str()),
            correlation_id: match &record.correlation {
                Some(id) => id.to_string(),
                None => trace_id.clone(),
            },
            trace_id,
            topic: Name::clone(topic),
            partition,
            offset,
        }));
    }

    /// Measures rates once a minute.
    pub fn tick(&mut self, now: Instant) {
        let began = *self.minute.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age < RATE_WINDOW {
            return;
        }
        self.minute = Some(now);
        for weight in self.edges.values_mut() {
            let records = weight.records.saturating_sub(weight.before);
            weight.before = weight.records;
            weight.records_per_second = ratio(records, age.as_secs_f64());
        }
    }

    /// The edges, by topic.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        // What a transaction explained leaves nothing behind.
        let known = self.edges.iter().filter(|(_, weight)| weight.records > 0);
        let edges = known.map(|((from, to), weight)| Edge {
            from: from.clone(),
            to: Name::clone(to),
            records: weight.records,
            records_per_second: weight.records_per_second,
            mean_seconds: (weight.timed > 0).then(|| {
                #[allow(clippy::cast_precision_loss, reason = "records of one edge")]
                let timed = weight.timed as f64;
                weight.seconds / timed
            }),
            evidence: weight.evidence.clone(),
            last_seen_ms: weight.last_seen_ms,
        });
        edges.collect()
    }

    /// What was seen of recorded traces lately, newest first.
    #[must_use]
    pub fn sightings(&self) -> Vec<Arc<Sighting>> {
        self.sightings.iter().rev().cloned().collect()
    }
}

fn ratio(records: u64, seconds: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "records of one minute")]
    let records = records as f64;
    records / seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Codec, Descent, Injection, ProducedPart, PublishOutcome, SettledPart};

    /// `roots` records without a parent, and one that has one.
    fn wrote(to: &str, roots: u64) -> Event {
        let descent = |from: Option<&str>, evidence, records| Descent {
            from: from.map(Name::from),
            evidence,
            records,
            waited: Duration::from_secs(2),
        };
        Event::answered(
            7,
            Facts::Produced(Produced {
                acks: -1,
                transactional: true,
                parts: vec![ProducedPart {
                    topic: to.into(),
                    partition: 0,
                    batches: 1,
                    records: roots + 1,
                    bytes: 1,
                    codec: Codec::None,
                    transaction: Some(4),
                    sequence: None,
                    base_timestamp_ms: 0,
                    max_timestamp_ms: 0,
                    outcome: PublishOutcome::Acknowledged {
                        base_offset: 0,
                        log_append_ms: None,
                    },
                    captured: None,
                    injection: Injection::default(),
                    traced: Vec::new(),
                    unrecorded: None,
                    descent: vec![
                        descent(None, Evidence::Root, roots),
                        descent(Some("orders"), Evidence::Key, 1),
                    ],
                }],
            }),
        )
    }

    fn read(topics: &[&str]) -> Event {
        let part = |topic: &&str| SettledPart {
            topic: (*topic).into(),
            partition: 0,
            offset: 1,
            error: None,
        };
        Event::answered(
            7,
            Facts::Settled(Settled {
                group: "g".into(),
                member: "m".into(),
                transaction: Some(4),
                parts: topics.iter().map(part).collect(),
            }),
        )
    }

    /// From, records and evidence of the edges to `payments`, after a transaction that read these topics.
    fn edges(topics: &[&str], committed: bool) -> Vec<(Option<String>, u64, String)> {
        let ended = Event::answered(
            7,
            Facts::TransactionEnded {
                producer_id: 4,
                committed,
            },
        );
        let mut graph = Graph::default();
        for event in [wrote("payments", 3), read(topics), ended] {
            graph.take(&event);
        }
        assert!(graph.transactions.is_empty());
        let all = graph.edges().into_iter();
        all.map(|edge| {
            let from = edge.from.map(|from| from.to_string());
            (from, edge.records, format!("{:?}", edge.evidence))
        })
        .collect()
    }

    #[test]
    fn what_a_transaction_wrote_comes_from_the_one_topic_that_it_read() {
        let root = (None, 3, "{\"root\": 3}".to_owned());
        let keyed = (Some("orders".to_owned()), 1, "{\"key\": 1}".to_owned());
        let both = "{\"key\": 1, \"transaction\": 3}".to_owned();
        let orders = Some("orders".to_owned());
        assert_eq!(edges(&["orders"], true), [(orders, 4, both)]);
        let unknown = [root, keyed];
        assert_eq!(edges(&["orders", "stock"], true), unknown, "one of two");
        assert_eq!(edges(&[], true), unknown);
        assert_eq!(edges(&["orders"], false), unknown, "taken back");
    }
}
