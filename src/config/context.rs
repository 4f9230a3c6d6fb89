//! `context:` and `sampling:` - what is done with records, per topic, and how many traces are recorded.
//!
//! Here so that the modes have one set of names. Must not decide anything about a record.

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::{
    pattern::Pattern,
    section::{Section, boolean, choice, integer, text},
    yaml::Scalar,
};

/// What is done with the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Records that lack context and a correlation id are given them.
    Inject,
    /// Records are looked at and never changed.
    Observe,
    /// Records are neither looked at nor changed.
    Off,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inject, Self::Observe, Self::Off];

    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }

    fn parse(scalar: &Scalar) -> Result<Self, String> {
        choice(&Self::ALL.map(|mode| (mode.as_str(), mode)))(scalar)
    }
}

/// Which headers records are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Headers {
    /// `traceparent`, `tracestate` and the correlation id.
    Full,
    /// `traceparent` only.
    Traceparent,
    /// The correlation id only.
    Correlation,
}

impl Headers {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Traceparent, Self::Correlation];

    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Traceparent => "traceparent",
            Self::Correlation => "correlation",
        }
    }

    fn parse(scalar: &Scalar) -> Result<Self, String> {
        choice(&Self::ALL.map(|headers| (headers.as_str(), headers)))(scalar)
    }
}

/// The mode of the topics a pattern matches.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicMode {
    /// Which topics; the first rule that matches counts.
    pub pattern: Pattern,
    /// What is done with their records.
    pub mode: Mode,
}

/// The `context` section.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextConfig {
    /// For every topic no rule matches.
    pub mode: Mode,
    /// Which headers records are given.
    pub headers: Headers,
    /// Whether records that lack a correlation id are given one.
    pub correlation: bool,
    /// The header it is written to.
    pub correlation_header: String,
    /// More headers it is read from, beside the well-known ones.
    pub correlation_aliases: Vec<String>,
    /// Rules, in the order written.
    pub topics: Vec<TopicMode>,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Inject,
            headers: Headers::Full,
            correlation: true,
            correlation_header: "correlation-id".to_owned(),
            correlation_aliases: Vec::new(),
            topics: Vec::new(),
        }
    }
}

impl ContextConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let rules = section.rules("topics");
        Self {
            mode: section.or("mode", default.mode, Mode::parse),
            headers: section.or("headers", default.headers, Headers::parse),
            correlation: section.or("correlation", default.correlation, boolean),
            correlation_header: section.or(
                "correlation_header",
                default.correlation_header,
                text(header),
            ),
            correlation_aliases: section.many("correlation_aliases", header),
            topics: rules.iter().filter_map(topic_mode).collect(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let topics = self.topics.iter();
        let topics: Vec<Value> = topics
            .map(|rule| json!({"match": rule.pattern.as_str(), "mode": rule.mode.as_str()}))
            .collect();
        json!({
            "mode": self.mode.as_str(),
            "headers": self.headers.as_str(),
            "correlation": self.correlation,
            "correlation_header": self.correlation_header,
            "correlation_aliases": self.correlation_aliases,
            "topics": topics,
        })
    }
}

/// What has spans though its trace is not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Always {
    /// What takes longer than the latency objective of its topic.
    Slow,
    /// Dead letters.
    DeadLetter,
    /// Records that were there before.
    Duplicate,
    /// Publishes that fail.
    Error,
}

impl Always {
    const ALL: [(&str, Self); 4] = [
        ("slow", Self::Slow),
        ("dead_letter", Self::DeadLetter),
        ("duplicate", Self::Duplicate),
        ("error", Self::Error),
    ];
}

/// The `sampling` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplingConfig {
    /// Traces recorded per second and topic.
    pub traces_per_second_per_topic: NonZeroU32,
    /// What has spans besides.
    pub always: Vec<Always>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            traces_per_second_per_topic: NonZeroU32::MIN.saturating_add(9),
            always: Always::ALL.map(|(_, always)| always).to_vec(),
        }
    }
}

impl SamplingConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let key = "traces_per_second_per_topic";
        let rate = section.optional(key, integer::<u32>(1..=1_000_000));
        let always = section.many("always", |word| {
            let known = Always::ALL.iter().find(|(name, _)| *name == word);
            match (known, word) {
                (Some((_, always)), _) => Ok(Some(*always)),
                (None, "none") => Ok(None),
                _ => {
                    Err("is unknown, allowed: slow, dead_letter, duplicate, error, none".to_owned())
                }
            }
        });
        if always.contains(&None) && always.len() > 1 {
            section.fault(
                "always",
                "has `none` beside others, allowed: one or the other",
            );
        }
        let mut always = match always.is_empty() {
            true => default.always,
            false => always.into_iter().flatten().collect(),
        };
        always.sort_unstable();
        always.dedup();
        Self {
            traces_per_second_per_topic: rate
                .and_then(NonZeroU32::new)
                .unwrap_or(default.traces_per_second_per_topic),
            always,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let names = Always::ALL.iter();
        let mut always: Vec<&str> = names
            .filter(|(_, always)| self.always.contains(always))
            .map(|(name, _)| *name)
            .collect();
        if always.is_empty() {
            always.push("none");
        }
        json!({
            "traces_per_second_per_topic": self.traces_per_second_per_topic,
            "always": always,
        })
    }
}

/// A header name that may carry a correlation id.
fn header(name: &str) -> Result<String, String> {
    let taken = ["traceparent", "tracestate"].iter();
    let visible = name.bytes().all(|b| b.is_ascii_graphic());
    if !(1..=249).contains(&name.len()) || !visible {
        return Err("is no header name, allowed: 1 to 249 visible ASCII characters".to_owned());
    }
    if taken
        .into_iter()
        .any(|taken| taken.eq_ignore_ascii_case(name))
    {
        return Err("belongs to W3C Trace Context, allowed: another name".to_owned());
    }
    Ok(name.to_owned())
}

fn topic_mode(rule: &Section<'_>) -> Option<TopicMode> {
    let pattern = rule.required("match", "a regular expression", text(str::parse));
    let mode = rule.required("mode", "inject, observe, off", Mode::parse);
    Some(TopicMode {
        pattern: pattern?,
        mode: mode?,
    })
}
