//! Which entries share a hash, where each entry has one at most and the oldest goes first.
//!
//! Nothing is taken out of the table when an entry goes: what stands in it is older and older along every chain, so that a
//! walk ends at the first entry that is gone. Must not know what was hashed.

use std::collections::VecDeque;

/// No entry.
const NONE: u64 = u64::MAX;
/// Buckets at least.
const BUCKETS_MIN: usize = 64;

/// One entry's place.
#[derive(Debug, Clone, Copy)]
struct Link {
    hash: u64,
    /// The next entry of the bucket, which is the newest of its hash as this one is; it is older.
    next: u64,
    /// The next older entry of the same hash.
    same: u64,
    /// It has a hash.
    hashed: bool,
    /// A newer one of the same hash was added.
    followed: bool,
    /// It was taken out before its time and stands here for those behind it.
    out: bool,
}

/// Entries by a hash, newest first.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The newest entry of each bucket, gone or not. A power of two, or nothing.
    buckets: Vec<u64>,
    /// Of every entry, oldest first.
    links: VecDeque<Link>,
    /// Number of the oldest.
    first: u64,
}

impl Chains {
    /// Empty; the first entry has this number.
    pub(super) fn starting_at(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Adds an entry, which is the newest. True where others have its hash.
    pub(super) fn push(&mut self, hash: Option<u64>) -> bool {
        if self.links.len() >= self.buckets.len() {
            self.grow();
        }
        let id = self.behind();
        self.links.push_back(Link {
            hash: hash.unwrap_or_default(),
            next: NONE,
            same: NONE,
            hashed: hash.is_some(),
            followed: false,
            out: false,
        });
        hash.is_some_and(|hash| self.hang(id, hash))
    }

    /// The oldest entry goes. True where others may have its hash.
    pub(super) fn pop(&mut self) -> bool {
        let Some(link) = self.links.pop_front() else {
            return false;
        };
        self.first = self.first.saturating_add(1);
        if self.links.is_empty() {
            self.buckets = Vec::new();
        }
        link.followed
    }

    /// The newest of this hash first, `max` at most; `None` where there is no entry.
    pub(super) fn newest(
        &self,
        hash: u64,
        max: usize,
    ) -> Option<impl Iterator<Item = u64> + Clone + '_> {
        let (_, newest) = self.find(hash)?;
        let first = self.in_place(newest)?;
        let all = std::iter::successors(Some(first), |id| self.live(self.link(*id)?.same));
        Some(all.take(max))
    }

    /// Takes an entry out before its time.
    pub(super) fn remove(&mut self, id: u64) {
        let Some(link) = self.link(id).copied().filter(|link| link.hashed) else {
            return;
        };
        let Some((_, newest)) = self.find(link.hash) else {
            return;
        };
        if newest == id {
            self.change(id, |link| link.out = true);
            return;
        }
        let mut newer = newest;
        while let Some(at) = self.link(newer).map(|link| link.same) {
            if at == id {
                self.change(newer, |newer| newer.same = link.same);
                self.change(id, |link| link.hashed = false);
                return;
            }
            newer = at;
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.buckets.is_empty()
    }

    /// The number the next entry has.
    fn behind(&self) -> u64 {
        let len = u64::try_from(self.links.len()).unwrap_or(NONE);
        self.first.saturating_add(len)
    }

    /// `None` for an entry that is gone.
    fn link(&self, id: u64) -> Option<&Link> {
        let place = id.checked_sub(self.first)?;
        self.links.get(usize::try_from(place).ok()?)
    }

    fn change(&mut self, id: u64, how: impl FnOnce(&mut Link)) {
        let place = id.checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(link) = place.and_then(|place| self.links.get_mut(place)) {
            how(link);
        }
    }

    fn live(&self, id: u64) -> Option<u64> {
        self.link(id).map(|_| id)
    }

    /// This entry, or where it was taken out the next of its hash.
    fn in_place(&self, id: u64) -> Option<u64> {
        let link = self.link(id)?;
        if link.out {
            return self.live(link.same);
        }
        Some(id)
    }

    fn bucket(&self, hash: u64) -> Option<usize> {
        let mask = self.buckets.len().checked_sub(1)?;
        // Hashes are keyed: any of their bits will do.
        Some(usize::try_from(hash & u64::try_from(mask).ok()?).unwrap_or(0))
    }

    /// The newest entry of a hash, and the one before it in its bucket.
    fn find(&self, hash: u64) -> Option<(u64, u64)> {
        let (mut before, mut id) = (NONE, *self.buckets.get(self.bucket(hash)?)?);
        while let Some(link) = self.link(id) {
            if link.hash == hash {
                return Some((before, id));
            }
            (before, id) = (id, link.next);
        }
        None
    }

    /// Hangs an entry at the front of its bucket, before the others of its hash. True where there are some.
    fn hang(&mut self, id: u64, hash: u64) -> bool {
        let Some(bucket) = self.bucket(hash) else {
            return false;
        };
        let found = self.find(hash);
        if let Some((before, newest)) = found {
            let next = self.link(newest).map_or(NONE, |link| link.next);
            if before == NONE {
                self.set(bucket, next);
            } else {
                self.change(before, |link| link.next = next);
            }
            self.change(newest, |link| link.followed = true);
        }
        let same = found.and_then(|(_, newest)| self.in_place(newest));
        let next = self.buckets.get(bucket).copied().unwrap_or(NONE);
        self.change(id, |link| {
            (link.next, link.same) = (next, same.unwrap_or(NONE))
        });
        self.set(bucket, id);
        same.is_some()
    }

    fn set(&mut self, bucket: usize, id: u64) {
        if let Some(head) = self.buckets.get_mut(bucket) {
            *head = id;
        }
    }

    /// Room for more than there are.
    fn grow(&mut self) {
        let more = self.links.len().saturating_add(1);
        let wanted = more.max(BUCKETS_MIN).next_power_of_two();
        self.buckets = vec![NONE; wanted];
        for place in 0..self.links.len() {
            let id = self
                .first
                .saturating_add(u64::try_from(place).unwrap_or(NONE));
            let Some(link) = self.link(id).copied().filter(|link| link.hashed) else {
                continue;
            };
            // Oldest first, so that the newest of a hash comes to the front at last.
            self.hang(id, link.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push(Option<u64>),
        Pop,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Hashes that share a bucket, and some of their own.
        let hash = prop_oneof![0u64..4, (0u64..4).prop_map(|n| n << 32 | 1), any::<u64>()];
        prop_oneof![
            6 => prop::option::weighted(0.9, hash).prop_map(Step::Push),
            3 => Just(Step::Pop),
            1 => any::<usize>().prop_map(Step::Remove),
        ]
    }

    fn newest(chains: &Chains, hash: u64) -> Vec<u64> {
        let all = chains.newest(hash, 3);
        all.map(Iterator::collect).unwrap_or_default()
    }

    proptest! {
        #[test]
        fn entries_of_a_hash_are_found_newest_first_whatever_came_and_went(
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let mut chains = Chains::default();
            let (mut model, mut next, mut first) = (Vec::<(u64, u64)>::new(), 0, 0);
            for step in steps {
                match step {
                    Step::Push(hash) => {
                        let shared = model.iter().any(|(_, known)| Some(*known) == hash);
                        prop_assert_eq!(chains.push(hash), shared);
                        model.extend(hash.map(|hash| (next, hash)));
                        next += 1;
                    }
                    Step::Pop => {
                        let gone = model.iter().find(|(id, _)| *id == first).copied();
                        model.retain(|(id, _)| *id != first);
                        let shared = model.iter().any(|(_, known)| Some(*known) == gone.map(|g| g.1));
                        let told = chains.pop();
                        prop_assert!(told || !shared, "others have it");
                        if first < next {
                            first += 1;
                        }
                    }
                    Step::Remove(which) if !model.is_empty() => {
                        let (id, _) = model.remove(which % model.len());
                        chains.remove(id);
                    }
                    Step::Remove(_) => {}
                }
                for (_, hash) in &model {
                    let all = model.iter().rev().filter(|(_, known)| known == hash);
                    let wanted: Vec<u64> = all.map(|(id, _)| *id).take(3).collect();
                    prop_assert_eq!(newest(&chains, *hash), wanted);
                }
                prop_assert!(newest(&chains, 99).is_empty());
            }
        }
    }
}
