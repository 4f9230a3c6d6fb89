//! Recording rules, alerts and the state of error budgets, from objectives.
//!
//! `alerts/` is what this writes for the defaults. Pure: text out of values, verdicts out of what Prometheus answered. Must not read a
//! file, ask anybody, or use a family or label that the catalogue does not have (held by `tests/rules.rs`).
//!
//! Reference: signals.md section 11; the multiwindow, multi-burn-rate alerts of the SRE Workbook, chapter 5.

mod alerts;
mod pattern;
mod recording;
mod rule;
pub mod status;

pub use pattern::Untranslatable;
pub use rule::{Group, Kind, Rule, custom_resource, file};

/// Indicators that a sidecar counts: each pod its own events, so they are summed.
const BY_SIDECARS: &str = "publish|latency|availability|processing|dead_letter|duplicates|schema";
/// Indicators that the observer counts: every observer all events, so the most that one of them saw is taken.
const BY_OBSERVERS: &str = "delivery|lag|broker|retention";

/// Bad events without which no budget burns: one of ten at night wakes nobody.
const LEAST_BAD: u32 = 10;

/// What share of which events must be good.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// The value of the label `sli`.
    pub sli: &'static str,
    /// Searched for in the topic and in the group; `None`: all.
    pub pattern: Option<String>,
    /// Over 0 and under 1.
    pub target: f64,
}

/// Where annotations lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Before `/<alert>.md`.
    pub runbooks: String,
    /// Before `/d/<uid>`.
    pub dashboards: String,
}

/// Which rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What is recorded.
    Recording,
    /// What is told.
    Alerts,
}

/// The rules for these objectives, the first that matches counts: those given, then the defaults of all indicators.
///
/// # Errors
/// Where a pattern cannot be said in Prometheus' dialect.
pub fn groups(
    objectives: &[Objective],
    links: &Links,
    parts: &[Part],
) -> Result<Vec<Group>, Untranslatable> {
    let mut groups = Vec::new();
    for part in parts {
        match part {
            Part::Recording => groups.extend(recording::groups(objectives)?),
            Part::Alerts => groups.extend(alerts::groups(links)),
        }
    }
    Ok(groups)
}
