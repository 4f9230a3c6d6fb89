//! `context:` - what is done with records, per topic.
//!
//! Here so that the modes have one set of names. Must not accept `inject` before injection exists: an accepted and ignored
//! mode would be a promise broken in silence.

use serde_json::{Value, json};

use super::{
    pattern::Pattern,
    section::{Section, text},
    yaml::Scalar,
};

/// What is done with the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Records are looked at and never changed.
    Observe,
    /// Records are neither looked at nor changed.
    Off,
}

impl Mode {
    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }

    fn parse(scalar: &Scalar) -> Result<Self, String> {
        match scalar.text.as_str() {
            "observe" => Ok(Self::Observe),
            "off" => Ok(Self::Off),
            "inject" => Err(
                "is refused, injection is not in this version, allowed: observe, off".to_owned(),
            ),
            _ => Err("is not known, allowed: observe, off".to_owned()),
        }
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
    /// Rules, in the order written.
    pub topics: Vec<TopicMode>,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
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
            topics: rules.iter().filter_map(topic_mode).collect(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let topics = self.topics.iter();
        let topics: Vec<Value> = topics
            .map(|rule| json!({"match": rule.pattern.as_str(), "mode": rule.mode.as_str()}))
            .collect();
        json!({"mode": self.mode.as_str(), "topics": topics})
    }
}

fn topic_mode(rule: &Section<'_>) -> Option<TopicMode> {
    let pattern = rule.required("match", "a regular expression", text(str::parse));
    let mode = rule.required("mode", "observe, off", Mode::parse);
    Some(TopicMode {
        pattern: pattern?,
        mode: mode?,
    })
}
