//! `event_log:` and `redaction:` - which records are told of one by one, and what of them is never shown.
//!
//! Must not open a file, nor look at a record.

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::{
    audit::{AuditTarget, target, target_json},
    lineage::{header, pointer},
    pattern::Pattern,
    section::{Section, boolean, integer, text},
};

/// Which records are worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recorded {
    /// Takes longer than the latency objective of its topic.
    Slow,
    /// A program gave up on it.
    DeadLetter,
    /// A program set it aside, to be tried again.
    Retry,
    /// Was there before.
    Duplicate,
    /// Its schema does not hold.
    Schema,
    /// Its publish failed.
    Error,
    /// Its trace is recorded.
    Sampled,
}

impl Recorded {
    const ALL: [(&str, Self); 7] = [
        ("slow", Self::Slow),
        ("dead_letter", Self::DeadLetter),
        ("retry", Self::Retry),
        ("duplicate", Self::Duplicate),
        ("schema", Self::Schema),
        ("error", Self::Error),
        ("sampled", Self::Sampled),
    ];

    fn parse(word: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == word);
        known.map(|(_, kind)| *kind).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name);
            format!("is unknown, allowed: {}", names.join(", "))
        })
    }
}

/// The `event_log` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLogConfig {
    /// Where lines go; `None` = no lines are written.
    pub file: Option<AuditTarget>,
    /// What there is a line for.
    pub records: Vec<Recorded>,
    /// Lines per second, topic and kind.
    pub lines_per_second_per_topic: NonZeroU32,
    /// Names of headers whose values are shown.
    pub headers: Vec<String>,
    /// Fields of JSON values that are shown.
    pub json_pointers: Vec<String>,
    /// Whether the messages of exceptions in the headers of dead letters are shown.
    pub exception_messages: bool,
}

impl Default for EventLogConfig {
    fn default() -> Self {
        let all = Recorded::ALL.iter().map(|(_, kind)| *kind);
        Self {
            file: None,
            records: all.filter(|kind| *kind != Recorded::Sampled).collect(),
            lines_per_second_per_topic: NonZeroU32::MIN.saturating_add(9),
            headers: Vec::new(),
            json_pointers: Vec::new(),
            exception_messages: false,
        }
    }
}

impl EventLogConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let rate = "lines_per_second_per_topic";
        let mut records = section.many("records", Recorded::parse);
        if records.is_empty() {
            records = default.records;
        }
        records.sort_unstable();
        records.dedup();
        Self {
            file: section.optional("file", text(target)),
            records,
            lines_per_second_per_topic: section
                .optional(rate, integer::<u32>(1..=100_000))
                .and_then(NonZeroU32::new)
                .unwrap_or(default.lines_per_second_per_topic),
            headers: section.each("headers", header).unwrap_or_default(),
            json_pointers: section.each("json_pointers", pointer).unwrap_or_default(),
            exception_messages: section.or(
                "exception_messages",
                default.exception_messages,
                boolean,
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let names = Recorded::ALL.iter();
        let names = names.filter(|(_, kind)| self.records.contains(kind));
        json!({
            "file": self.file.as_ref().map(target_json),
            "records": names.map(|(name, _)| *name).collect::<Vec<_>>(),
            "lines_per_second_per_topic": self.lines_per_second_per_topic,
            "headers": self.headers,
            "json_pointers": self.json_pointers,
            "exception_messages": self.exception_messages,
        })
    }
}

/// The `redaction` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactionConfig {
    /// Names of headers whose values are hidden.
    pub headers: Vec<Pattern>,
    /// Fields of JSON values that are hidden.
    pub json_pointers: Vec<String>,
    /// What is hidden of any text.
    pub patterns: Vec<Pattern>,
}

impl Default for RedactionConfig {
    fn default() -> Self {
        let usual = "(?i)authorization|cookie|token".parse();
        Self {
            headers: usual.into_iter().collect(),
            json_pointers: Vec::new(),
            patterns: Vec::new(),
        }
    }
}

impl RedactionConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            headers: section
                .each("headers", str::parse)
                .unwrap_or(default.headers),
            json_pointers: section.each("json_pointers", pointer).unwrap_or_default(),
            patterns: section.each("patterns", pattern).unwrap_or_default(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let texts = |patterns: &[Pattern]| -> Vec<String> {
            patterns.iter().map(ToString::to_string).collect()
        };
        json!({
            "headers": texts(&self.headers),
            "json_pointers": self.json_pointers,
            "patterns": texts(&self.patterns),
        })
    }
}

/// What matches nothing at all would match what is left of any text.
fn pattern(text: &str) -> Result<Pattern, String> {
    let pattern: Pattern = text.parse()?;
    if pattern.is_match("") {
        return Err("matches an empty text, allowed: what needs a character to match".to_owned());
    }
    Ok(pattern)
}
