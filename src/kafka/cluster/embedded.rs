//! A Kafka cluster inside this process.
//!
//! Here because a newcomer has no Kafka to try things on. The handle of librdkafka may not leave the thread that made it, so
//! the cluster has a thread of its own that waits to be told to stop. Must not be mistaken for a broker: see the module's
//! list of what it lacks.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use super::{ClusterError, topics::Topic};

/// A running cluster; stops when dropped.
#[derive(Debug)]
pub struct Embedded {
    bootstrap: String,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts brokers on free loopback ports and creates the topics. Blocks for some milliseconds.
    ///
    /// # Errors
    /// No port or thread could be had, or librdkafka refused a topic.
    pub fn start(brokers: i32, topics: &[Topic]) -> Result<Self, ClusterError> {
        let (report, started) = sync_channel(1);
        let (stop, stopped) = sync_channel(1);
        let topics = topics.to_vec();
        let thread = std::thread::Builder::new()
            .name("embedded-kafka".to_owned())
            .spawn(move || serve(brokers, &topics, &report, &stopped))
            .map_err(|fault| {
                ClusterError::bare(format!(
                    "start a thread for the embedded cluster ({fault}); check the limit of processes"
                ))
            })?;
        let bootstrap = started
            .recv()
            .map_err(|_| ClusterError::bare("start the embedded cluster: its thread ended"))??;
        Ok(Self {
            bootstrap,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `host:port` of every broker, comma-separated.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(
    brokers: i32,
    topics: &[Topic],
    report: &SyncSender<Result<String, ClusterError>>,
    stopped: &Receiver<()>,
) {
    match create(brokers, topics) {
        Ok(cluster) => {
            if report.send(Ok(cluster.bootstrap_servers())).is_ok() {
                // Ends with an error as soon as the other side is dropped; nothing is ever sent.
                stopped.recv().ok();
            }
        }
        Err(fault) => {
            report.send(Err(fault)).ok();
        }
    }
}

fn create(
    brokers: i32,
    topics: &[Topic],
) -> Result<MockCluster<'static, DefaultProducerContext>, ClusterError> {
    let cluster = MockCluster::new(brokers)
        .map_err(|fault| ClusterError::new("start the embedded cluster", fault))?;
    for topic in topics {
        cluster
            .create_topic(topic.name, topic.partitions, brokers)
            .map_err(|fault| {
                ClusterError::new(
                    format!("create topic {} in the embedded cluster", topic.name),
                    fault,
                )
            })?;
    }
    Ok(cluster)
}
