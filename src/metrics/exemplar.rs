//! One record with a recorded trace per bucket of a histogram: the way from a figure to a trace.
//!
//! The latest of each bucket, by its own value. Must not know what a trace is.

use std::collections::BTreeMap;

use prometheus::proto;

/// One observation, and the span it can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// Trace, 16 bytes as W3C has them.
    pub trace_id: [u8; 16],
    /// Span that created the record.
    pub span_id: [u8; 8],
    /// What was observed, in the family's unit.
    pub value: f64,
    /// When, ms since the Unix epoch.
    pub at_ms: i64,
}

/// The exemplars of one series: one per bucket, the last for what is over every bound.
pub(super) type Slots = Box<[Option<Exemplar>]>;

/// The exemplars of every series that has some.
#[derive(Debug, Default)]
pub struct Exemplars(BTreeMap<String, Slots>);

impl Exemplars {
    pub(super) fn add(&mut self, family: &str, labels: &[proto::LabelPair], slots: Slots) {
        self.0.insert(key(family, labels), slots);
    }

    /// Those of one series, one per bucket, the last for what is over every bound; empty where it has none. `labels` are
    /// sorted by name, as they are gathered.
    #[must_use]
    pub fn of(&self, family: &str, labels: &[proto::LabelPair]) -> &[Option<Exemplar>] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(&key(family, labels)).map_or(&[], |slots| slots)
    }
}

fn key(family: &str, labels: &[proto::LabelPair]) -> String {
    let mut key = family.to_owned();
    for label in labels {
        for part in [label.name(), label.value()] {
            key.push('\u{0}');
            key.push_str(part);
        }
    }
    key
}
