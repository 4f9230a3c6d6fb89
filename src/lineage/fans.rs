//! How many records a program makes of one record of a topic, for another topic: learnt from those it made.
//!
//! Several records with the key of one input are only certain to come from it where of every input as many are made, or all of
//! them in one request; a program that also sends on its own account with the keys of its inputs makes now one, now more, and
//! at any time. Must not know records.

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
/// Share of those that go out together, where all do that are made at once: some requests end in between.
const TOGETHER_PERCENT: u32 = 80;
/// Larger numbers are one.
const EACH_MAX: usize = 64;

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
    /// Of those made of one that had some before: in the request of these, and after it.
    together: u32,
    later: u32,
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

    fn again(&mut self, together: bool) {
        self.several = true;
        let count = if together {
            &mut self.together
        } else {
            &mut self.later
        };
        *count = count.saturating_add(1);
        if *count >= SAMPLE_MAX {
            self.together /= 2;
            self.later /= 2;
        }
    }

    /// Where more than one is made of one, all of them go out in one request.
    fn is_at_once(&self) -> bool {
        let all = self.together.saturating_add(self.later);
        self.together.saturating_mul(100) >= all.saturating_mul(TOGETHER_PERCENT)
    }

    /// How many are made of each, where that is known and nearly always the same.
    fn each(&self) -> Option<u32> {
        if self.all < SAMPLE_MIN {
            return None;
        }
        let most = self
            .made
            .iter()
            .zip(1u32..)
            .max_by_key(|(count, _)| **count);
        let (count, each) = most?;
        let agrees = count.saturating_mul(100) >= self.all.saturating_mul(AGREE_PERCENT);
        agrees.then_some(each)
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
            together: 0,
            later: 0,
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

    /// One more was made of one of which something was made before: in the same request, or not.
    pub(super) fn again(&mut self, source: &Name, target: u64, together: bool) {
        if let Some(fan) = self.entry(source, target) {
            fan.again(together);
        }
    }

    /// Whether more than one was ever made of one.
    pub(super) fn several(&self, source: &Name, target: u64) -> bool {
        self.of(source, target).is_some_and(|fan| fan.several)
    }

    /// Whether one more may come from a record of which so many were made: because as many are made of each, or because it is
    /// in the request of the last one, like nearly all that were not the first.
    pub(super) fn may_be_more(
        &self,
        (source, target): (&Name, u64),
        made: u32,
        together: bool,
    ) -> bool {
        self.of(source, target).is_some_and(|fan| {
            together && fan.is_at_once() || fan.each().is_some_and(|each| made < each)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_millis(250);

    /// Learns of inputs of which so many were made.
    fn learn(made: &[u32], together: bool) -> impl Fn(u32, bool) -> bool {
        let (mut fans, source, start): (Fans, Name, _) =
            (Fans::default(), "a".into(), Instant::now());
        let of = |id: u64| made.get(usize::try_from(id).unwrap()).copied();
        for id in 0..=u64::try_from(made.len()).unwrap() {
            let now = start + LASTS * 2 * u32::try_from(id).unwrap();
            fans.first((&source, 7), id, (now, LASTS), of);
            for _ in 1..of(id).unwrap_or(1) {
                fans.again(&source, 7, together);
            }
        }
        assert!(!fans.may_be_more((&source, 8), 1, true));
        move |made, together| fans.may_be_more((&source, 7), made, together)
    }

    #[test]
    fn as_many_of_each_are_known_after_a_while_and_differing_numbers_are_not() {
        let is_each = |made: &[u32], each: u32| {
            let may = learn(made, false);
            each > 1 && may(each - 1, false) && !may(each, false)
        };
        assert!(!is_each(&[3; 19], 3) && is_each(&[3; 20], 3));
        assert!(!learn(&[1; 20], false)(1, false));
        assert!(is_each(&[100; 20], 64));
        let mut some_more = [2; 100];
        some_more[50..56].fill(3);
        assert!(!is_each(&some_more, 2) && !is_each(&some_more, 3));
        // What was so is forgotten.
        let mut changed = vec![1; 999];
        changed.extend([2; 20_000]);
        assert!(is_each(&changed, 2));
    }

    #[test]
    fn those_of_one_request_are_told_from_those_sent_later() {
        let differing = [1, 2, 3, 1, 5];
        let (at_once, later) = (learn(&differing, true), learn(&differing, false));
        assert!(at_once(7, true) && !at_once(1, false));
        assert!(!later(1, true) && !later(1, false));
        assert!(learn(&[1; 3], false)(1, true), "nothing speaks against it");
    }

    #[test]
    fn what_may_still_become_more_is_not_counted() {
        let (mut fans, source, now): (Fans, Name, _) =
            (Fans::default(), "a".into(), Instant::now());
        for id in 0..100 {
            fans.first((&source, 7), id, (now, LASTS), |_| Some(2));
        }
        assert!(!fans.may_be_more((&source, 7), 1, false));
        fans.first((&source, 7), 100, (now + LASTS * 2, LASTS), |_| Some(2));
        assert!(fans.may_be_more((&source, 7), 1, false));
    }
}
