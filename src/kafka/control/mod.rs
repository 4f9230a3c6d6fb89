//! Our own questions to the cluster: is a broker there, and which cluster is it.
//!
//! A small client over `wire` messages, because it needs no consumer or producer and must know topic ids, which client
//! libraries hide. Never on the dataplane's path. Without credentials it asks only what a broker answers before
//! authentication; what it could not learn, it says.

use std::{fmt, io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    dial::{self, DialError, HostPort, TlsSettings, Upstream, tls::is_tls_fault},
    wire::{
        api::ApiKey,
        endpoints,
        error::DecodeError,
        frame::{self, LENGTH_BYTES, Leading},
        messages::{
            api_versions::{ApiVersionsResponse, UNSUPPORTED_VERSION},
            requests::{
                METADATA_NEWEST, MetadataTopics, api_versions_request, metadata_request,
                oldest_api_versions_request,
            },
        },
    },
};

/// Bytes of an answer to one of our questions; metadata without topics is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

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
        }
    }
}

impl std::error::Error for ProbeError {}

impl From<DecodeError> for ProbeError {
    fn from(_: DecodeError) -> Self {
        Self::Protocol("the answer is not a Kafka message; check the address")
    }
}

/// Asks one broker for its APIs and, where it lets us, for its cluster. All within `timeout`.
///
/// # Errors
/// What went wrong, in words that say what to check.
pub async fn probe(
    target: &HostPort,
    tls: Option<&TlsSettings>,
    timeout: Duration,
) -> Result<Probe, ProbeError> {
    let upstream = dial::dial(target, tls, timeout)
        .await
        .map_err(ProbeError::Dial)?;
    let asked = async {
        match upstream {
            Upstream::Plain(mut stream) => ask(&mut stream).await,
            Upstream::Tls(mut stream) => ask(&mut stream).await,
        }
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())))
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Probe, ProbeError> {
    let answer = exchange(stream, &api_versions_request(1)).await?;
    let body = answer.get(4..).unwrap_or_default();
    let mut offered = ApiVersionsResponse::read(body, 3)?;
    if offered.error_code == UNSUPPORTED_VERSION {
        let answer = exchange(stream, &oldest_api_versions_request(1)).await?;
        offered = ApiVersionsResponse::read(answer.get(4..).unwrap_or_default(), 0)?;
    }
    let newest = offered
        .apis
        .iter()
        .find(|api| api.key == ApiKey::METADATA)
        .map_or(1, |api| api.max);
    let version = newest.min(METADATA_NEWEST);
    let probe = Probe {
        apis: offered.apis.len(),
        cluster: None,
    };
    let Some(request) = metadata_request(2, version, MetadataTopics::None) else {
        return Ok(probe);
    };
    // A broker that wants authentication first answers this by closing the connection.
    let Ok(answer) = exchange(stream, &request).await else {
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

/// Sends one frame and reads one, without its length.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> Result<Vec<u8>, ProbeError> {
    stream.write_all(request).await.map_err(ProbeError::Io)?;
    stream.flush().await.map_err(ProbeError::Io)?;
    let mut length = [0u8; LENGTH_BYTES];
    stream
        .read_exact(&mut length)
        .await
        .map_err(ProbeError::Io)?;
    let length = match frame::leading(length, ANSWER_BYTES_MAX) {
        Leading::Frame(length) => u64::try_from(length).unwrap_or(0),
        Leading::TlsAlert | Leading::TlsHello => {
            return Err(ProbeError::Protocol("the port speaks TLS: set kafka.tls"));
        }
        Leading::Http => {
            return Err(ProbeError::Protocol(
                "an HTTP server answers there; check the port",
            ));
        }
        Leading::Absurd => {
            return Err(ProbeError::Protocol(
                "what answers does not speak Kafka; check the port",
            ));
        }
    };
    let mut answer = Vec::new();
    let read = stream
        .take(length)
        .read_to_end(&mut answer)
        .await
        .map_err(ProbeError::Io)?;
    if u64::try_from(read).unwrap_or(0) < length {
        return Err(ProbeError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(answer)
}
