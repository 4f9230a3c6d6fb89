//! `observe.canary:` - records of our own that show whether the cluster takes and gives them.
//!
//! Here because it is the one thing the observer writes, and only where somebody asks for it. Must not look at a cluster.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    effective::seconds_json,
    section::{Section, seconds, text},
};

/// Longest topic name, in bytes: Kafka's own limit.
const TOPIC_BYTES_MAX: usize = 249;
/// Longest group name, in bytes.
const GROUP_BYTES_MAX: usize = 255;

/// The `observe.canary` section; its presence switches the canary on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryConfig {
    /// Topic that is written to and read; it must be there.
    pub topic: String,
    /// Group that commits how far it was read; it never has members.
    pub group: String,
    /// Between two records to one partition.
    pub interval: Duration,
    /// A record that takes longer to come back is late.
    pub late: Duration,
    /// How long an acknowledged record may be missing, and how long one is tried to be written.
    pub lost: Duration,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self {
            topic: "throughline-canary".to_owned(),
            group: "throughline-canary".to_owned(),
            interval: Duration::from_secs(1),
            late: Duration::from_secs(2),
            lost: Duration::from_secs(60),
        }
    }
}

impl CanaryConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        if !section.present() {
            return None;
        }
        let default = Self::default();
        let canary = Self {
            topic: section.or("topic", default.topic, text(topic_name)),
            group: section.or("group", default.group, text(group_name)),
            interval: section.or("interval_seconds", default.interval, seconds(0.1..=300.0)),
            late: section.or("late_seconds", default.late, seconds(0.05..=600.0)),
            lost: section.or("lost_seconds", default.lost, seconds(1.0..=3_600.0)),
        };
        if canary.lost <= canary.late {
            section.fault(
                "lost_seconds",
                "is not more than late_seconds, allowed: more, so that late and lost can be told apart",
            );
        }
        Some(canary)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "topic": self.topic,
            "group": self.group,
            "interval_seconds": seconds_json(self.interval),
            "late_seconds": seconds_json(self.late),
            "lost_seconds": seconds_json(self.lost),
        })
    }
}

/// A name that Kafka takes for a topic.
pub(super) fn topic_name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = !text.is_empty()
        && text.len() <= TOPIC_BYTES_MAX
        && text.chars().all(legal)
        && !matches!(text, "." | "..");
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "is not a topic name, allowed: 1 to {TOPIC_BYTES_MAX} of a-z, A-Z, 0-9, dot, underscore and hyphen"
        ))
    }
}

fn group_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > GROUP_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "is not a group name, allowed: 1 to {GROUP_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}
