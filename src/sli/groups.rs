//! What is known of each group as a whole: rebalances and how often its members commit.
//!
//! The commit interval decides which stage the latency SLI judges, so it is measured only while records flow: a group that is
//! idle does not commit seldom. Must not know partitions.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::event::Name;

/// Most groups remembered.
pub const MAX_GROUPS: usize = 5_000;
/// Most members per group whose commits are timed.
pub const MAX_COMMITTERS: usize = 256;
/// A group without any sign this long is forgotten.
pub const GROUP_IDLE: Duration = Duration::from_secs(3600);
/// Intervals measured before the figure is believed.
const ENOUGH_SAMPLES: u32 = 3;
/// Weight of the newest interval.
const NEWEST: f64 = 0.3;

#[derive(Debug, Default)]
struct Committer {
    /// Something was delivered to the group since this member's last commit: when the first of it was.
    waiting_since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Group {
    committers: HashMap<Name, Committer>,
    interval_seconds: Option<f64>,
    samples: u32,
    generation: Option<i32>,
    changes: u64,
    touched: Instant,
}

impl Group {
    fn new(now: Instant) -> Self {
        Self {
            committers: HashMap::new(),
            interval_seconds: None,
            samples: 0,
            generation: None,
            changes: 0,
            touched: now,
        }
    }

    /// Smoothed commit interval, once measured.
    pub(super) fn commit_interval(&self) -> Option<Duration> {
        self.interval_seconds
            .map(Duration::from_secs_f64)
            .filter(|_| self.samples >= ENOUGH_SAMPLES)
    }
}

/// All groups read behind this sidecar.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Name, Group>,
}

impl Groups {
    pub(super) fn get(&self, name: &Name) -> Option<&Group> {
        self.groups.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Group)> {
        self.groups.iter()
    }

    /// A sign of the group. True where it was not known.
    pub(super) fn touch(&mut self, name: &Name, now: Instant) -> bool {
        if let Some(group) = self.groups.get_mut(name) {
            group.touched = now;
            return false;
        }
        if self.groups.len() >= MAX_GROUPS {
            return false;
        }
        self.groups.insert(Arc::clone(name), Group::new(now));
        true
    }

    /// Records were delivered to the group.
    pub(super) fn delivered(&mut self, name: &Name, now: Instant) {
        if let Some(group) = self.groups.get_mut(name) {
            group.touched = now;
            for committer in group.committers.values_mut() {
                committer.waiting_since.get_or_insert(now);
            }
        }
    }

    /// A member committed.
    pub(super) fn committed(&mut self, name: &Name, member: &Name, now: Instant) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        group.touched = now;
        if let Some(committer) = group.committers.get_mut(member) {
            let Some(since) = committer.waiting_since.take() else {
                return;
            };
            let sample = now.saturating_duration_since(since).as_secs_f64();
            group.samples = group.samples.saturating_add(1);
            group.interval_seconds = Some(
                group
                    .interval_seconds
                    .map_or(sample, |old| old + NEWEST * (sample - old)),
            );
        } else if group.committers.len() < MAX_COMMITTERS {
            group
                .committers
                .insert(Arc::clone(member), Committer::default());
        }
    }

    /// A member is gone.
    pub(super) fn left(&mut self, name: &Name, member: &Name) {
        if let Some(group) = self.groups.get_mut(name) {
            group.committers.remove(member);
        }
    }

    /// A member came, went or was assigned something.
    pub(super) fn changed(&mut self, name: &Name) {
        if let Some(group) = self.groups.get_mut(name) {
            group.changes = group.changes.wrapping_add(1);
        }
    }

    /// How often that happened.
    pub(super) fn changes(&self, name: &Name) -> u64 {
        self.groups.get(name).map_or(0, |group| group.changes)
    }

    /// A member reached a generation. True for the first member that does: then a rebalance round is counted.
    pub(super) fn reached(&mut self, name: &Name, generation: i32) -> bool {
        self.groups.get_mut(name).is_some_and(|group| {
            // A group that was emptied and deleted begins at 1 again; other lower numbers are members that lag behind.
            let new = group
                .generation
                .is_none_or(|known| generation > known || (generation == 1 && known > 2));
            if new {
                group.generation = Some(generation);
            }
            new
        })
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.groups
            .retain(|_, g| now.saturating_duration_since(g.touched) < GROUP_IDLE);
    }
}
