//! Which share of something was looked at lately.
//!
//! Must not know of what.

use std::time::Duration;

use tokio::time::Instant;

/// Length of the two windows that a share is taken over.
const WINDOW: Duration = Duration::from_secs(60);
/// What nothing came of for this long has no share.
const IDLE: Duration = Duration::from_secs(3600);

/// Counts of the last one to two windows.
#[derive(Debug)]
pub(super) struct Coverage {
    /// (looked at, all) in the window before and in this one.
    previous: (u64, u64),
    current: (u64, u64),
    window: Instant,
    touched: Instant,
}

impl Coverage {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            previous: (0, 0),
            current: (0, 0),
            window: now,
            touched: now,
        }
    }

    pub(super) fn add(&mut self, looked_at: bool, count: u64, now: Instant) {
        self.touched = now;
        let (known, all) = &mut self.current;
        *all = all.saturating_add(count);
        if looked_at {
            *known = known.saturating_add(count);
        }
    }

    /// Moves the windows; false when nothing came for long.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.window) >= WINDOW {
            self.previous = std::mem::take(&mut self.current);
            self.window = now;
        }
        now.saturating_duration_since(self.touched) < IDLE
    }

    /// 1 where nothing came lately.
    pub(super) fn share(&self) -> f64 {
        let known = self.previous.0.saturating_add(self.current.0);
        let all = self.previous.1.saturating_add(self.current.1);
        if all == 0 {
            return 1.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "a share of counts under 2^53")]
        let share = known as f64 / all as f64;
        share
    }
}
