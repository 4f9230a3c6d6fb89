//! How unevenly the records of a topic are spread over its partitions, as far as this pod sends them.
//!
//! A partition that gets most of a topic's records is read by one member however many there are. Must not say anything of a topic with
//! too few records to tell, nor of one whose number of partitions is not known.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::event::{Name, Produced, PublishOutcome, TopicSeen, UNRESOLVED};

/// Most (topic, partition) counted.
pub const MAX_COUNTED: usize = 50_000;
/// Records per partition, on average, from which a spread is told.
pub const ENOUGH_RECORDS: u64 = 100;
/// Length of the two windows it is taken over.
const SKEW_WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    previous: u64,
    current: u64,
}

impl Count {
    fn all(self) -> u64 {
        self.previous.saturating_add(self.current)
    }
}

/// Records by partition, lately.
#[derive(Debug, Default)]
pub(super) struct Skew {
    counts: BTreeMap<(Name, i32), Count>,
    partitions: HashMap<Name, u32>,
    turned: Option<Instant>,
}

impl Skew {
    /// Takes one publish request with its outcome.
    pub(super) fn take(&mut self, produced: &Produced) {
        let taken = |outcome| matches!(outcome, PublishOutcome::Acknowledged { .. });
        for part in produced.parts.iter().filter(|part| taken(part.outcome)) {
            let key = (Arc::clone(&part.topic), part.partition);
            let known = self.counts.len() < MAX_COUNTED || self.counts.contains_key(&key);
            if known && &*part.topic != UNRESOLVED {
                let count = self.counts.entry(key).or_default();
                count.current = count.current.saturating_add(part.records);
            }
        }
    }

    /// A topic was described.
    pub(super) fn described(&mut self, topic: &TopicSeen) {
        if topic.gone {
            self.partitions.remove(&topic.name);
            self.counts.retain(|(name, _), _| *name != topic.name);
        } else if self.partitions.len() < MAX_COUNTED || self.partitions.contains_key(&topic.name) {
            self.partitions
                .insert(Arc::clone(&topic.name), topic.partitions);
        }
    }

    /// Moves the windows.
    pub(super) fn tick(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= SKEW_WINDOW {
            self.turned = Some(now);
            self.counts.retain(|_, count| {
                *count = Count {
                    previous: count.current,
                    current: 0,
                };
                count.previous > 0
            });
        }
    }

    /// Records of the busiest partition over the mean of all, by topic: 1 is even, the number of partitions all in one.
    pub(super) fn ratios(&self) -> Vec<(Name, f64)> {
        let mut topics: BTreeMap<&Name, (u64, u64)> = BTreeMap::new();
        for ((topic, _), count) in &self.counts {
            let (sum, most) = topics.entry(topic).or_default();
            *sum = sum.saturating_add(count.all());
            *most = count.all().max(*most);
        }
        let ratio = |(topic, (sum, most)): (&Name, (u64, u64))| {
            let partitions = u64::from(self.partitions.get(topic).copied()?);
            let enough = partitions > 1 && sum >= partitions.saturating_mul(ENOUGH_RECORDS);
            #[allow(clippy::cast_precision_loss, reason = "a ratio of counts under 2^53")]
            let ratio = most as f64 * partitions as f64 / sum as f64;
            enough.then(|| (Arc::clone(topic), ratio))
        };
        topics.into_iter().filter_map(ratio).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sli::tests::script::{produced, sent};

    const OK: PublishOutcome = PublishOutcome::Acknowledged {
        base_offset: 0,
        log_append_ms: None,
    };

    fn described(skew: &mut Skew, partitions: u32, gone: bool) {
        skew.described(&TopicSeen {
            name: "t".into(),
            partitions,
            gone,
        });
    }

    fn publish(skew: &mut Skew, partition: i32, records: u64, outcome: PublishOutcome) {
        let mut part = sent(records, None, outcome);
        part.partition = partition;
        skew.take(&produced(-1, vec![part]));
    }

    fn ratio(skew: &Skew) -> Option<f64> {
        skew.ratios().first().map(|(_, ratio)| *ratio)
    }

    #[test]
    fn the_busiest_partition_is_held_against_the_mean_of_all() {
        let mut skew = Skew::default();
        publish(&mut skew, 0, 300, OK);
        assert_eq!(ratio(&skew), None, "of how many partitions?");
        described(&mut skew, 4, false);
        assert_eq!(ratio(&skew), None, "too few records");
        publish(&mut skew, 0, 300, OK);
        assert_eq!(ratio(&skew), Some(4.0), "all in one");
        publish(&mut skew, 1, 600, OK);
        publish(&mut skew, 2, 600, PublishOutcome::Lost);
        assert_eq!(ratio(&skew), Some(2.0));
        for partition in [2, 3] {
            publish(&mut skew, partition, 600, OK);
        }
        assert_eq!(ratio(&skew), Some(1.0));
    }

    #[test]
    fn what_is_older_than_two_windows_or_of_a_deleted_topic_counts_no_more() {
        let (mut skew, start) = (Skew::default(), Instant::now());
        described(&mut skew, 2, false);
        skew.tick(start);
        publish(&mut skew, 0, 600, OK);
        skew.tick(start + SKEW_WINDOW);
        publish(&mut skew, 1, 600, OK);
        assert_eq!(ratio(&skew), Some(1.0));
        skew.tick(start + SKEW_WINDOW * 2);
        assert_eq!(ratio(&skew), Some(2.0));
        described(&mut skew, 2, true);
        assert_eq!(ratio(&skew), None);
    }
}
