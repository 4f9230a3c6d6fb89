//! `objectives:` - which share of events must be good, per topic and group pattern.
//!
//! Here so that the defaults of each indicator stand in one place. Must not hold an indicator this version does not measure.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    effective::seconds_json,
    pattern::Pattern,
    section::{Section, choice, decimal, seconds, text},
    yaml::Scalar,
};

/// A service-level indicator of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sli {
    /// Records acknowledged, of those the program tried to produce.
    Publish,
    /// Requests answered in time without a broker-side error.
    Availability,
    /// Records that reached `stage` under the threshold.
    Latency,
    /// Records processed without a sign of failure, of those settled.
    Processing,
    /// Records whose event was not delivered before.
    Duplicates,
    /// Records that were not dead-lettered.
    DeadLetter,
    /// Records whose schema holds.
    Schema,
    /// Offsets that groups committed past by the deadline; measured by the observer.
    Delivery,
    /// Looks at a group's partition that found it near enough to the end; measured by the observer.
    Lag,
    /// Probes of brokers that were answered; measured by the observer.
    Broker,
    /// Looks at a partition that found room before what retention removes; measured by the observer.
    Retention,
}

impl Sli {
    const WORDS: &[(&str, Self)] = &[
        ("publish", Self::Publish),
        ("availability", Self::Availability),
        ("latency", Self::Latency),
        ("processing", Self::Processing),
        ("duplicates", Self::Duplicates),
        ("dead_letter", Self::DeadLetter),
        ("schema", Self::Schema),
        ("delivery", Self::Delivery),
        ("lag", Self::Lag),
        ("broker", Self::Broker),
        ("retention", Self::Retention),
    ];

    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, sli)| *sli)
    }

    /// As written in the file and in the `sli` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Availability => "availability",
            Self::Latency => "latency",
            Self::Processing => "processing",
            Self::Duplicates => "duplicates",
            Self::DeadLetter => "dead_letter",
            Self::Schema => "schema",
            Self::Delivery => "delivery",
            Self::Lag => "lag",
            Self::Broker => "broker",
            Self::Retention => "retention",
        }
    }

    /// The good share asked for where the objective names none.
    #[must_use]
    pub fn default_target(self) -> f64 {
        match self {
            Self::Publish | Self::Processing | Self::Delivery => 0.999,
            Self::Availability | Self::DeadLetter | Self::Broker => 0.9995,
            Self::Lag | Self::Retention => 0.99,
            Self::Latency => 0.95,
            Self::Duplicates | Self::Schema => 0.9999,
        }
    }
}

/// Up to where latency is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The record was on its way to the program.
    Fetched,
    /// The program committed past it.
    Committed,
}

impl Stage {
    const WORDS: &[(&str, Self)] = &[("fetched", Self::Fetched), ("committed", Self::Committed)];

    /// As written in the file and in the `stage` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Committed => "committed",
        }
    }
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectiveConfig {
    /// Which topics or groups; the first objective of an indicator that matches counts.
    pub pattern: Pattern,
    /// What is measured.
    pub sli: Sli,
    /// The limit between good and bad; `latency` always has one (0.5 s by default), `lag` where it is given, the others none.
    pub threshold: Option<Duration>,
    /// The good share asked for, over 0 and under 1.
    pub target: f64,
    /// For `latency`; `None` = `committed` where commits are frequent enough, else `fetched`.
    pub stage: Option<Stage>,
}

impl ObjectiveConfig {
    pub(super) fn read_all(root: &Section<'_>) -> Vec<Self> {
        root.rules("objectives")
            .iter()
            .filter_map(Self::read)
            .collect()
    }

    fn read(rule: &Section<'_>) -> Option<Self> {
        let pattern = rule.required("match", "a regular expression", text(str::parse));
        let allowed = "publish, availability, latency, processing, duplicates, dead_letter, schema, delivery, lag, broker, retention";
        let sli = rule.required("sli", allowed, choice(Sli::WORDS));
        let threshold = rule.optional("threshold_seconds", seconds(0.0001..=86_400.0));
        let target = rule.optional("target", target);
        let stage = rule.optional("stage", choice(Stage::WORDS));
        let sli = sli?;
        if threshold.is_some() && !matches!(sli, Sli::Latency | Sli::Lag) {
            let message = format!(
                "does not apply to sli {}, allowed with: latency, lag",
                sli.as_str()
            );
            rule.fault("threshold_seconds", message);
        }
        if stage.is_some() && sli != Sli::Latency {
            let message = format!(
                "does not apply to sli {}, allowed with: latency",
                sli.as_str()
            );
            rule.fault("stage", message);
        }
        let latency = (sli == Sli::Latency).then_some(Duration::from_millis(500));
        Some(Self {
            pattern: pattern?,
            sli,
            threshold: threshold.or(latency),
            target: target.unwrap_or(sli.default_target()),
            stage,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "match": self.pattern.as_str(),
            "sli": self.sli.as_str(),
            "threshold_seconds": self.threshold.map(seconds_json),
            "target": self.target,
            "stage": self.stage.map(Stage::as_str),
        })
    }
}

fn target(scalar: &Scalar) -> Result<f64, String> {
    let allowed = "allowed: a share over 0 and under 1, for example 0.95 for 95 %";
    let number = decimal(scalar).ok_or_else(|| format!("is not a number, {allowed}"))?;
    if number <= 0.0 || number >= 1.0 {
        return Err(format!("is out of range, {allowed}"));
    }
    Ok(number)
}
