//! What a whole cluster, looked at from outside every few seconds, says about its consumer groups, partitions and brokers.
//!
//! Pure over snapshots and the time they carry: [`Watched::wanted`] says which records must be looked at to know a lag in
//! seconds, [`Watched::take`] judges. For groups that no sidecar sees: dead, idle, or beside no sidecar at all. Must not do
//! IO, read a clock or know a protocol. What a snapshot does not hold is unknown, never good and never zero.

pub mod canary;
mod first;
mod group;
mod history;
mod judge;
mod pair;
mod snapshot;
mod view;
mod watched;

pub use first::{FIRST_RECORDS_MAX, Found, Seen, Wanted};
pub use history::ENDS_MAX;
pub use snapshot::{
    BrokerSeen, ClusterSnapshot, DiskSeen, GroupSeen, PartitionSeen, RetentionSeen, TopicSeen,
};
pub use view::{
    ClusterView, GroupState, GroupTopicView, GroupView, PartitionView, Replay, TopicView,
};
pub use watched::{PAIRS_MAX, Settings, Watched};

#[cfg(test)]
mod tests;
