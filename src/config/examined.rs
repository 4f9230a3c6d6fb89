//! `duplicates:`, `dead_letter:` and `schema:` - what is looked for in records, one by one.
//!
//! Must not look at a record.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    effective::seconds_json,
    lineage::{BusinessId, ids, ids_json},
    otlp::{OtlpHeaders, headers},
    pattern::Pattern,
    section::{Section, choice, count, integer, seconds, text},
};

/// The `duplicates` section.
#[derive(Debug, Clone, PartialEq)]
pub struct DuplicatesConfig {
    /// For how long an event is remembered.
    pub window: Duration,
    /// Memory for it, in bytes.
    pub memory_bytes: NonZeroUsize,
    /// Where an event's id stands, in the order they are looked for.
    pub ids: Vec<BusinessId>,
}

impl Default for DuplicatesConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3600),
            memory_bytes: NonZeroUsize::MIN.saturating_add((8 << 20) - 1),
            ids: Vec::new(),
        }
    }
}

impl DuplicatesConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            window: section.or("window_seconds", default.window, seconds(1.0..=604_800.0)),
            memory_bytes: section.or(
                "memory_bytes",
                default.memory_bytes,
                count(65_536..=4_294_967_296),
            ),
            ids: section.rules("ids").iter().flat_map(ids).collect(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "window_seconds": seconds_json(self.window),
            "memory_bytes": self.memory_bytes,
            "ids": ids_json(&self.ids),
        })
    }
}

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Would not have happened at another time.
    Transient,
    /// Happens whenever it is tried.
    Persistent,
    /// Neither.
    Unknown,
}

impl FailureKind {
    const WORDS: &[(&str, Self)] = &[
        ("transient", Self::Transient),
        ("persistent", Self::Persistent),
        ("unknown", Self::Unknown),
    ];

    fn as_str(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(_, kind)| *kind == self);
        word.map_or("", |(word, _)| word)
    }
}

/// The `dead_letter` section.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterConfig {
    /// Dead-letter topics, besides those that are named as such.
    pub topics: Option<Pattern>,
    /// Exception classes by kind, before the built-in table; the first match counts.
    pub categories: Vec<(Pattern, FailureKind)>,
    /// Deliveries of one offset without a commit from which on its record is poison.
    pub poison_deliveries: u32,
}

impl Default for DeadLetterConfig {
    fn default() -> Self {
        Self {
            topics: None,
            categories: Vec::new(),
            poison_deliveries: 5,
        }
    }
}

impl DeadLetterConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let rule = |rule: &Section<'_>| {
            let pattern = rule.required("match", "a regular expression", text(str::parse));
            let words = choice(FailureKind::WORDS);
            let kind = rule.required("category", "transient, persistent, unknown", words);
            pattern.zip(kind)
        };
        Self {
            topics: section.optional("topics", text(str::parse)),
            categories: section
                .rules("categories")
                .iter()
                .filter_map(rule)
                .collect(),
            poison_deliveries: section.or(
                "poison_deliveries",
                default.poison_deliveries,
                integer(2..=1_000_000),
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let rules = self.categories.iter();
        let rules = rules
            .map(|(pattern, kind)| json!({"match": pattern.as_str(), "category": kind.as_str()}));
        json!({
            "topics": self.topics.as_ref().map(Pattern::as_str),
            "categories": rules.collect::<Vec<_>>(),
            "poison_deliveries": self.poison_deliveries,
        })
    }
}

/// Whether values are looked at for what they say of their schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaFormat {
    /// Every framing that is known.
    Auto,
    /// None.
    Off,
}

impl SchemaFormat {
    const WORDS: &[(&str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}

/// The `schema` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaConfig {
    /// A registry with Confluent's API; `None` = framing is counted and nothing is checked.
    pub registry_url: Option<String>,
    /// Where `headers` came from.
    pub headers_file: Option<PathBuf>,
    /// Sent with every question.
    pub headers: OtlpHeaders,
    /// What is looked for.
    pub format: SchemaFormat,
    /// Values decoded per second.
    pub decode_records_per_second: NonZeroU32,
}

impl Default for SchemaConfig {
    fn default() -> Self {
        Self {
            registry_url: None,
            headers_file: None,
            headers: OtlpHeaders::default(),
            format: SchemaFormat::Auto,
            decode_records_per_second: NonZeroU32::MIN.saturating_add(1_999),
        }
    }
}

impl SchemaConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let read = |path: &str| headers(Path::new(path)).map(|headers| (path.into(), headers));
        let (headers_file, headers) = section.optional("headers_file", text(read)).unzip();
        Self {
            registry_url: registry_url(section),
            headers_file,
            headers: headers.unwrap_or_default(),
            format: section.or("format", default.format, choice(SchemaFormat::WORDS)),
            decode_records_per_second: section
                .optional("decode_records_per_second", integer(1..=1_000_000))
                .and_then(NonZeroU32::new)
                .unwrap_or(default.decode_records_per_second),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let format = SchemaFormat::WORDS.iter().find(|(_, f)| *f == self.format);
        json!({
            "registry_url": self.registry_url,
            "headers_file": self.headers_file,
            "format": format.map(|(word, _)| *word),
            "decode_records_per_second": self.decode_records_per_second,
        })
    }
}

/// It is shown by `/config` and in messages.
fn registry_url(section: &Section<'_>) -> Option<String> {
    let key = "registry_url";
    let url = section.optional(key, text(|url: &str| Ok::<_, String>(url.to_owned())))?;
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    if rest
        .split('/')
        .next()
        .is_some_and(|host| host.contains('@'))
    {
        let message = "holds credentials, allowed: a URL without, and schema.headers_file with an authorization header";
        section.fault(key, message);
        return None;
    }
    let url = super::otlp::endpoint(&url);
    if url.is_err() {
        let message = "is no URL, allowed: http:// or https:// with host, port and path, for example http://localhost:8081";
        section.fault(key, message);
    }
    url.ok()
}
