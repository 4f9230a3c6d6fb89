//! Ids of new spans and traces, one pair per record.
//!
//! A retry of an idempotent batch must carry the bytes of the first attempt, because the broker keeps the first: its ids
//! follow from the producer's own sequence. Everything else gets ids at random. A hash once per batch makes a key; one
//! record then costs three multiplications. Must not keep state: which numbers were used is the caller's.

use ring::rand::SecureRandom;

use super::traceparent::{SpanId, TraceId};

/// Odd, with its bits spread evenly (the golden ratio in 64 bits, as in SplitMix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Gives a pair of ids for every number; the same source gives the same pair for the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdSource([u64; 4]);

impl IdSource {
    /// The ids of what one idempotent producer writes to one partition; numbers are its sequence numbers (KIP-98). Each
    /// field goes into the SHA-256 behind its length. A cluster id that is not known yet is empty. `base_timestamp_ms` is the
    /// batch's, which a retry repeats: sequence numbers begin anew after 2^31 records.
    #[must_use]
    pub fn of_producer(
        cluster_id: &str,
        topic: &str,
        partition: i32,
        producer_id: i64,
        epoch: i16,
        base_timestamp_ms: i64,
    ) -> Self {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        let (partition, producer) = (partition.to_be_bytes(), producer_id.to_be_bytes());
        let (epoch, time) = (epoch.to_be_bytes(), base_timestamp_ms.to_be_bytes());
        let fields: [&[u8]; 6] = [
            cluster_id.as_bytes(),
            topic.as_bytes(),
            &partition,
            &producer,
            &epoch,
            &time,
        ];
        for field in fields {
            let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
            digest.update(&length.to_be_bytes());
            digest.update(field);
        }
        Self::from_bytes(digest.finish().as_ref())
    }

    /// Ids nobody can foretell, from the operating system; `None` where it has no randomness.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = [0; 32];
        let system = ring::rand::SystemRandom::new();
        system.fill(&mut bytes).ok()?;
        Some(Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Self(words)
    }

    /// The pair of a number. Different numbers give different trace ids.
    #[must_use]
    pub fn pair(&self, number: u64) -> (TraceId, SpanId) {
        let Self([first, second, third, fourth]) = *self;
        let a = mix(first.wrapping_add(number.wrapping_mul(STEP)));
        let b = mix(second ^ a.rotate_left(32));
        let c = mix(third ^ b.rotate_left(17) ^ mix(fourth.wrapping_add(a)));
        let mut trace_id = [0; 16];
        let (high, low) = trace_id.split_at_mut(8);
        high.copy_from_slice(&a.to_be_bytes());
        low.copy_from_slice(&b.to_be_bytes());
        (
            TraceId::new(trace_id).unwrap_or(TraceId::FIRST),
            SpanId::new(c.to_be_bytes()).unwrap_or(SpanId::FIRST),
        )
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection in which every bit depends on every other.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_retry_gets_the_ids_of_the_first_attempt_and_nothing_else_does() {
        let base = ("cluster", "orders", 3, 4_000, 1, 9);
        let of = |(cluster, topic, partition, producer, epoch, time)| {
            IdSource::of_producer(cluster, topic, partition, producer, epoch, time)
        };
        assert_eq!(of(base).pair(7), of(base).pair(7));
        let others = [
            ("cluste", "rorders", 3, 4_000, 1, 9),
            ("cluster", "orders", 4, 4_000, 1, 9),
            ("cluster", "orders", 3, 4_001, 1, 9),
            ("cluster", "orders", 3, 4_000, 2, 9),
            ("cluster", "orders", 3, 4_000, 1, 10),
        ];
        for other in others {
            assert_ne!(of(base).pair(7), of(other).pair(7), "{other:?}");
        }
    }

    #[test]
    fn ids_are_spread_over_all_bits() {
        let source = IdSource::random().unwrap();
        let mut seen = HashSet::new();
        let mut ones = [0u32; 192];
        const PAIRS: u64 = 4_096;
        for number in 0..PAIRS {
            let (trace_id, span_id) = source.pair(number);
            assert!(seen.insert(span_id));
            let bytes = trace_id.bytes().into_iter().chain(span_id.bytes());
            for (at, byte) in bytes.enumerate() {
                for bit in 0..8 {
                    ones[at * 8 + bit] += u32::from(byte >> bit & 1);
                }
            }
        }
        // Half of 4096 is 2048, one standard deviation 32: six of them.
        for (bit, count) in ones.into_iter().enumerate() {
            assert!(
                (2_048 - 192..=2_048 + 192).contains(&count),
                "{bit}: {count}"
            );
        }
    }
}
