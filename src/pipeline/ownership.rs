//! Whose the topics are that were seen, and which topics must not be silent: as configured, for rules to join.
//!
//! Must not be called on the hot path.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    event::{Name, UNRESOLVED},
    metrics::{Id, Recorder},
};

/// One entry of `owners:`.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Topics that are theirs.
    pub pattern: Regex,
    /// Who is told.
    pub team: Name,
    /// How much it matters; empty where nobody said.
    pub tier: Name,
    /// For whom; empty where nobody said.
    pub tenant: Name,
}

/// What is declared of topics.
#[derive(Debug, Clone, Default)]
pub struct Ownership {
    /// First match wins.
    pub owners: Vec<Owner>,
    /// Topics, and how many seconds each may be silent.
    pub expected: Vec<(Name, f64)>,
}

/// Sets the gauges of it.
#[derive(Debug)]
pub(super) struct Owned {
    declared: Ownership,
    /// The topics at the last time.
    topics: BTreeSet<Name>,
    /// Their entries in `declared.owners`.
    rows: Vec<(Name, usize)>,
}

impl Owned {
    pub(super) fn new(declared: Ownership) -> Self {
        Self {
            declared,
            topics: BTreeSet::new(),
            rows: Vec::new(),
        }
    }

    /// Takes the topics there are now, by label value.
    pub(super) fn show(&mut self, topics: impl Iterator<Item = Name>, recorder: &mut Recorder) {
        let expected = self.declared.expected.iter();
        let expected = expected.map(|(topic, seconds)| ([&**topic], *seconds));
        recorder.replace(Id::TopicExpectedTraffic, expected);
        if self.declared.owners.is_empty() {
            return;
        }
        let topics: BTreeSet<Name> = topics.collect();
        if topics != self.topics {
            let rows = topics.iter().filter(|topic| topic.as_ref() != UNRESOLVED);
            let rows = rows.filter_map(|topic| {
                let mut owners = self.declared.owners.iter();
                let owner = owners.position(|owner| owner.pattern.is_match(topic))?;
                Some((Name::clone(topic), owner))
            });
            self.rows = rows.collect();
            self.topics = topics;
        }
        let rows = self.rows.iter().filter_map(|(topic, owner)| {
            let owner = self.declared.owners.get(*owner)?;
            Some(([&**topic, &*owner.team, &*owner.tier, &*owner.tenant], 1.0))
        });
        recorder.replace(Id::TopicOwner, rows);
    }
}
