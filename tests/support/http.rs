//! One request to a server that a test started, and its answer.
//!
//! Must not follow, retry or decide: whoever asks knows what the answer should be.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// A body to send, and what it is.
pub(crate) struct Body<'a> {
    pub(crate) kind: &'a str,
    pub(crate) text: &'a str,
}

/// Status and body of the answer. HTTP 1.0: the answer ends with the connection.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Body<'_>>,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let Body { kind, text } = body.unwrap_or(Body {
        kind: "text/plain",
        text: "",
    });
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parts = answer.split_once("\r\n\r\n").zip(answer.split(' ').nth(1));
    let ((_, body), status) = parts.ok_or_else(|| io::Error::other("no answer"))?;
    let status = status.parse().map_err(io::Error::other)?;
    Ok((status, body.to_owned()))
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
