//! What of a record must not be shown: headers by name, fields of JSON values by pointer, and whatever matches a pattern.
//!
//! Here because the event log and OTLP logs leave the pod, and have to say the same of a record. Pure, over any bytes. Must not decide what is
//! shown, and must not show what it could not read: a value that is no JSON gives nothing.

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;

/// Stands for what was taken out.
pub const REDACTED: &str = "[redacted]";
/// Longest text that is looked at, bytes; of a longer one nothing is shown.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest text that is shown, bytes; of a longer one the beginning is.
pub const SHOWN_BYTES_MAX: usize = 1_024;
/// Behind a text of which only the beginning is shown.
const CUT: &str = "…";
/// How often all patterns are gone through: what one puts together another may match.
const ROUNDS: usize = 4;

/// The rules.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    headers: Vec<Regex>,
    pointers: Vec<String>,
    patterns: Vec<Regex>,
}

impl Redaction {
    /// Headers whose name matches one of `headers`, fields at `pointers` (RFC 6901), and texts that match one of `patterns`. What matches
    /// an empty text would match what is left of every text, and is left out: `config` refuses it.
    #[must_use]
    pub fn new(headers: Vec<Regex>, pointers: Vec<String>, patterns: Vec<Regex>) -> Self {
        let patterns = patterns.into_iter();
        Self {
            headers,
            pointers,
            patterns: patterns.filter(|p| !p.is_match("")).collect(),
        }
    }

    /// A text without what matches a pattern, and at most [`SHOWN_BYTES_MAX`] of it. No pattern matches what is given back.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.len() > TEXT_BYTES_MAX {
            return self.nothing();
        }
        let mut shown = Cow::Borrowed(text);
        // Before the cut: of what it cuts in two no pattern would know the rest.
        if self.matches(&shown) {
            shown = Cow::Owned(self.replaced(text));
        }
        if shown.len() > SHOWN_BYTES_MAX {
            shown = Cow::Owned(cut(&shown));
        }
        if self.matches(&shown) {
            return self.nothing();
        }
        shown
    }

    /// A text in bytes; what is not UTF-8 of it is shown as U+FFFD.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> String {
        if bytes.len() > TEXT_BYTES_MAX {
            return self.nothing().into_owned();
        }
        self.text(&String::from_utf8_lossy(bytes)).into_owned()
    }

    /// The value of a header of this name.
    #[must_use]
    pub fn header(&self, name: &str, value: &[u8]) -> String {
        if self.headers.iter().any(|header| header.is_match(name)) {
            return self.nothing().into_owned();
        }
        self.bytes(value)
    }

    /// The fields of a record's value at these pointers, those that are there; none where the value is no JSON, or too long.
    #[must_use]
    pub fn fields<'p>(&self, value: &[u8], pointers: &'p [String]) -> Vec<(&'p str, String)> {
        if pointers.is_empty() || value.len() > TEXT_BYTES_MAX {
            return Vec::new();
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(value) else {
            return Vec::new();
        };
        for pointer in &self.pointers {
            if let Some(field) = value.pointer_mut(pointer) {
                *field = REDACTED.into();
            }
        }
        let shown = pointers.iter().filter_map(|pointer| {
            let field = self.scalars(value.pointer(pointer)?);
            // Patterns may be written over the JSON text too: `"card":"[^"]*"`.
            Some((pointer.as_str(), self.text(&plain(&field)).into_owned()))
        });
        shown.collect()
    }

    /// With every text, number and name of a field redacted by itself: an escape would hide it from a pattern.
    fn scalars(&self, value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::String(text) => self.text(text).into(),
            Value::Bool(_) | Value::Number(_) => {
                let text = value.to_string();
                if self.matches(&text) {
                    self.nothing().into()
                } else {
                    value.clone()
                }
            }
            Value::Array(items) => items.iter().map(|item| self.scalars(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter();
                let each = fields.map(|(name, field)| {
                    let name = self.text(name).into_owned();
                    (name, self.scalars(field))
                });
                Value::Object(each.collect())
            }
        }
    }

    fn matches(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(text))
    }

    fn replaced(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for _ in 0..ROUNDS {
            for pattern in &self.patterns {
                if pattern.is_match(&text) {
                    let replaced = pattern.replace_all(&text, regex::NoExpand(REDACTED));
                    text = replaced.into_owned();
                }
            }
            if text.len() > TEXT_BYTES_MAX || !self.matches(&text) {
                break;
            }
        }
        text
    }

    /// What stands for a text of which nothing may be shown; empty where a pattern matches even that.
    fn nothing(&self) -> Cow<'static, str> {
        if self.matches(REDACTED) {
            Cow::Borrowed("")
        } else {
            Cow::Borrowed(REDACTED)
        }
    }
}

/// The beginning of a text, with a mark that there was more.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX.saturating_sub(CUT.len()));
    let begin = text.get(..end).unwrap_or_default();
    format!("{begin}{CUT}")
}

/// A text as it is, all else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
