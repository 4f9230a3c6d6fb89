//! Which ids were there before, within a window of time: an age-partitioned Bloom filter.
//!
//! No false negative inside the window that it states; a stated share of false positives; a fixed amount of memory. Slices are
//! bit sets ordered by age. An id goes into the youngest [`TOGETHER`] of them; when a generation ends, an empty slice is put in
//! front and the oldest falls off. An id is there where [`TOGETHER`] slices in a row have it. Reference: A. Shtul, C. Baquero,
//! P. S. Almeida, "Age-Partitioned Bloom Filters", 2020. Must not know what an id is of.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Slices that one id is in.
const TOGETHER: usize = 18;
/// Generations for which all slices of an id are kept.
const GENERATIONS: usize = 57;
const SLICES: usize = TOGETHER + GENERATIONS;
/// Bits of a slice per id of a generation: half of them are set once it has taken its share.
const BITS_PER_ID: f64 = TOGETHER as f64 / std::f64::consts::LN_2;
/// Fewest words of a slice: 19 KB in all.
const WORDS_MIN: usize = 32;
/// Odd, with its bits spread evenly (the golden ratio in 64 bits, as in SplitMix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// One bit set.
#[derive(Debug)]
struct Slice {
    /// Counted from the first one ever.
    number: u64,
    bits: Box<[u64]>,
    /// Bits that are set.
    set: u64,
}

impl Slice {
    fn new(number: u64, words: usize) -> Self {
        Self {
            number,
            bits: vec![0; words].into_boxed_slice(),
            set: 0,
        }
    }

    /// Word and mask of an id.
    fn place(&self, id: u64) -> (usize, u64) {
        let hash = mix(id.wrapping_add(self.number.wrapping_mul(STEP)));
        let bits = u64::try_from(self.bits.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(64);
        // The upper half of the product: as a remainder, without the division.
        let at = (u128::from(hash) * u128::from(bits)) >> 64;
        let at = u64::try_from(at).unwrap_or(0);
        (usize::try_from(at / 64).unwrap_or(0), 1 << (at % 64))
    }

    /// Share of the bits that are set.
    fn fill(&self) -> f64 {
        let words = u32::try_from(self.bits.len()).unwrap_or(u32::MAX);
        #[allow(clippy::cast_precision_loss, reason = "a share of counts under 2^53")]
        let set = self.set as f64;
        set / 64.0 / f64::from(words.max(1))
    }

    fn has(&self, id: u64) -> bool {
        let (word, mask) = self.place(id);
        self.bits.get(word).is_some_and(|bits| bits & mask != 0)
    }

    fn add(&mut self, id: u64) {
        let (word, mask) = self.place(id);
        if let Some(bits) = self.bits.get_mut(word) {
            self.set = self.set.saturating_add(u64::from(*bits & mask == 0));
            *bits |= mask;
        }
    }
}

/// Ids of a window.
#[derive(Debug)]
pub(super) struct Filter {
    /// Youngest first.
    slices: VecDeque<Slice>,
    /// When each generation began, youngest first; as many as are whole.
    began: VecDeque<Instant>,
    /// Asked for.
    window: Duration,
    /// Ids of one generation, at most.
    generation: usize,
    words: usize,
    /// Ids of the current generation.
    taken: usize,
    /// Number of the next slice.
    next: u64,
}

impl Filter {
    /// Remembers ids for `window`, in at most so many bytes: where more come, for less long.
    pub(super) fn new(window: Duration, bytes: usize) -> Self {
        let words = (bytes / SLICES / size_of::<u64>()).max(WORDS_MIN);
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of ids"
        )]
        let generation = (words as f64 * 64.0 / BITS_PER_ID) as usize;
        Self {
            slices: VecDeque::new(),
            began: VecDeque::new(),
            window,
            generation,
            words,
            taken: 0,
            next: 0,
        }
    }

    /// Whether this id, a hash of 64 even bits, was there within the window; from now on it was.
    pub(super) fn insert(&mut self, id: u64, now: Instant) -> bool {
        self.turn(now);
        let was = self.has(id);
        for slice in self.slices.iter_mut().take(TOGETHER) {
            slice.add(id);
        }
        self.taken = self.taken.saturating_add(1);
        was
    }

    /// How far back every id is known, by now: less than asked for where more came than there is room for, or since it began.
    pub(super) fn window(&self, now: Instant) -> Duration {
        let oldest = self.began.back();
        oldest.map_or(Duration::ZERO, |began| {
            now.saturating_duration_since(*began).min(self.window)
        })
    }

    /// Share of ids that would be said to have been there now and were not: for each row how likely it is that all its slices have
    /// an id, and the slice before it has not (a longer row counts once).
    pub(super) fn false_positives(&self) -> f64 {
        let fill: Vec<f64> = self.slices.iter().map(Slice::fill).collect();
        let before = std::iter::once(0.0).chain(fill.iter().copied());
        let rows = fill.windows(TOGETHER).zip(before);
        rows.map(|(row, before)| row.iter().product::<f64>() * (1.0 - before))
            .sum()
    }

    /// Memory in use, bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slices
            .len()
            .saturating_mul(self.words)
            .saturating_mul(size_of::<u64>())
    }

    /// As in the paper: from the middle backwards, skipping what cannot be part of a row.
    fn has(&self, id: u64) -> bool {
        let (mut at, mut row, mut before) = (GENERATIONS, 0, 0);
        loop {
            if self.slices.get(at).is_some_and(|slice| slice.has(id)) {
                row += 1;
                at += 1;
                if row + before == TOGETHER {
                    return true;
                }
            } else {
                let Some(back) = at.checked_sub(TOGETHER) else {
                    return false;
                };
                at = back;
                (before, row) = (row, 0);
            }
        }
    }

    /// Ends the generation where it is full or old enough.
    fn turn(&mut self, now: Instant) {
        while self.slices.len() < TOGETHER {
            self.put();
        }
        let Some(began) = self.began.front() else {
            self.began.push_front(now);
            return;
        };
        let share = self.window / u32::try_from(GENERATIONS).unwrap_or(1);
        let old = now.saturating_duration_since(*began) >= share;
        if !old && self.taken < self.generation {
            return;
        }
        self.put();
        self.taken = 0;
        self.began.push_front(now);
        self.began.truncate(GENERATIONS.saturating_add(1));
    }

    /// An empty slice in front; the oldest falls off and is used again.
    fn put(&mut self) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        if self.slices.len() < SLICES {
            self.slices.push_front(Slice::new(number, self.words));
            return;
        }
        if let Some(mut oldest) = self.slices.pop_back() {
            oldest.bits.fill(0);
            oldest.set = 0;
            oldest.number = number;
            self.slices.push_front(oldest);
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of ids that are said to have been there and were not, at most: where every slice is as full as it gets.
    const FALSE_POSITIVES: f64 = 0.000_09;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn id(number: u64) -> u64 {
        mix(number.wrapping_mul(STEP).wrapping_add(0x5eed))
    }

    #[test]
    fn an_id_is_there_from_its_first_time_to_the_end_of_the_window_that_is_stated() {
        let start = Instant::now();
        // Room for some 30,000 ids; one comes every 10 ms, in bursts and pauses.
        let mut filter = Filter::new(Duration::from_secs(200), 128 << 10);
        let mut times = Vec::new();
        let mut now = start;
        for number in 0..100_000u64 {
            let pause = if number % 5_000 == 0 {
                30_000
            } else {
                number % 20
            };
            now += Duration::from_millis(pause);
            filter.insert(id(number), now);
            times.push(now);
            if number % 97 != 0 {
                continue;
            }
            let window = filter.window(now);
            let inside = times
                .iter()
                .rev()
                .take_while(|at| now.saturating_duration_since(**at) < window);
            let first = times.len() - inside.count();
            for known in (first..times.len()).step_by(211) {
                let known = u64::try_from(known).unwrap();
                assert!(
                    filter.has(id(known)),
                    "{known} at {number}, window {window:?}"
                );
            }
        }
        assert!(filter.bytes() <= 128 << 10, "{}", filter.bytes());
    }

    /// As many as `THROUGHLINE_FILTER_IDS` says; 10 million in `make acceptance`.
    fn ids() -> u32 {
        let asked = std::env::var("THROUGHLINE_FILTER_IDS").ok();
        asked.and_then(|ids| ids.parse().ok()).unwrap_or(200_000)
    }

    #[test]
    fn hardly_any_id_is_taken_for_one_that_was_there_and_none_is_missed() {
        let now = Instant::now();
        let ids = ids();
        // What a window of so many ids takes: 34 bits each, and what turns.
        let bytes = usize::try_from(ids).unwrap() * 35 / 8;
        let mut filter = Filter::new(HOUR, bytes);
        let mut wrong = 0u32;
        for number in 0..ids {
            wrong += u32::from(filter.insert(id(u64::from(number)), now));
        }
        let missed = (0..ids).filter(|number| !filter.has(id(u64::from(*number))));
        assert_eq!(missed.count(), 0);
        // As full as it gets, with ids that never were there.
        let strangers = ids..ids.saturating_add(ids / 2);
        let strange = strangers.filter(|number| filter.has(id(u64::from(*number) << 32)));
        let share = strange.count() as f64 / f64::from(ids / 2);
        assert!(share <= FALSE_POSITIVES, "{share}");
        assert!(
            f64::from(wrong) / f64::from(ids) <= FALSE_POSITIVES,
            "{wrong}"
        );
        let stated = filter.false_positives();
        assert!((stated - share).abs() < 0.000_05, "{stated} {share}");
        assert!(filter.bytes() <= bytes, "{}", filter.bytes());
    }

    #[test]
    fn the_window_is_as_long_as_asked_or_says_how_much_shorter_it_is() {
        let start = Instant::now();
        let mut filter = Filter::new(HOUR, 1 << 20);
        assert_eq!(filter.window(start), Duration::ZERO);
        assert!(!filter.insert(id(1), start) && filter.insert(id(1), start));
        let later = start + HOUR / 2;
        assert_eq!(filter.window(later), HOUR / 2, "since it began");
        for step in 0..1_000u32 {
            filter.insert(id(2), later + HOUR * step / 100);
        }
        let now = later + HOUR * 10;
        assert_eq!(filter.window(now), HOUR);
        assert!(!filter.insert(id(1), now), "long ago");
        // Far more than there is room for, within a minute.
        for number in 0..1_000_000u32 {
            let now = now + Duration::from_secs(60) * number / 1_000_000;
            filter.insert(id(10 + u64::from(number)), now);
        }
        let end = now + Duration::from_secs(60);
        let window = filter.window(end);
        assert!(window < Duration::from_secs(16), "{window:?}");
        assert!(window > Duration::from_secs(12), "{window:?}");
    }
}
