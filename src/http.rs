//! Asking an HTTP service for a document: base address, headers with secrets, TLS, a limit on the answer.
//!
//! Here because a schema registry and a Prometheus are asked in the same way. Must not know what an answer means, retry, or show a header.

use std::{fmt, sync::Arc};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Who is asking.
const AGENT: &str = concat!("throughline/", env!("CARGO_PKG_VERSION"));

/// Why a service cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The address is none.
    Url(String),
    /// A header of this name cannot be sent.
    Header(String),
    /// The system's certificates cannot be read.
    Certificates(String),
}

/// One service.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    base: Arc<str>,
    headers: HeaderMap,
    answer_bytes: usize,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a password.
        write!(f, "Http({})", self.base)
    }
}

impl Http {
    /// At `url`, with these headers on every request. Answers over `answer_bytes` are faults.
    ///
    /// # Errors
    /// Where no request could be made.
    pub fn new(
        url: &str,
        accept: &'static str,
        headers: &[(String, String)],
        answer_bytes: usize,
    ) -> Result<Self, HttpError> {
        let base = url.trim_end_matches('/');
        let uri = base
            .parse::<Uri>()
            .map_err(|fault| HttpError::Url(fault.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(HttpError::Url(
                "no http:// or https:// before it".to_owned(),
            ));
        }
        let mut all = HeaderMap::new();
        all.insert(ACCEPT, HeaderValue::from_static(accept));
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in headers {
            let wrong = || HttpError::Header(name.clone());
            let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            all.insert(key, value);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|fault| HttpError::Certificates(fault.to_string()))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            base: base.into(),
            headers: all,
            answer_bytes,
        })
    }

    /// The answer to a GET of `path`, query included, whatever its status.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let uri = format!("{}{path}", self.base);
        let request = Request::get(uri).body(Empty::new());
        let mut request = request.map_err(|fault| fault.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let response = self.client.request(request).await.map_err(|fault| {
            let mut cause: &dyn std::error::Error = &fault;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            cause.to_string()
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.answer_bytes);
        let body = body.collect().await.map_err(|fault| fault.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

/// A text as one part of a path, or as a value in a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
