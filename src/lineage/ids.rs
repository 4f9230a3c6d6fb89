//! Which entries share a hash. Nearly always one, so that one costs no memory of its own.
//!
//! Must not know what was hashed.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    slice,
};

/// Entries by a hash, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ids(HashMap<u64, Same, BuildHasherDefault<Hashed>>);

#[derive(Debug)]
enum Same {
    One(u64),
    /// Two or more; behind a pointer, because the table has room for the larger form at every hash.
    Many(Box<Several>),
}

#[derive(Debug)]
struct Several(VecDeque<u64>);

impl Same {
    /// Oldest first, in two pieces.
    fn slices(&self) -> (&[u64], &[u64]) {
        match self {
            Self::One(id) => (slice::from_ref(id), &[]),
            Self::Many(ids) => ids.0.as_slices(),
        }
    }
}

impl Ids {
    /// Adds an entry; it is the newest. True where others have the hash.
    pub(super) fn add(&mut self, hash: u64, id: u64) -> bool {
        let mut same = match self.0.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(Same::One(id));
                return false;
            }
            Entry::Occupied(same) => same,
        };
        match same.get_mut() {
            Same::Many(ids) => ids.0.push_back(id),
            one @ Same::One(_) => {
                let (first, _) = one.slices();
                let both = first.iter().copied().chain([id]).collect();
                *one = Same::Many(Box::new(Several(both)));
            }
        }
        true
    }

    /// The newest of this hash first, `max` at most; `None` where there is no entry.
    pub(super) fn newest(
        &self,
        hash: u64,
        max: usize,
    ) -> Option<impl Iterator<Item = u64> + Clone + '_> {
        let (older, newer) = self.0.get(&hash)?.slices();
        let all = newer.iter().rev().chain(older.iter().rev());
        Some(all.take(max).copied())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes an entry out. True where others have the hash.
    pub(super) fn remove(&mut self, hash: u64, id: u64) -> bool {
        let Entry::Occupied(mut same) = self.0.entry(hash) else {
            return false;
        };
        let gone = match same.get_mut() {
            Same::One(known) => *known == id,
            Same::Many(ids) => {
                let Several(ids) = &mut **ids;
                // Nearly always the oldest.
                if ids.front() == Some(&id) {
                    ids.pop_front();
                } else {
                    ids.retain(|known| *known != id);
                }
                ids.is_empty()
            }
        };
        if gone {
            same.remove();
        }
        !gone
    }
}

/// Keys that are hashes already, by a keyed function.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(ids: &Ids, hash: u64) -> Vec<u64> {
        ids.newest(hash, 3)
            .map(Iterator::collect)
            .unwrap_or_default()
    }

    #[test]
    fn entries_of_one_hash_come_newest_first_and_only_so_many() {
        let mut ids = Ids::default();
        for id in 1..=5 {
            ids.add(7, id);
        }
        ids.add(8, 6);
        assert_eq!(newest(&ids, 7), [5, 4, 3]);
        assert_eq!(newest(&ids, 8), [6]);
        assert!(newest(&ids, 9).is_empty());
    }

    #[test]
    fn what_is_taken_out_is_gone_and_takes_nothing_with_it() {
        let mut ids = Ids::default();
        ids.add(7, 1);
        ids.remove(7, 2);
        assert_eq!(newest(&ids, 7), [1]);
        ids.add(7, 2);
        ids.add(7, 3);
        ids.remove(7, 2);
        assert_eq!(newest(&ids, 7), [3, 1]);
        ids.remove(7, 1);
        ids.remove(7, 3);
        assert!(ids.is_empty());
        ids.add(7, 4);
        ids.remove(7, 4);
        assert!(ids.is_empty());
    }
}
