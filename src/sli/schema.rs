//! The schema SLI: of the records produced to a checked topic and examined, how many have a schema that is known, belongs to the
//! topic, and decodes?
//!
//! A topic is checked once the registry knows a schema of its values; without framing where its other values have it, a value is a
//! failure too. Must not know how a value says what it says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    measure::{Measure, Reason, Series, Sli},
    verdicts::Out,
};
use crate::event::{Name, SchemaCount, SchemaSeen, SchemaVerdict, SchemaVersion};

/// Most topics whose schemas are followed.
const MAX_TOPICS: usize = 5_000;
/// Most versions of one topic.
const MAX_VERSIONS: usize = 64;
/// Values with framing before a topic is one whose values have it.
const ENOUGH: u64 = 20;
/// Of so many values one may be without.
const ONE_IN: u64 = 10;
/// Both counts are halved here, so that what a topic was long ago does not count for ever.
const HALVED_AT: u64 = 100_000;
/// How long a version is in use after it was seen.
const IN_USE: Duration = Duration::from_secs(3600);

/// Why a value failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaFailure {
    /// The registry has no such schema.
    UnknownId,
    /// The schema belongs to something else.
    WrongSubject,
    /// The value does not decode.
    Undecodable,
    /// It says nothing of its schema, and the topic's other values do.
    MissingFraming,
}

impl SchemaFailure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::UnknownId,
        Self::WrongSubject,
        Self::Undecodable,
        Self::MissingFraming,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownId => "unknown_id",
            Self::WrongSubject => "wrong_subject",
            Self::Undecodable => "undecodable",
            Self::MissingFraming => "missing_framing",
        }
    }
}

/// Versions in use in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSchemas {
    /// Topic.
    pub topic: Name,
    /// Seen within an hour.
    pub versions: Vec<SchemaVersion>,
}

#[derive(Debug, Default)]
struct Topic {
    framed: u64,
    bare: u64,
    /// The registry has a schema for it.
    checked: bool,
    versions: BTreeMap<SchemaVersion, Instant>,
}

impl Topic {
    fn saw(&mut self, framed: bool, records: u64) {
        let count = if framed {
            &mut self.framed
        } else {
            &mut self.bare
        };
        *count = count.saturating_add(records);
        if self.framed.saturating_add(self.bare) > HALVED_AT {
            self.framed /= 2;
            self.bare /= 2;
        }
    }

    /// Nearly all values say which schema wrote them.
    fn has_framing(&self) -> bool {
        let all = self.framed.saturating_add(self.bare);
        self.framed >= ENOUGH && self.bare.saturating_mul(ONE_IN) <= all
    }
}

/// All topics with framing.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    topics: HashMap<Name, Topic>,
}

impl Schemas {
    pub(super) fn take(&mut self, topic: &Name, counts: &[SchemaCount], out: &mut Out<'_>) {
        for count in counts {
            let records = count.records;
            let Some(known) = self.topic(topic, &count.seen) else {
                continue;
            };
            match &count.seen {
                SchemaSeen::Bare => {
                    let failed = known.has_framing();
                    known.saw(false, records);
                    if failed {
                        let checked = known.checked;
                        fail(topic, SchemaFailure::MissingFraming, records, checked, out);
                    }
                }
                SchemaSeen::Key(version) => known.uses(Some(version), out.now.mono),
                SchemaSeen::Framed {
                    framing,
                    verdict,
                    version,
                } => {
                    known.saw(true, records);
                    known.framed(topic, *verdict, records, out);
                    known.uses(version.as_ref(), out.now.mono);
                    out.measure(Measure::Framed {
                        topic,
                        framing,
                        records,
                    });
                }
            }
        }
    }

    fn topic(&mut self, topic: &Name, seen: &SchemaSeen) -> Option<&mut Topic> {
        if !self.topics.contains_key(topic) {
            // Values without framing are the ordinary case.
            if *seen == SchemaSeen::Bare || self.topics.len() >= MAX_TOPICS {
                return None;
            }
            self.topics.insert(Arc::clone(topic), Topic::default());
        }
        self.topics.get_mut(topic)
    }

    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    pub(super) fn in_use(&mut self, now: Instant) -> Vec<TopicSchemas> {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < IN_USE;
        let mut out = Vec::new();
        for (topic, known) in &mut self.topics {
            known.versions.retain(|_, at| fresh(at));
            if !known.versions.is_empty() {
                out.push(TopicSchemas {
                    topic: Arc::clone(topic),
                    versions: known.versions.keys().cloned().collect(),
                });
            }
        }
        out
    }
}

impl Topic {
    fn framed(&mut self, topic: &Name, verdict: SchemaVerdict, records: u64, out: &mut Out<'_>) {
        let failure = match verdict {
            SchemaVerdict::Good => None,
            SchemaVerdict::UnknownId => Some(SchemaFailure::UnknownId),
            SchemaVerdict::WrongSubject => Some(SchemaFailure::WrongSubject),
            SchemaVerdict::Undecodable => Some(SchemaFailure::Undecodable),
            SchemaVerdict::NoRegistry
            | SchemaVerdict::RegistryAway
            | SchemaVerdict::Unsupported
            | SchemaVerdict::NotDecoded => {
                let series = schema(topic, out);
                out.unknown(&series, reason(verdict), records);
                return;
            }
        };
        if !self.checked {
            self.checked = true;
            for failure in SchemaFailure::ALL {
                fail(topic, failure, 0, true, out);
            }
        }
        match failure {
            Some(failure) => fail(topic, failure, records, true, out),
            None => {
                let series = schema(topic, out);
                out.judge(&series, records, 0);
            }
        }
    }

    fn uses(&mut self, version: Option<&SchemaVersion>, now: Instant) {
        if let Some(version) = version {
            if let Some(at) = self.versions.get_mut(version) {
                *at = now;
            } else if self.versions.len() < MAX_VERSIONS {
                self.versions.insert(version.clone(), now);
            }
        }
    }
}

fn reason(verdict: SchemaVerdict) -> Reason {
    match verdict {
        SchemaVerdict::NoRegistry => Reason::NoRegistry,
        SchemaVerdict::RegistryAway => Reason::RegistryAway,
        SchemaVerdict::NotDecoded => Reason::NotDecoded,
        _ => Reason::Unsupported,
    }
}

/// Without a registry nothing is ever good, so that a failure is told but is no event of the SLI.
fn fail(topic: &Name, failure: SchemaFailure, records: u64, checked: bool, out: &mut Out<'_>) {
    let series = schema(topic, out);
    if checked {
        out.judge(&series, 0, records);
    } else {
        out.unknown(&series, Reason::NoRegistry, records);
    }
    out.measure(Measure::SchemaFailed {
        topic,
        failure,
        records,
    });
}

fn schema(topic: &Name, out: &mut Out<'_>) -> Series {
    Series::of(Sli::Schema, topic, &out.empty())
}
