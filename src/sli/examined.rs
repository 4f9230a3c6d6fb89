//! Which share of the records was examined one by one, by topic and direction.
//!
//! What was not examined is unknown, never good; this says how much that is. Must not know why.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::{coverage::Coverage, engine::MAX_FETCHERS};
use crate::event::{Direction, Name};

/// Shares of the last one to two minutes.
#[derive(Debug, Default)]
pub(super) struct Examined {
    shares: HashMap<(Name, Direction), Coverage>,
}

impl Examined {
    pub(super) fn add(
        &mut self,
        topic: &Name,
        direction: Direction,
        records: u64,
        yes: bool,
        now: Instant,
    ) {
        let key = (Arc::clone(topic), direction);
        if self.shares.len() < MAX_FETCHERS || self.shares.contains_key(&key) {
            let share = self.shares.entry(key).or_insert_with(|| Coverage::new(now));
            share.add(yes, records, now);
        }
    }

    pub(super) fn forget(&mut self, topic: &str) {
        self.shares.retain(|(name, _), _| &**name != topic);
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.shares.retain(|_, share| share.tick(now));
    }

    pub(super) fn shares(&self) -> BTreeMap<(Name, Direction), f64> {
        let each = self.shares.iter();
        each.map(|((topic, direction), share)| ((Arc::clone(topic), *direction), share.share()))
            .collect()
    }
}
