//! Service-level indicators, lag and group attribution: what events mean.
//!
//! Pure over events and the time they carry: a table of (event, time) gives verdicts, without IO, a clock or a metric name.
//! Verdicts leave through [`Sink`], states are asked for ([`Engine::lags`], [`Engine::groups`], [`Engine::slis`]). Must not
//! import `metrics`, and must not know a protocol beyond the error names that events carry as labels.

mod availability;
pub mod bounds;
pub mod cluster;
mod delivery;
mod engine;
mod groups;
mod measure;
mod members;
mod objective;
mod publish;
mod reading;
mod seen;
mod spread;
mod status;
mod verdicts;

pub use bounds::{Bounds, TooManyThresholds};
pub use engine::{
    Engine, Examiner, MAX_FETCHERS, MAX_KEPT_TIMES, MAX_READINGS, MAX_SEEN_BATCHES,
    MAX_TOPICS_NAMED, REBALANCE_REASONS,
};
pub use groups::{GROUP_IDLE, MAX_COMMITTERS, MAX_GROUPS};
pub use measure::{Measure, Reason, Series, Sink, Sli, Stage};
pub use members::{MAX_INFERRED, MAX_MEMBERS, MemberState};
pub use objective::{DEFAULT_LATENCY_THRESHOLD, Goal, Objective, Objectives};
pub use publish::{MAX_PENDING, MAX_PRODUCERS, RETRY_DEADLINE};
pub use reading::{FRESH_FOR, Lag, MAX_ENDS};
pub use seen::{FEW_BATCHES, MAX_BATCHES, MAX_TIMES};
pub use status::{GroupStatus, PartitionLag, SliStatus, TopicHealth};
pub use verdicts::{AMBIGUOUS, MAX_TALLIES, NO_GROUP, Tally};

#[cfg(test)]
mod tests;
