//! Prometheus text 0.0.4 and OpenMetrics 1.0, from one walk over the families.
//!
//! Our own encoder because the formats differ where the `prometheus` crate's does not: counters lose `_total` in their header,
//! units are named, numbers of bounds are canonical, the page ends in `# EOF`, and the label `cluster` is put on here. Must not
//! change a value.

use std::fmt::Write as _;

use super::Format;
use crate::metrics::{Exemplar, Exemplars, Family, Kind, Unit, proto};

/// Rough size of one line, to begin with the right buffer.
const LINE_BYTES: usize = 120;

/// The whole page. `cluster` becomes the first label of every series.
#[must_use]
pub fn encode(
    families: &[(&Family, proto::MetricFamily)],
    cluster: &str,
    format: Format,
    exemplars: &Exemplars,
) -> String {
    let series: usize = families.iter().map(|(_, f)| f.get_metric().len()).sum();
    let mut page = Encoder {
        out: String::with_capacity(series.saturating_mul(LINE_BYTES)),
        labels: String::new(),
        cluster: escaped(cluster),
        format,
        exemplars,
    };
    for (family, gathered) in families {
        page.family(family, gathered);
    }
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

struct Encoder<'a> {
    out: String,
    /// The labels of the series being written, without braces.
    labels: String,
    cluster: String,
    format: Format,
    exemplars: &'a Exemplars,
}

impl Encoder<'_> {
    fn family(&mut self, family: &Family, gathered: &proto::MetricFamily) {
        self.header(family);
        for metric in gathered.get_metric() {
            self.labels_of(metric.get_label());
            match family.kind {
                Kind::Counter => {
                    self.sample(family.name, "", metric.get_counter().get_value());
                }
                Kind::Gauge | Kind::Info => {
                    self.sample(family.name, "", metric.get_gauge().get_value());
                }
                Kind::Histogram => self.histogram(family, metric),
            }
        }
    }

    fn header(&mut self, family: &Family) {
        let open = self.format == Format::OpenMetrics;
        let name = if open { open_name(family) } else { family.name };
        let kind = match (family.kind, open) {
            (Kind::Info, false) => "gauge",
            (kind, _) => kind.as_str(),
        };
        self.words(&["# HELP ", name, " "]);
        for c in family.help.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if open => self.out.push_str("\\\""),
                c => self.out.push(c),
            }
        }
        self.words(&["\n# TYPE ", name, " ", kind, "\n"]);
        let unit = family.unit.as_str();
        let named = name
            .strip_suffix(unit)
            .is_some_and(|rest| rest.ends_with('_'));
        if open && family.unit != Unit::One && named {
            self.words(&["# UNIT ", name, " ", unit, "\n"]);
        }
    }

    fn labels_of(&mut self, pairs: &[proto::LabelPair]) {
        self.labels.clear();
        self.labels.push_str("cluster=\"");
        self.labels.push_str(&self.cluster);
        self.labels.push('"');
        for pair in pairs {
            self.labels.push(',');
            self.labels.push_str(pair.name());
            self.labels.push_str("=\"");
            escape(pair.value(), &mut self.labels);
            self.labels.push('"');
        }
    }

    fn histogram(&mut self, family: &Family, metric: &proto::Metric) {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count();
        let bounds = histogram
            .get_bucket()
            .iter()
            .map(|b| (b.upper_bound(), b.cumulative_count()));
        let exemplars = self.exemplars;
        let mut exemplars = exemplars.of(family.name, metric.get_label()).iter();
        for (upper, under) in bounds.chain([(f64::INFINITY, count)]) {
            self.words(&[family.name, "_bucket{"]);
            self.out.push_str(&self.labels);
            self.out.push_str(",le=\"");
            self.bound(upper);
            self.out.push_str("\"} ");
            self.whole(under);
            if let Some(Some(exemplar)) = exemplars.next() {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
        self.sample(family.name, "_sum", histogram.get_sample_sum());
        self.words(&[family.name, "_count{"]);
        self.out.push_str(&self.labels);
        self.out.push_str("} ");
        self.whole(count);
        self.out.push('\n');
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        if self.format != Format::OpenMetrics {
            return;
        }
        self.out.push_str(" # {trace_id=\"");
        self.hex(&exemplar.trace_id);
        self.out.push_str("\",span_id=\"");
        self.hex(&exemplar.span_id);
        self.out.push_str("\"} ");
        self.number(exemplar.value);
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 ms")]
        let seconds = exemplar.at_ms as f64 / 1e3;
        self.put(format_args!(" {seconds:.3}"));
    }

    fn hex(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.put(format_args!("{byte:02x}"));
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, value: f64) {
        self.words(&[name, suffix, "{"]);
        self.out.push_str(&self.labels);
        self.out.push_str("} ");
        self.number(value);
        self.out.push('\n');
    }

    fn bound(&mut self, upper: f64) {
        let start = self.out.len();
        self.number(upper);
        let bare = self
            .out
            .get(start..)
            .is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit()));
        if bare && self.format == Format::OpenMetrics {
            self.out.push_str(".0");
        }
    }

    fn number(&mut self, value: f64) {
        if value.is_nan() {
            self.out.push_str("NaN");
        } else if value.is_infinite() {
            self.out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        } else {
            self.put(format_args!("{value}"));
        }
    }

    fn whole(&mut self, value: u64) {
        self.put(format_args!("{value}"));
    }

    fn put(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        if self.out.write_fmt(args).is_err() {
            self.out.push_str("NaN");
        }
    }

    fn words(&mut self, words: &[&str]) {
        for word in words {
            self.out.push_str(word);
        }
    }
}

/// The family name in OpenMetrics headers: the suffix of its samples taken off.
fn open_name(family: &Family) -> &'static str {
    let suffix = match family.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    };
    family.name.strip_suffix(suffix).unwrap_or(family.name)
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    escape(value, &mut out);
    out
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
