//! Where the cold worker writes: resolves a family and its label values to a cell once, and keeps it.
//!
//! Owned by one worker, so looking a cell up takes no lock. It also enforces the two rules every family obeys: outside names
//! are capped (`metrics.max_series`, past it `_other`), and what saw no traffic for an hour vanishes. Must not know what an
//! SLI or a group is.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use prometheus::{CounterVec, Gauge, GaugeVec, IntCounter, IntCounterVec, core::MetricVec};
use tokio::time::Instant;

use super::{
    catalogue::{Id, Kind, OTHER, OUTSIDE_LABELS, Unit},
    exemplar::Exemplar,
    histogram::{Builder, Histogram},
};

/// How long a series without traffic stays on the page.
pub const IDLE_LIMIT: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
pub(super) enum Store {
    Int(IntCounterVec),
    Float(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

#[derive(Clone)]
pub(super) struct HistogramVec {
    pub(super) vec: MetricVec<Builder>,
    pub(super) bounds: usize,
}

impl std::fmt::Debug for HistogramVec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistogramVec")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Cell {
    Int(IntCounter),
    Float(prometheus::Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

#[derive(Debug)]
struct Entry {
    cell: Cell,
    labels: Box<[Box<str>]>,
    touched: Instant,
    round: u64,
}

/// The cells of one family by the hash of their label values. The hash is 64 bits of keyed SipHash: with 20,000 series the
/// chance that two ever share one is about 1 in 10^11, and their cost would be one merged series.
type Cells = HashMap<u64, Entry, BuildHasherDefault<Hashed>>;

/// Passes a key on that is a keyed hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Resolves and writes series; one owner.
#[derive(Debug)]
pub struct Recorder {
    stores: Arc<[(Id, Option<Store>)]>,
    cells: Vec<Cells>,
    hasher: RandomState,
    max_series: usize,
    used: usize,
    now: Instant,
    round: u64,
}

impl Recorder {
    pub(super) fn new(stores: Arc<[(Id, Option<Store>)]>, max_series: usize, now: Instant) -> Self {
        Self {
            cells: stores.iter().map(|_| Cells::default()).collect(),
            stores,
            hasher: RandomState::new(),
            max_series,
            used: 0,
            now,
            round: 0,
        }
    }

    /// Whether there is anyone for families that are only pushed.
    #[must_use]
    pub fn pushes(&self) -> bool {
        let kept = self.stores.get(Id::SentMessages as usize);
        kept.is_some_and(|(_, store)| store.is_some())
    }

    /// Says what time it is for everything written from now on.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Series held, as they stand on the page (a histogram counts its bounds).
    #[must_use]
    pub fn series(&self) -> usize {
        self.used
    }

    /// Adds to a counter. A label list that does not fit the family is ignored.
    pub fn add(&mut self, id: Id, labels: &[&str], by: u64) {
        if let Some(Cell::Int(counter)) = self.cell(id, labels) {
            counter.inc_by(by);
        }
    }

    /// Adds seconds to a counter of seconds.
    pub fn add_seconds(&mut self, id: Id, labels: &[&str], by: Duration) {
        if let Some(Cell::Float(counter)) = self.cell(id, labels) {
            counter.inc_by(by.as_secs_f64());
        }
    }

    /// Makes a series exist without moving it; what exists stays as it is.
    pub fn touch(&mut self, id: Id, labels: &[&str]) {
        self.cell(id, labels);
    }

    /// Adds `count` observations of `value`, in the family's unit.
    pub fn observe(&mut self, id: Id, labels: &[&str], value: f64, count: u64) {
        if let Some(Cell::Histogram(histogram)) = self.cell(id, labels) {
            histogram.observe(value, count);
        }
    }

    /// Keeps an observation of a series that exists as the exemplar of its bucket.
    pub fn exemplify(&mut self, id: Id, labels: &[&str], exemplar: Exemplar) {
        let key = self.hasher.hash_one(labels);
        let entry = self
            .cells
            .get(id as usize)
            .and_then(|cells| cells.get(&key));
        if let Some(Cell::Histogram(histogram)) = entry.map(|entry| &entry.cell) {
            histogram.exemplify(exemplar);
        }
    }

    /// Moves both counters of an SLI pair (zero by zero makes them exist). Either both fit under the cap or neither is made.
    pub fn add_pair(&mut self, labels: &[&str], events: u64, good: u64) {
        let key = self.hasher.hash_one(labels);
        let known = self.is_known(Id::SliEvents, key);
        if !known && self.used.saturating_add(2) > self.max_series {
            self.count_capped(Id::SliEvents);
            return;
        }
        for (id, by) in [(Id::SliEvents, events), (Id::SliGoodEvents, good)] {
            if let Some(Cell::Int(counter)) = self.entry_of(id, labels, key).map(|e| &e.cell) {
                counter.inc_by(by);
            }
        }
    }

    /// Sets a gauge family to exactly these series; those not named vanish.
    pub fn replace<'a, L, I>(&mut self, id: Id, values: I)
    where
        L: AsRef<[&'a str]>,
        I: IntoIterator<Item = (L, f64)>,
    {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        for (labels, value) in values {
            if let Some(entry) = self.entry(id, labels.as_ref()) {
                entry.round = round;
                if let Cell::Gauge(gauge) = &entry.cell {
                    gauge.set(value);
                }
            }
        }
        self.remove_where(id, |entry| entry.round != round);
    }

    /// Removes series with outside labels that saw no traffic for [`IDLE_LIMIT`].
    pub fn expire(&mut self) {
        let now = self.now;
        for id in Id::ALL.iter().copied() {
            let family = id.family();
            let outside = family.labels.iter().any(|l| OUTSIDE_LABELS.contains(l));
            if outside && !matches!(family.kind, Kind::Gauge | Kind::Info) {
                self.remove_where(id, |e| {
                    now.saturating_duration_since(e.touched) >= IDLE_LIMIT
                });
            }
        }
    }

    fn remove_where(&mut self, id: Id, gone: impl Fn(&Entry) -> bool) {
        let Some((_, Some(store))) = self.stores.get(id as usize) else {
            return;
        };
        let cost = cost(store);
        let used = &mut self.used;
        if let Some(cells) = self.cells.get_mut(id as usize) {
            cells.retain(|_, entry| {
                if !gone(entry) {
                    return true;
                }
                forget(store, &entry.labels);
                *used = used.saturating_sub(cost);
                false
            });
        }
    }

    fn cell(&mut self, id: Id, labels: &[&str]) -> Option<&Cell> {
        self.entry(id, labels).map(|entry| &entry.cell)
    }

    fn is_known(&self, id: Id, key: u64) -> bool {
        self.cells
            .get(id as usize)
            .is_some_and(|cells| cells.contains_key(&key))
    }

    fn entry(&mut self, id: Id, labels: &[&str]) -> Option<&mut Entry> {
        let key = self.hasher.hash_one(labels);
        self.entry_of(id, labels, key)
    }

    /// The entry under the hash of these labels.
    fn entry_of(&mut self, id: Id, labels: &[&str], key: u64) -> Option<&mut Entry> {
        let now = self.now;
        let key = if self.is_known(id, key) {
            key
        } else {
            self.admit(id, labels)?
        };
        let entry = self.cells.get_mut(id as usize)?.get_mut(&key)?;
        entry.touched = now;
        Some(entry)
    }

    /// Makes room for a new series, or finds the overflow series it goes to.
    fn admit(&mut self, id: Id, labels: &[&str]) -> Option<u64> {
        let (_, store) = self.stores.get(id as usize)?;
        let cost = cost(store.as_ref()?);
        if self.used.saturating_add(cost) <= self.max_series {
            return self.create(id, labels, cost);
        }
        let names = id.family().labels;
        if !names.iter().any(|name| OUTSIDE_LABELS.contains(name)) {
            return self.create(id, labels, cost);
        }
        self.count_capped(id);
        // There is no SLI for what is not named, and states of several partitions or groups cannot share one gauge.
        let unshared = matches!(id.family().kind, Kind::Gauge | Kind::Info);
        let sli = [Id::SliEvents, Id::SliGoodEvents, Id::SliUnknownEvents];
        if unshared || sli.contains(&id) {
            return None;
        }
        let folded: Vec<&str> = names
            .iter()
            .zip(labels)
            .map(|(name, value)| {
                if OUTSIDE_LABELS.contains(name) {
                    OTHER
                } else {
                    value
                }
            })
            .collect();
        let key = self.hasher.hash_one(&*folded);
        if self.is_known(id, key) {
            return Some(key);
        }
        self.create(id, &folded, cost)
    }

    fn count_capped(&mut self, id: Id) {
        self.add(Id::SeriesCapped, &[id.family().name], 1);
    }

    fn create(&mut self, id: Id, labels: &[&str], cost: usize) -> Option<u64> {
        let (_, store) = self.stores.get(id as usize)?;
        let cell = match store.as_ref()? {
            Store::Int(vec) => Cell::Int(vec.get_metric_with_label_values(labels).ok()?),
            Store::Float(vec) => Cell::Float(vec.get_metric_with_label_values(labels).ok()?),
            Store::Gauge(vec) => Cell::Gauge(vec.get_metric_with_label_values(labels).ok()?),
            Store::Histogram(h) => {
                Cell::Histogram(h.vec.get_metric_with_label_values(labels).ok()?)
            }
        };
        let key = self.hasher.hash_one(labels);
        let entry = Entry {
            cell,
            labels: labels.iter().map(|l| Box::from(*l)).collect(),
            touched: self.now,
            round: 0,
        };
        let cells = self.cells.get_mut(id as usize)?;
        let first = cells.is_empty();
        // What counts the overflow is not part of it.
        if cells.insert(key, entry).is_none() && id != Id::SeriesCapped {
            self.used = self.used.saturating_add(cost);
        }
        let mut names = id.family().labels.iter();
        if first && names.any(|name| OUTSIDE_LABELS.contains(name)) {
            // An alert reads it: it exists before the family is capped.
            self.touch(Id::SeriesCapped, &[id.family().name]);
        }
        Some(key)
    }
}

/// Series one child of a family puts on the page.
fn cost(store: &Store) -> usize {
    match store {
        Store::Int(_) | Store::Float(_) | Store::Gauge(_) => 1,
        Store::Histogram(h) => h.bounds.saturating_add(3),
    }
}

fn forget(store: &Store, labels: &[Box<str>]) {
    let removed = match store {
        Store::Int(vec) => vec.remove_label_values(labels),
        Store::Float(vec) => vec.remove_label_values(labels),
        Store::Gauge(vec) => vec.remove_label_values(labels),
        Store::Histogram(h) => h.vec.remove_label_values(labels),
    };
    // Only a series that was never made can be missing.
    debug_assert!(removed.is_ok(), "{labels:?} was not there");
}

/// How a family is stored; `None` for those a collector answers for.
pub(super) fn storage_of(id: Id) -> Option<Kind> {
    match id {
        Id::ProxyConnections
        | Id::ProxyConnectionsAccepted
        | Id::ProxyConnectionsRefused
        | Id::ProxyBytes
        | Id::ProxyFrames
        | Id::ProxyAddedLatency
        | Id::ProxyBypassed
        | Id::LineageUnindexed
        | Id::TelemetryDropped
        | Id::ExportFailures
        | Id::Build
        | Id::ProcessCpu
        | Id::ProcessMemory
        | Id::ProcessFds
        | Id::ProcessStart => None,
        other => Some(other.family().kind),
    }
}

/// Whether a counter family counts in fractions.
pub(super) fn is_fractional(id: Id) -> bool {
    id.family().kind == Kind::Counter && id.family().unit == Unit::Seconds
}
