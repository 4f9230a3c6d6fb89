//! The event log, from events and from what the engine noted of their records.
//!
//! Opens a captured batch again only where an entry is to be made of one of its records, within the budget for publish times. Must not
//! decide what an entry says.

use std::{fmt, slice};

use tokio::sync::watch;

use super::{
    decode::Decoder,
    notes::{Found, Note, Notes, Which},
};
use crate::{
    event::{
        BatchFact, BatchKind, Codec, Delivered, DeliveredPart, Event, EventKind, Facts, NAMED_MAX,
        Name, Produced, ProducedPart, PublishOutcome, RecordView, SentTo, Stamp, Traced,
    },
    eventlog::{Kind, Log, Place, Said, Sink, What},
    metrics::Dropped,
    span::semconv,
};

/// The broker already has the batch: an answer to a retry, not a failure.
const ALREADY_THERE: &str = "DUPLICATE_SEQUENCE_NUMBER";

/// What makes the event log, and where it goes.
pub struct Telling {
    /// Makes it.
    pub log: Log,
    /// Take it.
    pub sinks: Vec<Box<dyn Sink + Send>>,
    /// The cluster id, once it is known.
    pub cluster: watch::Receiver<Option<String>>,
    /// Counts what was worth an entry and has none.
    pub left_out: Dropped,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

/// One record and what is to be told of it.
type Pick<'e> = (i64, What<'e>, Option<&'e Name>);

/// One batch on its way to a consumer.
#[derive(Clone, Copy)]
struct Given<'e> {
    part: &'e DeliveredPart,
    fact: &'e BatchFact,
    /// Records before it are no delivery.
    from: i64,
}

/// Past this something is slow: ms since the Unix epoch.
type SlowBefore = Option<i64>;

impl Telling {
    pub(super) fn learn(&mut self) {
        if let Some(id) = self.cluster.borrow_and_update().as_deref() {
            self.log.set_cluster(id);
        }
    }

    pub(super) fn tick(&mut self, now: Stamp) {
        self.log.tick(now.mono);
        let counted = self.left_out.count();
        self.left_out
            .add(self.log.left_out().saturating_sub(counted));
    }

    /// Tells of the records of one event.
    pub(super) fn take(&mut self, event: &Event, notes: &Notes, decoder: &mut Decoder) {
        self.log.leave_out(notes.more);
        match &event.kind {
            EventKind::Answered(answer) => match &answer.facts {
                Facts::Produced(produced) => {
                    let slow = |topic: &Name, log: &mut Log| {
                        let after = log.slow_after(topic).map(|after| after.delivered);
                        let asked = after.filter(|_| produced.acks != 0);
                        asked.is_some_and(|after| answer.duration > after)
                    };
                    for part in &produced.parts {
                        let acknowledged =
                            matches!(part.outcome, PublishOutcome::Acknowledged { .. });
                        let slow = acknowledged && slow(&part.topic, &mut self.log);
                        let slow = slow.then_some(What::SlowPublish(answer.duration, part.records));
                        self.sent((event, part), slow, notes, decoder);
                    }
                }
                Facts::Delivered(delivered) => self.delivered(event, delivered, notes, decoder),
                _ => {}
            },
            EventKind::Closed { unanswered, .. } => {
                for request in unanswered {
                    if let Facts::Produced(Produced { parts, .. }) = &request.facts {
                        for part in parts {
                            self.sent((event, part), None, notes, decoder);
                        }
                    }
                }
            }
            EventKind::Opened | EventKind::Identified { .. } | EventKind::ConnectFailed { .. } => {}
        }
    }

    fn sent<'e>(
        &mut self,
        (event, part): (&'e Event, &'e ProducedPart),
        slow: Option<What<'e>>,
        notes: &'e Notes,
        decoder: &mut Decoder,
    ) {
        let mut picks: Vec<Pick<'_>> = Vec::new();
        if let Some(what) = slow.or_else(|| failed(part)) {
            picks.push((0, what, None));
        }
        if matches!(
            part.outcome,
            PublishOutcome::Acknowledged { .. } | PublishOutcome::NotAsked
        ) {
            picks.extend(sampled(&part.traced));
        }
        let to = part.sent_to();
        picks.extend(notes.all.iter().filter_map(|note| noted_sent(note, &to)));
        picks.retain(|(_, what, _)| self.log.admits(what.kind(), &part.topic, event.at.mono));
        if picks.is_empty() {
            return;
        }
        let wanted = |record: i32| picks.iter().any(|(at, ..)| *at == i64::from(record));
        let mut shown = part.captured.as_ref().map_or_else(Vec::new, |captured| {
            decoder.show(&captured.bytes, part.codec, &mut |record, _| wanted(record))
        });
        if !to.as_captured {
            shown.iter_mut().for_each(forget_context);
        }
        let known: Vec<&Traced> = told(&part.traced, part.unrecorded.as_deref());
        for (record, what, group) in picks {
            let place = Place {
                at: event.at,
                client: &event.client,
                topic: &part.topic,
                partition: part.partition,
                offset: to.base_offset.map(|base| base.saturating_add(record)),
                sent: true,
                group,
            };
            let said = Said {
                traced: known.iter().find(|known| known.offset == record).copied(),
                shown: shown.iter().find(|shown| i64::from(shown.record) == record),
            };
            self.tell(what, place, said);
        }
    }

    /// Tells of what was found only later of records that were sent.
    pub(super) fn late(&mut self, notes: &Notes, decoder: &mut Decoder, now: Stamp) {
        self.log.leave_out(notes.more);
        for note in &notes.all {
            let Which::Sent(to, record) = &note.which else {
                continue;
            };
            let Some((at, what, group)) = noted_sent(note, to) else {
                continue;
            };
            if !self.log.admits(what.kind(), &to.topic, now.mono) {
                continue;
            }
            // A batch that waited is one that was opened: its codec costs the same again.
            let mut shown = decoder.late_batch(to).map_or_else(Vec::new, |batch| {
                decoder.show(&batch, Codec::Other, &mut |number, _| number == *record)
            });
            if !to.as_captured {
                shown.iter_mut().for_each(forget_context);
            }
            let place = Place {
                at: now,
                client: "",
                topic: &to.topic,
                partition: to.partition,
                offset: to.base_offset.map(|base| base.saturating_add(at)),
                sent: true,
                group,
            };
            let said = Said {
                traced: None,
                shown: shown.first(),
            };
            self.tell(what, place, said);
        }
    }

    fn delivered(
        &mut self,
        event: &Event,
        delivered: &Delivered,
        notes: &Notes,
        decoder: &mut Decoder,
    ) {
        for part in &delivered.parts {
            let slow_before = self.log.slow_after(&part.topic).map(|after| {
                let ms = i64::try_from(after.delivered.as_millis()).unwrap_or(i64::MAX);
                event.at.wall_ms.saturating_sub(ms)
            });
            let group = delivered.group.as_ref();
            let group = group.or_else(|| notes.group_of(&part.topic));
            let data = |fact: &&BatchFact| fact.kind == BatchKind::Data && fact.delivered > 0;
            for fact in part.batches.iter().filter(data) {
                let from = part.asked.unwrap_or(fact.base_offset).max(fact.base_offset);
                let given = Given { part, fact, from };
                self.batch((event, given, group), slow_before, notes, decoder);
            }
        }
    }

    fn batch<'e>(
        &mut self,
        (event, given, group): (&'e Event, Given<'e>, Option<&'e Name>),
        slow_before: SlowBefore,
        notes: &'e Notes,
        decoder: &mut Decoder,
    ) {
        let Given { part, fact, from } = given;
        let within = from..=fact.last_offset;
        let mut picks: Vec<Pick<'_>> = sampled(&part.traced)
            .filter(|(offset, ..)| within.contains(offset))
            .collect();
        picks.extend(notes.all.iter().filter_map(|note| noted_given(note, given)));
        let now = event.at.mono;
        picks.retain(|(_, what, _)| self.log.admits(what.kind(), &part.topic, now));
        let slow_before = slow_before.filter(|before| self.looks_for_slow(given, *before, event));
        if picks.is_empty() && slow_before.is_none() {
            return;
        }
        let known = told(&part.traced, part.unrecorded.as_deref());
        let mut slow: Vec<i64> = Vec::new();
        let shown = match &fact.captured {
            Some(captured) => decoder.show(&captured.bytes, fact.codec, &mut |record, ms| {
                let offset = fact.base_offset.saturating_add(i64::from(record));
                let late = slow_before.is_some_and(|before| ms < before);
                let late = late && offset >= from && part.gives(offset);
                let late = late && self.log.admits(Kind::Slow, &part.topic, now);
                if late {
                    slow.push(offset);
                }
                late || picks.iter().any(|(at, ..)| *at == offset)
            }),
            None => {
                let late = slow_before.map_or_else(Vec::new, |before| late(given, &known, before));
                let admitted = |_: &i64| self.log.admits(Kind::Slow, &part.topic, now);
                slow = late.into_iter().filter(admitted).collect();
                Vec::new()
            }
        };
        picks.extend(slow.into_iter().map(|at| (at, What::SlowDelivery, None)));
        for (offset, what, of) in picks {
            let place = Place {
                at: event.at,
                client: &event.client,
                topic: &part.topic,
                partition: part.partition,
                offset: Some(offset),
                sent: false,
                group: of.or(group),
            };
            let number = offset.saturating_sub(fact.base_offset);
            let said = Said {
                traced: known.iter().find(|known| known.offset == offset).copied(),
                shown: shown.iter().find(|shown| i64::from(shown.record) == number),
            };
            self.tell(what, place, said);
        }
    }

    /// Whether records of a batch may be late, and there is room for an entry; where there is none they are counted.
    fn looks_for_slow(&mut self, given: Given<'_>, before: i64, event: &Event) -> bool {
        let fact = given.fact;
        let first = if is_exact(fact) {
            fact.max_timestamp_ms
        } else {
            fact.base_timestamp_ms.min(fact.max_timestamp_ms)
        };
        if first < 0 || first >= before {
            return false;
        }
        let room = self
            .log
            .has_room(Kind::Slow, &given.part.topic, event.at.mono);
        if !room {
            let all = fact.max_timestamp_ms < before;
            let records = if all { u64::from(fact.delivered) } else { 1 };
            self.log.leave_out(records);
        }
        room
    }

    fn tell(&mut self, what: What<'_>, place: Place<'_>, said: Said<'_>) {
        let entry = self.log.entry(what, place, said);
        for sink in &mut self.sinks {
            sink.entry(&entry);
        }
    }
}

/// Every record has the time of the header.
fn is_exact(fact: &BatchFact) -> bool {
    fact.log_append_time || fact.records == 1
}

/// Records of a batch that nobody opened that are late for certain.
fn late(given: Given<'_>, known: &[&Traced], before: i64) -> Vec<i64> {
    let Given { fact, from, .. } = given;
    let offsets = fact.last_offset.saturating_sub(fact.base_offset);
    let whole = offsets.saturating_add(1) == i64::from(fact.records);
    if is_exact(fact) && whole {
        let given = (from..=fact.last_offset).filter(|offset| given.part.gives(*offset));
        return given.take(NAMED_MAX).collect();
    }
    let late = known.iter().filter(|known| {
        let within = (from..=fact.last_offset).contains(&known.offset);
        within && known.published_ms.is_some_and(|ms| ms < before)
    });
    late.map(|known| known.offset).collect()
}

fn failed(part: &ProducedPart) -> Option<What<'static>> {
    match part.outcome {
        PublishOutcome::Failed(failure) if failure.name != ALREADY_THERE => {
            Some(What::Failed(failure.name, part.records))
        }
        PublishOutcome::Lost => Some(What::Failed(semconv::LOST, part.records)),
        _ => None,
    }
}

fn sampled<'e>(traced: &'e [Traced]) -> impl Iterator<Item = Pick<'e>> {
    let sampled = traced.iter().filter(|record| record.context.sampled);
    sampled.map(|record| (record.offset, What::Sampled, None))
}

fn told<'e>(traced: &'e [Traced], unrecorded: Option<&'e Traced>) -> Vec<&'e Traced> {
    let one = unrecorded.map_or(&[][..], slice::from_ref);
    traced.iter().chain(one).collect()
}

fn noted_sent<'e>(note: &'e Note, to: &SentTo) -> Option<Pick<'e>> {
    let Which::Sent(noted, record) = &note.which else {
        return None;
    };
    let same = noted.topic == to.topic
        && noted.partition == to.partition
        && noted.base_offset == to.base_offset;
    same.then(|| (i64::from(*record), what(note), note.group.as_ref()))
}

fn noted_given<'e>(note: &'e Note, given: Given<'_>) -> Option<Pick<'e>> {
    let Which::Delivered {
        topic,
        partition,
        offset,
    } = &note.which
    else {
        return None;
    };
    let same = *topic == given.part.topic && *partition == given.part.partition;
    let within = (given.fact.base_offset..=given.fact.last_offset).contains(offset);
    (same && within).then(|| (*offset, what(note), note.group.as_ref()))
}

fn what(note: &Note) -> What<'_> {
    match &note.found {
        Found::Duplicate(class) => What::Duplicate(class.as_str()),
        Found::SetAside(letter) => What::SetAside(letter),
        Found::Schema(reason) => What::Schema(reason),
    }
}

/// What was added did not get into the log, or is not in what was captured; what was there before cannot be told apart from it.
fn forget_context(shown: &mut RecordView) {
    (shown.context, shown.sent, shown.correlation) = (None, None, None);
    shown.traced_otherwise = true;
}
