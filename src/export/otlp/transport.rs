//! One request with metrics or logs to a collector, over gRPC or HTTP, tried again a few times.
//!
//! Here because the exporter crate sends only what its SDK has gathered. Same clients, compression and limits as for traces.
//! Must not know what is in a request, nor count what is lost.

use std::{error::Error as _, fmt, future::Future, time::Duration};

use bytes::Bytes;
use hyper::{
    StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT},
};
use opentelemetry_http::{HttpClient as _, Request};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient,
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_client::MetricsServiceClient,
    },
};
use prost::Message as _;
use tonic::{
    Code, Response, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::{Client, OtlpError, Protocol, RETRIES, TIMEOUT};

/// Before the first retry; doubled for each one after it.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Who is asking.
const AGENT: &str = concat!("throughline/", env!("CARGO_PKG_VERSION"));

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The collector is away or overloaded: the same may be taken later.
    Away(String),
    /// It will not be taken.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Away(what) | Self::Refused(what)) = self;
        f.write_str(what)
    }
}

/// One of OTLP's services.
pub(super) trait Service {
    type Request: prost::Message + Clone;
    type Answer: prost::Message + Default;

    /// Asks over gRPC.
    fn export(
        channel: Channel,
        request: tonic::Request<Self::Request>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

/// Takes metrics.
#[derive(Debug)]
pub(super) struct Metrics;

impl Service for Metrics {
    type Request = ExportMetricsServiceRequest;
    type Answer = ExportMetricsServiceResponse;

    async fn export(
        channel: Channel,
        request: tonic::Request<Self::Request>,
    ) -> Result<Response<Self::Answer>, Status> {
        let mut client = MetricsServiceClient::new(channel)
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        client.export(request).await
    }
}

/// Takes logs.
#[derive(Debug)]
pub(super) struct Logs;

impl Service for Logs {
    type Request = ExportLogsServiceRequest;
    type Answer = ExportLogsServiceResponse;

    async fn export(
        channel: Channel,
        request: tonic::Request<Self::Request>,
    ) -> Result<Response<Self::Answer>, Status> {
        let mut client = LogsServiceClient::new(channel)
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        client.export(request).await
    }
}

/// A connection that is made when it is needed.
#[allow(clippy::large_enum_variant, reason = "one per signal")]
pub(super) enum Transport {
    /// gRPC.
    Grpc {
        channel: Channel,
        headers: MetadataMap,
    },
    /// HTTP with protobuf bodies.
    Http {
        client: Client,
        url: Uri,
        headers: HeaderMap,
    },
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a token.
        f.write_str(match self {
            Self::Grpc { .. } => "Grpc",
            Self::Http { .. } => "Http",
        })
    }
}

/// A request in the form that is sent, so that a retry does not make it again.
enum Prepared<M> {
    Message(M),
    Body(Bytes),
}

impl Transport {
    /// Must be called on the runtime that will send.
    pub(super) fn new(
        protocol: Protocol,
        url: &str,
        mut headers: HeaderMap,
    ) -> Result<Self, OtlpError> {
        match protocol {
            Protocol::Grpc => Ok(Self::Grpc {
                channel: channel(url)?,
                headers: MetadataMap::from_headers(headers),
            }),
            Protocol::HttpProtobuf => {
                let agent = HeaderValue::from_static(AGENT);
                headers.entry(USER_AGENT).or_insert(agent);
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                headers.insert(CONTENT_TYPE, protobuf);
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Ok(Self::Http {
                    client: Client::new(TIMEOUT)?,
                    url: url.parse().map_err(|fault| wrong(url, &fault))?,
                    headers,
                })
            }
        }
    }

    /// Sends one request, with [`RETRIES`] more attempts within [`TIMEOUT`] while the collector is away.
    pub(super) async fn send<S: Service>(&self, request: S::Request) -> Result<S::Answer, Fault> {
        let prepared = match self {
            Self::Grpc { .. } => Prepared::Message(request),
            Self::Http { .. } => {
                let body = super::super::gzip(&request.encode_to_vec());
                let body = body.ok_or_else(|| Fault::Refused("cannot be compressed".to_owned()))?;
                Prepared::Body(body.into())
            }
        };
        let attempts = async {
            let mut delay = RETRY_DELAY;
            for _ in 0..RETRIES {
                match self.attempt::<S>(&prepared).await {
                    Err(Fault::Away(_)) => tokio::time::sleep(delay).await,
                    done => return done,
                }
                delay = delay.saturating_mul(2);
            }
            self.attempt::<S>(&prepared).await
        };
        let late = || Fault::Away(format!("no answer within {} s", TIMEOUT.as_secs()));
        tokio::time::timeout(TIMEOUT, attempts)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn attempt<S: Service>(
        &self,
        prepared: &Prepared<S::Request>,
    ) -> Result<S::Answer, Fault> {
        match (self, prepared) {
            (Self::Grpc { channel, headers }, Prepared::Message(message)) => {
                let mut request = tonic::Request::new(message.clone());
                *request.metadata_mut() = headers.clone();
                let answer = S::export(channel.clone(), request).await;
                answer
                    .map(Response::into_inner)
                    .map_err(|status| of_status(&status))
            }
            (
                Self::Http {
                    client,
                    url,
                    headers,
                },
                Prepared::Body(body),
            ) => {
                let mut request = Request::new(body.clone());
                *request.method_mut() = hyper::Method::POST;
                *request.uri_mut() = url.clone();
                *request.headers_mut() = headers.clone();
                let answer = client.send_bytes(request).await;
                let answer = answer.map_err(|fault| Fault::Away(fault.to_string()))?;
                of_answer(answer.status(), answer.into_body())
            }
            // `send` prepares what this transport takes.
            _ => Err(Fault::Refused("prepared for another transport".to_owned())),
        }
    }
}

fn channel(url: &str) -> Result<Channel, OtlpError> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|fault| wrong(url, &fault))?;
    let mut endpoint = endpoint
        .user_agent(AGENT)
        .map_err(|fault| wrong(url, &fault))?
        .timeout(TIMEOUT);
    if url.starts_with("https:") {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|fault| wrong(url, &fault))?;
    }
    Ok(endpoint.connect_lazy())
}

fn wrong(url: &str, fault: &dyn fmt::Display) -> OtlpError {
    let what = format!("endpoint `{url}`: {fault}");
    OtlpError::Build(ExporterBuildError::InvalidConfiguration(what))
}

/// What a refusal says, by OTLP's table of codes. The collector's own words are left out: they may repeat a token.
fn of_status(status: &Status) -> Fault {
    let mut what = format!("gRPC {:?}", status.code());
    let mut cause = status.source();
    while let Some(fault) = cause {
        what.push_str(&format!(": {fault}"));
        cause = fault.source();
    }
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Fault::Away(what),
        _ => Fault::Refused(what),
    }
}

fn of_answer<A: prost::Message + Default>(status: StatusCode, body: Bytes) -> Result<A, Fault> {
    if status.is_success() {
        // Some answer without a body, or in JSON: taken is taken.
        return Ok(A::decode(body).unwrap_or_default());
    }
    let what = format!("HTTP {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Fault::Away(what)),
        _ => Err(Fault::Refused(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_taken_later_is_tried_again() {
        let away = |code| matches!(of_status(&Status::new(code, "secret")), Fault::Away(_));
        assert!(away(Code::Unavailable) && away(Code::DeadlineExceeded));
        assert!(!away(Code::Unauthenticated) && !away(Code::ResourceExhausted));
        for (status, again) in [(429, true), (503, true), (400, false), (500, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            let fault = of_answer::<ExportLogsServiceResponse>(status, Bytes::new()).unwrap_err();
            assert_eq!(matches!(fault, Fault::Away(_)), again, "{status}");
        }
    }

    #[test]
    fn the_words_of_the_collector_are_not_repeated() {
        let fault = of_status(&Status::unauthenticated("Bearer secret"));
        assert_eq!(fault.to_string(), "gRPC Unauthenticated");
    }

    #[test]
    fn an_answer_that_is_no_protobuf_is_still_an_answer() {
        let answer = of_answer(StatusCode::OK, Bytes::from_static(b"{}"));
        assert_eq!(answer, Ok(ExportMetricsServiceResponse::default()));
    }

    #[tokio::test]
    async fn an_endpoint_that_is_none_is_said_at_the_start() {
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let fault = Transport::new(protocol, "http://a b", HeaderMap::new()).unwrap_err();
            assert!(fault.to_string().contains("`http://a b`"), "{fault}");
        }
    }
}
