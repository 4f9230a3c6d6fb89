//! One connection to one broker: what it offers, and a question and an answer at a time.
//!
//! Here so that probing and reading share the first exchange. Must not retry, nor limit the
//! time of later answers: whoever asks does.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    super::{
        dial::{self, HostPort, Upstream},
        wire::{
            api::ApiKey,
            frame::{self, LENGTH_BYTES, Leading},
            messages::{
                api_versions::{ApiVersionsResponse, UNSUPPORTED_VERSION},
                requests::{api_versions_request, oldest_api_versions_request},
            },
        },
    },
    ProbeError,
    access::Access,
    login::log_in,
};

/// Bytes of an answer without records: the metadata of tens of thousands of partitions.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection whose broker has said what it offers.
#[derive(Debug)]
pub(super) struct Connection {
    upstream: Upstream,
    offered: ApiVersionsResponse,
    last_id: i32,
}

impl Connection {
    /// Dials, asks which APIs there are, and logs in where there is a login; each within `timeout`.
    pub(super) async fn open(
        target: &HostPort,
        access: &Access,
        timeout: Duration,
    ) -> Result<Self, ProbeError> {
        let late = |_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into()));
        let mut upstream = dial::dial(target, access.tls.as_ref(), timeout)
            .await
            .map_err(ProbeError::Dial)?;
        let offered = tokio::time::timeout(timeout, negotiate(&mut upstream))
            .await
            .unwrap_or_else(late)?;
        let mut connection = Self {
            upstream,
            offered,
            last_id: 1,
        };
        if let Some(login) = &access.login {
            tokio::time::timeout(timeout, log_in(&mut connection, login))
                .await
                .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())))?;
        }
        Ok(connection)
    }

    /// Number of APIs the broker offers.
    pub(super) fn apis(&self) -> usize {
        self.offered.apis.len()
    }

    /// Newest version of an API that the broker offers.
    pub(super) fn newest(&self, key: ApiKey) -> Option<i16> {
        let found = self.offered.apis.iter().find(|api| api.key == key);
        found.map(|api| api.max)
    }

    /// Newest version that both the broker and `ours` have.
    pub(super) fn version(&self, key: ApiKey, ours: (i16, i16)) -> Option<i16> {
        let found = self.offered.apis.iter().find(|api| api.key == key)?;
        let newest = found.max.min(ours.1);
        (newest >= found.min.max(ours.0)).then_some(newest)
    }

    /// A correlation id for the next request.
    pub(super) fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// Sends one frame and reads one, without its length.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ProbeError> {
        exchange(&mut self.upstream, request).await
    }

    /// Sends a request and reads its answer, one frame without its length, into `answer`, whose content goes; within a time and a
    /// number of bytes.
    pub(super) async fn exchange_into(
        &mut self,
        request: &[u8],
        answer: &mut Vec<u8>,
        (timeout, bytes_max): (Duration, usize),
    ) -> Result<(), ProbeError> {
        let exchanged = async {
            send(&mut self.upstream, request).await?;
            receive(&mut self.upstream, answer, bytes_max).await
        };
        tokio::time::timeout(timeout, exchanged)
            .await
            .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())))
    }
}

async fn negotiate(upstream: &mut Upstream) -> Result<ApiVersionsResponse, ProbeError> {
    let answer = exchange(upstream, &api_versions_request(1)).await?;
    let offered = ApiVersionsResponse::read(answer.get(4..).unwrap_or_default(), 3)?;
    if offered.error_code != UNSUPPORTED_VERSION {
        return Ok(offered);
    }
    let answer = exchange(upstream, &oldest_api_versions_request(1)).await?;
    Ok(ApiVersionsResponse::read(
        answer.get(4..).unwrap_or_default(),
        0,
    )?)
}

async fn exchange(upstream: &mut Upstream, request: &[u8]) -> Result<Vec<u8>, ProbeError> {
    send(upstream, request).await?;
    let mut answer = Vec::new();
    receive(upstream, &mut answer, ANSWER_BYTES_MAX).await?;
    Ok(answer)
}

async fn send(upstream: &mut Upstream, request: &[u8]) -> Result<(), ProbeError> {
    match upstream {
        Upstream::Plain(stream) => write_all(stream, request).await,
        Upstream::Tls(stream) => write_all(stream, request).await,
    }
    .map_err(ProbeError::Io)
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await
}

async fn receive(
    upstream: &mut Upstream,
    answer: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), ProbeError> {
    match upstream {
        Upstream::Plain(stream) => read_frame(stream, answer, bytes_max).await,
        Upstream::Tls(stream) => read_frame(stream, answer, bytes_max).await,
    }
}

async fn read_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
    answer: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), ProbeError> {
    let mut length = [0u8; LENGTH_BYTES];
    stream
        .read_exact(&mut length)
        .await
        .map_err(ProbeError::Io)?;
    let length = match frame::leading(length, bytes_max) {
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
    answer.clear();
    let read = stream
        .take(length)
        .read_to_end(answer)
        .await
        .map_err(ProbeError::Io)?;
    if u64::try_from(read).unwrap_or(0) < length {
        return Err(ProbeError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}
