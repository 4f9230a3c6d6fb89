//! Verdicts on one partition of a group, and on one partition.
//!
//! Pure functions of what was seen; `watched` adds them up. Must not remember anything.

use std::time::Duration;

use super::{
    pair::{Behind, Pair, float},
    snapshot::DiskSeen,
};
use crate::sli::Reason;

/// Share of what is retained that a group must have left behind it.
const HEADROOM_MIN: f64 = 0.2;
/// From this used share on a disk is full.
const DISK_USED_MAX: f64 = 0.8;

/// One judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    Unknown(Reason),
}

/// Whether the first uncommitted record is young enough (M3).
pub(super) fn lag(behind: &Behind, threshold: Duration) -> Verdict {
    let threshold_ms = i64::try_from(threshold.as_millis()).unwrap_or(i64::MAX);
    if behind.records == 0 {
        return Verdict::Good;
    }
    if behind.age.lower >= threshold_ms {
        return Verdict::Bad;
    }
    match (behind.age.exact(), behind.inexact) {
        (Some(_), _) => Verdict::Good,
        (None, reason) => Verdict::Unknown(reason.unwrap_or(Reason::NotExamined)),
    }
}

/// (good, bad) offsets that became as old as the deadline (M1). `due` is the end as it was then, `start` the first offset there
/// is, `now` the end of now.
pub(super) fn delivery(
    pair: &mut Pair,
    behind: &Behind,
    due: Option<i64>,
    start: i64,
    now: i64,
) -> (u64, u64) {
    // What was there before the observer looked is not its to judge.
    let Some(judged) = pair.judged else {
        pair.judged = Some(now);
        return (0, 0);
    };
    let Some(due) = due.filter(|due| *due > judged) else {
        // A log that begins anew.
        pair.judged = Some(judged.min(now));
        return (0, 0);
    };
    pair.judged = Some(due);
    // What retention took was not delivered, and what a group went back over was.
    let done = if pair.committed < start {
        pair.committed
    } else {
        behind.done
    };
    let done = done.max(pair.reached()).clamp(judged, due);
    let count = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
    (count(judged, done), count(done, due))
}

/// Share of what a partition retains that a group has behind it, 0 to 1; `None` where it retains nothing.
pub(super) fn headroom(committed: i64, start: i64, end: i64) -> Option<f64> {
    let span = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
    let all = span(start, end);
    (all > 0).then(|| float(span(start, committed.min(end))) / float(all))
}

/// Whether groups and disk have room (M8). `headroom` is the least of all live groups that are behind; `None` = none is.
pub(super) fn retention(headroom: Option<f64>, trims: bool, disk: DiskSeen) -> Verdict {
    if trims && headroom.is_some_and(|share| share < HEADROOM_MIN) {
        return Verdict::Bad;
    }
    match disk {
        DiskSeen::Used(share) if share >= DISK_USED_MAX => Verdict::Bad,
        DiskSeen::Used(_) => Verdict::Good,
        DiskSeen::NotAnswered => Verdict::Unknown(Reason::NotAnswered),
        DiskSeen::NoRights => Verdict::Unknown(Reason::NoRights),
        DiskSeen::NotOffered => Verdict::Unknown(Reason::NotOffered),
    }
}
