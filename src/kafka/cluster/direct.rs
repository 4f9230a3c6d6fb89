//! Reads a cluster past every sidecar: log ends and committed offsets.
//!
//! Here because figures of a sidecar can only be checked against something that did not pass through it. Must not join a
//! group, commit or produce.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use super::{ClusterError, blocking, context::Context, topics::Topic};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CLIENT: &str = "throughline-demo-direct";

/// The offsets a partition holds: `start` up to, and not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// First offset still there.
    pub start: i64,
    /// Offset of the next record.
    pub end: i64,
}

/// Asks brokers directly.
#[derive(Debug, Clone)]
pub struct Direct {
    bootstrap: String,
}

impl Direct {
    /// For the cluster at these addresses, `host:port` comma-separated. Dials when asked something.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
        }
    }

    /// The range of every partition of a topic.
    ///
    /// # Errors
    /// A leader did not answer in 10 s.
    pub async fn log(&self, topic: Topic) -> Result<BTreeMap<i32, LogRange>, ClusterError> {
        let bootstrap = self.bootstrap.clone();
        blocking("read log ends", move || {
            let client = client(&bootstrap, CLIENT)?;
            let range = |partition| {
                let (start, end) = client
                    .fetch_watermarks(topic.name, partition, TIMEOUT)
                    .map_err(|fault| {
                        let attempt = format!("read the log end of {}:{partition}", topic.name);
                        ClusterError::new(attempt, fault)
                    })?;
                Ok((partition, LogRange { start, end }))
            };
            (0..topic.partitions).map(range).collect()
        })
        .await
    }

    /// What a group has committed on every partition of a topic; `None` where it has no position.
    ///
    /// # Errors
    /// The coordinator did not answer in 10 s, or refused a partition.
    pub async fn committed(
        &self,
        group: &str,
        topic: Topic,
    ) -> Result<BTreeMap<i32, Option<i64>>, ClusterError> {
        let (bootstrap, group) = (self.bootstrap.clone(), group.to_owned());
        blocking("read committed offsets", move || {
            let attempt = || format!("read what group {group} committed on {}", topic.name);
            let mut asked = TopicPartitionList::new();
            asked.add_partition_range(topic.name, 0, topic.partitions.saturating_sub(1));
            let answer = client(&bootstrap, &group)?
                .committed_offsets(asked, TIMEOUT)
                .map_err(|fault| ClusterError::new(attempt(), fault))?;
            let one = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
                element
                    .error()
                    .map_err(|fault| ClusterError::new(attempt(), fault))?;
                let committed = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                Ok((element.partition(), committed))
            };
            answer.elements().iter().map(one).collect()
        })
        .await
    }
}

/// A client that names a group without ever joining it: membership needs a subscription, and there is none.
fn client(bootstrap: &str, group: &str) -> Result<BaseConsumer<Context>, ClusterError> {
    let context = Context {
        client: CLIENT.to_owned(),
    };
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("client.id", CLIENT)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .create_with_context(context)
        .map_err(|fault| ClusterError::new("create the direct client", fault))
}
