//! Shows the dataplane's own atomics on the page, read when somebody looks.
//!
//! So that counting bytes and frames costs the dataplane one atomic addition and no name. Must not write to the counters.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use prometheus::{
    core::{Collector, Desc, Describer},
    proto,
};

use super::{
    BYPASS_REASONS,
    catalogue::{Family, Id, Kind},
    histogram::proto_histogram,
    opts,
};
use crate::event::{
    ADDED_LATENCY_BOUNDS_US, API_SLOTS, BypassReason, DataplaneCounters, Direction, FrameMode,
};

/// Turns an API key into its label; bounded set.
pub type ApiName = fn(i16) -> &'static str;

pub(super) struct Dataplane {
    counters: Arc<DataplaneCounters>,
    api_name: ApiName,
    descs: Vec<Desc>,
}

const SERVED: [Id; 8] = [
    Id::ProxyConnections,
    Id::ProxyConnectionsAccepted,
    Id::ProxyConnectionsRefused,
    Id::ProxyBytes,
    Id::ProxyFrames,
    Id::ProxyAddedLatency,
    Id::ProxyBypassed,
    Id::LineageUnindexed,
];

impl Dataplane {
    pub(super) fn new(
        counters: Arc<DataplaneCounters>,
        api_name: ApiName,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            counters,
            api_name,
            descs: describe(&SERVED)?,
        })
    }

    fn frames(&self) -> proto::MetricFamily {
        // Several keys may share a label (unknown APIs), so sums are formed first.
        let mut sums: Vec<((&'static str, &'static str), u64)> = Vec::new();
        for slot in 0..API_SLOTS {
            let name = (self.api_name)(i16::try_from(slot).unwrap_or(i16::MAX));
            for mode in FrameMode::ALL {
                let count = self.counters.frames(slot, mode);
                let key = (name, mode.as_str());
                if count == 0 {
                    continue;
                }
                match sums.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => sums.push((key, count)),
                }
            }
        }
        let metrics = sums
            .into_iter()
            .map(|((api, mode), count)| counter(&[("api", api), ("mode", mode)], count))
            .collect();
        family(Id::ProxyFrames, metrics)
    }

    fn added_latency(&self) -> proto::MetricFamily {
        let bounds = ADDED_LATENCY_BOUNDS_US.map(seconds);
        let metrics = Direction::ALL
            .into_iter()
            .map(|direction| {
                let (counts, total, sum_us) = self.counters.latency(direction).snapshot();
                let over = total.saturating_sub(counts.iter().sum());
                let mut metric =
                    proto::Metric::from_label(labels(&[("direction", direction.as_str())]));
                metric.set_histogram(proto_histogram(&bounds, &counts, over, seconds(sum_us)));
                metric
            })
            .collect();
        family(Id::ProxyAddedLatency, metrics)
    }
}

impl Collector for Dataplane {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let counters = &self.counters;
        let mut bypassed = Vec::with_capacity(BYPASS_REASONS);
        for reason in BypassReason::ALL {
            bypassed.push(counter(
                &[("reason", reason.as_str())],
                counters.bypassed(reason),
            ));
        }
        let bytes = Direction::ALL
            .into_iter()
            .map(|d| counter(&[("direction", d.as_str())], counters.bytes(d)))
            .collect();
        let open = u32::try_from(counters.connections.load(Relaxed)).unwrap_or(0);
        vec![
            family(Id::ProxyConnections, vec![gauge(f64::from(open))]),
            family(
                Id::ProxyConnectionsAccepted,
                vec![counter(&[], counters.connections_total.load(Relaxed))],
            ),
            family(
                Id::ProxyConnectionsRefused,
                vec![counter(&[], counters.connections_refused.load(Relaxed))],
            ),
            family(Id::ProxyBytes, bytes),
            self.frames(),
            self.added_latency(),
            family(Id::ProxyBypassed, bypassed),
            family(
                Id::LineageUnindexed,
                vec![counter(&[], counters.unindexed())],
            ),
        ]
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 microseconds")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Descriptors of families a collector answers for.
pub(super) fn describe(ids: &[Id]) -> Result<Vec<Desc>, prometheus::Error> {
    ids.iter()
        .map(|id| {
            let family = id.family();
            let labels = family.labels.iter().map(|l| (*l).to_owned()).collect();
            opts(family).variable_labels(labels).describe()
        })
        .collect()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<proto::LabelPair> {
    pairs
        .iter()
        .map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

pub(super) fn counter(pairs: &[(&str, &str)], value: u64) -> proto::Metric {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    counter_f64(pairs, value as f64)
}

pub(super) fn counter_f64(pairs: &[(&str, &str)], value: f64) -> proto::Metric {
    let mut inner = proto::Counter::default();
    inner.set_value(value);
    let mut metric = proto::Metric::from_label(labels(pairs));
    metric.set_counter(inner);
    metric
}

pub(super) fn gauge(value: f64) -> proto::Metric {
    gauge_with(&[], value)
}

pub(super) fn gauge_with(pairs: &[(&str, &str)], value: f64) -> proto::Metric {
    let mut inner = proto::Gauge::default();
    inner.set_value(value);
    let mut metric = proto::Metric::from_label(labels(pairs));
    metric.set_gauge(inner);
    metric
}

pub(super) fn family(id: Id, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let entry: &Family = id.family();
    let mut out = proto::MetricFamily::default();
    out.set_name(entry.name.to_owned());
    out.set_help(entry.help.to_owned());
    out.set_field_type(match entry.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge | Kind::Info => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    out.set_metric(metrics);
    out
}
