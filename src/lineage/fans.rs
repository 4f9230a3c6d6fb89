//! How many records a program makes of one record of a topic, for another topic: learnt from those it made.
//!
//! Several records with the key of one input are only certain to come from it where of every input as many are made; a program
//! that also sends on its own account with the keys of its inputs makes now one, now more. Must not know records.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::event::Name;

/// Topics whose records are counted.
const SOURCES_MAX: usize = 10_000;
/// Topics each of them goes to.
const TARGETS_MAX: usize = 64;
/// Records of one pair that may still become more.
const OPEN_MAX: usize = 4_096;
/// From so many on it is known how many are made of each.
const SAMPLE_MIN: u32 = 20;
/// So many are counted before the older half weighs half.
const SAMPLE_MAX: u32 = 1_000;
/// Share of them that must agree, in hundredths.
const AGREE_PERCENT: u32 = 95;
/// Larger numbers are one.
const EACH_MAX: usize = 64;

/// How many records are made of each of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Each {
    /// Too few were counted yet.
    Unknown,
    /// Now more, now less.
    Differs,
    /// So many.
    Made(u32),
}

/// One pair of topics.
#[derive(Debug)]
struct Fan {
    /// Of these something was made, and when that was first.
    open: VecDeque<(u64, Instant)>,
    /// Records of which so many were made, by number less one.
    made: [u32; EACH_MAX],
    all: u32,
    /// More than one was made of one.
    several: bool,
}

impl Fan {
    fn count(&mut self, made: u32) {
        let at = usize::try_from(made.saturating_sub(1)).unwrap_or(EACH_MAX);
        if let Some(count) = self.made.get_mut(at.min(EACH_MAX.saturating_sub(1))) {
            *count = count.saturating_add(1);
            self.all = self.all.saturating_add(1);
        }
        if self.all >= SAMPLE_MAX {
            for count in &mut self.made {
                *count /= 2;
            }
            self.all = self.made.iter().sum();
        }
    }

    fn each(&self) -> Each {
        if self.all < SAMPLE_MIN {
            return Each::Unknown;
        }
        let most = self
            .made
            .iter()
            .zip(1u32..)
            .max_by_key(|(count, _)| **count);
        match most {
            Some((count, each))
                if count.saturating_mul(100) >= self.all.saturating_mul(AGREE_PERCENT) =>
            {
                Each::Made(each)
            }
            _ => Each::Differs,
        }
    }
}

/// All pairs of topics.
#[derive(Debug, Default)]
pub(super) struct Fans(HashMap<Name, HashMap<u64, Fan>>);

impl Fans {
    fn of(&self, source: &Name, target: u64) -> Option<&Fan> {
        self.0.get(source)?.get(&target)
    }

    fn entry(&mut self, source: &Name, target: u64) -> Option<&mut Fan> {
        if !self.0.contains_key(source) {
            if self.0.len() >= SOURCES_MAX {
                return None;
            }
            self.0.insert(Name::clone(source), HashMap::new());
        }
        let targets = self.0.get_mut(source)?;
        if targets.len() >= TARGETS_MAX && !targets.contains_key(&target) {
            return None;
        }
        Some(targets.entry(target).or_insert_with(|| Fan {
            open: VecDeque::new(),
            made: [0; EACH_MAX],
            all: 0,
            several: false,
        }))
    }

    /// Of the record `id` something was made for the first time. Counts what was made of those for which that is longer ago
    /// than `lasts`; `made` says how many, where the record is still known.
    pub(super) fn first(
        &mut self,
        (source, target): (&Name, u64),
        id: u64,
        (now, lasts): (Instant, Duration),
        made: impl Fn(u64) -> Option<u32>,
    ) {
        let Some(fan) = self.entry(source, target) else {
            return;
        };
        while let Some((id, at)) = fan.open.front().copied() {
            let young = now.saturating_duration_since(at) <= lasts;
            if young && fan.open.len() < OPEN_MAX {
                break;
            }
            fan.open.pop_front();
            if let Some(made) = made(id) {
                fan.count(made);
            }
        }
        fan.open.push_back((id, now));
    }

    /// One more was made of one of which something was made before.
    pub(super) fn again(&mut self, source: &Name, target: u64) {
        if let Some(fan) = self.entry(source, target) {
            fan.several = true;
        }
    }

    /// Whether more than one was ever made of one.
    pub(super) fn several(&self, source: &Name, target: u64) -> bool {
        self.of(source, target).is_some_and(|fan| fan.several)
    }

    /// How many are made of each.
    pub(super) fn each(&self, source: &Name, target: u64) -> Each {
        self.of(source, target).map_or(Each::Unknown, Fan::each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_millis(250);

    /// What is known after inputs of which so many were made.
    fn each(made: &[u32]) -> Each {
        let (mut fans, source, start): (Fans, Name, _) =
            (Fans::default(), "a".into(), Instant::now());
        let of = |id: u64| made.get(usize::try_from(id).unwrap()).copied();
        for id in 0..=u64::try_from(made.len()).unwrap() {
            let now = start + LASTS * 2 * u32::try_from(id).unwrap();
            fans.first((&source, 7), id, (now, LASTS), of);
        }
        assert_eq!(fans.each(&source, 8), Each::Unknown);
        fans.each(&source, 7)
    }

    #[test]
    fn as_many_of_each_are_known_after_a_while_and_differing_numbers_are_not() {
        assert_eq!(each(&[3; 19]), Each::Unknown);
        assert_eq!(each(&[3; 20]), Each::Made(3));
        assert_eq!(each(&[1; 20]), Each::Made(1));
        assert_eq!(each(&[100; 20]), Each::Made(64));
        let mut some_more = [1; 100];
        some_more[50..56].fill(2);
        assert_eq!(each(&some_more), Each::Differs);
        // What was so is forgotten.
        let mut changed = vec![1; 999];
        changed.extend([2; 20_000]);
        assert_eq!(each(&changed), Each::Made(2));
    }

    #[test]
    fn what_may_still_become_more_is_not_counted() {
        let (mut fans, source, now): (Fans, Name, _) =
            (Fans::default(), "a".into(), Instant::now());
        for id in 0..100 {
            fans.first((&source, 7), id, (now, LASTS), |_| Some(1));
        }
        assert_eq!(fans.each(&source, 7), Each::Unknown);
        fans.first((&source, 7), 100, (now + LASTS * 2, LASTS), |_| Some(1));
        assert_eq!(fans.each(&source, 7), Each::Made(1));
    }
}
