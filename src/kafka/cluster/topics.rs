//! Topics on a cluster that is not ours.
//!
//! Here because the demo may be pointed at somebody's cluster, where it must create what is missing and touch nothing else.
//! Must not delete or alter a topic.

use std::{fmt, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    metadata::Metadata,
};
use tokio::time::Instant;

use super::{ClusterError, blocking, context::Context};

/// Longest wait for the cluster.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long new topics may take to have leaders.
const LEADERS_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const LEADERS_PAUSE: Duration = Duration::from_millis(200);
const CLIENT: &str = "throughline-demo-topics";

/// A topic and how many partitions it is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: &'static str,
    /// Partitions.
    pub partitions: i32,
}

/// Why the topics cannot be used.
#[derive(Debug)]
pub enum TopicsError {
    /// The cluster did not answer, or refused.
    Cluster(ClusterError),
    /// Topics of these names are there with another partition count, so they are somebody's.
    Foreign(Vec<(Topic, usize)>),
    /// The broker refused to create topics: (name, its reason).
    Refused(Vec<(String, String)>),
}

impl fmt::Display for TopicsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(fault) => fault.fmt(f),
            Self::Foreign(topics) => {
                f.write_str("topics exist already and are not this pipeline's: ")?;
                for (n, (topic, found)) in topics.iter().enumerate() {
                    let comma = if n > 0 { ", " } else { "" };
                    let Topic { name, partitions } = topic;
                    write!(
                        f,
                        "{comma}{name} has {found} partitions where {partitions} are needed"
                    )?;
                }
                f.write_str("; nothing was created or written: use another cluster")
            }
            Self::Refused(topics) => {
                f.write_str("the broker refused to create topics: ")?;
                for (n, (name, reason)) in topics.iter().enumerate() {
                    write!(f, "{}{name}: {reason}", if n > 0 { ", " } else { "" })?;
                }
                f.write_str("; create them by hand, or ask for the right CREATE on the cluster")
            }
        }
    }
}

impl std::error::Error for TopicsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cluster(fault) => Some(fault),
            Self::Foreign(_) | Self::Refused(_) => None,
        }
    }
}

/// Creates the topics that are missing, with the cluster's own replication factor, and gives their names.
///
/// # Errors
/// The cluster cannot be reached; a topic is there with another partition count; the broker refuses. In the first two cases
/// nothing was changed.
pub async fn ensure(bootstrap: &str, topics: &[Topic]) -> Result<Vec<&'static str>, TopicsError> {
    let admin: AdminClient<Context> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("client.id", CLIENT)
        .create_with_context(Context {
            client: CLIENT.to_owned(),
        })
        .map_err(|fault| ClusterError::new("create an admin client", fault))
        .map_err(TopicsError::Cluster)?;
    let admin = Arc::new(admin);
    let asked = Arc::clone(&admin);
    let attempt = format!("reach {bootstrap} without TLS or SASL; check address and listener");
    // All topics are listed, because naming one that is missing could create it.
    let metadata = blocking("list topics", move || {
        asked
            .inner()
            .fetch_metadata(None, TIMEOUT)
            .map_err(|fault| ClusterError::new(attempt, fault))
    })
    .await
    .map_err(TopicsError::Cluster)?;
    let missing = missing(&metadata, topics)?;
    create(&admin, &missing).await?;
    led(&admin, &missing).await?;
    Ok(missing.iter().map(|topic| topic.name).collect())
}

/// Waits until every partition of the new topics has a leader: a created topic is known everywhere only a little later.
async fn led(admin: &Arc<AdminClient<Context>>, topics: &[Topic]) -> Result<(), TopicsError> {
    let deadline = Instant::now() + LEADERS_LIMIT;
    loop {
        let asked = Arc::clone(admin);
        let metadata = blocking("list topics", move || {
            asked
                .inner()
                .fetch_metadata(None, TIMEOUT)
                .map_err(|fault| ClusterError::new("see the new topics", fault))
        })
        .await
        .map_err(TopicsError::Cluster)?;
        let ready = |wanted: &Topic| {
            metadata.topics().iter().any(|topic| {
                topic.name() == wanted.name
                    && i32::try_from(topic.partitions().len()) == Ok(wanted.partitions)
                    && topic
                        .partitions()
                        .iter()
                        .all(|partition| partition.leader() >= 0)
            })
        };
        if topics.iter().all(ready) || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(LEADERS_PAUSE).await;
    }
}

fn missing(metadata: &Metadata, topics: &[Topic]) -> Result<Vec<Topic>, TopicsError> {
    let found = |wanted: &Topic| {
        let mut all = metadata.topics().iter();
        all.find(|topic| topic.name() == wanted.name)
            .map(|topic| topic.partitions().len())
    };
    let wrong = |topic: &Topic| {
        let count = found(topic)?;
        (i32::try_from(count) != Ok(topic.partitions)).then_some((*topic, count))
    };
    let foreign: Vec<_> = topics.iter().filter_map(wrong).collect();
    if !foreign.is_empty() {
        return Err(TopicsError::Foreign(foreign));
    }
    let absent = topics.iter().filter(|topic| found(topic).is_none());
    Ok(absent.copied().collect())
}

async fn create(admin: &AdminClient<Context>, missing: &[Topic]) -> Result<(), TopicsError> {
    if missing.is_empty() {
        return Ok(());
    }
    let new: Vec<_> = missing
        .iter()
        // -1 asks for the cluster's default (KIP-464).
        .map(|topic| NewTopic::new(topic.name, topic.partitions, TopicReplication::Fixed(-1)))
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT));
    let answers = admin
        .create_topics(&new, &options)
        .await
        .map_err(|fault| ClusterError::new("create topics", fault))
        .map_err(TopicsError::Cluster)?;
    let refused: Vec<_> = answers
        .into_iter()
        .filter_map(Result::err)
        .map(|(name, code)| (name, code.to_string()))
        .collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(TopicsError::Refused(refused))
    }
}
