//! Whether records that we write ourselves come back: in time, late, lost, or not at all written.
//!
//! Pure over what is told and when, by a clock that never jumps: both ends of a round trip are this process. Must not do IO,
//! nor know a protocol. What becomes of one record of ours:
//!
//! | what happened | verdict |
//! |---|---|
//! | read within `late` of when it was due | in time |
//! | read after that | late |
//! | acknowledged, and its partition was read past its offset without it | lost |
//! | acknowledged, unread for `lost`, and a read after that says that the partition ends before it | lost |
//! | lost, and read after all | late as well, and recovered: lost is not taken back |
//! | neither acknowledged nor read within `lost`, or refused for good | failed |
//! | its topic deleted, our rights gone, we stood still ourselves | unknown |
//!
//! An acknowledged record in a partition that nobody can read is none of these yet: it is overdue. A record is sent again until
//! it is acknowledged or failed, and judged once, however often it was written.

mod partition;

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use self::partition::Partition;

/// Partitions that are probed; those past it are not.
pub const PARTITIONS_MAX: usize = 1_000;
/// Between two turns of the caller: longer, and it stood still itself.
const STILL_MAX: Duration = Duration::from_secs(1);

/// Times of the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Between two records to one partition.
    pub interval: Duration,
    /// A record that takes longer to come back is late.
    pub late: Duration,
    /// How long an acknowledged record may be missing at the end of its partition, and how long one is tried to be written.
    pub lost: Duration,
}

/// Why a record could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Its partition has no leader.
    NoLeader,
    /// The leader did not answer.
    NotAnswered,
    /// The leader refused.
    Refused,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NoLeader, Self::NotAnswered, Self::Refused];

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoLeader => "no_leader",
            Self::NotAnswered => "not_answered",
            Self::Refused => "refused",
        }
    }
}

/// Why nothing can be said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// Its topic or partition is gone.
    TopicDeleted,
    /// We may not write, or may not read.
    NoRights,
    /// We stood still ourselves.
    StoodStill,
    /// Too many records are out already.
    TooMany,
}

impl Doubt {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::TopicDeleted,
        Self::NoRights,
        Self::StoodStill,
        Self::TooMany,
    ];

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopicDeleted => "topic_deleted",
            Self::NoRights => "no_rights",
            Self::StoodStill => "stood_still",
            Self::TooMany => "too_many",
        }
    }
}

/// What became of one record, and the broker it says something of: its leader when it was due, or the one that acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be sent.
    Sent(i32),
    /// It was acknowledged after this long.
    Acknowledged(i32, Duration),
    /// It was read after this long, in time or late.
    CameBack(i32, Duration),
    /// It was read too late.
    Late(i32),
    /// It was acknowledged and is not there.
    Lost(i32),
    /// It was counted lost and was read later.
    Recovered(i32),
    /// It could not be written.
    Failed(i32, Fault),
    /// Nothing can be said.
    Unknown(Doubt),
}

/// What one look into a partition found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked<'a> {
    /// Numbers of our own records in it.
    pub numbers: &'a [u64],
    /// Offset that was asked for.
    pub from: i64,
    /// Offset to read next.
    pub next: i64,
    /// Offset behind the last record that can be there for readers.
    pub end: i64,
}

/// A partition and who leads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Led {
    /// Partition number.
    pub partition: i32,
    /// Node id of its leader, where it has one.
    pub leader: Option<i32>,
    /// The broker that is to lead it, for what is said of it before it had a leader.
    pub preferred: i32,
}

/// Judges the records of one topic.
#[derive(Debug)]
pub struct Canary {
    settings: Settings,
    partitions: BTreeMap<i32, Partition>,
    next_number: u64,
    turned_at: Option<Instant>,
    may_write: bool,
    may_read: bool,
    verdicts: Vec<Verdict>,
}

impl Canary {
    /// Knows no partition yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            partitions: BTreeMap::new(),
            next_number: 0,
            turned_at: None,
            may_write: true,
            may_read: true,
            verdicts: Vec::new(),
        }
    }

    /// What was judged since the last call.
    pub fn verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.verdicts)
    }

    /// Takes the partitions there are. Those that are gone take their records along.
    pub fn lay(&mut self, now: Instant, all: &[Led]) {
        let all = all.get(..all.len().min(PARTITIONS_MAX)).unwrap_or_default();
        let named = |partition: &i32| all.iter().any(|led| led.partition == *partition);
        let gone = self.partitions.extract_if(.., |number, _| !named(number));
        for (_, partition) in gone {
            partition.forget(Doubt::TopicDeleted, &mut self.verdicts);
        }
        let late = self.settings.late;
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
        for (place, led) in (0u32..).zip(all) {
            let known = self.partitions.entry(led.partition);
            // Spread over the interval.
            let wait = self.settings.interval * place / count;
            known
                .or_insert_with(|| Partition::new(now + wait, now + late, led.preferred))
                .lead(led.leader);
        }
    }

    /// The topic is another one, or gone: nothing that was written is there any more.
    pub fn renew(&mut self) {
        for (_, partition) in std::mem::take(&mut self.partitions) {
            partition.forget(Doubt::TopicDeleted, &mut self.verdicts);
        }
    }

    /// Takes what we may do. What we may not is not tried, and what is out can no longer be judged.
    pub fn allow(&mut self, may_write: bool, may_read: bool) {
        let lost_rights = (self.may_write && !may_write) || (self.may_read && !may_read);
        (self.may_write, self.may_read) = (may_write, may_read);
        for partition in self.partitions.values_mut() {
            if lost_rights {
                partition.drop_open(Doubt::NoRights, &mut self.verdicts);
            }
        }
    }

    /// Whether records are written now.
    #[must_use]
    pub const fn may_write(&self) -> bool {
        self.may_write
    }

    /// Whether records are read now.
    #[must_use]
    pub const fn may_read(&self) -> bool {
        self.may_read
    }

    /// Whether something is lost if the topic is still the one it was written to: that is to be asked, and told by
    /// [`Canary::confirm`] or [`Canary::renew`]. A topic that was deleted and created again begins at offset 0.
    #[must_use]
    pub fn suspects(&self) -> bool {
        self.partitions.values().any(Partition::suspects)
    }

    /// The topic was still the same when that was asked.
    pub fn confirm(&mut self, asked_at: Instant) {
        for partition in self.partitions.values_mut() {
            partition.confirm(asked_at, &mut self.verdicts);
        }
    }

    /// Partitions led by this broker whose first position is not known yet, or is not there any more.
    #[must_use]
    pub fn unplaced(&self, leader: i32) -> Vec<i32> {
        self.led_by(leader)
            .filter(|(_, one)| one.position().is_none())
            .map(|(number, _)| *number)
            .collect()
    }

    /// (partition, offset to read next) of those led by this broker.
    #[must_use]
    pub fn positions(&self, leader: i32) -> Vec<(i32, i64)> {
        self.led_by(leader)
            .filter_map(|(number, one)| Some((*number, one.position()?)))
            .collect()
    }

    /// (partition, offset to read next) of all.
    #[must_use]
    pub fn all_positions(&self) -> Vec<(i32, i64)> {
        let all = self.partitions.iter();
        all.filter_map(|(number, one)| Some((*number, one.position()?)))
            .collect()
    }

    fn led_by(&self, leader: i32) -> impl Iterator<Item = (&i32, &Partition)> {
        let all = self.partitions.iter();
        all.filter(move |(_, one)| one.leader() == Some(leader))
    }

    /// Takes the first offset and the offset behind the last of a partition: where reading begins, or goes on where what was to
    /// be read next is not there.
    pub fn place(&mut self, now: Instant, partition: i32, start: i64, end: i64) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.place(now, start, end, &mut self.verdicts);
        }
    }

    /// What was to be read next is not there.
    pub fn out_of_range(&mut self, partition: i32) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.misplace();
        }
    }

    /// To be called often: makes records due, and judges what waited too long.
    pub fn turn(&mut self, now: Instant) {
        let still = self.turned_at.is_some_and(|at| {
            now.saturating_duration_since(at) > STILL_MAX.min(self.settings.late)
        });
        self.turned_at = Some(now);
        for partition in self.partitions.values_mut() {
            if still {
                partition.stood_still();
            }
            if self.may_write {
                let number = &mut self.next_number;
                partition.begin(
                    now,
                    &self.settings,
                    self.may_read,
                    number,
                    &mut self.verdicts,
                );
            }
            partition.expire(now, &self.settings, &mut self.verdicts);
        }
    }

    /// Takes what is to be sent to this broker now: numbers by partition.
    pub fn due(&mut self, now: Instant, leader: i32) -> Vec<(i32, Vec<u64>)> {
        let all = self.partitions.iter_mut();
        let led = all.filter(|(_, one)| one.leader() == Some(leader));
        let may_read = self.may_read;
        let due = led.map(|(number, one)| (*number, one.due(now, may_read)));
        due.filter(|(_, numbers)| !numbers.is_empty()).collect()
    }

    /// These records were written from `offset` on, as `broker` says.
    pub fn acknowledged(
        &mut self,
        at: Instant,
        (broker, partition): (i32, i32),
        numbers: &[u64],
        offset: i64,
    ) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.acknowledged(at, broker, numbers, offset, &mut self.verdicts);
        }
    }

    /// These records were not acknowledged. `for_good` = sending them again is useless.
    pub fn not_acknowledged(
        &mut self,
        at: Instant,
        partition: i32,
        numbers: &[u64],
        fault: Fault,
        for_good: bool,
    ) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.not_acknowledged(at, numbers, fault, for_good, &mut self.verdicts);
        }
    }

    /// A partition was looked into.
    pub fn looked(&mut self, at: Instant, partition: i32, looked: Looked<'_>) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.looked(at, looked, &self.settings, &mut self.verdicts);
        }
    }

    /// Records that are out longer than `late`, by the broker that led their partition when they were due. Brokers that lead
    /// one are named at 0.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> BTreeMap<i32, u64> {
        let mut all: BTreeMap<i32, u64> = BTreeMap::new();
        for partition in self.partitions.values() {
            all.entry(partition.told_of()).or_default();
            for broker in partition.overdue(now, &self.settings) {
                let count = all.entry(broker).or_default();
                *count = count.saturating_add(1);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
