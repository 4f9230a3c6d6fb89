//! Runs of offsets that share a value, without overlap.
//!
//! Must not know what the offsets mean.

use std::collections::BTreeMap;

/// A run: first offset, last offset (inclusive), value.
pub(super) type Run<T> = (i64, i64, T);

/// The runs of one partition.
#[derive(Debug)]
pub(super) struct Ranges<T> {
    /// By first offset: last offset and value.
    runs: BTreeMap<i64, (i64, T)>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
        }
    }
}

impl<T: Copy> Ranges<T> {
    /// Gives `first..=last` this value, whatever it had.
    pub(super) fn put(&mut self, first: i64, last: i64, value: T) {
        if first <= last {
            self.take(first, last);
            self.runs.insert(first, (last, value));
        }
    }

    /// Takes out what lies within `first..=last`, in order. What lies outside stays.
    pub(super) fn take(&mut self, first: i64, last: i64) -> Vec<Run<T>> {
        if first > last {
            return Vec::new();
        }
        let mut touched: Vec<Run<T>> = self
            .runs
            .range(..=last)
            .rev()
            .map(|(from, (to, value))| (*from, *to, *value))
            .take_while(|(_, to, _)| *to >= first)
            .collect();
        touched.reverse();
        for (from, to, value) in &mut touched {
            self.runs.remove(from);
            if *from < first {
                let before = first.saturating_sub(1);
                self.runs.insert(*from, (before, *value));
                *from = first;
            }
            if *to > last {
                self.runs.insert(last.saturating_add(1), (*to, *value));
                *to = last;
            }
        }
        touched
    }

    /// Keeps the runs for which `keep` holds, and gives back the others.
    pub(super) fn take_unless(&mut self, keep: impl Fn(&T) -> bool) -> Vec<Run<T>> {
        let taken = self.runs.extract_if(.., |_, (_, value)| !keep(value));
        taken
            .map(|(first, (last, value))| (first, last, value))
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Run<T>> {
        self.runs
            .iter()
            .map(|(first, (last, value))| (*first, *last, *value))
    }

    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }
}

/// How many offsets a run has.
pub(super) fn count(first: i64, last: i64) -> u64 {
    u64::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn singles(runs: impl IntoIterator<Item = Run<u8>>) -> Vec<(i64, u8)> {
        let each = |(first, last, value)| (first..=last).map(move |at| (at, value));
        runs.into_iter().flat_map(each).collect()
    }

    proptest! {
        #[test]
        fn runs_hold_what_a_map_of_offsets_holds(
            steps in prop::collection::vec((any::<bool>(), 0_i64..40, -1_i64..12, 0_u8..4), 0..60)
        ) {
            let mut runs = Ranges::default();
            let mut offsets = BTreeMap::new();
            for (put, first, more, value) in steps {
                let last = first + more;
                if put {
                    runs.put(first, last, value);
                    offsets.extend((first..=last).map(|at| (at, value)));
                } else {
                    let taken = singles(runs.take(first, last));
                    let expected: Vec<(i64, u8)> = (first..=last)
                        .filter_map(|at| offsets.remove(&at).map(|value| (at, value)))
                        .collect();
                    prop_assert_eq!(taken, expected);
                }
                prop_assert_eq!(singles(runs.iter()), offsets.clone().into_iter().collect::<Vec<_>>());
            }
            let odd = singles(runs.take_unless(|value| value % 2 == 0));
            prop_assert!(odd.iter().all(|(_, value)| value % 2 == 1));
            prop_assert!(singles(runs.iter()).iter().all(|(_, value)| value % 2 == 0));
        }
    }
}
