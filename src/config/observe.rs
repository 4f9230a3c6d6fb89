//! `observe:` - how `throughline observe` watches a cluster.
//!
//! Here so that the sidecar's sections stay the sidecar's. Must not hold a key that the observer does not act on.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    canary::CanaryConfig,
    effective::seconds_json,
    section::{Section, integer, seconds},
};

/// The `observe` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserveConfig {
    /// Between the beginnings of two looks at the cluster.
    pub cycle: Duration,
    /// By when a group shall have committed past an offset.
    pub delivery_deadline: Duration,
    /// How long a group may be without members before it is abandoned.
    pub abandoned_after: Duration,
    /// Bytes that one broker may hold; default: what its disk can.
    pub quota_bytes: Option<u64>,
    /// Records of our own; `None` = none are written.
    pub canary: Option<CanaryConfig>,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self {
            cycle: Duration::from_secs(10),
            delivery_deadline: Duration::from_secs(300),
            abandoned_after: Duration::from_secs(86_400),
            quota_bytes: None,
            canary: None,
        }
    }
}

impl ObserveConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            cycle: section.or("cycle_seconds", default.cycle, seconds(0.5..=300.0)),
            delivery_deadline: section.or(
                "delivery_deadline_seconds",
                default.delivery_deadline,
                seconds(1.0..=3_600.0),
            ),
            abandoned_after: section.or(
                "abandoned_after_seconds",
                default.abandoned_after,
                seconds(1.0..=2_592_000.0),
            ),
            quota_bytes: section.optional("quota_bytes", integer(1_048_576..=1 << 60)),
            canary: CanaryConfig::read(&section.section("canary")),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({
            "cycle_seconds": seconds_json(self.cycle),
            "delivery_deadline_seconds": seconds_json(self.delivery_deadline),
            "abandoned_after_seconds": seconds_json(self.abandoned_after),
            "quota_bytes": self.quota_bytes,
        });
        if let (Some(canary), Value::Object(map)) = (&self.canary, &mut json) {
            map.insert("canary".to_owned(), canary.to_json());
        }
        json
    }
}
