//! What the cluster itself says: log ends and committed offsets, past every sidecar.
//!
//! Here because the demo's checks need a second witness, and a beginning to count from where the cluster is the user's and
//! holds records of an earlier day. Must not read a sidecar.

use std::collections::BTreeMap;

use super::topology::{GROUPS, ORDERS, TOPICS};
use crate::kafka::cluster::{ClusterError, Direct, LogRange};

/// Log ranges of all topics and committed offsets of all groups, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) logs: BTreeMap<&'static str, BTreeMap<i32, LogRange>>,
    /// By group, on [`ORDERS`].
    pub(super) committed: BTreeMap<&'static str, BTreeMap<i32, Option<i64>>>,
}

impl Ledger {
    pub(super) async fn read(direct: &Direct) -> Result<Self, ClusterError> {
        let (mut logs, mut committed) = (BTreeMap::new(), BTreeMap::new());
        for topic in TOPICS {
            logs.insert(topic.name, direct.log(topic).await?);
        }
        for group in GROUPS {
            committed.insert(group, direct.committed(group, ORDERS).await?);
        }
        Ok(Self { logs, committed })
    }

    /// Offsets in a topic so far, over all partitions.
    pub(super) fn ends(&self, topic: &str) -> i64 {
        let partitions = self.logs.get(topic).into_iter().flat_map(BTreeMap::values);
        partitions.fold(0, |sum: i64, range| sum.saturating_add(range.end))
    }

    /// Where a group stands on a partition of [`ORDERS`]: what it committed, else the log start, where it would begin.
    pub(super) fn position(&self, group: &str, partition: i32) -> Option<i64> {
        let committed = self.committed.get(group)?.get(&partition).copied();
        let start = || Some(self.log(partition)?.start);
        committed.flatten().or_else(start)
    }

    /// The range of a partition of [`ORDERS`].
    pub(super) fn log(&self, partition: i32) -> Option<LogRange> {
        self.logs.get(ORDERS.name)?.get(&partition).copied()
    }
}
