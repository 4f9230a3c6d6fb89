//! How long until retention overtakes a group: its distance from the start of the log over the speed at which that comes nearer.
//!
//! Retention moves in steps, a segment at a time, so the speed is known only after two of them. Must not extrapolate from one, and
//! must not say anything of a group that is not being overtaken.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Most steps of a log's start remembered per (group, partition).
pub const MAX_STEPS: usize = 8;
/// Steps older than this say nothing of today's speed.
pub const STEPS_FOR: Duration = Duration::from_secs(6 * 3600);

#[derive(Debug, Clone, Copy)]
struct Step {
    at: Instant,
    log_start: i64,
    committed: i64,
}

/// The start of one log against one group's position.
#[derive(Debug, Default)]
pub(super) struct Headroom {
    log_start: Option<i64>,
    steps: VecDeque<Step>,
}

impl Headroom {
    /// An answer told the start of the log; `committed` is where the group stands.
    pub(super) fn answered(&mut self, log_start: i64, committed: Option<i64>, now: Instant) {
        if log_start < 0 {
            return;
        }
        let before = self.log_start.replace(log_start);
        if before.is_some_and(|before| log_start < before) {
            // Truncated or made anew.
            self.steps.clear();
        } else if let (true, Some(committed)) = (before.is_some_and(|b| b < log_start), committed) {
            if self.steps.len() >= MAX_STEPS {
                self.steps.pop_front();
            }
            self.steps.push_back(Step {
                at: now,
                log_start,
                committed,
            });
        }
    }

    /// Seconds until the start of the log reaches the group, at the speed of both since the oldest step; `None` where no two
    /// steps were seen or the distance does not shrink.
    pub(super) fn seconds(&self, committed: i64, now: Instant) -> Option<f64> {
        let recent = |s: &&Step| now.saturating_duration_since(s.at) < STEPS_FOR;
        let first = self.steps.iter().find(recent)?;
        let last = self.steps.back().filter(|last| last.at > first.at)?;
        let log = last.log_start.saturating_sub(first.log_start);
        let group = committed.saturating_sub(first.committed);
        let nearer = u32::try_from(log.saturating_sub(group)).ok()?;
        let took = now.saturating_duration_since(first.at).as_secs_f64();
        let left = committed.saturating_sub(last.log_start).max(0);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let left = left as f64;
        (nearer > 0).then(|| left / f64::from(nearer) * took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn two_steps_of_the_log_over_a_group_that_stands_give_the_time_left() {
        let (mut room, start) = (Headroom::default(), Instant::now());
        room.answered(0, Some(1000), start);
        room.answered(100, Some(1000), after(start, 10));
        assert_eq!(room.seconds(1000, after(start, 10)), None, "one step");
        room.answered(200, Some(1000), after(start, 20));
        // 100 offsets in 10 s, 800 to go.
        assert_eq!(room.seconds(1000, after(start, 20)), Some(80.0));
        // No step for as long again: half the speed.
        assert_eq!(room.seconds(1000, after(start, 30)), Some(160.0));
    }

    #[test]
    fn a_group_that_is_as_fast_as_retention_is_not_overtaken() {
        let (mut room, start) = (Headroom::default(), Instant::now());
        for n in 0..3_u32 {
            let at = after(start, u64::from(n) * 10);
            let offset = i64::from(n) * 100;
            room.answered(offset, Some(1000 + offset), at);
        }
        assert_eq!(room.seconds(1200, after(start, 20)), None);
        assert!(room.seconds(1150, after(start, 20)).is_some());
    }

    #[test]
    fn a_log_that_begins_earlier_than_before_is_another_one() {
        let (mut room, start) = (Headroom::default(), Instant::now());
        for (n, log_start) in [(0, 0), (1, 100), (2, 200), (3, 0)] {
            room.answered(log_start, Some(1000), after(start, n * 10));
        }
        assert_eq!(room.seconds(1000, after(start, 40)), None);
        room.answered(50, None, after(start, 50));
        room.answered(90, Some(1000), after(start, 60));
        assert_eq!(
            room.seconds(1000, after(start, 60)),
            None,
            "one was without a position"
        );
    }
}
