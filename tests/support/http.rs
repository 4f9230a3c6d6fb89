//! One request to a server that a test started, and its answer.
//!
//! Must not follow, retry or decide: whoever asks knows what the answer should be.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::Value;
use ureq::{Agent, http::Request};

const LIMIT: Duration = Duration::from_secs(120);

/// A body to send, and what it is.
pub(crate) struct Body<'a> {
    pub(crate) kind: &'a str,
    pub(crate) text: &'a str,
}

/// Status and body of the answer, whatever the status. The connection is open until the answer is read: a server that closes behind its
/// answer may lose it.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Body<'_>>,
) -> io::Result<(u16, String)> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(LIMIT))
        .build()
        .into();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    let answer = match body {
        Some(Body { kind, text }) => {
            let request = request.header("Content-Type", kind).body(text);
            agent.run(request.map_err(io::Error::other)?)
        }
        None => agent.run(request.body(()).map_err(io::Error::other)?),
    };
    let mut answer = answer.map_err(ureq::Error::into_io)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(u64::MAX);
    let body = body.read_to_string().map_err(ureq::Error::into_io)?;
    Ok((status, body))
}

/// As [`call`], with JSON both ways; an answer that is none is null.
pub(crate) fn json(
    address: SocketAddr,
    method: &str,
    path: &str,
    (kind, body): (&str, Option<&Value>),
) -> io::Result<(u16, Value)> {
    let text = body.map(Value::to_string);
    let body = text.as_deref().map(|text| Body { kind, text });
    let (status, answer) = call(address, method, path, body)?;
    Ok((status, serde_json::from_str(&answer).unwrap_or_default()))
}

/// A port of this host.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
