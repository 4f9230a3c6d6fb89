//! Service-level indicators, lag and group attribution: what events mean.
//!
//! Pure over events and the time they carry: a table of (event, time) gives verdicts, without IO, a clock or a metric name.
//! Verdicts leave through [`Sink`], states are asked for ([`Engine::lags`], [`Engine::groups`], [`Engine::slis`]). Must not
//! import `metrics`, and must not know a protocol beyond the error names that events carry as labels.

mod again;
mod availability;
pub mod bounds;
pub mod cluster;
mod coverage;
mod delivery;
mod duplicates;
mod engine;
mod examined;
mod failures;
mod filter;
mod groups;
mod headroom;
mod loss;
mod measure;
mod members;
mod objective;
mod progress;
mod publish;
mod ranges;
mod readers;
mod reading;
mod schema;
mod seen;
mod sequences;
mod shares;
mod skew;
mod spread;
mod status;
mod transactions;
mod verdicts;

pub use bounds::{Bounds, TooManyThresholds};
pub use duplicates::{DuplicateMemory, DuplicateSettings};
pub use engine::{
    Engine, Examiner, MAX_FETCHERS, MAX_KEPT_TIMES, MAX_READINGS, MAX_SEEN_BATCHES,
    MAX_TOPICS_NAMED, REBALANCE_REASONS, Settings,
};
pub use groups::{GROUP_IDLE, MAX_COMMITTERS, MAX_GROUPS};
pub use headroom::{MAX_STEPS, STEPS_FOR};
pub use loss::{Loss, LossReason};
pub use measure::{DuplicateClass, Measure, Reason, Series, Sink, Sli, Stage};
pub use members::{MAX_INFERRED, MAX_MEMBERS, MemberState};
pub use objective::{DEFAULT_LATENCY_THRESHOLD, Goal, Objective, Objectives};
pub use progress::{PROGRESS_WINDOW, PROGRESS_WINDOW_MAX, ProgressState, SLOTS};
pub use publish::{MAX_PENDING, MAX_PRODUCERS, RETRY_DEADLINE};
pub use readers::ReaderStatus;
pub use reading::{FRESH_FOR, Lag, MAX_ENDS};
pub use schema::{SchemaFailure, TopicSchemas};
pub use seen::{FEW_BATCHES, MAX_BATCHES, MAX_TIMES};
pub use sequences::{GAP_DEADLINE, GONE_AFTER, MAX_RUNS};
pub use shares::MAX_HELD;
pub use skew::{ENOUGH_RECORDS, MAX_COUNTED};
pub use status::{GroupStatus, PartitionLag, SliStatus, TopicHealth};
pub use verdicts::{AMBIGUOUS, MAX_TALLIES, NO_GROUP, Tally};

#[cfg(test)]
mod tests;
