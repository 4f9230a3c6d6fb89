//! `owners:` and `expected_traffic:` - whose a topic is, and on which topics silence is a fault.
//!
//! Both become gauges that rules join (signals.md section 2); nothing else of the product looks at them. Must not name a receiver:
//! who is told stands in Alertmanager's configuration.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    effective::seconds_json,
    pattern::Pattern,
    section::{Section, seconds, text},
};

/// Longest label value, in bytes.
const LABEL_BYTES_MAX: usize = 128;
/// Longest name of a topic (Kafka's own limit), in bytes.
const TOPIC_BYTES_MAX: usize = 249;
/// How long a topic may be silent where the entry does not say.
const WITHIN: Duration = Duration::from_secs(900);

/// Whose some topics are; the first entry that matches counts.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerConfig {
    /// Which topics.
    pub pattern: Pattern,
    /// Who is told.
    pub team: String,
    /// How much it matters, in the team's own words; empty where not given.
    pub tier: String,
    /// For whom the topic is; empty where not given.
    pub tenant: String,
}

impl OwnerConfig {
    pub(super) fn read_all(root: &Section<'_>) -> Vec<Self> {
        root.rules("owners").iter().filter_map(Self::read).collect()
    }

    fn read(rule: &Section<'_>) -> Option<Self> {
        let pattern = rule.required("match", "a regular expression", text(str::parse));
        let team = rule.required("team", "a name", text(label));
        let tier = rule.optional("tier", text(label));
        let tenant = rule.optional("tenant", text(label));
        Some(Self {
            pattern: pattern?,
            team: team?,
            tier: tier.unwrap_or_default(),
            tenant: tenant.unwrap_or_default(),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "match": self.pattern.as_str(),
            "team": self.team,
            "tier": self.tier,
            "tenant": self.tenant,
        })
    }
}

/// A topic that is never silent for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTraffic {
    /// Its name, whole: a pattern could not tell a topic that is missing.
    pub topic: String,
    /// How long it may be silent.
    pub within: Duration,
}

impl ExpectedTraffic {
    pub(super) fn read_all(root: &Section<'_>) -> Vec<Self> {
        root.rules("expected_traffic")
            .iter()
            .filter_map(Self::read)
            .collect()
    }

    fn read(rule: &Section<'_>) -> Option<Self> {
        let topic = rule.required("topic", "the name of a topic", text(topic));
        let within = rule.optional("within_seconds", seconds(60.0..=604_800.0));
        Some(Self {
            topic: topic?,
            within: within.unwrap_or(WITHIN),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"topic": self.topic, "within_seconds": seconds_json(self.within)})
    }
}

fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "is not a name, allowed: 1 to {LABEL_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}

fn topic(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > TOPIC_BYTES_MAX || !text.chars().all(fits) {
        return Err(format!(
            "is not the name of a topic, allowed: 1 to {TOPIC_BYTES_MAX} of a-z A-Z 0-9 . _ -"
        ));
    }
    Ok(text.to_owned())
}
