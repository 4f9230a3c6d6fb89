//! A histogram whose buckets grow by a fixed factor, as OpenTelemetry's data model defines it: base `2^(2^-scale)`.
//!
//! Kept beside the fixed buckets of the page where metrics are pushed, because its buckets cannot be made from those without
//! inventing where the observations lie. Bounded: at most [`MAX_BUCKETS`] buckets; what does not fit halves the resolution
//! until it does. Must not know what is measured. Source: opentelemetry-specification, `metrics/data-model.md` and
//! `metrics/sdk.md`, "Base2 Exponential Bucket Histogram Aggregation".

/// Most buckets, as OpenTelemetry's SDKs have by default.
pub const MAX_BUCKETS: usize = 160;
/// Finest resolution, as OpenTelemetry's SDKs have by default; one value alone has it.
pub const MAX_SCALE: i32 = 20;
/// At this scale two buckets hold every number there is.
const MIN_SCALE: i32 = -10;

/// Bits of a number's fraction.
const FRACTION_BITS: u32 = 52;
/// What is added to its exponent.
const EXPONENT_BIAS: i64 = 1023;

/// Counts by bucket, and what goes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Exponential {
    scale: i32,
    offset: i64,
    counts: Vec<u64>,
    zero: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self {
            scale: MAX_SCALE,
            offset: 0,
            counts: Vec::new(),
            zero: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Exponential {
    /// Adds `count` observations of `value`. What is not a number, or has no end, is left out. No family observes less than zero:
    /// it would stand in the bucket of zero.
    pub(super) fn observe(&mut self, value: f64, count: u64) {
        if count == 0 || !value.is_finite() {
            return;
        }
        self.count = self.count.saturating_add(count);
        #[allow(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
        let add = value * count as f64;
        self.sum += add;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value <= 0.0 {
            self.zero = self.zero.saturating_add(count);
            return;
        }
        let index = index(value, self.scale);
        let shift = self.shift_for(index);
        self.coarser(shift);
        self.put(index >> shift, count);
    }

    /// Resolution: a bucket reaches from `2^(i * 2^-scale)`, exclusive, to `2^((i + 1) * 2^-scale)`, inclusive.
    #[must_use]
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Index of the first bucket.
    #[must_use]
    pub fn offset(&self) -> i32 {
        // The index of any number fits at any scale; see `index`.
        i32::try_from(self.offset).unwrap_or(0)
    }

    /// Observations by bucket, from [`Self::offset`] on.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Observations of zero.
    #[must_use]
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// All observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of all observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Smallest and largest observation, once there is one.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// How many times the resolution must be halved for the buckets up to this index.
    fn shift_for(&self, index: i64) -> u32 {
        let (mut low, mut high) = match i64::try_from(self.counts.len()) {
            Ok(len) if len > 0 => {
                let last = self.offset.saturating_add(len).saturating_sub(1);
                (self.offset.min(index), last.max(index))
            }
            _ => return 0,
        };
        let mut shift = 0_u32;
        let most = self.scale.saturating_sub(MIN_SCALE).unsigned_abs();
        let buckets = i64::try_from(MAX_BUCKETS).unwrap_or(i64::MAX);
        while high.saturating_sub(low) >= buckets && shift < most {
            low >>= 1;
            high >>= 1;
            shift = shift.saturating_add(1);
        }
        shift
    }

    /// Merges each `2^shift` neighbours into one bucket: exact, as the bounds of the coarser scale are among those of the finer.
    fn coarser(&mut self, shift: u32) {
        if shift == 0 {
            return;
        }
        let first = self.offset >> shift;
        let mut merged: Vec<u64> = Vec::new();
        for (at, count) in (self.offset..).zip(&self.counts) {
            let slot = usize::try_from((at >> shift).saturating_sub(first)).unwrap_or(0);
            if merged.len() <= slot {
                merged.resize(slot.saturating_add(1), 0);
            }
            if let Some(sum) = merged.get_mut(slot) {
                *sum = sum.saturating_add(*count);
            }
        }
        self.counts = merged;
        self.offset = first;
        self.scale = self.scale.saturating_sub(i32::try_from(shift).unwrap_or(0));
    }

    /// Counts into a bucket that fits.
    fn put(&mut self, index: i64, count: u64) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let missing = usize::try_from(self.offset.saturating_sub(index)).unwrap_or(0);
            self.counts
                .splice(0..0, std::iter::repeat_n(0, missing))
                .for_each(drop);
            self.offset = index;
        }
        let slot = usize::try_from(index.saturating_sub(self.offset)).unwrap_or(0);
        if self.counts.len() <= slot {
            self.counts.resize(slot.saturating_add(1), 0);
        }
        if let Some(bucket) = self.counts.get_mut(slot) {
            *bucket = bucket.saturating_add(count);
        }
    }
}

/// The bucket of a number over zero; between -1,071,644,673 and 1,073,741,823 at the finest scale.
fn index(value: f64, scale: i32) -> i64 {
    // Numbers too small to be normal share the bucket of the smallest normal one, as the data model allows.
    let bits = value.max(f64::MIN_POSITIVE).to_bits();
    let exponent = i64::from(u32::try_from(bits >> FRACTION_BITS).unwrap_or(0)) - EXPONENT_BIAS;
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    // An exact power of two is the upper, inclusive bound of its bucket, and a logarithm might miss that.
    let power_of_two = fraction == 0;
    if scale <= 0 {
        let whole = exponent.saturating_sub(i64::from(power_of_two));
        return whole >> scale.unsigned_abs();
    }
    let first = exponent << scale;
    if power_of_two {
        return first.saturating_sub(1);
    }
    let mantissa = f64::from_bits(fraction | (1023 << FRACTION_BITS));
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the logarithm of 1 to 2 times 2^20"
    )]
    let within = (mantissa.log2() * f64::from(scale).exp2()).ceil() as i64;
    // Rounding must not carry a number under the next power of two past it, nor one over this power to below it.
    let last = 1_i64 << scale;
    first
        .saturating_add(within.clamp(1, last))
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each value lies in the bucket it was counted in, by the definition of the bounds.
    fn assert_placed(values: &[f64]) -> Exponential {
        let mut histogram = Exponential::default();
        for value in values {
            histogram.observe(*value, 1);
        }
        let mut wanted = vec![0_u64; histogram.counts().len()];
        for value in values {
            // The relative error of `log2` at this resolution.
            let position = value.log2() * f64::from(histogram.scale()).exp2();
            let index = (position - 1e-7).ceil() as i64 - 1;
            wanted[usize::try_from(index - i64::from(histogram.offset())).unwrap()] += 1;
        }
        assert_eq!(histogram.counts(), wanted, "scale {}", histogram.scale());
        assert!(histogram.counts().len() <= MAX_BUCKETS);
        assert_eq!(histogram.count(), values.len() as u64);
        histogram
    }

    #[test]
    fn one_value_alone_is_known_to_a_millionth() {
        let histogram = assert_placed(&[0.0031]);
        assert_eq!(histogram.scale(), MAX_SCALE);
        let lower = (f64::from(histogram.offset()) * f64::from(-MAX_SCALE).exp2()).exp2();
        let upper = (f64::from(histogram.offset() + 1) * f64::from(-MAX_SCALE).exp2()).exp2();
        assert!(lower < 0.0031 && 0.0031 <= upper && upper / lower < 1.000_001);
    }

    #[test]
    fn a_power_of_two_is_the_last_of_its_bucket_at_every_scale() {
        for scale in MIN_SCALE..=MAX_SCALE {
            for exponent in [-1022_i32, -10, -1, 0, 1, 7, 1023] {
                let value = 2_f64.powi(exponent);
                let at = index(value, scale);
                let above = index(f64::from_bits(value.to_bits() + 1), scale);
                let bound = i64::from(exponent);
                let wanted = if scale > 0 {
                    (bound << scale) - 1
                } else {
                    (bound - 1) >> -scale
                };
                assert_eq!(at, wanted, "2^{exponent} at {scale}");
                let crosses = scale > 0 || bound % (1 << -scale) == 0;
                assert_eq!(
                    above,
                    at + i64::from(crosses),
                    "over 2^{exponent} at {scale}"
                );
            }
        }
    }

    #[test]
    fn a_coarser_scale_places_as_if_it_had_been_there_from_the_beginning() {
        let mut value = 1.3e-7;
        while value < 1e9 {
            for scale in MIN_SCALE + 1..=MAX_SCALE {
                assert_eq!(index(value, scale) >> 1, index(value, scale - 1), "{value}");
            }
            value *= 1.37;
        }
    }

    #[test]
    fn resolution_falls_only_as_far_as_the_range_needs() {
        let milliseconds: Vec<f64> = (1..=2000).map(|ms| f64::from(ms) / 1e3).collect();
        let histogram = assert_placed(&milliseconds);
        // 2000 = 2^10.97: 160 buckets give 14.6 to each doubling.
        assert_eq!(histogram.scale(), 3);
        let mut backwards = milliseconds.clone();
        backwards.reverse();
        let reversed = assert_placed(&backwards);
        assert_eq!(reversed.counts(), histogram.counts());
        assert_eq!(reversed.offset(), histogram.offset());
        // From a microsecond to six hours, and past what anyone measures.
        assert_eq!(assert_placed(&[1e-6, 21_600.0]).scale(), 2);
        let mut all = Exponential::default();
        for value in [f64::MIN_POSITIVE, 1.0, f64::MAX, 5e-324] {
            all.observe(value, 1);
        }
        assert_eq!((all.scale(), all.count()), (-4, 4));
        assert!(all.counts().len() <= MAX_BUCKETS);
        assert_eq!(all.counts().iter().sum::<u64>(), 4);
    }

    #[test]
    fn zero_has_a_bucket_of_its_own_and_what_is_no_number_has_none() {
        let mut histogram = Exponential::default();
        assert_eq!(histogram.range(), None);
        histogram.observe(0.0, 2);
        histogram.observe(f64::NAN, 1);
        histogram.observe(f64::INFINITY, 1);
        histogram.observe(1.5, 0);
        histogram.observe(0.25, 4);
        assert_eq!((histogram.zero(), histogram.count()), (2, 6));
        assert_eq!(histogram.counts(), [4]);
        assert_eq!(histogram.sum().to_bits(), 1.0_f64.to_bits());
        assert_eq!(histogram.range(), Some((0.0, 0.25)));
    }
}
