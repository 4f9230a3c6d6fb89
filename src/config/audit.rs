//! `audit:` - the trail of who used what.
//!
//! Here because it is a file or a topic that a user names. Must not open either.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    canary::topic_name,
    effective::seconds_json,
    section::{Section, seconds, text},
};

/// Stands for standard output where a file is named.
const STDOUT: &str = "-";

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// Standard output, written `-`.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// The `audit` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Where lines go; `None` = no trail is kept.
    pub file: Option<AuditTarget>,
    /// Topic that each entry is written to as a record; `None` = none.
    pub topic: Option<String>,
    /// How often what goes on is told again.
    pub interval: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            file: None,
            topic: None,
            interval: Duration::from_secs(3_600),
        }
    }
}

impl AuditConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            file: section.optional("file", text(target)),
            topic: section.optional("topic", text(topic_name)),
            interval: section.or(
                "interval_seconds",
                default.interval,
                seconds(1.0..=86_400.0),
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let file = self.file.as_ref().map(target_json);
        json!({"file": file, "topic": self.topic, "interval_seconds": seconds_json(self.interval)})
    }
}

/// As written.
pub(super) fn target_json(target: &AuditTarget) -> Value {
    match target {
        AuditTarget::Stdout => STDOUT.into(),
        AuditTarget::File(path) => path.to_string_lossy().into(),
    }
}

pub(super) fn target(text: &str) -> Result<AuditTarget, String> {
    match text {
        "" => Err("is empty, allowed: a path, or - for standard output".to_owned()),
        STDOUT => Ok(AuditTarget::Stdout),
        path => Ok(AuditTarget::File(path.into())),
    }
}
