//! Waiting on a condition, never on a duration.
//!
//! Tests call [`poll_until`]; the only wait without a condition in the whole tree is inside it.

use std::time::Duration;

use tokio::time::Instant;

/// How long a probe rests before it looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `probe` yields a value, and fails the test with `what` past the limit.
#[track_caller]
pub(crate) fn poll_until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    match try_poll_until(limit, probe) {
        Some(value) => value,
        None => panic!("gave up after {limit:?}: {what}"),
    }
}

/// Waits until `probe` yields a value; `None` past the limit.
pub(crate) fn try_poll_until<T>(
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        poll_pause();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one pause of every poll; callers wait on a condition"
)]
fn poll_pause() {
    std::thread::sleep(POLL_INTERVAL);
}
