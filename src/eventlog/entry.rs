//! One entry, and its form as a JSON object.
//!
//! Must not decide what is in it.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::Kind;
use crate::{event::SpanIds, trace::utc};

/// What is said under one name.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Bool(yes) => serializer.serialize_bool(*yes),
        }
    }
}

/// What happened to one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it was seen, ms since the Unix epoch.
    pub at_ms: i64,
    /// What it is an entry for.
    pub kind: Kind,
    /// A sentence for people; nothing from outside is in it.
    pub sentence: &'static str,
    /// Trace of the record and the span that created it, where they are known.
    pub ids: Option<SpanIds>,
    /// The rest, by the names of [`crate::span::semconv`].
    pub fields: Vec<(Cow<'static, str>, Field)>,
}

impl Entry {
    /// `WARN` for failures, else `INFO`.
    #[must_use]
    pub const fn severity(&self) -> &'static str {
        if self.kind.is_failure() {
            "WARN"
        } else {
            "INFO"
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &utc(self.at_ms))?;
        map.serialize_entry("severity", self.severity())?;
        map.serialize_entry("event", self.kind.as_str())?;
        map.serialize_entry("message", self.sentence)?;
        if let Some((trace_id, span_id)) = &self.ids {
            map.serialize_entry("trace_id", &hex(trace_id))?;
            map.serialize_entry("span_id", &hex(span_id))?;
        }
        for (name, field) in &self.fields {
            map.serialize_entry(name, field)?;
        }
        map.end()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
