//! What leaves: gathered families as a scraper asked for them, spans and metrics over OTLP, and the audit trail as lines.
//!
//! A page's format and compression follow its request headers; it is pure over what `metrics` gathers. Must not gather twice for one answer, nor add a family of its own.

mod http;
pub mod lines;
mod negotiate;
pub mod otlp;
mod text;

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use crate::metrics::{Exemplars, Metrics};

pub use negotiate::{Format, accepts_gzip};
pub use text::encode;

/// One page for a scraper.
#[derive(Debug)]
pub struct Page {
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Value of `Content-Encoding`, where the body is compressed.
    pub encoding: Option<&'static str>,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Renders everything in the registry for a request with these `Accept` and `Accept-Encoding` headers.
#[must_use]
pub fn page(metrics: &Metrics, accept: Option<&str>, accept_encoding: Option<&str>) -> Page {
    let format = Format::negotiate(accept);
    let families = metrics.gather();
    let exemplars = match format {
        Format::OpenMetrics => metrics.exemplars(),
        Format::Prometheus => Exemplars::default(),
    };
    let text = encode(&families, &metrics.cluster(), format, &exemplars);
    let content_type = format.content_type();
    if accepts_gzip(accept_encoding)
        && let Some(body) = gzip(text.as_bytes())
    {
        return Page {
            content_type,
            encoding: Some("gzip"),
            body,
        };
    }
    Page {
        content_type,
        encoding: None,
        body: text.into_bytes(),
    }
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}
