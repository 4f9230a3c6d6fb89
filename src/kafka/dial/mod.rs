//! Connecting to a broker: name, socket, TLS, all under one timeout.
//!
//! Used by the dataplane and by our own questions. Must not retry: the client does.

pub mod tls;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::event::Name;

/// A broker as the configuration or the cluster names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS towards the brokers.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Ready-made client configuration (roots, client certificate, verifier).
    pub client: Arc<rustls::ClientConfig>,
    /// Name to verify instead of each broker's advertised host.
    pub server_name: Option<Name>,
}

/// A connection to a broker.
#[derive(Debug)]
pub enum Upstream {
    /// Plaintext.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a broker was not reached. The kind is a metric label.
#[derive(Debug)]
pub struct DialError {
    /// `resolve`, `refused`, `timeout`, `tls`, `io`.
    pub kind: &'static str,
    /// The cause, for the log.
    pub source: io::Error,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            "resolve" => write!(f, "name does not resolve ({})", self.source),
            "refused" => write!(f, "connection refused; is a broker listening there?"),
            "timeout" => write!(f, "no answer in time; check the address and firewalls"),
            "tls" => write!(
                f,
                "TLS handshake failed ({}); check kafka.tls and that this port speaks TLS",
                self.source
            ),
            _ => write!(f, "{}", self.source),
        }
    }
}

impl std::error::Error for DialError {}

/// Connects to `target`.
///
/// # Errors
/// The first cause where every address of the name failed.
pub async fn dial(
    target: &HostPort,
    tls: Option<&TlsSettings>,
    timeout: Duration,
) -> Result<Upstream, DialError> {
    match tokio::time::timeout(timeout, connect(target, tls)).await {
        Ok(done) => done,
        Err(_) => Err(DialError {
            kind: "timeout",
            source: io::ErrorKind::TimedOut.into(),
        }),
    }
}

async fn connect(target: &HostPort, tls: Option<&TlsSettings>) -> Result<Upstream, DialError> {
    let socket = connect_socket(target).await?;
    // Small requests must not wait for a full segment.
    socket
        .set_nodelay(true)
        .map_err(|source| DialError { kind: "io", source })?;
    let Some(tls) = tls else {
        return Ok(Upstream::Plain(socket));
    };
    let name = tls
        .server_name
        .as_deref()
        .unwrap_or(&target.host)
        .to_owned();
    let invalid = |e| DialError {
        kind: "tls",
        source: io::Error::new(io::ErrorKind::InvalidInput, e),
    };
    let name = ServerName::try_from(name).map_err(invalid)?;
    let connector = TlsConnector::from(Arc::clone(&tls.client));
    match connector.connect(name, socket).await {
        Ok(stream) => Ok(Upstream::Tls(Box::new(stream))),
        Err(source) => Err(DialError {
            kind: "tls",
            source,
        }),
    }
}

async fn connect_socket(target: &HostPort) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = match target.host.parse() {
        // No thread for a resolver where there is nothing to resolve.
        Ok(ip) => vec![SocketAddr::new(ip, target.port)],
        Err(_) => tokio::net::lookup_host((target.host.as_str(), target.port))
            .await
            .map_err(|source| DialError {
                kind: "resolve",
                source,
            })?
            .collect(),
    };
    let mut first = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    let source =
        first.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    Err(match source.kind() {
        io::ErrorKind::ConnectionRefused => DialError {
            kind: "refused",
            source,
        },
        io::ErrorKind::TimedOut => DialError {
            kind: "timeout",
            source,
        },
        io::ErrorKind::NotFound => DialError {
            kind: "resolve",
            source,
        },
        _ => DialError { kind: "io", source },
    })
}
