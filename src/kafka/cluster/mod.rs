//! Kafka through librdkafka: the embedded cluster, and the clients of the demo.
//!
//! Here because librdkafka is the one client library this crate links, and only the control side may: it brings threads and
//! queues of its own. Must not be used by the dataplane, and must not see anything of `demo` or `app`.
//!
//! # What the embedded cluster is not
//! [`Embedded`] is librdkafka's mock cluster (2.12), found by experiment and in its source:
//! * It keeps 5 MB or 100,000 batches per partition in memory and trims the oldest without a word; all is gone at exit.
//! * A Fetch answer holds at most one batch per partition, whatever the client allows. An empty one waits the whole
//!   `fetch.wait.max.ms` even when records arrive meanwhile, so its end offset can be that old; our consumers ask for 50 ms.
//! * Idempotent sequences are checked per producer, and transactions answer, but there are no control records and nothing is
//!   ever aborted: the last stable offset is the end.
//! * The first rebalance of a group waits 3 s (`group.initial.rebalance.delay.ms`, which cannot be set from here); a later
//!   join can wait for almost the session timeout.
//! * Timestamps are the producer's (no LogAppendTime). No compaction, no retention by time, no quotas, no throttling.
//! * No CreateTopics, DeleteTopics, DescribeConfigs, DescribeCluster, DescribeGroups, ListGroups, SASL, TLS, ACLs, share groups.
//!   A topic that is produced to, or asked for where the client allows it, springs up with 4 partitions.
//! * An ApiVersions request of version 3 or newer is refused in bytes of no version (a one-byte count, then the entry, then a
//!   throttle time); clients must fall back to version 0 on the error code alone.
//! * Highest versions: Produce 10, Fetch 16, Metadata 12, OffsetCommit 9, OffsetFetch 6, JoinGroup 6, ApiVersions 2.
//! * Brokers listen on 127.0.0.1 at random ports and advertise these. Through the proxy this works unchanged, since the proxy
//!   replaces every address it passes on (`tests` of this module hold that).

mod consumer;
mod context;
mod direct;
mod embedded;
mod producer;
mod topics;

#[cfg(test)]
mod tests;

use std::fmt;

use rdkafka::error::KafkaError;

pub use consumer::{Consumer, Incoming};
pub use direct::{Direct, LogRange};
pub use embedded::Embedded;
pub use producer::{InFlight, Outgoing, Producer};
pub use topics::{Topic, TopicsError, ensure};

/// librdkafka could not do what was asked.
#[derive(Debug)]
pub struct ClusterError {
    attempt: String,
    source: Option<KafkaError>,
}

impl ClusterError {
    fn new(attempt: impl Into<String>, source: KafkaError) -> Self {
        Self {
            attempt: attempt.into(),
            source: Some(source),
        }
    }

    /// A fault that librdkafka has no word for.
    fn bare(attempt: impl Into<String>) -> Self {
        Self {
            attempt: attempt.into(),
            source: None,
        }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "cannot {}: {source}", self.attempt),
            None => write!(f, "cannot {}", self.attempt),
        }
    }
}

impl std::error::Error for ClusterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Runs what blocks (librdkafka's questions and its closing of clients) off the runtime's workers.
async fn blocking<T: Send + 'static>(
    attempt: &str,
    work: impl FnOnce() -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(ClusterError::bare(format!(
            "{attempt}: the task was stopped"
        ))),
    }
}
