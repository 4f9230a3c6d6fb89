//! Records that members of share groups hold, each until it is acknowledged.
//!
//! Beside the rest because there is no order to go by: any record may be settled before any other. Must not know a position.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::{Sink, Spans, WAITING_AGE_MAX, WAITING_MAX, Waiting, Why, ended};
use crate::event::{Acknowledged, Acknowledgement, Answer, Event, Name, Stamp, Traced};

type Place = (Name, Name, i32);

/// What is held, by group, topic and partition.
#[derive(Debug, Default)]
pub(super) struct Held {
    partitions: HashMap<Place, BTreeMap<i64, Waiting>>,
    records: usize,
}

impl Held {
    /// A member is given records. How many there was no room for.
    pub(super) fn wait(&mut self, of: Place, records: &[Traced], (at, why): (Stamp, Why)) -> usize {
        let room = WAITING_MAX.saturating_sub(self.records);
        let partition = self.partitions.entry(of).or_default();
        for record in records.iter().take(room) {
            let waiting = Waiting {
                record: record.clone(),
                at,
                why,
            };
            if partition.insert(record.offset, waiting).is_none() {
                self.records = self.records.saturating_add(1);
            }
        }
        records.len().saturating_sub(room)
    }

    fn take(&mut self, of: &Place, first: i64, last: i64) -> Vec<Waiting> {
        let Some(partition) = self.partitions.get_mut(of).filter(|_| first <= last) else {
            return Vec::new();
        };
        let within: Vec<i64> = partition.range(first..=last).map(|(at, _)| *at).collect();
        let taken: Vec<Waiting> = within
            .iter()
            .filter_map(|at| partition.remove(at))
            .collect();
        if partition.is_empty() {
            self.partitions.remove(of);
        }
        self.records = self.records.saturating_sub(taken.len());
        taken
    }

    /// Gives up what has waited too long; how many of it would have been told.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        let fresh = |w: &Waiting| now.saturating_duration_since(w.at.mono) < WAITING_AGE_MAX;
        let (mut left, mut given_up) = (0_usize, 0_u64);
        self.partitions.retain(|_, partition| {
            partition.retain(|_, waiting| {
                let keep = fresh(waiting);
                given_up =
                    given_up.saturating_add(u64::from(!keep && waiting.why != Why::MayBeSlow));
                keep
            });
            left = left.saturating_add(partition.len());
            !partition.is_empty()
        });
        self.records = left;
        given_up
    }
}

impl Spans {
    /// A member of a share group has said what became of records.
    pub(super) fn acknowledged(
        &mut self,
        event: &Event,
        answer: &Answer,
        said: &Acknowledged,
        sink: &mut dyn Sink,
    ) {
        for part in said.parts.iter().filter(|part| part.error.is_none()) {
            let of = (
                Name::clone(&said.group),
                Name::clone(&part.topic),
                part.partition,
            );
            for (first, last, became) in &part.runs {
                let error = match became {
                    Acknowledgement::Accepted | Acknowledgement::Gap => None,
                    Acknowledgement::Released | Acknowledgement::Rejected => Some(became.as_str()),
                };
                for waiting in self.held.take(&of, *first, *last) {
                    if *became == Acknowledgement::Gap {
                        continue;
                    }
                    let of = (&said.group, &part.topic, part.partition);
                    let (keep, builder) = (&mut self.keep, &self.builder);
                    let offset = waiting.record.offset;
                    let what = (&waiting, error, offset);
                    ended(keep, builder, (event, answer), of, what, sink);
                }
            }
        }
    }
}
