//! `otlp:` - where traces, metrics and logs go.
//!
//! Here so that headers, which may hold a token, have one type that never prints itself. Must not connect to anything.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    section::{Section, boolean, choice, text},
    tls::read_file,
};

/// How OTLP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf bodies.
    HttpProtobuf,
}

impl OtlpProtocol {
    const ALL: [(&'static str, Self); 2] =
        [("grpc", Self::Grpc), ("http/protobuf", Self::HttpProtobuf)];

    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

/// Headers sent with every export; never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OtlpHeaders(Vec<(String, String)>);

impl OtlpHeaders {
    /// The headers themselves, for whoever sends them. Never to be shown.
    #[must_use]
    pub fn expose(&self) -> &[(String, String)] {
        &self.0
    }
}

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtlpHeaders(redacted)")
    }
}

/// The `otlp` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// URL of a collector; `None` = the environment may name one, else nothing is exported.
    pub endpoint: Option<String>,
    /// How it is spoken to; `None` = the environment may say, else gRPC.
    pub protocol: Option<OtlpProtocol>,
    /// Where `headers` came from.
    pub headers_file: Option<PathBuf>,
    /// Sent with every export.
    pub headers: OtlpHeaders,
    /// What traces and metrics call this program; `None` = `OTEL_SERVICE_NAME` says.
    pub service_name: Option<String>,
    /// Whether traces are exported, where there is an endpoint.
    pub traces: bool,
    /// Whether metrics are pushed, where there is an endpoint.
    pub metrics: bool,
    /// Whether the event log is exported too, where there is an endpoint.
    pub logs: bool,
    /// Whether traces of what the sidecar itself does are exported with the others.
    pub diagnostics: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            headers_file: None,
            headers: OtlpHeaders::default(),
            service_name: None,
            traces: true,
            metrics: false,
            logs: false,
            diagnostics: false,
        }
    }
}

impl OtlpConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let read = |path: &str| headers(Path::new(path)).map(|headers| (path.into(), headers));
        let (headers_file, headers) = section.optional("headers_file", text(read)).unzip();
        Self {
            endpoint: section.optional("endpoint", text(endpoint)),
            protocol: section.optional("protocol", choice(&OtlpProtocol::ALL)),
            headers_file,
            headers: headers.unwrap_or_default(),
            service_name: section.optional("service_name", text(service_name)),
            traces: section.or("traces", default.traces, boolean),
            metrics: section.or("metrics", default.metrics, boolean),
            logs: section.or("logs", default.logs, boolean),
            diagnostics: section.or("diagnostics", default.diagnostics, boolean),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "protocol": self.protocol.map(OtlpProtocol::as_str),
            "headers_file": self.headers_file,
            "service_name": self.service_name,
            "traces": self.traces,
            "metrics": self.metrics,
            "logs": self.logs,
            "diagnostics": self.diagnostics,
        })
    }
}

/// A collector's URL.
///
/// # Errors
/// What is wrong with it and what is allowed.
pub fn endpoint(url: &str) -> Result<String, String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let valid = rest.is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or_default();
        !authority.is_empty() && url.bytes().all(|b| b.is_ascii_graphic())
    });
    if !valid {
        return Err("is no URL, allowed: http:// or https:// with host and port, for example http://localhost:4317".to_owned());
    }
    Ok(url.to_owned())
}

fn service_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err("is no name, allowed: 1 to 255 bytes without control characters".to_owned());
    }
    Ok(name.to_owned())
}

/// One `name: value` or `name=value` per line; empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// What is wrong with the file.
pub fn headers(path: &Path) -> Result<OtlpHeaders, String> {
    let bytes = read_file(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let mut headers = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.split_once([':', '=']);
        let named = pair.map(|(name, value)| (name.trim(), value.trim()));
        let Some((name, value)) = named.filter(|(name, _)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        }) else {
            return Err(format!(
                "holds no header in line {number}, allowed: name: value"
            ));
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    Ok(OtlpHeaders(headers))
}
