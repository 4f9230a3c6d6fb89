//! What is known of a cluster after a look: owned copies for gauges and pages.
//!
//! Must not be changed once made.

use crate::event::Name;

/// How a group does; the worst of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupState {
    /// Near enough to the end everywhere.
    Ok,
    /// Behind by more than the threshold somewhere, and moving.
    Warn,
    /// Went back to an earlier offset and has not reached again where it was.
    Rewinding,
    /// Has members, is behind by more than the threshold, and has not moved for as long.
    Stalled,
    /// Has no members, and is behind by more than the threshold.
    Stopped,
    /// Without members and commits for so long that nobody can want it any more.
    Abandoned,
}

impl GroupState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Warn,
        Self::Rewinding,
        Self::Stalled,
        Self::Stopped,
        Self::Abandoned,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Rewinding => "rewinding",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One group.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Group.
    pub group: Name,
    /// How it does; `None` while its positions are not told.
    pub state: Option<GroupState>,
    /// Members, where known.
    pub members: Option<u32>,
    /// Smoothed time between its commits while records flow, seconds.
    pub commit_interval_seconds: Option<f64>,
}

/// One partition of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartitionView {
    /// Partition.
    pub partition: i32,
    /// Offset the group committed.
    pub committed: i64,
    /// Where its readers stop.
    pub end: i64,
    /// Offsets from the first uncommitted record to the end; 0 where nothing but markers is left.
    pub lag_records: u64,
}

/// How long it would take a group to go through all that a topic holds, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replay {
    /// At the best rate measured.
    pub low: f64,
    /// At the usual rate.
    pub likely: f64,
    /// At the worst rate measured.
    pub high: f64,
}

/// One group in one topic, partitions whose lag is known.
#[derive(Debug, Clone)]
pub struct GroupTopicView {
    /// Group.
    pub group: Name,
    /// Topic.
    pub topic: Name,
    /// Sum of lags.
    pub lag_records: u64,
    /// The worst: the first uncommitted record is at least this old, seconds.
    pub lag_seconds_lower: f64,
    /// And at most this; `None` = not known.
    pub lag_seconds_upper: Option<f64>,
    /// Time to reach the end at the rate of the last minute; infinite where it falls behind, `None` = not known.
    pub drain_seconds: Option<f64>,
    /// Time until retention removes what the group has not read, at the rate of the last minute; infinite where it never does.
    pub loss_seconds: Option<f64>,
    /// Time for all of it.
    pub replay: Option<Replay>,
    /// Offsets that retention removed unread since the last look.
    pub newly_lost: u64,
    /// Each partition.
    pub partitions: Vec<PartitionView>,
}

/// One topic.
#[derive(Debug, Clone)]
pub struct TopicView {
    /// Topic.
    pub topic: Name,
    /// Records of the busiest partition against the mean of all, last minutes; `None` where nothing was written.
    pub skew: Option<f64>,
    /// Share of what is retained that the slowest live group has not read, its worst partition; `None` where no group reads it.
    pub retention_used: Option<f64>,
}

/// A whole cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Groups.
    pub groups: Vec<GroupView>,
    /// Groups by topic.
    pub group_topics: Vec<GroupTopicView>,
    /// Topics, the brokers' own not among them.
    pub topics: Vec<TopicView>,
    /// Partitions with fewer followers in sync than replicas.
    pub under_replicated: u64,
    /// Partitions without a leader.
    pub offline: u64,
    /// Brokers, and whether they answered.
    pub brokers: Vec<(Name, bool)>,
}
