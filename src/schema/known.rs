//! What a registry has told so far, and what it is to be asked.
//!
//! Bounded: what does not fit is forgotten and asked again. An answer that there is no such schema holds for a minute, because
//! it may be registered any moment. Must not wait for an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Compiled, Language, Part, SchemaId};

/// Most schemas and topics that are known at a time.
pub const MAX_KNOWN: usize = 4_096;
/// Most questions that wait.
const MAX_ASKED: usize = 256;
/// How long "there is none" holds.
const NONE_HOLDS: Duration = Duration::from_secs(60);
/// Behind a failed look a question is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// None of the subjects that a schema stands under is one for that part of the topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOfTopic;

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its name, in Confluent's default strategy the topic's with `-value` behind.
    pub name: Arc<str>,
    /// From 1 on.
    pub version: i32,
}

/// A schema that a registry has.
#[derive(Debug)]
pub struct Known {
    /// What it is written in.
    pub language: Option<Language>,
    /// Under which subjects it stands; empty where the registry does not say.
    pub subjects: Vec<Subject>,
    /// Ready to decode; why not, else.
    pub compiled: Result<Compiled, super::Unusable>,
}

impl Known {
    /// The subject under which this part of a topic's records may have this schema, in any of Confluent's strategies. `Err` where none of
    /// those it stands under fits; `Ok(None)` where the registry does not say.
    ///
    /// # Errors
    /// Where it belongs to something else.
    pub fn subject_of(&self, part: Part, topic: &str) -> Result<Option<&Subject>, NotOfTopic> {
        if self.subjects.is_empty() {
            return Ok(None);
        }
        let by_topic = |s: &&Subject| {
            let rest = s.name.strip_prefix(topic);
            rest == Some(part.suffix())
        };
        let name = self.compiled.as_ref().ok().and_then(Compiled::name);
        let by_record = |s: &&Subject| {
            let name = name.as_deref();
            let behind = s.name.strip_prefix(topic).and_then(|r| r.strip_prefix('-'));
            name.is_some_and(|name| &*s.name == name || behind == Some(name))
        };
        let all = || self.subjects.iter();
        let found = all().filter(by_topic).max_by_key(|s| s.version);
        let found = found.or_else(|| all().filter(by_record).max_by_key(|s| s.version));
        found.map(Some).ok_or(NotOfTopic)
    }
}

/// What a registry is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Which schema this is.
    Schema(SchemaId),
    /// Whether there is a schema for this part of a topic's records.
    Topic(Arc<str>, Part),
}

/// What it says.
#[derive(Debug)]
pub enum Answer {
    /// It has this schema.
    Schema(SchemaId, Box<Known>),
    /// It has none with this id.
    NoSchema(SchemaId),
    /// Whether it has a schema for this part of a topic's records.
    Topic(Arc<str>, Part, bool),
    /// It could not be asked.
    Failed(Question),
}

#[derive(Debug)]
enum State<T> {
    Asked(Instant),
    Has(T),
    None(Instant),
}

/// A schema, when that was told, and when it was last asked for again.
#[derive(Debug)]
struct Told {
    known: Arc<Known>,
    at: Instant,
    asked: Option<Instant>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Schemas {
    schemas: BTreeMap<SchemaId, State<Told>>,
    topics: BTreeMap<(Arc<str>, Part), State<()>>,
    /// Schemas that do not belong to a topic.
    strangers: BTreeMap<(SchemaId, Arc<str>, Part), State<()>>,
    open: BTreeSet<Question>,
}

impl Schemas {
    /// A schema: `Some(None)` where the registry has none; `None` where it is asked now.
    pub fn schema(&mut self, id: SchemaId, now: Instant) -> Option<Option<Arc<Known>>> {
        let known = match self.schemas.get(&id) {
            Some(State::Has(told)) => return Some(Some(Arc::clone(&told.known))),
            Some(State::None(at)) => (!over(*at, NONE_HOLDS, now)).then_some(None),
            Some(State::Asked(at)) if !over(*at, ASKED_AGAIN, now) => return None,
            Some(State::Asked(_)) | None => None,
        };
        if known.is_none() && self.ask(Question::Schema(id)) {
            make_room(&mut self.schemas);
            self.schemas.insert(id, State::Asked(now));
        }
        known
    }

    /// Whether the registry has a schema for this part of a topic's records; `None` where it is asked now.
    pub fn has_topic(&mut self, topic: &Arc<str>, part: Part, now: Instant) -> Option<bool> {
        let key = (Arc::clone(topic), part);
        let known = match self.topics.get(&key) {
            Some(State::Has(())) => return Some(true),
            Some(State::None(at)) => (!over(*at, NONE_HOLDS, now)).then_some(false),
            Some(State::Asked(at)) if !over(*at, ASKED_AGAIN, now) => return None,
            Some(State::Asked(_)) | None => None,
        };
        if known.is_none() && self.ask(Question::Topic(Arc::clone(topic), part)) {
            make_room(&mut self.topics);
            self.topics.insert(key, State::Asked(now));
        }
        known
    }

    /// Whether it is certain that a schema is not one for this part of a topic, by whose record of `since` it is named. What was told
    /// before says nothing: whoever wrote the record may have registered the schema for it just then. `false` = it is asked now.
    pub fn is_stranger(
        &mut self,
        id: SchemaId,
        (topic, part): (&Arc<str>, Part),
        since: Instant,
        now: Instant,
    ) -> bool {
        let key = (id, Arc::clone(topic), part);
        if let Some(State::None(at)) = self.strangers.get(&key)
            && !over(*at, NONE_HOLDS, now)
        {
            return true;
        }
        let Some(State::Has(told)) = self.schemas.get_mut(&id) else {
            return false;
        };
        if told.at > since {
            make_room(&mut self.strangers);
            self.strangers.insert(key, State::None(told.at));
            return true;
        }
        if told
            .asked
            .is_none_or(|at| over(at, ASKED_AGAIN, now) || at < since)
        {
            told.asked = Some(now);
            self.ask(Question::Schema(id));
        }
        false
    }

    fn ask(&mut self, question: Question) -> bool {
        self.open.len() < MAX_ASKED && self.open.insert(question)
    }

    /// What the registry is to be asked now; each is given out once.
    pub fn questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.open).into_iter().collect()
    }

    /// Takes an answer.
    pub fn learn(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Schema(id, known) => {
                let told = Told {
                    known: Arc::from(known),
                    at: now,
                    asked: None,
                };
                self.schemas.insert(id, State::Has(told));
            }
            Answer::NoSchema(id) => {
                self.schemas.insert(id, State::None(now));
            }
            Answer::Topic(topic, part, has) => {
                let state = if has {
                    State::Has(())
                } else {
                    State::None(now)
                };
                self.topics.insert((topic, part), state);
            }
            // Asked again after a while.
            Answer::Failed(_) => {}
        }
    }
}

fn over(since: Instant, limit: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= limit
}

/// Any one goes: it is asked again where it is needed.
fn make_room<K: Ord + Clone, T>(known: &mut BTreeMap<K, State<T>>) {
    if known.len() >= MAX_KNOWN {
        known.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: SchemaId) -> Answer {
        let known = Known {
            language: None,
            subjects: Vec::new(),
            compiled: Err(super::super::Unusable::Unreadable),
        };
        Answer::Schema(id, Box::new(known))
    }

    #[test]
    fn a_schema_belongs_to_another_topic_only_where_that_was_told_after_the_record_came() {
        let (id, topic) = (SchemaId::Number(7), Arc::from("orders"));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut all = Schemas::default();
        assert!(all.schema(id, at(0)).is_none());
        assert_eq!(all.questions(), [Question::Schema(id)]);
        all.learn(told(id), at(1));
        let of = (&topic, Part::Value);
        assert!(!all.is_stranger(id, of, at(5), at(5)));
        assert!(!all.is_stranger(id, of, at(5), at(6)));
        assert_eq!(all.questions(), [Question::Schema(id)], "asked once");
        assert!(all.schema(id, at(6)).is_some(), "others go on with it");
        all.learn(told(id), at(7));
        assert!(all.is_stranger(id, of, at(5), at(8)));
        // Certain for a while, then asked anew.
        assert!(all.is_stranger(id, of, at(30), at(30)));
        assert!(all.questions().is_empty());
        assert!(!all.is_stranger(id, of, at(90), at(90)));
        assert_eq!(all.questions(), [Question::Schema(id)]);
        let keys = (&topic, Part::Key);
        assert!(!all.is_stranger(id, keys, at(91), at(91)));
    }
}
