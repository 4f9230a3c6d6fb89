//! Path and method to answer.
//!
//! Synchronous: every answer is made from what is at hand. Must not wait for anything.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};

use super::{Sources, access, api, page, server::Page};
use crate::{export, lineage::Sighting, pipeline::Snapshot};

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Every path with the methods it knows; `/api/v1/openapi.json` and 404 pages list them.
pub(super) const ROUTES: [(&str, &[&str]); 16] = [
    ("/", &["GET"]),
    ("/livez", &["GET"]),
    ("/readyz", &["GET"]),
    ("/metrics", &["GET"]),
    ("/config", &["GET"]),
    ("/api/v1/slis", &["GET"]),
    ("/api/v1/groups", &["GET"]),
    ("/api/v1/topics", &["GET"]),
    ("/api/v1/lineage", &["GET"]),
    ("/api/v1/traces", &["GET"]),
    ("/api/v1/clients", &["GET"]),
    ("/api/v1/connections", &["GET"]),
    ("/api/v1/openapi.json", &["GET"]),
    ("/log-level", &["PUT"]),
    ("/mode", &["POST"]),
    ("/drain", &["POST"]),
];

/// Answers one request.
pub(super) fn answer(sources: &Sources, peer: SocketAddr, head: &Parts, body: &[u8]) -> Page {
    let path = head.uri.path();
    let Some((_, methods)) = ROUTES.iter().find(|(known, _)| *known == path) else {
        return not_found(path);
    };
    // hyper leaves the body of an answer to HEAD away itself.
    let method = if head.method == Method::HEAD {
        "GET"
    } else {
        head.method.as_str()
    };
    if !methods.contains(&method) {
        return not_allowed(path, methods);
    }
    if method == "GET" {
        show(sources, path, head)
    } else {
        change(sources, peer, path, head, body)
    }
}

fn show(sources: &Sources, path: &str, head: &Parts) -> Page {
    let latest = || sources.snapshots.latest();
    match path {
        "/livez" => text(StatusCode::OK, "ok"),
        "/readyz" => readyz(sources, head.uri.query()),
        "/metrics" => metrics(sources, head),
        "/config" => text(StatusCode::OK, &(sources.config)()),
        "/api/v1/slis" => json(&latest().slis),
        "/api/v1/groups" => json(&latest().groups),
        "/api/v1/topics" => json(&latest().topics),
        "/api/v1/lineage" => json(&latest().lineage),
        "/api/v1/traces" => traces(&latest(), head.uri.query()),
        "/api/v1/clients" => json(&latest().clients),
        "/api/v1/connections" => json(&latest().connections),
        "/api/v1/openapi.json" => json(&api::openapi(&sources.version)),
        _ => with(StatusCode::OK, HTML, page::render(sources, &latest())),
    }
}

fn change(sources: &Sources, peer: SocketAddr, path: &str, head: &Parts, body: &[u8]) -> Page {
    if let Err(why) = access::may_change(peer.ip(), &head.headers, sources.token.as_ref()) {
        return text(StatusCode::FORBIDDEN, why);
    }
    let Ok(value) = std::str::from_utf8(body) else {
        return text(StatusCode::BAD_REQUEST, "the body is not UTF-8");
    };
    let value = value.trim();
    let done = match path {
        "/drain" => sources.control.drain(),
        "/mode" => sources.control.set_mode(value),
        _ => sources.control.set_log_level(value),
    };
    match done {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::BAD_REQUEST, &why),
    }
}

/// All sightings, or those of one trace or correlation id.
fn traces(snapshot: &Snapshot, query: Option<&str>) -> Page {
    let mut picked: Vec<&Sighting> = snapshot.traces.iter().map(AsRef::as_ref).collect();
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty())
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value);
        match key {
            "trace_id" => picked.retain(|seen| seen.trace_id == value),
            "correlation_id" => picked.retain(|seen| seen.correlation_id == value),
            _ => {
                let why = "allowed: trace_id=, correlation_id=";
                return text(StatusCode::BAD_REQUEST, why);
            }
        }
    }
    json(&picked)
}

/// A value of a query; what is no escape stays as it is.
fn percent_decoded(value: &str) -> String {
    let mut out = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.first_chunk::<2>().filter(|_| *first == b'%');
        let escaped = hex
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                out.push(if *first == b'+' { b' ' } else { *first });
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn readyz(sources: &Sources, query: Option<&str>) -> Page {
    let gates = sources.readiness.gates();
    let ready = gates.values().all(|gate| gate.open);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = query.is_some_and(|q| {
        q.split('&')
            .any(|p| p == "verbose" || p.starts_with("verbose="))
    });
    let mut lines = vec![if ready { "ready" } else { "not ready" }.to_owned()];
    for (name, gate) in &gates {
        if verbose || !gate.open {
            let mark = if gate.open { "+" } else { "-" };
            let blank = if gate.reason.is_empty() { "" } else { ": " };
            lines.push(format!("[{mark}] {name}{blank}{}", gate.reason));
        }
    }
    text(status, &lines.join("\n"))
}

fn metrics(sources: &Sources, head: &Parts) -> Page {
    let value = |name: HeaderName| head.headers.get(name).and_then(|v| v.to_str().ok());
    let page = export::page(
        &sources.metrics,
        value(header::ACCEPT),
        value(header::ACCEPT_ENCODING),
    );
    let mut answer = with(StatusCode::OK, page.content_type, page.body);
    let headers = answer.headers_mut();
    headers.insert(
        header::VARY,
        HeaderValue::from_static("accept, accept-encoding"),
    );
    if let Some(encoding) = page.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    answer
}

fn not_found(path: &str) -> Page {
    let known: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    // The path comes from outside; it is shown as plain text only, and shortened.
    let path: String = path.chars().take(100).collect();
    let body = format!("no page {path}; there are: {}", known.join(" "));
    text(StatusCode::NOT_FOUND, &body)
}

fn not_allowed(path: &str, methods: &[&str]) -> Page {
    let allowed = methods.join(", ");
    let body = format!("{path} takes {allowed}");
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &body);
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        answer.headers_mut().insert(header::ALLOW, value);
    }
    answer
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Page {
    match serde_json::to_vec(value) {
        Ok(body) => with(StatusCode::OK, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// A plain-text answer, one line feed added.
pub(super) fn text(status: StatusCode, body: &str) -> Page {
    with(status, PLAIN, format!("{body}\n"))
}

fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Page {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}
