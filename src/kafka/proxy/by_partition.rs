//! Values by topic and partition, for the few partitions of one answer.
//!
//! Most answers name one to a dozen partitions: those are found by looking through a list, without hashing. Must not decide
//! what a value means.

use std::{collections::HashMap, sync::Arc};

use crate::event::Name;

/// More entries than this are found through an index.
const LIST_MAX: usize = 16;

/// The last value put in for each (topic, partition).
#[derive(Debug)]
pub(crate) struct ByPartition<T> {
    list: Vec<(Name, i32, T)>,
    index: HashMap<(Name, i32), usize>,
}

impl<T> Default for ByPartition<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            index: HashMap::new(),
        }
    }
}

impl<T> ByPartition<T> {
    pub(crate) fn insert(&mut self, topic: &Name, partition: i32, value: T) {
        self.list.push((Arc::clone(topic), partition, value));
        let unindexed = if self.list.len() <= LIST_MAX {
            return;
        } else if self.index.is_empty() {
            0
        } else {
            self.list.len().saturating_sub(1)
        };
        for (at, (topic, partition, _)) in self.list.iter().enumerate().skip(unindexed) {
            self.index.insert((Arc::clone(topic), *partition), at);
        }
    }

    pub(crate) fn get(&self, topic: &Name, partition: i32) -> Option<&T> {
        if self.list.len() > LIST_MAX {
            let at = self.index.get(&(Arc::clone(topic), partition))?;
            return self.list.get(*at).map(|(_, _, value)| value);
        }
        let found = self
            .list
            .iter()
            .rev()
            .find(|(t, p, _)| *p == partition && t == topic);
        found.map(|(_, _, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_value_of_each_partition_in_short_and_long_answers() {
        let topics: Vec<Name> = vec!["orders".into(), "payments".into()];
        for partitions in [0, 1, 7, 8, 9, 500] {
            let mut all = ByPartition::default();
            for topic in &topics {
                for partition in 0..partitions {
                    all.insert(topic, partition, -1);
                    all.insert(topic, partition, partition);
                }
            }
            for topic in &topics {
                for partition in 0..partitions {
                    assert_eq!(all.get(topic, partition), Some(&partition));
                }
                assert_eq!(all.get(topic, partitions), None);
            }
            assert_eq!(all.get(&"shipments".into(), 0), None);
        }
    }
}
