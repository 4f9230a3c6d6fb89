//! Log lines that a busy or hostile peer cannot multiply: one per kind and minute.
//!
//! Must not hold names from the wire as keys.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// Remembers when each kind of line was last written.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    last: Mutex<HashMap<&'static str, Instant>>,
}

impl Notices {
    /// True where a line of this kind is due.
    pub(crate) fn due(&self, kind: &'static str) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last
            .get(kind)
            .is_none_or(|at| now.duration_since(*at) >= INTERVAL);
        if due {
            last.insert(kind, now);
        }
        due
    }
}
