//! How a group gets on in one partition, judged over a window and not by single looks.
//!
//! Known errors of such judgements, and what is done here instead: an idle group that commits nothing is not stuck (no lag is
//! `ok`, whatever the commits do); a lag that grows with tiny dips is growing (quarters of the window are compared by their least lag);
//! one that swings with the commits is not (growth must exceed the swing); a group that commits seldom is given a longer window;
//! after a restart in mid-backlog nothing is said until a window has passed. Must not know who reads.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Shortest window; three commit intervals where those are longer.
pub const PROGRESS_WINDOW: Duration = Duration::from_secs(60);
/// Longest window.
pub const PROGRESS_WINDOW_MAX: Duration = Duration::from_secs(900);
/// Parts a window is kept in.
pub const SLOTS: usize = 8;
/// Slots that a trend is read from at least: half a window.
const SLOTS_FOR_TREND: usize = 4;

/// How a group gets on in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgressState {
    /// No lag, or it does not grow.
    Ok,
    /// Commits go on and the lag has grown all through the window.
    Warn,
    /// Fetches go on, there is lag, and the position has not moved for a window.
    Stalled,
    /// There is lag, and neither a fetch nor a commit for a window.
    Stopped,
    /// The position went back within the window.
    Rewinding,
}

impl ProgressState {
    /// All of them; every group shows all.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Warn,
        Self::Stalled,
        Self::Stopped,
        Self::Rewinding,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::Rewinding => "rewinding",
        }
    }
}

/// What is known of a partition at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) committed: i64,
    /// Records behind the position, as far as the end was seen.
    pub(super) lag: u64,
    /// Since the last sign of fetching.
    pub(super) fetched: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    begun: Instant,
    least: u64,
    least_at: Instant,
    most: u64,
}

/// One group's way through one partition, lately.
#[derive(Debug, Default)]
pub(super) struct Progress {
    slots: VecDeque<Slot>,
    committed: Option<i64>,
    /// First look.
    begun: Option<Instant>,
    /// When the position last went forward, or there was nothing to do.
    advanced: Option<Instant>,
    rewound: Option<Instant>,
}

/// The window for a group with this commit interval.
pub(super) fn window(commit_interval: Option<Duration>) -> Duration {
    let wanted = commit_interval.map_or(PROGRESS_WINDOW, |interval| interval.saturating_mul(3));
    wanted.clamp(PROGRESS_WINDOW, PROGRESS_WINDOW_MAX)
}

impl Progress {
    /// Takes one look; about once a second.
    pub(super) fn look(&mut self, look: Look, window: Duration, now: Instant) {
        let before = self.committed.replace(look.committed);
        self.begun.get_or_insert(now);
        match before {
            Some(before) if look.committed < before => {
                self.rewound = Some(now);
                self.advanced = Some(now);
                self.slots.clear();
            }
            Some(before) if look.committed > before => self.advanced = Some(now),
            _ => {}
        }
        if look.lag == 0 {
            self.advanced = Some(now);
        }
        let length = window / u32::try_from(SLOTS).unwrap_or(1);
        match self.slots.back_mut() {
            Some(slot) if now.saturating_duration_since(slot.begun) < length => {
                if look.lag <= slot.least {
                    (slot.least, slot.least_at) = (look.lag, now);
                }
                slot.most = slot.most.max(look.lag);
            }
            _ => {
                if self.slots.len() >= SLOTS {
                    self.slots.pop_front();
                }
                self.slots.push_back(Slot {
                    begun: now,
                    least: look.lag,
                    least_at: now,
                    most: look.lag,
                });
            }
        }
    }

    /// The judgement now; `None` where it is not known yet, or any more.
    pub(super) fn state(
        &self,
        look: Look,
        window: Duration,
        now: Instant,
    ) -> Option<ProgressState> {
        let within =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < window);
        if within(self.rewound) {
            return Some(ProgressState::Rewinding);
        }
        let fetching = look.fetched < window;
        if look.lag == 0 {
            // Of a consumer that does not fetch the end is not known any more.
            return fetching.then_some(ProgressState::Ok);
        }
        if within(self.advanced) {
            let grows = self.slots.len() >= SLOTS && self.grows();
            return match (grows, within(self.begun)) {
                (true, _) => Some(ProgressState::Warn),
                (false, false) => Some(ProgressState::Ok),
                (false, true) => None,
            };
        }
        if within(self.begun) {
            return None;
        }
        Some(if fetching {
            ProgressState::Stalled
        } else {
            ProgressState::Stopped
        })
    }

    /// From quarter to quarter of the window the least lag rises, and over all by more than it swings within one.
    fn grows(&self) -> bool {
        let slots: Vec<Slot> = self.slots.iter().copied().collect();
        let quarters: Vec<(u64, u64)> = slots
            .chunks(SLOTS / 4)
            .map(|slots| {
                let least = slots.iter().map(|slot| slot.least).min().unwrap_or(0);
                let most = slots.iter().map(|slot| slot.most).max().unwrap_or(0);
                (least, most)
            })
            .collect();
        let rises = quarters.is_sorted_by(|(before, _), (after, _)| before < after);
        let swing = quarters.first().map_or(0, |(least, most)| most - least);
        let first = quarters.first().map_or(0, |(least, _)| *least);
        let last = quarters.last().map_or(0, |(least, _)| *least);
        rises && last.saturating_sub(first) > swing
    }

    /// Estimated seconds until there is no lag, at the speed of the window; `None` where it does not shrink or too little was seen.
    pub(super) fn drain_seconds(&self, lag: u64) -> Option<f64> {
        if lag == 0 {
            return Some(0.0);
        }
        if self.slots.len() < SLOTS_FOR_TREND {
            return None;
        }
        let (first, last) = (self.slots.front()?, self.slots.back()?);
        // The least of a slot stands right behind a commit, so that two of them compare.
        let took = last.least_at.saturating_duration_since(first.least_at);
        let gone = first
            .least
            .checked_sub(last.least)
            .filter(|gone| *gone > 0)?;
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = lag as f64 / gone as f64 * took.as_secs_f64();
        Some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (second, committed, lag, seconds since the last fetch)
    fn after(
        looks: impl Iterator<Item = (u64, i64, u64, u64)>,
    ) -> (Option<ProgressState>, Option<f64>) {
        let (mut progress, start) = (Progress::default(), Instant::now());
        let mut last = None;
        for (second, committed, lag, fetched) in looks {
            let look = Look {
                committed,
                lag,
                fetched: Duration::from_secs(fetched),
            };
            let now = start + Duration::from_secs(second);
            progress.look(look, PROGRESS_WINDOW, now);
            let state = progress.state(look, PROGRESS_WINDOW, now);
            last = Some((state, progress.drain_seconds(lag)));
        }
        last.unwrap()
    }

    fn steady(seconds: u64, lag: impl Fn(u64) -> u64) -> Option<ProgressState> {
        after((0..=seconds).map(|s| (s, i64::try_from(s).unwrap(), lag(s), 0))).0
    }

    #[test]
    fn lag_that_grows_is_warned_of_though_it_dips_and_one_that_swings_is_not() {
        use ProgressState::{Ok, Warn};
        assert_eq!(steady(90, |_| 0), Some(Ok), "none");
        assert_eq!(steady(90, |_| 500), Some(Ok), "the same all along");
        assert_eq!(steady(90, |s| 100 + s * 10), Some(Warn), "grows");
        let dips = |s: u64| 100 + s * 10 - if s.is_multiple_of(5) { 30 } else { 0 };
        assert_eq!(steady(90, dips), Some(Warn), "grows with dips");
        let tooth = |s: u64| 1_000 + s % 5 * 200 + s / 10;
        assert_eq!(steady(90, tooth), Some(Ok), "swings with the commits");
        assert_eq!(steady(90, |s| 1_000 - s * 10), Some(Ok), "shrinks");
        let burst = |s: u64| if s < 20 { 10 } else { 5_000 };
        assert_eq!(
            steady(90, burst),
            Some(Ok),
            "a burst that is not caught up with, yet"
        );
    }

    #[test]
    fn a_position_that_does_not_move_is_stalled_only_where_there_is_lag_and_for_a_window() {
        use ProgressState::{Ok, Stalled, Stopped};
        let stuck = |seconds: u64, lag: u64| after((0..=seconds).map(move |s| (s, 7, lag, 0))).0;
        assert_eq!(stuck(300, 0), Some(Ok), "idle");
        assert_eq!(stuck(59, 5), None, "seen too briefly");
        assert_eq!(stuck(60, 5), Some(Stalled));
        let gone = |lag: u64| after((0..=120).map(move |s| (s, 7, lag, s))).0;
        assert_eq!(gone(5), Some(Stopped));
        assert_eq!(
            gone(0),
            None,
            "where it stopped without lag nobody knows the end"
        );
        // Idle for long, then records come: the clock begins with them.
        let wakes = after((0..=300).map(|s| (s, 7, u64::from(s >= 290) * 5, 0))).0;
        assert_eq!(wakes, Some(Ok));
    }

    #[test]
    fn a_position_that_goes_back_is_rewinding_for_a_window() {
        let back = |seconds: u64| {
            let position = |s: u64| {
                if s < 100 {
                    500
                } else {
                    i64::try_from(s).unwrap()
                }
            };
            after((0..=seconds).map(move |s| (s, position(s), 400, 0))).0
        };
        assert_eq!(back(100), Some(ProgressState::Rewinding));
        assert_eq!(back(159), Some(ProgressState::Rewinding));
        assert_eq!(back(161), Some(ProgressState::Ok));
    }

    #[test]
    fn after_a_restart_in_mid_backlog_nothing_is_said_until_a_window_has_passed() {
        assert_eq!(steady(59, |_| 500), None);
        assert_eq!(steady(60, |_| 500), Some(ProgressState::Ok));
        assert_eq!(
            window(Some(Duration::from_secs(60))),
            Duration::from_secs(180)
        );
        assert_eq!(window(Some(Duration::from_secs(5))), PROGRESS_WINDOW);
        assert_eq!(window(Some(Duration::from_secs(7200))), PROGRESS_WINDOW_MAX);
    }

    #[test]
    fn the_time_to_drain_is_that_of_the_window_and_absent_where_nothing_drains() {
        let drain = |lag: fn(u64) -> u64| after((0..=60).map(|s| (s, 0, lag(s), 0))).1;
        let seconds = drain(|s| 1_000 - s * 10).unwrap();
        assert!((38.0..=42.0).contains(&seconds), "{seconds}");
        assert_eq!(drain(|_| 1_000), None);
        assert_eq!(drain(|s| 1_000 + s), None);
        assert_eq!(drain(|_| 0), Some(0.0));
        assert_eq!(
            after((0..=20).map(|s| (s, 0, 1_000 - s, 0))).1,
            None,
            "too brief"
        );
    }
}
