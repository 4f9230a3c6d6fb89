//! The effective configuration as JSON, and what differs between two.
//!
//! Here because `/config` and a reload look at the whole. Must not show a secret: paths of files are shown, never contents.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::Config;

/// Keys a running sidecar takes over without a restart.
const LIVE: &[&str] = &[
    "context.mode",
    "context.topics",
    "log.level",
    "redaction.headers",
    "redaction.json_pointers",
    "redaction.patterns",
];

/// What a reload changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Dotted paths of changed keys that take effect at once.
    pub applied_live: Vec<String>,
    /// Dotted paths of changed keys that need a restart.
    pub needs_restart: Vec<String>,
}

impl Config {
    /// Every key with its value in force, as the file would have it; secrets are not in it.
    #[must_use]
    pub fn effective_json(&self) -> Value {
        let objectives: Vec<Value> = self.objectives.iter().map(|o| o.to_json()).collect();
        let owners: Vec<Value> = self.owners.iter().map(|o| o.to_json()).collect();
        let expected: Vec<Value> = self.expected_traffic.iter().map(|e| e.to_json()).collect();
        let names: Vec<Value> = self.names.iter().map(|n| n.to_json()).collect();
        json!({
            "kafka": self.kafka.to_json(),
            "context": self.context.to_json(),
            "sampling": self.sampling.to_json(),
            "lineage": self.lineage.to_json(),
            "duplicates": self.duplicates.to_json(),
            "dead_letter": self.dead_letter.to_json(),
            "schema": self.schema.to_json(),
            "otlp": self.otlp.to_json(),
            "objectives": objectives,
            "owners": owners,
            "expected_traffic": expected,
            "metrics": self.metrics.to_json(),
            "names": names,
            "limits": self.limits.to_json(),
            "proxy": self.proxy.to_json(),
            "observe": self.observe.to_json(),
            "admin": self.admin.to_json(),
            "audit": self.audit.to_json(),
            "event_log": self.event_log.to_json(),
            "redaction": self.redaction.to_json(),
            "log": self.log.to_json(),
            "drain_timeout_seconds": seconds_json(self.drain_timeout),
        })
    }
}

/// Compares the configuration in force with one just read. A file that changed behind an unchanged path (certificate,
/// token) counts as a change of its key.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Changes {
    let (before, after) = (leaves(old), leaves(new));
    let mut changed: Vec<String> = before
        .iter()
        .filter(|(key, value)| after.get(*key) != Some(value))
        .map(|(key, _)| key.clone())
        .chain(
            after
                .keys()
                .filter(|key| !before.contains_key(*key))
                .cloned(),
        )
        .collect();
    let mentioned =
        |prefix: &str, changed: &[String]| changed.iter().any(|key| key.starts_with(prefix));
    if old.kafka.tls != new.kafka.tls && !mentioned("kafka.tls", &changed) {
        changed.push("kafka.tls".to_owned());
    }
    if old.kafka.sasl != new.kafka.sasl && !mentioned("kafka.sasl", &changed) {
        changed.push("kafka.sasl".to_owned());
    }
    if old.admin.token != new.admin.token && !mentioned("admin.token_file", &changed) {
        changed.push("admin.token_file".to_owned());
    }
    changed.sort();
    let (applied_live, needs_restart) = changed
        .into_iter()
        .partition(|key| LIVE.contains(&key.as_str()));
    Changes {
        applied_live,
        needs_restart,
    }
}

fn leaves(config: &Config) -> BTreeMap<String, Value> {
    fn collect(prefix: &str, map: Map<String, Value>, into: &mut BTreeMap<String, Value>) {
        for (name, value) in map {
            let path = super::schema::join(prefix, &name);
            match value {
                Value::Object(map) => collect(&path, map, into),
                value => {
                    into.insert(path, value);
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    if let Value::Object(map) = config.effective_json() {
        collect("", map, &mut all);
    }
    all
}

/// A time span in seconds; a whole number where it is one.
pub(super) fn seconds_json(span: Duration) -> Value {
    if span.subsec_nanos() == 0 {
        json!(span.as_secs())
    } else {
        json!(span.as_secs_f64())
    }
}
