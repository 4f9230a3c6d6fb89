//! Named gates that must all be open before the sidecar calls itself ready.
//!
//! Whoever knows a gate's state sets it; the probe reads. Standard library only, so that every module may hold one. Must not
//! decide what a gate means.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// State of one gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Whether it lets readiness through.
    pub open: bool,
    /// Why, for people; empty where there is nothing to say.
    pub reason: String,
}

/// The gates.
#[derive(Debug, Default)]
pub struct Readiness {
    gates: Mutex<BTreeMap<&'static str, Gate>>,
}

impl Readiness {
    /// With these gates, all closed and `not started`.
    #[must_use]
    pub fn new(names: &[&'static str]) -> Self {
        let closed = |name: &&'static str| {
            let gate = Gate {
                open: false,
                reason: "not started".to_owned(),
            };
            (*name, gate)
        };
        Self {
            gates: Mutex::new(names.iter().map(closed).collect()),
        }
    }

    /// Opens a gate; what is worth saying goes into `note` (for instance what is unknown for want of rights).
    pub fn open(&self, name: &'static str, note: impl Into<String>) {
        self.set(name, true, note.into());
    }

    /// Closes a gate and says why.
    pub fn close(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, false, reason.into());
    }

    /// Whether every gate is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .all(|gate| gate.open)
    }

    /// All gates by name.
    #[must_use]
    pub fn gates(&self) -> BTreeMap<&'static str, Gate> {
        self.gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, name: &'static str, open: bool, reason: String) {
        self.gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, Gate { open, reason });
    }
}
