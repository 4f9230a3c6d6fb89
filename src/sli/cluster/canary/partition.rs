//! The records of ours that are out in one partition.
//!
//! Apart from `Canary` so that each rule stands where its record is. Must not outgrow [`OPEN_MAX`].

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::{Doubt, Fault, Looked, Settings, Verdict};

/// Most records of one partition that are out at a time.
const OPEN_MAX: usize = 2_000;
/// Most lost records of one partition that are looked out for.
const LOST_MAX: usize = 1_000;
/// Records read again where the end of a partition moved back.
const READ_AGAIN: i64 = 2_000;
/// Between two attempts to write a record: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How far a record is.
#[derive(Debug, Clone, Copy)]
enum State {
    /// To be sent from then on.
    Waiting(Instant),
    /// Sent, not answered.
    Sent,
    /// Written at this offset, as a broker said then.
    Written {
        broker: i32,
        offset: i64,
        at: Instant,
    },
}

/// Whether a record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    NotYet,
    Read,
    /// We may not read: only its acknowledgement is judged.
    NotRead,
}

/// One record.
#[derive(Debug, Clone)]
struct Open {
    number: u64,
    /// Leader when it was due.
    broker: i32,
    due_at: Instant,
    state: State,
    back: Back,
    attempts: u32,
    fault: Fault,
    /// We stood still while it was out: how long it took says nothing.
    doubtful: bool,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Partition {
    leader: Option<i32>,
    /// The last leader there was, or the one there is to be.
    told_of: i32,
    next_due: Instant,
    position: Option<i64>,
    /// Where reading stood when what was to be read next was not there.
    stood_at: i64,
    /// From then on a leader that does not say where reading begins is at fault.
    patient_until: Instant,
    /// Reading began once: what is missing since is lost.
    placed: bool,
    /// End and time of the last look.
    seen: Option<(i64, Instant)>,
    open: VecDeque<Open>,
    /// Lost, if the topic is still the one it was written to: number, broker, when it was due, since when.
    suspects: VecDeque<(u64, i32, Instant, Instant)>,
    lost: VecDeque<(u64, i32, Instant)>,
}

impl Partition {
    pub(super) fn new(next_due: Instant, patient_until: Instant, preferred: i32) -> Self {
        Self {
            leader: None,
            told_of: preferred,
            next_due,
            position: None,
            stood_at: 0,
            patient_until,
            placed: false,
            seen: None,
            open: VecDeque::new(),
            suspects: VecDeque::new(),
            lost: VecDeque::new(),
        }
    }

    pub(super) fn lead(&mut self, leader: Option<i32>) {
        self.leader = leader;
        self.told_of = leader.unwrap_or(self.told_of);
    }

    pub(super) const fn leader(&self) -> Option<i32> {
        self.leader
    }

    pub(super) const fn told_of(&self) -> i32 {
        self.told_of
    }

    pub(super) const fn position(&self) -> Option<i64> {
        self.position
    }

    pub(super) fn misplace(&mut self) {
        if let Some(position) = self.position.take() {
            self.stood_at = position;
        }
    }

    pub(super) fn place(&mut self, at: Instant, start: i64, end: i64, out: &mut Vec<Verdict>) {
        if !self.placed {
            self.placed = true;
            self.position = Some(end);
            return;
        }
        // Deleted before it was read; or the end moved back, and what was written since may stand before the end of now.
        let from = if self.stood_at > end {
            end.saturating_sub(READ_AGAIN)
        } else {
            self.stood_at
        };
        self.position = Some(from.clamp(start.min(end), end));
        self.seen = Some((end, at));
        // Deleted in its time while we did not look says nothing of the cluster.
        self.open.retain(|open| {
            let deleted = matches!(open.state, State::Written { offset, .. } if offset < start);
            let ours = deleted && open.doubtful && open.back == Back::NotYet;
            if ours {
                out.push(Verdict::Unknown(Doubt::StoodStill));
            }
            !ours
        });
        self.lose_before(at, start);
    }

    /// Every written record before `offset` that was not read is not there.
    fn lose_before(&mut self, now: Instant, before: i64) {
        self.lose(now, |offset, _| offset < before);
    }

    fn lose(&mut self, now: Instant, is_lost: impl Fn(i64, Instant) -> bool) {
        let mut kept = VecDeque::with_capacity(self.open.len());
        for open in self.open.drain(..) {
            match open.state {
                State::Written { broker, offset, at }
                    if open.back == Back::NotYet && is_lost(offset, at) =>
                {
                    let suspect = (open.number, broker, open.due_at, now);
                    self.suspects.push_back(suspect);
                }
                _ => kept.push_back(open),
            }
        }
        self.open = kept;
    }

    /// Whether something is lost if the topic is still the same.
    pub(super) fn suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// The topic was still the same at this time.
    pub(super) fn confirm(&mut self, at: Instant, out: &mut Vec<Verdict>) {
        let (lost, open) = self
            .suspects
            .drain(..)
            .partition(|(.., since)| *since <= at);
        self.suspects = open;
        let lost: VecDeque<_> = lost;
        for (number, broker, due_at, _) in lost {
            out.push(Verdict::Lost(broker));
            self.lost.push_back((number, broker, due_at));
            if self.lost.len() > LOST_MAX {
                self.lost.pop_front();
            }
        }
    }

    /// Makes the next record due, once it is known where reading begins.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        settings: &Settings,
        may_read: bool,
        next_number: &mut u64,
        out: &mut Vec<Verdict>,
    ) {
        let placing = may_read && !self.placed && self.leader.is_some();
        if now < self.next_due || (placing && now < self.patient_until) {
            return;
        }
        let next = self.next_due + settings.interval;
        self.next_due = if next > now {
            next
        } else {
            now + settings.interval
        };
        if self.open.len().saturating_add(self.suspects.len()) >= OPEN_MAX {
            out.push(Verdict::Unknown(Doubt::TooMany));
            return;
        }
        out.push(Verdict::Sent(self.told_of));
        self.open.push_back(Open {
            number: *next_number,
            broker: self.told_of,
            due_at: now,
            state: State::Waiting(now),
            back: if may_read {
                Back::NotYet
            } else {
                Back::NotRead
            },
            attempts: 0,
            fault: Fault::NotAnswered,
            doubtful: false,
        });
        *next_number = next_number.wrapping_add(1);
    }

    /// Numbers of what is to be sent now. Nothing is before it is known where reading begins.
    pub(super) fn due(&mut self, now: Instant, may_read: bool) -> Vec<u64> {
        let mut numbers = Vec::new();
        if may_read && !self.placed {
            return numbers;
        }
        for open in &mut self.open {
            if let State::Waiting(from) = open.state
                && from <= now
            {
                open.state = State::Sent;
                numbers.push(open.number);
            }
        }
        numbers
    }

    pub(super) fn acknowledged(
        &mut self,
        at: Instant,
        broker: i32,
        numbers: &[u64],
        offset: i64,
        out: &mut Vec<Verdict>,
    ) {
        for (number, offset) in numbers.iter().zip(offset..) {
            let Some(open) = self.open.iter_mut().find(|open| open.number == *number) else {
                continue;
            };
            if !open.doubtful {
                let took = at.saturating_duration_since(open.due_at);
                out.push(Verdict::Acknowledged(broker, took));
            }
            open.state = State::Written { broker, offset, at };
        }
        self.open.retain(|open| {
            open.back == Back::NotYet || !matches!(open.state, State::Written { .. })
        });
        // Read past it before the acknowledgement came, and it was not there.
        if let Some(position) = self.position {
            self.lose_before(at, position);
        }
    }

    pub(super) fn not_acknowledged(
        &mut self,
        at: Instant,
        numbers: &[u64],
        fault: Fault,
        for_good: bool,
        out: &mut Vec<Verdict>,
    ) {
        self.open.retain_mut(|open| {
            if !numbers.contains(&open.number) {
                return true;
            }
            // It is there, whatever the answer.
            if open.back == Back::Read {
                return false;
            }
            open.fault = fault;
            open.attempts = open.attempts.saturating_add(1);
            let pause = PAUSE_MIN
                .saturating_mul(1 << open.attempts.min(6))
                .min(PAUSE_MAX);
            open.state = State::Waiting(at + pause);
            if for_good {
                out.push(Verdict::Failed(open.broker, fault));
            }
            !for_good
        });
    }

    pub(super) fn looked(
        &mut self,
        at: Instant,
        looked: Looked<'_>,
        settings: &Settings,
        out: &mut Vec<Verdict>,
    ) {
        for number in looked.numbers {
            self.came_back(at, *number, settings, out);
        }
        // An answer from a leader of before, to a question of before, says nothing of where reading stands.
        if self.position == Some(looked.from) {
            self.seen = Some((looked.end, at));
            self.position = Some(looked.next);
            self.lose_before(at, looked.next);
        }
    }

    fn came_back(&mut self, at: Instant, number: u64, settings: &Settings, out: &mut Vec<Verdict>) {
        if let Some(place) = self.lost.iter().position(|(lost, ..)| *lost == number)
            && let Some((_, broker, due_at)) = self.lost.remove(place)
        {
            let took = at.saturating_duration_since(due_at);
            out.push(Verdict::Recovered(broker));
            out.push(Verdict::CameBack(broker, took));
            out.push(Verdict::Late(broker));
            return;
        }
        let suspect = self.suspects.iter().position(|(of, ..)| *of == number);
        if let Some((_, broker, due_at, _)) = suspect.and_then(|place| self.suspects.remove(place))
        {
            let took = at.saturating_duration_since(due_at);
            out.push(Verdict::CameBack(broker, took));
            if took > settings.late {
                out.push(Verdict::Late(broker));
            }
            return;
        }
        let Some(place) = self.open.iter().position(|open| open.number == number) else {
            return;
        };
        let Some(open) = self
            .open
            .get_mut(place)
            .filter(|open| open.back == Back::NotYet)
        else {
            return;
        };
        let took = at.saturating_duration_since(open.due_at);
        if open.doubtful {
            out.push(Verdict::Unknown(Doubt::StoodStill));
        } else {
            out.push(Verdict::CameBack(open.broker, took));
            if took > settings.late {
                out.push(Verdict::Late(open.broker));
            }
        }
        open.back = Back::Read;
        // It is there: what an answer may still say of it is only how long writing took.
        if !matches!(open.state, State::Sent) {
            self.open.remove(place);
        }
    }

    pub(super) fn stood_still(&mut self) {
        for open in &mut self.open {
            open.doubtful = true;
        }
    }

    /// Judges what waited too long.
    pub(super) fn expire(&mut self, now: Instant, settings: &Settings, out: &mut Vec<Verdict>) {
        let no_leader = self.leader.is_none();
        self.open.retain_mut(|open| {
            if let (State::Waiting(_), true) = (open.state, no_leader) {
                open.fault = Fault::NoLeader;
            }
            let written = matches!(open.state, State::Written { .. });
            let over = now.saturating_duration_since(open.due_at) >= settings.lost;
            if written || !over {
                return true;
            }
            // What was read was written, whatever the answer.
            if open.back != Back::Read {
                out.push(if open.doubtful {
                    Verdict::Unknown(Doubt::StoodStill)
                } else {
                    Verdict::Failed(open.broker, open.fault)
                });
            }
            false
        });
        if let Some((end, seen_at)) = self.seen {
            self.lose(now, |offset, at| {
                offset >= end && seen_at.saturating_duration_since(at) >= settings.lost
            });
        }
    }

    pub(super) fn overdue<'p>(
        &'p self,
        now: Instant,
        settings: &'p Settings,
    ) -> impl Iterator<Item = i32> + 'p {
        let out = self.open.iter().filter(|open| open.back != Back::Read);
        out.filter(move |open| now.saturating_duration_since(open.due_at) > settings.late)
            .map(|open| open.broker)
    }

    /// Nothing that is out can be judged.
    pub(super) fn drop_open(&mut self, doubt: Doubt, out: &mut Vec<Verdict>) {
        let open = self.open.drain(..).filter(|open| open.back != Back::Read);
        out.extend(open.map(|_| Verdict::Unknown(doubt)));
    }

    /// The partition is gone.
    pub(super) fn forget(mut self, doubt: Doubt, out: &mut Vec<Verdict>) {
        self.drop_open(doubt, out);
        out.extend(self.suspects.iter().map(|_| Verdict::Unknown(doubt)));
    }
}
