//! What values and keys say of their schemas, held against what a registry has.
//!
//! Whole batches wait for the registry's answers, a few seconds and a few megabytes at most; past that, what they hold is unknown.
//! Must not ask the registry itself, nor keep a value longer than that.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle as Runtime,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::Instant,
};

use crate::{
    config::{Config, SchemaFormat},
    event::{Name, SchemaCount, SchemaSeen, SchemaVerdict, SchemaVersion},
    kafka::wire::record::{Record, Records},
    registry::{Registry, RegistryError},
    schema::{Answer, Framed, Framing, Known, Language, Part, Question, SchemaId, Schemas},
};

/// How long a batch waits for answers.
const WAITS: Duration = Duration::from_secs(15);
/// Bytes of batches that wait.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Topics with a schema of their own that are remembered.
const TOPICS_MAX: usize = 5_000;
/// Largest value that is decoded, bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Questions that wait for the registry.
const QUESTIONS_MAX: usize = 256;
/// Questions asked at a time.
const ASKED_AT_ONCE: usize = 4;

/// Asks the registry of the configuration, where there is one, on the telemetry runtime.
pub(crate) fn link(config: &Config, telemetry: &Runtime) -> Result<Option<Link>, RegistryError> {
    let schema = &config.schema;
    let Some(url) = schema
        .registry_url
        .as_deref()
        .filter(|_| schema.format == SchemaFormat::Auto)
    else {
        return Ok(None);
    };
    let registry = Registry::new(url, schema.headers.expose())?;
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let (answered, answers) = mpsc::channel(QUESTIONS_MAX);
    telemetry.spawn(ask(registry, asked, answered));
    Ok(Some(Link { questions, answers }))
}

/// Until nobody asks any more.
async fn ask(registry: Registry, mut asked: Receiver<Question>, answered: Sender<Answer>) {
    let mut open = JoinSet::new();
    let mut failing = false;
    loop {
        tokio::select! {
            question = asked.recv(), if open.len() < ASKED_AT_ONCE => {
                let Some(question) = question else { return };
                let registry = registry.clone();
                open.spawn(async move { registry.ask(question).await });
            }
            Some(answer) = open.join_next() => {
                let Ok(answer) = answer else { continue };
                let failed = matches!(answer, Answer::Failed(_));
                if failed && !failing {
                    tracing::warn!(
                        ?registry,
                        "the schema registry does not answer; what it would tell is unknown meanwhile"
                    );
                }
                failing = failed;
                if answered.send(answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Towards the task that asks.
#[derive(Debug)]
pub(crate) struct Link {
    /// Takes questions.
    pub(crate) questions: Sender<Question>,
    /// Gives answers.
    pub(crate) answers: Receiver<Answer>,
}

#[derive(Debug)]
struct Waiting {
    topic: Name,
    batch: Vec<u8>,
    since: Instant,
}

/// Judges values.
#[derive(Debug)]
pub(crate) struct SchemaCheck {
    link: Option<Link>,
    schemas: Schemas,
    /// Topics whose values, or keys, have had a schema that belongs to them.
    topics: BTreeSet<(Name, Part)>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    decodes_per_second: u32,
    decodes_left: u32,
    refilled: Instant,
}

/// When a batch came, whether it has waited long enough, and now.
#[derive(Debug, Clone, Copy)]
struct When {
    since: Instant,
    given_up: bool,
    now: Instant,
}

impl When {
    const fn at(now: Instant) -> Self {
        Self {
            since: now,
            given_up: false,
            now,
        }
    }
}

/// What one part of a record says; `None` while the registry is asked.
type Said = Option<SchemaSeen>;
/// And the whole: of key and value what is worse, and the version of the key.
type SaidOfBoth = Option<(Option<SchemaSeen>, Option<SchemaVersion>)>;

impl SchemaCheck {
    /// With a registry or without; so many values decoded a second.
    pub(crate) fn new(link: Option<Link>, decodes_per_second: u32) -> Self {
        Self {
            link,
            schemas: Schemas::default(),
            topics: BTreeSet::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            decodes_per_second,
            decodes_left: decodes_per_second,
            refilled: Instant::now(),
        }
    }

    /// What the values of an open batch say; later, where the registry is to be asked first.
    pub(crate) fn take(
        &mut self,
        topic: &Name,
        records: &Records<'_>,
        batch: &[u8],
    ) -> Vec<SchemaCount> {
        let now = Instant::now();
        self.listen(now);
        // What a topic says is taken in its order: what came before tells how to take it.
        let behind = self.waiting.iter().any(|waiting| waiting.topic == *topic);
        if !behind && let Some(counts) = self.counts(topic, records, When::at(now)) {
            return counts;
        }
        self.ask();
        let bytes = self.waiting_bytes.saturating_add(batch.len());
        if bytes > WAITING_BYTES_MAX {
            let when = When {
                given_up: true,
                ..When::at(now)
            };
            return self.counts(topic, records, when).unwrap_or_default();
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(Waiting {
            topic: Arc::clone(topic),
            batch: batch.to_vec(),
            since: now,
        });
        Vec::new()
    }

    /// What has waited long enough, or knows its answers.
    pub(crate) fn late(&mut self, bytes_max: usize) -> Vec<(Name, Vec<SchemaCount>)> {
        let now = Instant::now();
        self.listen(now);
        let mut out = Vec::new();
        let mut still: BTreeSet<Name> = BTreeSet::new();
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            if still.contains(&waiting.topic) {
                self.waiting.push_back(waiting);
                continue;
            }
            let when = When {
                since: waiting.since,
                given_up: now.saturating_duration_since(waiting.since) >= WAITS,
                now,
            };
            let counts = match Records::open(&waiting.batch, bytes_max) {
                Ok(records) => self.counts(&waiting.topic, &records, when),
                Err(_) => Some(Vec::new()),
            };
            match counts {
                Some(counts) => {
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.batch.len());
                    out.push((waiting.topic, counts));
                }
                None => {
                    still.insert(Arc::clone(&waiting.topic));
                    self.waiting.push_back(waiting);
                }
            }
        }
        self.ask();
        out
    }

    fn listen(&mut self, now: Instant) {
        if now.saturating_duration_since(self.refilled) >= Duration::from_secs(1) {
            self.refilled = now;
            self.decodes_left = self.decodes_per_second;
        }
        while let Some(Ok(answer)) = self.link.as_mut().map(|link| link.answers.try_recv()) {
            self.schemas.learn(answer, now);
        }
    }

    /// What does not fit is asked when it is needed again.
    fn ask(&mut self) {
        if let Some(link) = &self.link {
            for question in self.schemas.questions() {
                link.questions.try_send(question).ok();
            }
        }
    }

    fn counts(
        &mut self,
        topic: &Name,
        records: &Records<'_>,
        when: When,
    ) -> Option<Vec<SchemaCount>> {
        let mut counts: Vec<SchemaCount> = Vec::new();
        let mut asked = false;
        for record in records {
            let Ok(record) = record else { break };
            let Some((whole, key)) = self.of_both(topic, &record, when) else {
                // Go on: all that is missing is asked for at once.
                asked = true;
                continue;
            };
            for seen in whole.into_iter().chain(key.map(SchemaSeen::Key)) {
                match counts.iter_mut().find(|count| count.seen == seen) {
                    Some(count) => count.records = count.records.saturating_add(1),
                    None => counts.push(SchemaCount { seen, records: 1 }),
                }
            }
        }
        (!asked).then_some(counts)
    }

    /// Both are asked for before either is waited for.
    fn of_both(&mut self, topic: &Name, record: &Record<'_>, when: When) -> SaidOfBoth {
        let key = match record.key {
            Some(key) => self.of_key(topic, record, key, when),
            None => Some(SchemaSeen::Bare),
        };
        let value = match record.value {
            Some(value) => self
                .said(topic, record, (Part::Value, value), when)
                .map(Some),
            None => Some(None),
        };
        Some(worse(value?, key?))
    }

    /// Whole numbers look like framing, so a key is looked at only where the registry has a schema for keys of the topic.
    fn of_key(&mut self, topic: &Name, record: &Record<'_>, key: &[u8], when: When) -> Said {
        let nothing = Some(SchemaSeen::Bare);
        if self.link.is_none() || framed(record, Part::Key, key).is_none() {
            return nothing;
        }
        match self.schemas.has_topic(topic, Part::Key, when.now) {
            Some(true) => self.said(topic, record, (Part::Key, key), when),
            Some(false) => nothing,
            None if when.given_up => nothing,
            None => None,
        }
    }

    fn said(
        &mut self,
        topic: &Name,
        record: &Record<'_>,
        (part, bytes): (Part, &[u8]),
        when: When,
    ) -> Said {
        let Some(framed) = framed(record, part, bytes) else {
            return Some(SchemaSeen::Bare);
        };
        let say = |verdict, version| SchemaSeen::Framed {
            framing: framed.framing.as_str(),
            verdict,
            version,
        };
        let plain = |verdict| Some(say(verdict, None));
        if framed.framing == Framing::Glue || matches!(framed.id, SchemaId::Global(_)) {
            return plain(SchemaVerdict::Unsupported);
        }
        if self.link.is_none() {
            return plain(SchemaVerdict::NoRegistry);
        }
        let away = || {
            when.given_up
                .then(|| say(SchemaVerdict::RegistryAway, None))
        };
        let Some(known) = self.schemas.schema(framed.id, when.now) else {
            return away();
        };
        let fits = known.as_ref().map(|known| known.subject_of(part, topic));
        if let (Some(known), Some(Ok(subject))) = (&known, fits) {
            let subject = subject.map(|s| (Arc::clone(&s.name), s.version));
            let version = subject.map(|(subject, version)| SchemaVersion {
                subject,
                version,
                language: known.language.map_or("other", Language::as_str),
            });
            let known = Arc::clone(known);
            self.belongs(topic, part);
            return Some(say(self.decoded(&known, framed.message), version));
        }
        // Bytes that look like framing and are none: only where that part of the topic is known to have one, it is wrong.
        let is_checked = self.topics.contains(&(Arc::clone(topic), part))
            || match self.schemas.has_topic(topic, part, when.now) {
                Some(is) => is,
                None => return away(),
            };
        match (is_checked, known) {
            (false, _) => Some(SchemaSeen::Bare),
            (true, None) => plain(SchemaVerdict::UnknownId),
            (true, Some(_)) => {
                let of = (topic, part);
                let certain = self
                    .schemas
                    .is_stranger(framed.id, of, when.since, when.now);
                if certain {
                    plain(SchemaVerdict::WrongSubject)
                } else {
                    away()
                }
            }
        }
    }

    fn belongs(&mut self, topic: &Name, part: Part) {
        if self.topics.len() < TOPICS_MAX {
            self.topics.insert((Arc::clone(topic), part));
        }
    }

    fn decoded(&mut self, known: &Known, message: &[u8]) -> SchemaVerdict {
        let Ok(compiled) = &known.compiled else {
            return SchemaVerdict::Unsupported;
        };
        if message.len() > VALUE_BYTES_MAX {
            return SchemaVerdict::NotDecoded;
        }
        let Some(left) = self.decodes_left.checked_sub(1) else {
            return SchemaVerdict::NotDecoded;
        };
        self.decodes_left = left;
        match compiled.decodes(message) {
            Some(true) => SchemaVerdict::Good,
            Some(false) => SchemaVerdict::Undecodable,
            None => SchemaVerdict::Unsupported,
        }
    }
}

fn framed<'r>(record: &Record<'r>, part: Part, bytes: &'r [u8]) -> Option<Framed<'r>> {
    let headers = record.headers().map_while(Result::ok);
    Framed::read(
        part,
        headers.map(|header| (header.key, header.value)),
        bytes,
    )
}

/// One record is one event: what does not hold of its key does not hold of it.
fn worse(
    value: Option<SchemaSeen>,
    key: SchemaSeen,
) -> (Option<SchemaSeen>, Option<SchemaVersion>) {
    let SchemaSeen::Framed {
        framing,
        verdict: of_key,
        version,
    } = key
    else {
        return (value, None);
    };
    let whole = match value {
        // A tombstone has only its key.
        None => SchemaSeen::Framed {
            framing,
            verdict: of_key,
            version: None,
        },
        Some(SchemaSeen::Framed {
            framing,
            verdict,
            version,
        }) => SchemaSeen::Framed {
            framing,
            verdict: if severity(of_key) > severity(verdict) {
                of_key
            } else {
                verdict
            },
            version,
        },
        Some(_) if severity(of_key) == FAILED => SchemaSeen::Framed {
            framing,
            verdict: of_key,
            version: None,
        },
        Some(other) => other,
    };
    (Some(whole), version)
}

const FAILED: u8 = 2;

const fn severity(verdict: SchemaVerdict) -> u8 {
    match verdict {
        SchemaVerdict::Good => 0,
        SchemaVerdict::NoRegistry
        | SchemaVerdict::RegistryAway
        | SchemaVerdict::Unsupported
        | SchemaVerdict::NotDecoded => 1,
        SchemaVerdict::UnknownId | SchemaVerdict::WrongSubject | SchemaVerdict::Undecodable => {
            FAILED
        }
    }
}
