//! The registry: every family of the catalogue, held by the `prometheus` crate, which nothing else may touch.
//!
//! [`Metrics`] is shared with the exporter and gathers; [`Recorder`] belongs to the cold worker and writes. The constant label
//! `cluster` is kept here and put on at encoding time, because its value (the cluster id) is known only after the first
//! answer of a broker. What is only pushed has a registry of its own, made where something is pushed. Must not know what an SLI
//! is, nor how a page is encoded.

pub mod catalogue;
mod dataplane;
mod exemplar;
mod exponential;
mod histogram;
mod process;
mod recorder;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use prometheus::{
    CounterVec, GaugeVec, IntCounter, IntCounterVec, Registry,
    core::{Collector, MetricVec},
    proto::MetricType,
};
use tokio::time::Instant;

use crate::event::{BypassReason, DataplaneCounters};

pub use catalogue::{Family, Id, Kind, Unit};
pub use dataplane::ApiName;
pub use exemplar::{Exemplar, Exemplars};
pub use exponential::{Exponential, MAX_BUCKETS, MAX_SCALE};
pub use histogram::ExponentialSeries;
pub use process::Build;
pub use prometheus::proto;
pub use recorder::{IDLE_LIMIT, Recorder};

use catalogue::Buckets;
use histogram::{Builder, Children};
use recorder::{HistogramVec, Store};

/// Bounds of histograms that count records.
pub const RECORD_BOUNDS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5,
];

/// What the registry needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Series per sidecar before outside names go to `_other` (`metrics.max_series`).
    pub max_series: usize,
    /// Upper bounds of latency histograms, seconds, ascending.
    pub latency_bounds: Vec<f64>,
    /// Whether the families are pushed too: only then there are exponential histograms and what is only pushed.
    pub push: bool,
}

/// Everything there is to push. Label `cluster` not included.
#[derive(Debug)]
pub struct Pushed {
    /// Families by name; a histogram family here has fixed buckets of its own making, or is among the exponential ones too.
    pub families: Vec<(Id, proto::MetricFamily)>,
    /// Every family that is kept with exponential buckets, and its series.
    pub exponentials: Vec<(Id, Vec<ExponentialSeries>)>,
}

/// All families and their values.
pub struct Metrics {
    registry: Registry,
    /// What is only pushed, where something is.
    push: Option<Registry>,
    stores: Arc<[(Id, Option<Store>)]>,
    histograms: Vec<(Id, Children)>,
    dropped: IntCounterVec,
    export_failures: IntCounterVec,
    cluster: ArcSwap<String>,
    max_series: usize,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("cluster", &self.cluster)
            .field("max_series", &self.max_series)
            .finish_non_exhaustive()
    }
}

/// The catalogue contradicts itself: found by the first test, never in the field.
#[derive(Debug)]
pub struct CatalogueError(prometheus::Error);

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metrics catalogue: {}", self.0)
    }
}

impl std::error::Error for CatalogueError {}

impl From<prometheus::Error> for CatalogueError {
    fn from(error: prometheus::Error) -> Self {
        Self(error)
    }
}

impl Metrics {
    /// Registers every family of the catalogue.
    ///
    /// # Errors
    /// Where the catalogue holds a name or label that is not allowed.
    pub fn new(settings: &Settings) -> Result<Self, CatalogueError> {
        let registry = Registry::new();
        let push = settings.push.then(Registry::new);
        let mut stores = Vec::new();
        let mut histograms = Vec::new();
        for id in Id::ALL.iter().copied() {
            let pages = (&registry, push.as_ref());
            stores.push((id, store(pages, &mut histograms, settings, id)?));
        }
        let family = Id::TelemetryDropped.family();
        let dropped = IntCounterVec::new(opts(family), family.labels)?;
        register(&registry, Box::new(dropped.clone()))?;
        let family = Id::ExportFailures.family();
        let export_failures = IntCounterVec::new(opts(family), family.labels)?;
        register(&registry, Box::new(export_failures.clone()))?;
        Ok(Self {
            registry,
            push,
            stores: stores.into(),
            histograms,
            dropped,
            export_failures,
            cluster: ArcSwap::default(),
            max_series: settings.max_series,
        })
    }

    /// Adds what the dataplane counts itself; `api_name` turns an API key into its label.
    ///
    /// # Errors
    /// When called twice.
    pub fn serve_dataplane(
        &self,
        counters: Arc<DataplaneCounters>,
        api_name: ApiName,
    ) -> Result<(), CatalogueError> {
        let collector = dataplane::Dataplane::new(counters, api_name)?;
        register(&self.registry, Box::new(collector))
    }

    /// Adds `build_info` and what the kernel says of this process.
    ///
    /// # Errors
    /// When called twice.
    pub fn serve_process(&self, build: &Build) -> Result<(), CatalogueError> {
        register(&self.registry, Box::new(process::Process::new(build)?))
    }

    /// The writing side. One per worker; several share the cells but each caps its own series.
    #[must_use]
    pub fn recorder(&self, now: Instant) -> Recorder {
        Recorder::new(Arc::clone(&self.stores), self.max_series, now)
    }

    /// A counter of dropped observations, at 0 from now on. `signal` and `reason` are bounded sets of the callers.
    #[must_use]
    pub fn dropped(&self, signal: &'static str, reason: &'static str) -> Dropped {
        Dropped(self.dropped.with_label_values(&[signal, reason]))
    }

    /// A counter of exports that failed for good, at 0 from now on. `signal` is a bounded set of the callers.
    #[must_use]
    pub fn export_failures(&self, signal: &'static str) -> Dropped {
        Dropped(self.export_failures.with_label_values(&[signal]))
    }

    /// Sets the value of the label `cluster`: the configured name, or the cluster id once it is known.
    pub fn set_cluster(&self, name: &str) {
        self.cluster.store(Arc::new(name.to_owned()));
    }

    /// The value of the label `cluster`; empty while unknown.
    #[must_use]
    pub fn cluster(&self) -> Arc<String> {
        self.cluster.load_full()
    }

    /// Every family that has series, by name, each with its catalogue entry. Label `cluster` not included.
    #[must_use]
    pub fn gather(&self) -> Vec<(&'static Family, proto::MetricFamily)> {
        let known = |gathered: proto::MetricFamily| {
            let id = named(gathered.name())?;
            Some((id.family(), gathered))
        };
        self.registry
            .gather()
            .into_iter()
            .filter_map(known)
            .collect()
    }

    /// Everything there is to push; nothing where [`Settings::push`] is off.
    #[must_use]
    pub fn gather_pushed(&self) -> Pushed {
        let mut pushed = Pushed {
            families: Vec::new(),
            exponentials: Vec::new(),
        };
        let Some(push) = &self.push else {
            return pushed;
        };
        let gathered = self.registry.gather().into_iter();
        pushed.families = gathered
            .chain(push.gather())
            .filter_map(|gathered| Some((named(gathered.name())?, gathered)))
            .collect();
        let histograms = self.histograms.iter();
        pushed.exponentials = histograms
            .map(|(id, children)| (*id, children.exponentials()))
            .collect();
        pushed
    }

    /// The exemplars of what [`Self::gather`] gathers.
    #[must_use]
    pub fn exemplars(&self) -> Exemplars {
        let mut all = Exemplars::default();
        for (id, children) in &self.histograms {
            children.exemplars(id.family().name, &mut all);
        }
        all
    }
}

fn named(name: &str) -> Option<Id> {
    let mut all = Id::ALL.iter().copied();
    all.find(|id| id.family().name == name)
}

/// Handle on one `telemetry_dropped_total` series; adding is one atomic operation.
#[derive(Debug, Clone)]
pub struct Dropped(IntCounter);

impl Dropped {
    /// A counter of nobody's.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let counter = IntCounter::new("dropped", "dropped");
        Self(counter.unwrap_or_else(|fault| unreachable!("{fault}")))
    }

    /// Counts dropped observations.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// Dropped so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get()
    }
}

fn opts(family: &Family) -> prometheus::core::Opts {
    prometheus::core::Opts::new(family.name, family.help)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where families are registered"
)]
fn register(registry: &Registry, collector: Box<dyn Collector>) -> Result<(), CatalogueError> {
    Ok(registry.register(collector)?)
}

fn store(
    (page, push): (&Registry, Option<&Registry>),
    histograms: &mut Vec<(Id, Children)>,
    settings: &Settings,
    id: Id,
) -> Result<Option<Store>, CatalogueError> {
    let family = id.family();
    if family.only_pushed() && push.is_none() {
        return Ok(None);
    }
    let Some(kind) = recorder::storage_of(id) else {
        return Ok(None);
    };
    let (store, collector): (Store, Box<dyn Collector>) = match kind {
        Kind::Counter if recorder::is_fractional(id) => {
            let vec = CounterVec::new(opts(family), family.labels)?;
            (Store::Float(vec.clone()), Box::new(vec))
        }
        Kind::Counter => {
            let vec = IntCounterVec::new(opts(family), family.labels)?;
            (Store::Int(vec.clone()), Box::new(vec))
        }
        Kind::Gauge | Kind::Info => {
            let vec = GaugeVec::new(opts(family), family.labels)?;
            (Store::Gauge(vec.clone()), Box::new(vec))
        }
        Kind::Histogram => {
            let bounds: Arc<[f64]> = match family.buckets {
                Buckets::Latency => settings.latency_bounds.as_slice().into(),
                Buckets::Records => RECORD_BOUNDS.as_slice().into(),
                Buckets::Exponential => [].into(),
            };
            let children = Children::default();
            histograms.push((id, children.clone()));
            let count = bounds.len();
            let labels = family.labels.iter().map(|l| (*l).to_owned()).collect();
            let vec = MetricVec::create(
                MetricType::HISTOGRAM,
                Builder {
                    bounds,
                    children,
                    exponential: push.is_some(),
                },
                opts(family).variable_labels(labels),
            )?;
            let store = Store::Histogram(HistogramVec {
                vec: vec.clone(),
                bounds: count,
            });
            (store, Box::new(vec))
        }
    };
    let registry = match push {
        Some(push) if family.only_pushed() => push,
        _ => page,
    };
    register(registry, collector)?;
    Ok(Some(store))
}

/// Number of bypass reasons; the collector shows them all from zero.
const BYPASS_REASONS: usize = BypassReason::ALL.len();

#[cfg(test)]
mod tests;
