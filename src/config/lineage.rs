//! `lineage:` - how the delivered record that another one comes from is found.
//!
//! Must not look at a record.

use std::{num::NonZeroUsize, time::Duration};

use serde_json::{Value, json};

use super::{
    effective::seconds_json,
    pattern::Pattern,
    section::{Section, count, decimal, integer, seconds, text},
    yaml::Scalar,
};

/// Where a business id stands.
#[derive(Debug, Clone, PartialEq)]
pub enum BusinessId {
    /// In a header of this name.
    Header(String),
    /// In a JSON value, by its pointer (RFC 6901).
    Json(String),
    /// In the value: the first group of the expression, or all it matches.
    Regex(Pattern),
}

/// The `lineage` section.
#[derive(Debug, Clone, PartialEq)]
pub struct LineageConfig {
    /// From this confidence on evidence makes a parent, 0 to 1.
    pub parent_confidence: f64,
    /// How long a delivered record may still be a parent.
    pub window: Duration,
    /// How long a delivered batch may be kept to be indexed; zero switches lineage off.
    pub hold: Duration,
    /// Delivered records remembered.
    pub records_max: NonZeroUsize,
    /// In the order written.
    pub business_ids: Vec<BusinessId>,
}

impl Default for LineageConfig {
    fn default() -> Self {
        Self {
            parent_confidence: 0.7,
            window: Duration::from_secs(300),
            hold: Duration::from_millis(10),
            records_max: NonZeroUsize::MIN.saturating_add(131_071),
            business_ids: Vec::new(),
        }
    }
}

impl LineageConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let hold = section.optional("hold_us_max", integer::<u64>(0..=1_000_000));
        let rules = section.rules("business_ids");
        Self {
            parent_confidence: section.or("parent_confidence", default.parent_confidence, share),
            window: section.or("window_seconds", default.window, seconds(1.0..=86_400.0)),
            hold: hold.map_or(default.hold, Duration::from_micros),
            records_max: section.or("records_max", default.records_max, count(1..=10_000_000)),
            business_ids: rules.iter().flat_map(ids).collect(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "parent_confidence": self.parent_confidence,
            "window_seconds": seconds_json(self.window),
            "hold_us_max": u64::try_from(self.hold.as_micros()).unwrap_or(u64::MAX),
            "records_max": self.records_max,
            "business_ids": ids_json(&self.business_ids),
        })
    }
}

/// As written.
pub(super) fn ids_json(ids: &[BusinessId]) -> Vec<Value> {
    let each = ids.iter().map(|id| match id {
        BusinessId::Header(name) => json!({"header": name}),
        BusinessId::Json(pointer) => json!({"json": pointer}),
        BusinessId::Regex(pattern) => json!({"regex": pattern.as_str()}),
    });
    each.collect()
}

/// What one entry names; it may name several.
pub(super) fn ids(rule: &Section<'_>) -> Vec<BusinessId> {
    if !["header", "json", "regex"]
        .iter()
        .any(|key| rule.given(key))
    {
        rule.fault("header", "is missing, allowed: one of header, json, regex");
    }
    let header = rule
        .optional("header", text(header))
        .map(BusinessId::Header);
    let json = rule.optional("json", text(pointer)).map(BusinessId::Json);
    let regex = rule
        .optional("regex", text(str::parse))
        .map(BusinessId::Regex);
    [header, json, regex].into_iter().flatten().collect()
}

pub(super) fn header(name: &str) -> Result<String, String> {
    if (1..=249).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(name.to_owned());
    }
    Err("is no header name, allowed: 1 to 249 visible ASCII characters".to_owned())
}

pub(super) fn pointer(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err("is no JSON pointer, allowed: a path that begins with /, for example /order/id".to_owned())
}

fn share(scalar: &Scalar) -> Result<f64, String> {
    let value = decimal(scalar).filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "is no share, allowed: 0 to 1".to_owned())
}
