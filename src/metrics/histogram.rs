//! A histogram that takes many equal observations at once.
//!
//! A fetched batch is often a thousand records of one latency: the `prometheus` crate's own histogram would be called a
//! thousand times. Counts and sum are plain atomics, and the total is the sum of the buckets, so a page never shows a count
//! that contradicts its buckets. Where metrics are pushed, each child keeps an [`Exponential`] too; each bucket keeps one
//! exemplar, where there is one. Must not know what is measured.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::{
    core::{Metric, MetricVecBuilder, Opts},
    proto,
};

use super::{
    exemplar::{Exemplar, Exemplars, Slots},
    exponential::Exponential,
};

/// So many children are listed before those that are gone are looked for.
const CHILDREN_MIN: usize = 64;

#[derive(Debug)]
struct Cells {
    bounds: Arc<[f64]>,
    counts: Box<[AtomicU64]>,
    over: AtomicU64,
    sum_bits: AtomicU64,
    labels: Vec<proto::LabelPair>,
    exponential: Option<Mutex<Exponential>>,
    /// Empty until there is one.
    exemplars: Mutex<Slots>,
}

/// One child of a histogram family; clones share their cells.
#[derive(Debug, Clone)]
pub(super) struct Histogram(Arc<Cells>);

impl Histogram {
    /// Adds `count` observations of `value`.
    pub(super) fn observe(&self, value: f64, count: u64) {
        let cells = &*self.0;
        if let Some(exponential) = &cells.exponential {
            let mut exponential = exponential.lock().unwrap_or_else(PoisonError::into_inner);
            exponential.observe(value, count);
        }
        cells
            .counts
            .get(cells.slot(value))
            .unwrap_or(&cells.over)
            .fetch_add(count, Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
        let add = value * count as f64;
        let mut old = cells.sum_bits.load(Relaxed);
        loop {
            let new = (f64::from_bits(old) + add).to_bits();
            match cells
                .sum_bits
                .compare_exchange_weak(old, new, Relaxed, Relaxed)
            {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Keeps an observation as the exemplar of its bucket.
    pub(super) fn exemplify(&self, exemplar: Exemplar) {
        let cells = &*self.0;
        let mut slots = cells.slots();
        if slots.is_empty() {
            *slots = vec![None; cells.bounds.len().saturating_add(1)].into();
        }
        if let Some(slot) = slots.get_mut(cells.slot(exemplar.value)) {
            *slot = Some(exemplar);
        }
    }
}

impl Cells {
    /// Number of the bucket, the number of bounds where it is over all of them.
    fn slot(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.exemplars
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metric for Histogram {
    fn metric(&self) -> proto::Metric {
        let counts: Vec<u64> = self.0.counts.iter().map(|c| c.load(Relaxed)).collect();
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_histogram(proto_histogram(
            &self.0.bounds,
            &counts,
            self.0.over.load(Relaxed),
            f64::from_bits(self.0.sum_bits.load(Relaxed)),
        ));
        metric
    }
}

/// Cumulates `counts` (one per bound, `over` past the last) into the form the exporter reads.
pub(super) fn proto_histogram(
    bounds: &[f64],
    counts: &[u64],
    over: u64,
    sum: f64,
) -> proto::Histogram {
    let mut total = 0_u64;
    let buckets = bounds
        .iter()
        .zip(counts)
        .map(|(bound, count)| {
            total = total.saturating_add(*count);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            bucket
        })
        .collect();
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(total.saturating_add(over));
    histogram.set_sample_sum(sum);
    histogram
}

/// What one series of a family observed, in exponential buckets.
#[derive(Debug, Clone)]
pub struct ExponentialSeries {
    /// Its labels, by name.
    pub labels: Vec<proto::LabelPair>,
    /// Its observations.
    pub histogram: Exponential,
    /// Some of them.
    pub exemplars: Vec<Exemplar>,
}

/// The children of one family: the registry's own list cannot be asked for more than fixed buckets.
#[derive(Debug, Clone, Default)]
pub(super) struct Children(Arc<Mutex<Vec<Weak<Cells>>>>);

impl Children {
    fn add(&self, child: &Arc<Cells>) {
        let mut children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if children.len() == children.capacity() {
            children.retain(|child| child.strong_count() > 0);
            let room = children.len().max(CHILDREN_MIN);
            children.reserve_exact(room);
        }
        children.push(Arc::downgrade(child));
    }

    /// Every child that is still on the page.
    fn all(&self) -> Vec<Arc<Cells>> {
        let children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        children.iter().filter_map(Weak::upgrade).collect()
    }

    /// What those with an [`Exponential`] observed.
    pub(super) fn exponentials(&self) -> Vec<ExponentialSeries> {
        let all = self.all();
        let series = all.iter().filter_map(|child| {
            let histogram = child.exponential.as_ref()?;
            let histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
            Some(ExponentialSeries {
                labels: child.labels.clone(),
                histogram: histogram.clone(),
                exemplars: child.slots().iter().copied().flatten().collect(),
            })
        });
        series.collect()
    }

    /// Adds the exemplars of each to the list.
    pub(super) fn exemplars(&self, family: &str, list: &mut Exemplars) {
        for child in self.all() {
            let slots = child.slots();
            if !slots.is_empty() {
                list.add(family, &child.labels, slots.clone());
            }
        }
    }
}

/// Makes children with the family's bounds.
#[derive(Debug, Clone)]
pub(super) struct Builder {
    pub(super) bounds: Arc<[f64]>,
    /// Where the children are listed.
    pub(super) children: Children,
    /// Each has an [`Exponential`].
    pub(super) exponential: bool,
}

impl MetricVecBuilder for Builder {
    type M = Histogram;
    type P = Opts;

    fn build<V: AsRef<str>>(&self, opts: &Opts, values: &[V]) -> prometheus::Result<Histogram> {
        let mut labels: Vec<proto::LabelPair> = opts
            .variable_labels
            .iter()
            .zip(values)
            .map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name(name.clone());
                pair.set_value(value.as_ref().to_owned());
                pair
            })
            .collect();
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        let cells = Arc::new(Cells {
            bounds: Arc::clone(&self.bounds),
            counts: self.bounds.iter().map(|_| AtomicU64::new(0)).collect(),
            over: AtomicU64::new(0),
            sum_bits: AtomicU64::new(0_f64.to_bits()),
            labels,
            exponential: self.exponential.then(Mutex::default),
            exemplars: Mutex::default(),
        });
        self.children.add(&cells);
        Ok(Histogram(cells))
    }
}
