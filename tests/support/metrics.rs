//! Prometheus text, as far as tests need it.

use std::collections::BTreeMap;

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// One scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) samples: Vec<Sample>,
}

impl Metrics {
    /// Reads an exposition; fails the test on a line that is none.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let samples = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).unwrap_or_else(|| panic!("not a metric: {line}")))
            .collect();
        Self { samples }
    }

    /// The sum over all samples of `name` that carry all of `labels`; 0 where there are none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples of `name` that carry all of `labels`.
    pub(crate) fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let carries = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).is_some_and(|held| held == value)
            };
            sample.name == name && labels.iter().all(carries)
        })
    }

    /// Every sample that carries these labels, buckets apart, for messages.
    pub(crate) fn page(&self, labels: &[(&str, &str)]) -> String {
        let carries = |sample: &&Sample| {
            let mut all = labels.iter();
            all.all(|(name, value)| sample.labels.get(*name).is_some_and(|held| held == value))
        };
        let samples = self.samples.iter().filter(carries);
        let lines = samples
            .filter(|sample| !sample.name.ends_with("_bucket"))
            .map(|sample| format!("{}{:?} {}", sample.name, sample.labels, sample.value));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Whether there is a sample of this name at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_owned(), value);
            rest = after.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = rest.strip_prefix('}')?;
    }
    // A timestamp or an exemplar may follow the value.
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Reads up to the closing quote, which is taken too; the opening one was.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
