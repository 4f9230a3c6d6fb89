//! One look at a cluster, in words no protocol owns.
//!
//! Must hold nothing that was not told this time: `None` where a broker did not answer, or we may not ask.

use crate::event::{Name, Stamp};

/// One look.
#[derive(Debug, Clone)]
pub struct ClusterSnapshot {
    /// When the ends of the partitions had been told. Positions were told before, so that they never lie behind the ends.
    pub at: Stamp,
    /// Brokers that belong to the cluster.
    pub brokers: Vec<BrokerSeen>,
    /// Topics that may be described.
    pub topics: Vec<TopicSeen>,
    /// Groups that may be described.
    pub groups: Vec<GroupSeen>,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSeen {
    /// Node id.
    pub node: Name,
    /// Whether it answered.
    pub up: bool,
}

/// One topic.
#[derive(Debug, Clone)]
pub struct TopicSeen {
    /// Name.
    pub name: Name,
    /// Another one after the topic was deleted and created again.
    pub id: [u8; 16],
    /// One of the brokers' own.
    pub internal: bool,
    /// Partitions, ascending.
    pub partitions: Vec<PartitionSeen>,
    /// How it forgets, where that is known.
    pub retention: Option<RetentionSeen>,
}

/// How a topic forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionSeen {
    /// Whether it deletes what nobody may have read.
    pub trims: bool,
    /// At which age, ms, where age counts.
    pub age_ms: Option<i64>,
}

/// One partition.
#[derive(Debug, Clone)]
pub struct PartitionSeen {
    /// Number.
    pub partition: i32,
    /// Node id of its leader, where it has one.
    pub leader: Option<i32>,
    /// Brokers that hold it.
    pub replicas: u32,
    /// How many of them follow.
    pub in_sync: u32,
    /// First offset there is.
    pub start: Option<i64>,
    /// The first open transaction, else the end: where a reader of committed records stops.
    pub stable: Option<i64>,
    /// Offset behind the last record.
    pub end: Option<i64>,
    /// The fullest disk of the brokers that hold it.
    pub disk: DiskSeen,
}

/// How full a disk is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DiskSeen {
    /// Used share of its volume, 0 to 1.
    Used(f64),
    /// It was not told.
    NotAnswered,
    /// We may not ask.
    NoRights,
    /// The brokers cannot tell.
    NotOffered,
}

/// One consumer group.
#[derive(Debug, Clone)]
pub struct GroupSeen {
    /// Group.
    pub name: Name,
    /// Members now, where that is known.
    pub members: Option<u32>,
    /// Nobody ever joined it: its consumers assign themselves, so that no members says nothing.
    pub simple: bool,
    /// Committed offset by (topic, partition), where the group has one; `None` = not told.
    pub positions: Option<Vec<((Name, i32), i64)>>,
    /// Share groups: of each of `positions`, how many records from there on are not settled, [`u64::MAX`] = not told. Others: empty.
    pub unsettled: Vec<u64>,
}
