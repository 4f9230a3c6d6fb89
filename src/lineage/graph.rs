//! Which topic a program makes from which, how often, how fast and how it is known.
//!
//! One sidecar sees one program: its edges lead from the topics delivered to it to the topics it sends to. Joined over
//! programs they are the map of the event flow. Must not guess: a record without a parent is counted under no topic.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use crate::event::{Delivered, Event, EventKind, Facts, Name, Produced, Traced};

/// Edges kept; more are not told apart and not kept.
const EDGES_MAX: usize = 2_000;
/// Sightings of recorded traces kept; the oldest go first.
const SIGHTINGS_MAX: usize = 2_000;
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

/// The edges and the recent sightings of one program.
#[derive(Debug, Default)]
pub struct Graph {
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
            _ => {}
        }
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
                if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
                    continue;
                }
                let weight = self.edges.entry(key).or_default();
                weight.records = weight.records.saturating_add(descent.records);
                weight.last_seen_ms = at_ms;
                let kind = weight
                    .evidence
                    .entry(descent.evidence.as_str())
                    .or_default();
                *kind = kind.saturating_add(descent.records);
                if descent.from.is_some() {
                    weight.timed = weight.timed.saturating_add(descent.records);
                    weight.seconds += descent.waited.as_secs_f64();
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
        let edges = self.edges.iter().map(|((from, to), weight)| Edge {
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
