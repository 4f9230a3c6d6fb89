//! Traces over OTLP: a bounded queue, batches, retries, and a count of what was lost. Metrics: [`metrics`]; the event log: [`logs`].
//!
//! The exporter itself is opentelemetry-otlp's, over gRPC or HTTP, with its retry policy; `OTEL_EXPORTER_OTLP_*` and
//! `OTEL_RESOURCE_ATTRIBUTES` are honoured. A collector that is slow or away costs spans, never memory or traffic. Must not
//! decide what a span says.

mod data;
mod environment;
mod logs;
mod push;
mod transport;

use std::{collections::HashMap, fmt, time::Duration};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, Protocol as OtlpProtocol, RetryPolicy, SpanExporter,
    WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::{metadata::MetadataMap, transport::ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{SpanData, SpanExporter as _},
};
use tokio::sync::mpsc;

pub use logs::{LogExporter, LogQueue, logs};
pub use push::{Pusher, metrics};

use super::http::Client;
use crate::{
    metrics::{Dropped, Metrics},
    span::Sink,
};

/// Spans that may wait for the collector; a span is about 1 KB.
const QUEUE_SPANS: usize = 4_096;
/// Spans sent at once.
const BATCH_SPANS: usize = 512;
/// How long a batch may wait to be filled.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// One attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts after the first, while the queue fills.
const RETRIES: usize = 3;
/// Where HTTP collectors take traces.
const TRACES_PATH: &str = "/v1/traces";
/// Between two warnings about a collector that does not take what it is sent.
const NOTICE: Duration = Duration::from_secs(60);

/// How OTLP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// gRPC.
    #[default]
    Grpc,
    /// HTTP with protobuf bodies.
    HttpProtobuf,
}

/// Where a signal goes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URL of the collector; `None` = `OTEL_EXPORTER_OTLP_*` says.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Sent with every request, for authentication.
    pub headers: Vec<(String, String)>,
    /// What traces and metrics call this program; `None` = `OTEL_SERVICE_NAME` says.
    pub service_name: Option<String>,
    /// What is said of this program beside `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
    pub attributes: Vec<(&'static str, String)>,
}

/// The exporter cannot be made.
#[derive(Debug)]
pub enum OtlpError {
    /// A setting is wrong.
    Build(ExporterBuildError),
    /// TLS cannot be set up.
    Tls(rustls::Error),
    /// A header's name or value cannot be sent.
    Header(String),
}

impl fmt::Display for OtlpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(fault) => write!(
                f,
                "otlp: {fault}; check otlp.endpoint and OTEL_EXPORTER_OTLP_*"
            ),
            Self::Tls(fault) => write!(f, "otlp: TLS: {fault}"),
            Self::Header(name) => write!(
                f,
                "otlp: header `{name}` cannot be sent; check otlp.headers_file"
            ),
        }
    }
}

impl std::error::Error for OtlpError {}

impl From<rustls::Error> for OtlpError {
    fn from(fault: rustls::Error) -> Self {
        Self::Tls(fault)
    }
}

impl From<ExporterBuildError> for OtlpError {
    fn from(fault: ExporterBuildError) -> Self {
        Self::Build(fault)
    }
}

/// Spans were not delivered.
#[derive(Debug)]
pub enum DeliveryError {
    /// Nothing was tried.
    Setting(OtlpError),
    /// The collector cannot be reached or refuses them.
    Refused(OTelSdkError),
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(fault) => fault.fmt(f),
            Self::Refused(fault) => {
                write!(
                    f,
                    "the collector did not take the spans: {fault}; check otlp.endpoint"
                )
            }
        }
    }
}

impl std::error::Error for DeliveryError {}

impl From<OtlpError> for DeliveryError {
    fn from(fault: OtlpError) -> Self {
        Self::Setting(fault)
    }
}

impl From<OTelSdkError> for DeliveryError {
    fn from(fault: OTelSdkError) -> Self {
        Self::Refused(fault)
    }
}

/// Takes spans without waiting.
#[derive(Debug, Clone)]
pub struct Queue {
    spans: mpsc::Sender<SpanData>,
    full: Dropped,
}

#[cfg(test)]
impl Queue {
    /// A queue that nobody exports.
    pub(crate) fn for_test(spans: usize) -> (Self, mpsc::Receiver<SpanData>) {
        let (sender, receiver) = mpsc::channel(spans);
        let full = Dropped::for_test();
        (
            Self {
                spans: sender,
                full,
            },
            receiver,
        )
    }
}

impl Sink for Queue {
    fn span(&mut self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.full.add(1);
        }
    }
}

/// Sends what is queued.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    lost: Dropped,
    failures: Dropped,
}

/// Sends these spans and nothing else; fails with the first batch that is not taken.
///
/// # Errors
/// A setting is wrong, or why the collector did not take them.
pub async fn deliver(settings: &Settings, spans: Vec<SpanData>) -> Result<(), DeliveryError> {
    let exporter = exporter(settings)?;
    let mut left = spans.into_iter();
    loop {
        let batch: Vec<SpanData> = left.by_ref().take(BATCH_SPANS).collect();
        if batch.is_empty() {
            return Ok(());
        }
        exporter.export(batch).await?;
    }
}

fn exporter(settings: &Settings) -> Result<SpanExporter, OtlpError> {
    let mut exporter = match settings.protocol {
        Protocol::Grpc => grpc(settings)?,
        Protocol::HttpProtobuf => http(settings)?,
    };
    exporter.set_resource(&resource(settings));
    Ok(exporter)
}

/// Makes both ends. Must be called on the runtime that will run the exporter.
///
/// # Errors
/// A setting, or a variable of the environment, is wrong.
pub fn traces(settings: &Settings, metrics: &Metrics) -> Result<(Queue, Exporter), OtlpError> {
    let exporter = exporter(settings)?;
    let (sender, spans) = mpsc::channel(QUEUE_SPANS);
    let queue = Queue {
        spans: sender,
        full: metrics.dropped("traces", "queue_full"),
    };
    let exporter = Exporter {
        spans,
        exporter,
        lost: metrics.dropped("traces", "export"),
        failures: metrics.export_failures("traces"),
    };
    Ok((queue, exporter))
}

/// What is said of this program.
fn resource(settings: &Settings) -> Resource {
    let own = settings
        .attributes
        .iter()
        .map(|(key, value)| KeyValue::new(*key, value.clone()));
    let mut resource = Resource::builder().with_attributes(own);
    if let Some(name) = &settings.service_name {
        resource = resource.with_service_name(name.clone());
    }
    resource.build()
}

fn retries() -> RetryPolicy {
    RetryPolicy::recommended().with_max_retries(RETRIES)
}

fn grpc(settings: &Settings) -> Result<SpanExporter, OtlpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let fault = || OtlpError::Header(name.clone());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        headers.insert(key, HeaderValue::from_str(value).map_err(|_| fault())?);
    }
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_timeout(TIMEOUT)
        .with_compression(Compression::Gzip)
        .with_metadata(MetadataMap::from_headers(headers))
        .with_retry_policy(retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
        if endpoint.starts_with("https:") {
            builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
        }
    }
    Ok(builder.build()?)
}

fn http(settings: &Settings) -> Result<SpanExporter, OtlpError> {
    let headers: HashMap<String, String> = settings.headers.iter().cloned().collect();
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(TIMEOUT)?)
        .with_protocol(OtlpProtocol::HttpBinary)
        .with_timeout(TIMEOUT)
        .with_compression(Compression::Gzip)
        .with_headers(headers)
        .with_retry_policy(retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(with_path(endpoint));
    }
    Ok(builder.build()?)
}

/// The URL of a collector with the path of the signal, unless it has a path of its own.
fn with_path(endpoint: &str) -> String {
    let authority = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    match authority.split_once('/') {
        None => format!("{endpoint}{TRACES_PATH}"),
        Some((_, "")) => format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')),
        Some(_) => endpoint.to_owned(),
    }
}

impl Exporter {
    /// Sends batches until nobody is left who could queue a span, and everything queued was sent or lost.
    pub async fn run(mut self) {
        let mut warned = None;
        let mut batch = Vec::new();
        while self.fill(&mut batch).await {
            self.send(std::mem::take(&mut batch), &mut warned).await;
        }
    }

    /// Waits for a span, then a little for more. False where no more will come.
    async fn fill(&mut self, batch: &mut Vec<SpanData>) -> bool {
        if self.spans.recv_many(batch, BATCH_SPANS).await == 0 {
            return false;
        }
        let full = async {
            while batch.len() < BATCH_SPANS {
                let room = BATCH_SPANS.saturating_sub(batch.len());
                if self.spans.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        // A batch that is not full when the time is over goes as it is.
        tokio::time::timeout(BATCH_DELAY, full).await.ok();
        true
    }

    async fn send(&self, batch: Vec<SpanData>, warned: &mut Option<tokio::time::Instant>) {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if let Err(fault) = self.exporter.export(batch).await {
            self.failures.add(1);
            self.lost.add(spans);
            if warned.is_none_or(|at| at.elapsed() >= NOTICE) {
                *warned = Some(tokio::time::Instant::now());
                tracing::warn!(%fault, spans, "the collector did not take spans, they are lost; check otlp.endpoint (said once a minute)");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_that_of_the_signal() {
        for (given, expected) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(with_path(given), expected);
        }
    }
}
