//! Gathered families as OTLP's metrics: counters become monotonic cumulative sums, gauges gauges, histograms exponential ones.
//!
//! One histogram is not exponential: the dataplane's own, which counts into fixed buckets where it happens, and stays what it is.
//! OTLP's messages are made here because the SDK lets nobody else fill its own. Must not change a value.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar as OtlpExemplar, ExponentialHistogram,
        ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, Sum, exemplar, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point::Value,
    },
};

use crate::{
    metrics::{Exemplar, ExponentialSeries, Id, Kind, Pushed, Unit, proto},
    span::semconv,
};

/// Points of one metric, and of one request: a collector takes 4 MiB at once, and a full exponential histogram is under 2 KiB.
pub(super) const POINTS_MAX: usize = 2_000;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// When each cumulative series began to count, which a receiver needs to tell a reset from a fault. Bounded as the series are.
#[derive(Debug)]
pub(super) struct Starts {
    series: HashMap<u64, Seen>,
    hasher: RandomState,
    /// End of the last whole collection: a series that is new began after it.
    previous: u64,
    round: u64,
}

#[derive(Debug)]
struct Seen {
    start: u64,
    total: f64,
    round: u64,
}

impl Starts {
    /// `beginning`: nothing counts for longer, nanoseconds since the Unix epoch.
    pub(super) fn new(beginning: u64) -> Self {
        Self {
            series: HashMap::new(),
            hasher: RandomState::new(),
            previous: beginning,
            round: 0,
        }
    }

    /// Ends a collection that saw every series: those it did not see are forgotten.
    pub(super) fn collected(&mut self, at: u64) {
        let round = self.round;
        self.series.retain(|_, seen| seen.round == round);
        self.round = round.wrapping_add(1);
        self.previous = at;
    }

    fn of(&mut self, id: Id, cluster: &str, labels: &[proto::LabelPair], total: f64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (id as usize, cluster).hash(&mut hasher);
        for label in labels {
            (label.name(), label.value()).hash(&mut hasher);
        }
        let (previous, round) = (self.previous, self.round);
        let seen = self.series.entry(hasher.finish()).or_insert(Seen {
            start: previous,
            total,
            round,
        });
        if total < seen.total {
            // It vanished after an hour without traffic, and is there again.
            seen.start = previous;
        }
        (seen.total, seen.round) = (total, round);
        seen.start
    }
}

/// One collection being written.
struct Collection<'c> {
    cluster: &'c str,
    starts: &'c mut Starts,
    now: u64,
}

enum Source<'p> {
    Family(&'p proto::MetricFamily),
    Exponential(&'p [ExponentialSeries]),
}

/// Everything gathered, as metrics of at most [`POINTS_MAX`] points each, made one family at a time. `now` is nanoseconds since the
/// Unix epoch.
pub(super) fn metrics<'p>(
    pushed: &'p Pushed,
    cluster: &'p str,
    starts: &'p mut Starts,
    now: u64,
) -> impl Iterator<Item = Metric> + Send + 'p {
    let mut collection = Collection {
        cluster,
        starts,
        now,
    };
    let exponential = |id: Id| pushed.exponentials.iter().any(|(known, _)| *known == id);
    let families = pushed.families.iter();
    let families = families
        .filter(move |(id, _)| !exponential(*id))
        .map(|(id, family)| (*id, Source::Family(family)));
    let exponentials = pushed.exponentials.iter();
    let exponentials = exponentials.map(|(id, series)| (*id, Source::Exponential(series)));
    families
        .chain(exponentials)
        .flat_map(move |(id, source)| collection.metrics(id, &source))
}

/// How many points a metric has.
pub(super) fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(_)) | None => 0,
    }
}

/// A text attribute.
pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

impl Collection<'_> {
    fn metrics(&mut self, id: Id, source: &Source<'_>) -> Vec<Metric> {
        match source {
            Source::Family(family) => {
                let chunks = family.get_metric().chunks(POINTS_MAX);
                chunks.map(|chunk| self.of_family(id, chunk)).collect()
            }
            Source::Exponential(series) => {
                let chunks = series.chunks(POINTS_MAX);
                chunks
                    .map(|chunk| self.of_exponentials(id, chunk))
                    .collect()
            }
        }
    }

    fn of_family(&mut self, id: Id, series: &[proto::Metric]) -> Metric {
        let data = match id.family().kind {
            Kind::Counter => Data::Sum(Sum {
                data_points: series.iter().map(|one| self.counted(id, one)).collect(),
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            }),
            Kind::Gauge | Kind::Info => Data::Gauge(Gauge {
                data_points: series.iter().map(|one| self.measured(id, one)).collect(),
            }),
            Kind::Histogram => Data::Histogram(Histogram {
                data_points: series.iter().map(|one| self.bucketed(id, one)).collect(),
                aggregation_temporality: CUMULATIVE,
            }),
        };
        metric(id, data)
    }

    fn of_exponentials(&mut self, id: Id, series: &[ExponentialSeries]) -> Metric {
        let points = series.iter().map(|one| self.exponential(id, one));
        let histogram = ExponentialHistogram {
            data_points: points.collect(),
            aggregation_temporality: CUMULATIVE,
        };
        metric(id, Data::ExponentialHistogram(histogram))
    }

    fn counted(&mut self, id: Id, series: &proto::Metric) -> NumberDataPoint {
        let total = series.get_counter().get_value();
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole and exact up to 2^53"
        )]
        let value = match id.family().unit {
            Unit::Seconds => Value::AsDouble(total),
            _ => Value::AsInt(total as i64),
        };
        NumberDataPoint {
            attributes: self.attributes(id, series.get_label()),
            start_time_unix_nano: self.start(id, series.get_label(), total),
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }

    fn measured(&self, id: Id, series: &proto::Metric) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(id, series.get_label()),
            time_unix_nano: self.now,
            value: Some(Value::AsDouble(series.get_gauge().get_value())),
            ..NumberDataPoint::default()
        }
    }

    fn bucketed(&mut self, id: Id, series: &proto::Metric) -> HistogramDataPoint {
        let histogram = series.get_histogram();
        let count = histogram.get_sample_count();
        let mut below = 0;
        let mut counts = Vec::new();
        let mut bounds = Vec::new();
        for bucket in histogram.get_bucket() {
            counts.push(bucket.cumulative_count().saturating_sub(below));
            bounds.push(bucket.upper_bound());
            below = bucket.cumulative_count();
        }
        counts.push(count.saturating_sub(below));
        HistogramDataPoint {
            attributes: self.attributes(id, series.get_label()),
            start_time_unix_nano: self.start(id, series.get_label(), total(count)),
            time_unix_nano: self.now,
            count,
            sum: Some(histogram.get_sample_sum()),
            bucket_counts: counts,
            explicit_bounds: bounds,
            ..HistogramDataPoint::default()
        }
    }

    fn exponential(&mut self, id: Id, series: &ExponentialSeries) -> ExponentialHistogramDataPoint {
        let ExponentialSeries {
            labels,
            histogram,
            exemplars,
        } = series;
        let exemplars = exemplars.iter().map(exemplar);
        let previous = self.starts.previous;
        let (min, max) = histogram.range().unzip();
        ExponentialHistogramDataPoint {
            attributes: self.attributes(id, labels),
            start_time_unix_nano: self.start(id, labels, total(histogram.count())),
            time_unix_nano: self.now,
            count: histogram.count(),
            sum: Some(histogram.sum()),
            scale: histogram.scale(),
            zero_count: histogram.zero(),
            positive: Some(Buckets {
                offset: histogram.offset(),
                bucket_counts: histogram.counts().to_vec(),
            }),
            min,
            max,
            // Those that were not sent before.
            exemplars: exemplars.filter(|e| e.time_unix_nano >= previous).collect(),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    fn start(&mut self, id: Id, labels: &[proto::LabelPair], total: f64) -> u64 {
        self.starts.of(id, self.cluster, labels, total)
    }

    /// The series' labels as on the page, or as the conventions call them. An empty one is none, as Prometheus has it.
    fn attributes(&self, id: Id, labels: &[proto::LabelPair]) -> Vec<KeyValue> {
        let conventions = id.family().only_pushed();
        let first = if conventions {
            (semconv::SYSTEM, semconv::KAFKA)
        } else {
            ("cluster", self.cluster)
        };
        let labels = labels.iter().map(|label| {
            let name = match label.name() {
                "operation" if conventions => semconv::OPERATION_NAME,
                "topic" if conventions => semconv::DESTINATION,
                "group" if conventions => semconv::GROUP,
                "error" if conventions => semconv::ERROR_TYPE,
                other => other,
            };
            (name, label.value())
        });
        let all = std::iter::once(first).chain(labels);
        all.filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| attribute(name, value))
            .collect()
    }
}

fn exemplar(exemplar: &Exemplar) -> OtlpExemplar {
    let ms = u64::try_from(exemplar.at_ms).unwrap_or(0);
    OtlpExemplar {
        time_unix_nano: ms.saturating_mul(1_000_000),
        span_id: exemplar.span_id.to_vec(),
        trace_id: exemplar.trace_id.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        ..OtlpExemplar::default()
    }
}

fn metric(id: Id, data: Data) -> Metric {
    let family = id.family();
    let (name, unit) = match id {
        Id::OperationDuration => (semconv::CLIENT_OPERATION_DURATION, "s"),
        Id::ProcessDuration => (semconv::PROCESS_DURATION, "s"),
        Id::SentMessages => (semconv::CLIENT_SENT_MESSAGES, semconv::MESSAGES),
        Id::ConsumedMessages => (semconv::CLIENT_CONSUMED_MESSAGES, semconv::MESSAGES),
        _ => (family.name, unit(family.unit)),
    };
    Metric {
        name: name.to_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// A unit in UCUM. A plain count has none: `1` would be a share, and Prometheus would call it `_ratio`.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::One => "",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
        Unit::Records => "{record}",
        Unit::Ratio => "1",
    }
}

#[allow(clippy::cast_precision_loss, reason = "only compared with itself")]
fn total(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
