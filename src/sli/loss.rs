//! Records that a group will never be given: what was deleted, cut off or jumped before it got there.
//!
//! Only what the wire proves is counted. The proof begins with OFFSET_OUT_OF_RANGE to a fetch at the group's own position (the one it
//! committed, or the one behind what it was delivered) and ends with the next answer, which shows where the group went on and
//! where the log begins and ends. A consumer that asks after a change of leader where its records end is told of a truncation before
//! that, and one that asks for the first record there is, which lies behind the group's position, proves what was deleted. What a
//! program skips by seeking, holes inside and between batches (compaction, markers, aborted records) and positions that are
//! nobody's are no loss here. Counts are offsets: markers and compacted records in the range are in them. Must not look at record contents, nor guess a number.

use std::{collections::HashMap, sync::Arc};

use super::{
    engine::{Engine, MAX_READINGS, ReadingKey},
    measure::{Measure, Sink},
};
use crate::event::{DeliveredPart, Event, Name, Stamp};

/// Why records are lost to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossReason {
    /// They were deleted before the group got there: the log begins behind its position.
    Retention,
    /// They are still there, and the group was sent past them when it began anew (`auto.offset.reset=latest`).
    OutOfRange,
    /// They were in the log, the group had passed them, and the log ends before them now.
    Truncated,
}

impl LossReason {
    /// All of them; each exists from zero.
    pub const ALL: [Self; 3] = [Self::Retention, Self::OutOfRange, Self::Truncated];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::OutOfRange => "out_of_range",
            Self::Truncated => "truncated",
        }
    }
}

/// What is lost, on the way in or on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss<'a> {
    /// Holes in the sequence of an idempotent producer that no retry closed.
    Gaps {
        /// Topic.
        topic: &'a Name,
        /// How many.
        count: u64,
    },
    /// Records that a group will never be given.
    Records {
        /// Topic.
        topic: &'a Name,
        /// Group.
        group: &'a Name,
        /// Why.
        reason: LossReason,
        /// Offsets.
        count: u64,
    },
}

const OUT_OF_RANGE: &str = "OFFSET_OUT_OF_RANGE";
/// The topic is not the one it was: offsets of before say nothing.
const ANOTHER_TOPIC: [&str; 3] = [
    "UNKNOWN_TOPIC_OR_PARTITION",
    "UNKNOWN_TOPIC_ID",
    "INCONSISTENT_TOPIC_ID",
];
/// The same of a whole answer, which does not say which topic.
pub(super) const SOME_OTHER_TOPIC: [&str; 2] =
    ["FETCH_SESSION_TOPIC_ID_ERROR", "INCONSISTENT_TOPIC_ID"];

/// How one group goes through one partition.
#[derive(Debug, Default)]
struct Course {
    /// Offset behind what was delivered last.
    next: Option<i64>,
    /// The group's position that was out of range.
    broken_at: Option<i64>,
    /// Offsets below it are counted already.
    counted_to: i64,
    /// Where the log was found to be cut off, until the group reads on.
    cut_at: Option<i64>,
}

/// Losses of one kind.
pub(super) type Lost = (LossReason, u64);

impl Course {
    fn answered(&mut self, part: &DeliveredPart, committed: Option<i64>) -> [Option<Lost>; 2] {
        let Some(asked) = part.asked else {
            // A session whose beginning was not seen: where the group stands is not known.
            (self.next, self.broken_at) = (None, None);
            return [None; 2];
        };
        if let Some(error) = &part.error {
            if error.name == OUT_OF_RANGE {
                let own = self.next == Some(asked) || committed == Some(asked);
                // Of a log that is known to be cut off it says nothing new.
                self.broken_at = (own && self.cut_at.is_none()).then_some(asked);
                self.next = None;
            }
            return [None; 2];
        }
        self.cut_at = None;
        let position = self.next.max(committed);
        let last = part.batches.last();
        let end = last.map_or(asked, |batch| batch.last_offset.saturating_add(1));
        self.next = Some(end.max(asked));
        match self.broken_at.take() {
            Some(position) if position < asked => self.forward(position, asked, part.log_start),
            Some(position) if position > asked => self.back(position, part),
            Some(_) => [None; 2],
            // Some clients look where the log begins before they fetch, and a program may seek there: the group goes on with the
            // first record there is, and what lay before it is gone.
            None => match position {
                Some(position) if asked == part.log_start && position < asked => {
                    self.forward(position, asked, part.log_start)
                }
                _ => [None; 2],
            },
        }
    }

    /// What the group has read ends here, says the leader of now.
    fn ends(&mut self, end: i64, committed: Option<i64>) -> Option<Lost> {
        let position = self.next.max(committed)?;
        if end < 0 || end >= position || self.cut_at == Some(end) {
            return None;
        }
        *self = Self {
            cut_at: Some(end),
            ..Self::default()
        };
        lost(LossReason::Truncated, position.saturating_sub(end))
    }

    /// The group went on behind its position.
    fn forward(&mut self, position: i64, asked: i64, log_start: i64) -> [Option<Lost>; 2] {
        let from = position.max(self.counted_to);
        self.counted_to = self.counted_to.max(asked);
        if log_start >= 0 && log_start <= position {
            // Its position lies within the log of now: it had been behind the end, and the log has grown over it since.
            return [None; 2];
        }
        // Before version 5 an answer does not say where the log begins.
        let begins = if log_start < 0 { from } else { log_start };
        let deleted = begins.min(asked).saturating_sub(from);
        let jumped = asked.saturating_sub(begins.max(from));
        [
            lost(LossReason::Retention, deleted),
            lost(LossReason::OutOfRange, jumped),
        ]
    }

    /// The group went on before its position, which lay behind the end of the log.
    fn back(&mut self, position: i64, part: &DeliveredPart) -> [Option<Lost>; 2] {
        self.counted_to = 0;
        let end = part.high_watermark;
        if end < 0 || part.log_start > position {
            return [None; 2];
        }
        // What was written since hides as many; where it hides all, the number is not known.
        let gone = position.saturating_sub(end);
        [lost(LossReason::Truncated, gone), None]
    }
}

fn lost(reason: LossReason, offsets: i64) -> Option<Lost> {
    let count = u64::try_from(offsets).ok().filter(|count| *count > 0)?;
    Some((reason, count))
}

/// Every (group, topic, partition) that is read behind this sidecar. Outlives assignments: a member that comes back to a position
/// has lost nothing twice.
#[derive(Debug, Default)]
pub(super) struct Losses {
    courses: HashMap<ReadingKey, Course>,
}

impl Losses {
    /// An answer came for a partition that a group reads; `committed` is where the group stands.
    pub(super) fn answered(
        &mut self,
        key: &ReadingKey,
        part: &DeliveredPart,
        committed: Option<i64>,
    ) -> impl Iterator<Item = Lost> + use<> {
        let another = part
            .error
            .as_ref()
            .is_some_and(|e| ANOTHER_TOPIC.contains(&e.name));
        let room = self.courses.len() < MAX_READINGS;
        let losses = if another {
            self.courses.remove(key);
            [None; 2]
        } else if let Some(course) = self.courses.get_mut(key) {
            course.answered(part, committed)
        } else if room {
            let course = self.courses.entry(key.clone()).or_default();
            course.answered(part, committed)
        } else {
            [None; 2]
        };
        losses.into_iter().flatten()
    }

    /// A member of the group was told where what it has read ends.
    pub(super) fn ends(
        &mut self,
        key: &ReadingKey,
        end: i64,
        committed: Option<i64>,
    ) -> Option<Lost> {
        if let Some(course) = self.courses.get_mut(key) {
            return course.ends(end, committed);
        }
        let mut course = Course::default();
        let lost = course.ends(end, committed)?;
        if self.courses.len() < MAX_READINGS {
            self.courses.insert(key.clone(), course);
        }
        Some(lost)
    }

    /// Partitions that nobody of this pod reads for the group any more: others may, so what is known of the position does not hold.
    pub(super) fn left(&mut self, revoked: &[ReadingKey]) {
        for key in revoked {
            if let Some(course) = self.courses.get_mut(key) {
                (course.next, course.broken_at) = (None, None);
            }
        }
    }

    /// A topic was deleted.
    pub(super) fn forget_topic(&mut self, topic: &Name) {
        self.courses.retain(|(_, of, _), _| of != topic);
    }

    /// Something was missed, or a topic was made anew: nothing seen before says anything of what comes.
    pub(super) fn forget(&mut self) {
        self.courses.clear();
    }

    /// Keeps only the groups that are still known.
    pub(super) fn retain(&mut self, known: impl Fn(&Name) -> bool) {
        self.courses.retain(|(group, _, _), _| known(group));
    }
}

impl Engine {
    /// What the answer proves to be lost to the group.
    pub(super) fn lost(
        &mut self,
        key: &ReadingKey,
        part: &DeliveredPart,
        committed: Option<i64>,
        at: Stamp,
        sink: &mut dyn Sink,
    ) {
        if !self.is_continuous(at) {
            return;
        }
        for lost in self.losses.answered(key, part, committed) {
            tell(key, lost, sink);
        }
    }

    /// A consumer was told where what it has read ends.
    pub(super) fn epoch_ends(
        &mut self,
        ends: &[(Name, i32, i64)],
        event: &Event,
        sink: &mut dyn Sink,
    ) {
        if !self.is_continuous(event.at) {
            return;
        }
        for (topic, partition, end) in ends {
            let group = self.members.group_of(&event.client, topic, *partition);
            let key: ReadingKey = (group, Arc::clone(topic), *partition);
            // Who reads for no group, or for one of several, has no reading.
            let Some(reading) = self.readings.get(&key) else {
                continue;
            };
            let committed = reading.position_since(self.doubt);
            if let Some(lost) = self.losses.ends(&key, *end, committed) {
                tell(&key, lost, sink);
            }
        }
    }
}

fn tell((group, topic, _): &ReadingKey, (reason, count): Lost, sink: &mut dyn Sink) {
    sink.record(Measure::Lost(Loss::Records {
        topic,
        group,
        reason,
        count,
    }));
}
