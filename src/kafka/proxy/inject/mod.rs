//! Injection: context and correlation ids on the records of a Produce request.
//!
//! A request is held whole, each of its batches edited or left with a reason, and the whole sent on. What the broker has not
//! yet shown to accept is *guarded*: its original is kept and nothing is sent behind it until the answer is there, so that a
//! refusal the edit may have caused is repaired before the client sees anything (`repair`). Must not fail: whatever cannot be
//! edited goes as it came.

mod attempts;
pub(crate) mod repair;
mod topic;
mod writer;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::writer::descend;
use self::{
    attempts::{Attempt, Attempts, Parents},
    topic::TopicState,
    writer::{Ancestry, Writer},
};
use super::{
    bare::{Bare, SentBatch},
    edits::in_frame,
    recent::Recent,
    settings::{InjectSettings, Modes, TopicMode},
    shared::Shared,
};
use crate::{
    event::{
        CapturedBatch, Codec, Descent, EDITS_REFUSED, Injection, Name, ProducedPart,
        ProducerSequence, Reservation, Stamp, Traced, UNRESOLVED,
    },
    kafka::wire::{
        batch::BatchHeader,
        compression,
        edit::{
            EditLimits, Untouched, append_headers_into,
            produce::{ProducePartition, ProduceRequest},
        },
        splice::Splice,
    },
    lineage::Parent,
    propagation::{IdSource, Traceparent, is_dead_letter_topic},
};

/// Topics remembered; records of more are not edited.
const TOPICS_MAX: usize = 100_000;

/// What all connections share for injecting.
#[derive(Debug)]
pub(crate) struct Injector {
    settings: InjectSettings,
    topics: RwLock<HashMap<Name, Arc<TopicState>>>,
    /// Bytes left for frames that are held.
    room: Arc<AtomicUsize>,
    attempts: Attempts,
    random: Option<IdSource>,
    next: AtomicU64,
}

/// What is remembered of a request that may have been edited, until its answer.
#[derive(Debug)]
pub(crate) struct Edit {
    parts: Vec<EditedPart>,
    /// Kept where the request is guarded.
    original: Option<Original>,
}

impl Edit {
    /// Nothing may be sent behind it until it is answered.
    pub(crate) fn is_guarded(&self) -> bool {
        self.original.is_some()
    }
}

#[derive(Debug)]
struct EditedPart {
    name: Name,
    partition: i32,
    topic: Arc<TopicState>,
    /// Of the batch as it was sent.
    bytes: usize,
    edited: bool,
    sequence: Option<ProducerSequence>,
}

/// The request as the client wrote it.
#[derive(Debug)]
struct Original {
    frame: Vec<u8>,
    /// Bytes of frame length and header.
    header: usize,
    _room: Reservation,
}

/// One held request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldRequest<'f> {
    pub(crate) frame: &'f [u8],
    /// Bytes of frame length and header.
    pub(crate) header: usize,
    pub(crate) version: i16,
}

/// What comes of a held request.
#[derive(Debug, Default)]
pub(crate) struct Injected<'w> {
    /// What is sent in the place of which bytes of the frame; `None` = it is sent as it is.
    pub(crate) splices: Option<Vec<Splice<'w>>>,
    /// What to remember; `None` = nothing.
    pub(crate) edit: Option<Box<Edit>>,
    /// Records that were to be given a context and were not.
    pub(crate) bare: Vec<Bare>,
}

impl Injector {
    pub(crate) fn new(settings: InjectSettings) -> Self {
        let room = Arc::new(AtomicUsize::new(settings.bytes_total));
        Self {
            settings,
            topics: RwLock::default(),
            room,
            attempts: Attempts::default(),
            random: IdSource::random(),
            next: AtomicU64::new(0),
        }
    }

    /// Whether a request of so many bytes may be held, and the room for it.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Reservation> {
        if bytes > self.settings.frame_bytes {
            return None;
        }
        Reservation::take(&self.room, bytes)
    }

    /// Whether more time may be spent on opening compressed batches of a topic.
    pub(crate) fn may_spend(&self, topic: &Name, now: Instant) -> bool {
        let budget = self.settings.compressed_budget;
        self.topic(topic)
            .is_some_and(|state| state.may_spend(now, budget))
    }

    /// Says how much was.
    pub(crate) fn spend(&self, topic: &Name, took: Duration) {
        if let Some(state) = self.topic(topic) {
            state.spend(took);
        }
    }

    /// The sampling threshold for so many more records of a topic that are sent without a context.
    pub(crate) fn sent_threshold(&self, topic: &Name, now: Instant, records: u64) -> Option<u64> {
        let per_second = self.settings.traces_per_second_per_topic;
        let state = self.topic(topic)?;
        Some(state.threshold(now, records, per_second))
    }

    /// As [`Self::sent_threshold`], for delivered ones.
    pub(crate) fn delivered_threshold(
        &self,
        topic: &Name,
        now: Instant,
        records: u64,
    ) -> Option<u64> {
        let per_second = self.settings.traces_per_second_per_topic;
        let state = self.topic(topic)?;
        Some(state.delivered_threshold(now, records, per_second))
    }

    /// A context of its own, not sampled, for what no record carries; `None` where the system has no randomness.
    pub(crate) fn fresh(&self) -> Option<Traceparent> {
        let (trace_id, span_id) = self.random?.pair(self.next.fetch_add(1, Relaxed));
        Some(Traceparent {
            trace_id,
            span_id,
            sampled: false,
            random: true,
        })
    }

    /// Switched-off topics begin anew: the operator has changed something.
    pub(crate) fn forget_refusals(&self) {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        for topic in topics.values() {
            topic.switch_on();
        }
    }

    fn topic(&self, name: &Name) -> Option<Arc<TopicState>> {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Some(Arc::clone(found));
        }
        drop(known);
        let mut known = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOPICS_MAX && !known.contains_key(name) {
            return None;
        }
        Some(Arc::clone(known.entry(Name::clone(name)).or_default()))
    }

    /// Edits what may be edited, and writes into `parts` (which are in the order of the request) what was done. Edited batches are
    /// written to `room`.
    pub(crate) fn edit<'w>(
        &self,
        shared: &Shared,
        held: HeldRequest<'_>,
        parts: &mut [ProducedPart],
        room: &'w mut Vec<u8>,
        at: Stamp,
    ) -> Injected<'w> {
        let body = held.frame.get(held.header..).unwrap_or_default();
        let Ok(request) = ProduceRequest::read(body, held.version) else {
            // The scanner has met and counted the same fault.
            return Injected::default();
        };
        shared.recent.produces();
        let cluster = shared.cluster_id.borrow().clone().unwrap_or_default();
        let mut editor = Editor {
            injector: self,
            shared,
            recent: &shared.recent,
            modes: shared.modes.load_full(),
            cluster,
            acks: request.acks,
            at,
            parts: parts.iter_mut().enumerate(),
            room,
            done: Vec::new(),
            bare: Vec::new(),
        };
        let mut all = Vec::new();
        for topic in &request.topics {
            let name = shared.topics.resolve(topic.topic);
            for partition in &topic.partitions {
                let edited = editor.partition(&name, partition);
                all.extend(edited.map(|at| (partition, at)));
            }
        }
        let Editor {
            done, bare, room, ..
        } = editor;
        let room: &'w [u8] = room;
        let mut splices = Vec::with_capacity(all.len().saturating_mul(2));
        for (partition, at) in &all {
            let edited = room.get(at.clone()).unwrap_or_default();
            splices.extend(
                request
                    .with_records(partition, edited)
                    .into_iter()
                    .flatten(),
            );
        }
        let mut injected = if splices.len() == all.len().saturating_mul(2) {
            self.finish(held, splices, done)
        } else {
            Injected::default()
        };
        injected.bare = bare;
        if injected.splices.is_none() && !all.is_empty() {
            for part in parts {
                part.injection = skipped(part.injection, "memory");
                part.forget_written();
            }
        }
        injected
    }

    fn finish<'w>(
        &self,
        held: HeldRequest<'_>,
        splices: Vec<Splice<'w>>,
        mut parts: Vec<EditedPart>,
    ) -> Injected<'w> {
        if splices.is_empty() {
            // Nothing was edited, but the size of what is accepted teaches.
            parts.retain(|part| part.bytes > part.topic.batch_bytes_max());
            let edit = Edit {
                parts,
                original: None,
            };
            return Injected {
                splices: None,
                edit: (!edit.parts.is_empty()).then(|| Box::new(edit)),
                bare: Vec::new(),
            };
        }
        let guarded = parts
            .iter()
            .any(|part| part.edited && !part.topic.covers(part.bytes));
        let original = if guarded {
            let Some(room) = self.hold(held.frame.len()) else {
                return Injected::default();
            };
            Some(Original {
                frame: held.frame.to_vec(),
                header: held.header,
                _room: room,
            })
        } else {
            None
        };
        let splices = in_frame(held.frame, held.header, splices);
        if splices.is_none() {
            return Injected::default();
        }
        Injected {
            splices,
            edit: Some(Box::new(Edit { parts, original })),
            bare: Vec::new(),
        }
    }
}

fn skipped(was: Injection, reason: &'static str) -> Injection {
    if was.records == 0 {
        return was;
    }
    Injection {
        records: 0,
        skipped: Some(reason),
        ..was
    }
}

/// What is said of the records of one partition.
#[derive(Default)]
struct Told {
    traced: Vec<Traced>,
    unrecorded: Option<Box<Traced>>,
    descent: Vec<Descent>,
    /// All of them were read: there is nothing to note.
    read: bool,
    /// The parents of the first of them, where the edit was given up behind these: not to be looked for twice.
    found: Parents,
}

/// Goes through the partitions of one request.
struct Editor<'e, 'w, P> {
    injector: &'e Injector,
    shared: &'e Shared,
    recent: &'e Recent,
    modes: Arc<Modes>,
    cluster: String,
    acks: i16,
    at: Stamp,
    /// What the scanner saw, in the same order; topics whose mode is off are not in it.
    parts: P,
    /// Where edited batches are written to.
    room: &'w mut Vec<u8>,
    done: Vec<EditedPart>,
    bare: Vec<Bare>,
}

impl<'p, P: Iterator<Item = (usize, &'p mut ProducedPart)>> Editor<'_, '_, P> {
    /// Where in the room the edited records of one partition are; `None` where they stay.
    fn partition(&mut self, name: &Name, partition: &ProducePartition<'_>) -> Option<Range<usize>> {
        let mode = self.modes.of(name);
        if mode == TopicMode::Off {
            return None;
        }
        let seen = self.parts.next();
        let records = partition.records?;
        if mode != TopicMode::Inject {
            return None;
        }
        let mut told = Told::default();
        let edited = self.records(name, partition.partition, records, &mut told);
        match edited {
            Ok(edited) => {
                let shown = self.shown(seen.as_ref().map(|(_, seen)| &**seen), &edited);
                if let Some((_, seen)) = seen {
                    seen.captured = shown.or(seen.captured.take());
                    seen.injection.records = seen.records;
                    (seen.traced, seen.descent) = (told.traced, told.descent);
                    seen.unrecorded = told.unrecorded;
                }
                Some(edited)
            }
            Err(reason) => {
                if let Some((number, seen)) = seen {
                    seen.injection.skipped = Some(reason);
                    told.traced.retain(|record| !record.written);
                    seen.traced = told.traced;
                    if !told.read {
                        self.note(name, records, (number, seen), told.found);
                    }
                }
                None
            }
        }
    }

    /// The batch as it is sent, where it was captured to be examined and somebody shows single records.
    fn shown(&self, seen: Option<&ProducedPart>, edited: &Range<usize>) -> Option<CapturedBatch> {
        let wanted = self.injector.settings.shows_edited;
        let captured = seen?.captured.as_ref().filter(|_| wanted)?;
        let edited = self.room.get(edited.clone())?;
        let reservation = self.shared.observer.reserve(edited.len())?;
        Some(CapturedBatch {
            bytes: Bytes::copy_from_slice(edited),
            reservation,
            examined: captured.examined,
            edited: true,
        })
    }

    /// Records that stay without a context; without an answer nobody will know where they are.
    fn note(
        &mut self,
        topic: &Name,
        bytes: &[u8],
        part: (usize, &mut ProducedPart),
        found: Parents,
    ) {
        if self.acks == 0 || !self.recent.traces() || topic.as_ref() == UNRESOLVED {
            return;
        }
        let batch = SentBatch {
            topic,
            at: self.at,
            packed: part.1.codec != Codec::None,
            bytes,
        };
        self.bare
            .extend(Bare::note(self.shared, batch, part, found));
    }

    fn records(
        &mut self,
        name: &Name,
        partition: i32,
        records: &[u8],
        seen: &mut Told,
    ) -> Result<Range<usize>, &'static str> {
        if name.as_ref() == UNRESOLVED {
            return Err("unresolved_topic");
        }
        let topic = self.injector.topic(name).ok_or("topics")?;
        let header = BatchHeader::read(records).ok();
        let sequence = header.and_then(sequence);
        let mut room = std::mem::take(self.room);
        let of = (name, partition, &*topic);
        let edited = self.edited(&mut room, of, header.as_ref(), records, seen);
        *self.room = room;
        if self.acks != 0 {
            self.done.push(EditedPart {
                name: Name::clone(name),
                partition,
                topic,
                bytes: edited.as_ref().map_or(records.len(), Range::len),
                edited: edited.is_ok(),
                sequence,
            });
        }
        edited
    }

    fn edited(
        &self,
        room: &mut Vec<u8>,
        (name, partition, topic): (&Name, i32, &TopicState),
        header: Option<&BatchHeader>,
        records: &[u8],
        seen: &mut Told,
    ) -> Result<Range<usize>, &'static str> {
        if topic.is_off() {
            return Err(EDITS_REFUSED);
        }
        // No answer would tell that the broker refused it, and it would close the connection.
        let blind = self.acks == 0;
        if blind && !topic.covers(records.len()) {
            return Err("unproven");
        }
        let settings = &self.injector.settings;
        let limits = EditLimits {
            body_bytes: settings.frame_bytes,
            batch_bytes: topic.batch_bytes_max(),
        };
        let packed = header.is_some_and(|h| compression::codec(h.codec()) != Codec::None);
        if packed && !topic.may_spend(self.at.mono, settings.compressed_budget) {
            return Err("cpu_budget");
        }
        let began = Instant::now();
        let mut writer = self.writer(name, partition, topic, header);
        let edited = append_headers_into(room, records, limits, |_, record, new| {
            writer.write(record, new);
        });
        if packed {
            topic.spend(began.elapsed());
        }
        if edited.is_ok() || edited == Err(Untouched::NothingToAdd) {
            seen.read = true;
            seen.traced.append(&mut writer.traced);
            seen.unrecorded = writer.unrecorded.take();
            seen.descent.append(&mut writer.descent);
        }
        if edited.is_ok() {
            self.remember(name, partition, header, writer);
        } else if let Ancestry::New { found, .. } = writer.lineage {
            seen.found = found;
        }
        let edited = edited.map_err(|untouched| untouched.as_str());
        match edited {
            Ok(edited) if blind && !topic.covers(edited.len()) => Err("unproven"),
            other => other,
        }
    }

    fn writer<'w>(
        &'w self,
        name: &Name,
        partition: i32,
        topic: &TopicState,
        header: Option<&BatchHeader>,
    ) -> Writer<'w> {
        let Self { injector, at, .. } = self;
        let settings = &injector.settings;
        let count = header.map_or(0, |h| u64::try_from(h.record_count).unwrap_or(0));
        let threshold = topic.threshold(at.mono, count, settings.traces_per_second_per_topic);
        let recent = self.recent;
        let mut lineage = if recent.is_empty() {
            Ancestry::None
        } else {
            Ancestry::New {
                recent,
                target: recent.target(name),
                now: at.mono,
                found: Vec::new(),
            }
        };
        let (ids, first, sent_ms) = match header.and_then(|h| Some((h, sequence(*h)?))) {
            Some((header, of)) => {
                let ids = IdSource::of_producer(
                    &self.cluster,
                    name,
                    partition,
                    of.producer_id,
                    of.epoch,
                    header.base_timestamp,
                );
                let first = u64::try_from(of.base_sequence).unwrap_or(0);
                let sent_ms = match injector.attempts.recall(name, partition, of) {
                    Some(attempt) => {
                        let parents = attempt.parents;
                        lineage = Ancestry::Known { parents, at: 0 };
                        attempt.sent_ms
                    }
                    None => at.wall_ms,
                };
                (Some(ids), first, sent_ms)
            }
            None => (
                injector.random,
                injector.next.fetch_add(count, Relaxed),
                at.wall_ms,
            ),
        };
        Writer {
            settings,
            topic: Name::clone(name),
            dead_letters: is_dead_letter_topic(name),
            ids,
            number: first,
            sent_ms,
            threshold,
            lineage,
            at: 0,
            now: at.mono,
            keeps_first: recent.traces(),
            transactional: header.is_some_and(BatchHeader::is_transactional),
            traced: Vec::new(),
            unrecorded: None,
            descent: Vec::new(),
            bare: None,
        }
    }

    /// Keeps what a retry of the batch must say again.
    fn remember(
        &self,
        name: &Name,
        partition: i32,
        header: Option<&BatchHeader>,
        wrote: Writer<'_>,
    ) {
        let Some(sequence) = header.and_then(|h| sequence(*h)) else {
            return;
        };
        let parents: Arc<[Option<Parent>]> = match wrote.lineage {
            Ancestry::Known { .. } => return,
            Ancestry::New { found, .. } if found.iter().any(Option::is_some) => found.into(),
            Ancestry::New { .. } | Ancestry::None => Arc::new([]),
        };
        let attempt = Attempt {
            sent_ms: wrote.sent_ms,
            parents,
        };
        self.injector
            .attempts
            .remember(name, partition, sequence, attempt, self.at.mono);
    }
}

/// The idempotent identity of a batch, if it has one.
pub(crate) fn sequence(header: BatchHeader) -> Option<ProducerSequence> {
    (header.producer_id >= 0 && header.base_sequence >= 0).then_some(ProducerSequence {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    })
}

/// The frame streamed by, because it could not be held.
pub(crate) fn not_held(shared: &Shared, parts: &mut [ProducedPart]) {
    let modes = shared.modes.load();
    for part in parts {
        if modes.of(&part.topic) == TopicMode::Inject {
            part.injection.skipped = Some("memory");
        }
    }
}
