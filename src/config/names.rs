//! `names:` - rules that fold generated names of groups and clients into one label value.
//!
//! Here because they bound the number of series. Must not touch what goes over the wire, only labels.

use serde_json::{Value, json};

use super::{
    pattern::Pattern,
    section::{Section, text},
};

/// Longest label value, in bytes.
const LABEL_BYTES_MAX: usize = 249;

/// One rule; the first that matches counts.
#[derive(Debug, Clone, PartialEq)]
pub struct NameRule {
    /// Which names.
    pub pattern: Pattern,
    /// What they are called instead; `$1` stands for the first group of the pattern.
    pub replacement: String,
}

impl NameRule {
    pub(super) fn read_all(root: &Section<'_>) -> Vec<Self> {
        root.rules("names").iter().filter_map(Self::read).collect()
    }

    fn read(rule: &Section<'_>) -> Option<Self> {
        let pattern = rule.required("match", "a regular expression", text(str::parse));
        let replacement = rule.required("as", "a name", text(name));
        Some(Self {
            pattern: pattern?,
            replacement: replacement?,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"match": self.pattern.as_str(), "as": self.replacement})
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "is not a name, allowed: 1 to {LABEL_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}
