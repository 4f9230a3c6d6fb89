//! Our own questions to the cluster: is a broker there, which cluster is it, which of its records hold a string, how far groups got.
//!
//! A small client over `wire` messages, because it needs no consumer or producer and must know topic ids, which client
//! libraries hide. Never on the dataplane's path. Without credentials it asks only what a broker answers before
//! authentication; what it could not learn, it says.

mod access;
mod append;
mod client;
mod connection;
mod drain;
mod lane;
mod login;
mod question;
mod read;
mod scram;
mod visible;

use std::{fmt, io, time::Duration};

use self::connection::Connection;
use super::{
    dial::{DialError, HostPort, tls::is_tls_fault},
    wire::{
        api::ApiKey,
        endpoints,
        error::DecodeError,
        frame,
        messages::requests::{METADATA_NEWEST, MetadataTopics, metadata_request},
    },
};

pub use self::{
    access::{Access, Login, LoginError, Mechanism},
    append::{AppendError, TopicAppender},
    client::{Answers, BROKERS_MAX, ClusterClient, ClusterLayout, PartitionLayout, TopicLayout},
    drain::{Progress, ReadRecord, Span, Unread},
    lane::{
        BrokerLane, ByPartition, OwnRead, OwnRecord, TopicTold, UNKNOWN_TOPIC, error_name,
        may_retry,
    },
    question::{
        AskedGroup, Coded, Disk, Edge, GroupKind, GroupListed, GroupPositions, PartitionName,
        Retention, Rights, TopicList,
    },
    read::{PartitionReader, ReadError, TopicPartitions, Window},
    visible::{Sought, Visible},
};

/// After a refused login: who tries a wrong password every few seconds gets locked out.
pub const LOGIN_PAUSE: Duration = Duration::from_secs(60);
/// Between two questions that were refused for want of rights.
pub const ASK_AGAIN: Duration = Duration::from_secs(3_600);

/// What a broker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Number of APIs it offers.
    pub apis: usize,
    /// Cluster id and brokers; `None` where the broker wants authentication first.
    pub cluster: Option<Cluster>,
}

/// A cluster as one of its brokers describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Cluster id, where the broker has one.
    pub id: Option<String>,
    /// (node id, advertised address).
    pub brokers: Vec<(i32, HostPort)>,
}

/// Why a question got no answer.
#[derive(Debug)]
pub enum ProbeError {
    /// No connection.
    Dial(DialError),
    /// The connection broke, or no answer came in time.
    Io(io::Error),
    /// What answered does not speak Kafka; says what it speaks where that is plain.
    Protocol(&'static str),
    /// The broker has no version of this API that we speak.
    Unspoken(&'static str),
    /// We were not let in.
    Login(LoginError),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(fault) => fault.fmt(f),
            Self::Io(fault) if fault.kind() == io::ErrorKind::TimedOut => {
                f.write_str("connected, but no answer in time; is it a Kafka broker?")
            }
            Self::Io(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the broker closed the connection at the first request; does the port speak TLS, or another protocol?")
            }
            Self::Io(fault) if is_tls_fault(fault) => write!(
                f,
                "the broker ended the TLS session ({fault}); if it wants a client certificate, check kafka.tls.cert_file and key_file"
            ),
            Self::Io(fault) => write!(f, "connection lost: {fault}"),
            Self::Protocol(what) => f.write_str(what),
            Self::Unspoken(api) => write!(
                f,
                "the broker offers no version of {api} that this program speaks; check its version"
            ),
            Self::Login(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for ProbeError {}

impl ProbeError {
    /// The broker knows neither this name nor this password, and no other broker will: see [`LOGIN_PAUSE`].
    #[must_use]
    pub fn is_refused_login(&self) -> bool {
        matches!(self, Self::Login(LoginError::Refused(_)))
    }
}

impl From<DecodeError> for ProbeError {
    fn from(_: DecodeError) -> Self {
        Self::Protocol("the answer is not a Kafka message; check the address")
    }
}

/// Asks one broker for its APIs and, where it lets us, for its cluster. Each step within `timeout`.
///
/// # Errors
/// What went wrong, in words that say what to check.
pub async fn probe(
    target: &HostPort,
    access: &Access,
    timeout: Duration,
) -> Result<Probe, ProbeError> {
    let mut connection = Connection::open(target, access, timeout).await?;
    let asked = ask(&mut connection);
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())))
}

async fn ask(connection: &mut Connection) -> Result<Probe, ProbeError> {
    let newest = connection.newest(ApiKey::METADATA).unwrap_or(1);
    let version = newest.min(METADATA_NEWEST);
    let probe = Probe {
        apis: connection.apis(),
        cluster: None,
    };
    let id = connection.next_id();
    let Some(request) = metadata_request(id, version, MetadataTopics::None) else {
        return Ok(probe);
    };
    // A broker that wants authentication first answers this by closing the connection.
    let Ok(answer) = connection.exchange(&request).await else {
        return Ok(probe);
    };
    let header = frame::response_header_length(&answer, ApiKey::METADATA, version)?;
    let seen = endpoints::metadata(answer.get(header..).unwrap_or_default(), version)?;
    let brokers = seen
        .endpoints
        .all
        .iter()
        .filter_map(|e| {
            Some((
                e.node_id,
                HostPort {
                    host: e.host.to_owned(),
                    port: u16::try_from(e.port).ok()?,
                },
            ))
        })
        .collect();
    Ok(Probe {
        cluster: Some(Cluster {
            id: seen.cluster_id.map(str::to_owned),
            brokers,
        }),
        ..probe
    })
}
