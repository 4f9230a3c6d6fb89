//! A consumer-group member that commits only what was processed.
//!
//! Here so that the demo's services are real librdkafka clients. Must not skip, seek or reset on its own.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, Message,
    consumer::{CommitMode, Consumer as _, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};

use super::{ClusterError, blocking, context::Context};

/// A record as it was delivered, copied out of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Create time, milliseconds since the epoch, if there is one.
    pub timestamp_ms: Option<i64>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A member of a group (`auto.offset.reset=earliest`). Offsets are stored by [`Consumer::processed`] and committed in the
/// background every second: five seconds, the default, would make the lag of a short demo look like a staircase.
#[expect(missing_debug_implementations, reason = "librdkafka's handle has none")]
pub struct Consumer {
    inner: Arc<StreamConsumer<Context>>,
}

impl Consumer {
    /// Creates the client and subscribes; it joins in the background, driven by [`Consumer::next`].
    ///
    /// # Errors
    /// librdkafka refused a setting or the subscription.
    pub fn subscribe(
        bootstrap: &str,
        client: &str,
        group: &str,
        topics: &[&str],
    ) -> Result<Self, ClusterError> {
        let context = Context {
            client: client.to_owned(),
        };
        let inner: StreamConsumer<Context> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("client.id", client)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            // The embedded cluster answers an empty fetch only after the whole wait; see the module's documentation.
            .set("fetch.wait.max.ms", "50")
            .create_with_context(context)
            .map_err(|fault| ClusterError::new(format!("create consumer {client}"), fault))?;
        inner.subscribe(topics).map_err(|fault| {
            ClusterError::new(format!("subscribe group {group} to {topics:?}"), fault)
        })?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The next record, or `None` where none came in time.
    ///
    /// # Errors
    /// What librdkafka reports instead of a record; the client goes on by itself.
    pub async fn next(&self, wait: Duration) -> Result<Option<Incoming>, ClusterError> {
        match tokio::time::timeout(wait, self.inner.recv()).await {
            Err(_) => Ok(None),
            Ok(Ok(message)) => Ok(Some(copy(&message))),
            Ok(Err(fault)) => Err(ClusterError::new("receive", fault)),
        }
    }

    /// Marks a record as processed: the next commit covers it.
    ///
    /// # Errors
    /// The partition is no longer this member's.
    pub fn processed(&self, record: &Incoming) -> Result<(), ClusterError> {
        self.inner
            .store_offset(&record.topic, record.partition, record.offset)
            .map_err(|fault| {
                let (topic, partition) = (&record.topic, record.partition);
                ClusterError::new(format!("store the offset of {topic}:{partition}"), fault)
            })
    }

    /// Whether the group gave this member partitions.
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        self.inner
            .assignment()
            .is_ok_and(|assigned| assigned.count() > 0)
    }

    /// Commits what was processed and waits for the answer.
    ///
    /// # Errors
    /// The coordinator refused or did not answer.
    pub async fn commit(&self) -> Result<(), ClusterError> {
        let inner = Arc::clone(&self.inner);
        blocking("commit", move || {
            match inner.commit_consumer_state(CommitMode::Sync) {
                // Nothing new to commit.
                Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
                Err(fault) => Err(ClusterError::new("commit", fault)),
            }
        })
        .await
    }

    /// Commits, leaves the group and closes the client.
    ///
    /// # Errors
    /// The closing task was stopped.
    pub async fn close(self) -> Result<(), ClusterError> {
        blocking("close a consumer", move || {
            drop(self.inner);
            Ok(())
        })
        .await
    }
}

fn copy(message: &BorrowedMessage<'_>) -> Incoming {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| {
                (
                    header.key.to_owned(),
                    header.value.unwrap_or_default().to_vec(),
                )
            })
            .collect()
    });
    Incoming {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
