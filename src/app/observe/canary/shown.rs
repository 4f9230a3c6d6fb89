//! The canary's verdicts, into families.
//!
//! Must not decide what a verdict means.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    metrics::{Id, Recorder},
    sli::cluster::canary::{Doubt, Fault, Verdict},
};

/// Why a commit did not succeed.
const COMMIT_REFUSED: &str = "refused";
const COMMIT_NOT_ANSWERED: &str = "not_answered";

/// Writes the canary's families; one owner.
#[derive(Debug)]
pub(super) struct Shown {
    recorder: Recorder,
    known: BTreeSet<i32>,
}

impl Shown {
    pub(super) fn new(recorder: Recorder) -> Self {
        let mut shown = Self {
            recorder,
            known: BTreeSet::new(),
        };
        for doubt in Doubt::ALL {
            let labels = [doubt.as_str()];
            shown.recorder.touch(Id::CanaryUnknown, &labels);
        }
        for reason in [COMMIT_REFUSED, COMMIT_NOT_ANSWERED] {
            shown.recorder.touch(Id::CanaryCommitFailures, &[reason]);
        }
        shown
    }

    /// Makes every counter of these brokers exist.
    pub(super) fn expect(&mut self, brokers: impl IntoIterator<Item = i32>) {
        for broker in brokers {
            if !self.known.insert(broker) {
                continue;
            }
            let broker = broker.to_string();
            for id in [
                Id::CanarySent,
                Id::CanaryLate,
                Id::CanaryLost,
                Id::CanaryRecovered,
            ] {
                self.recorder.touch(id, &[&broker]);
            }
            for fault in Fault::ALL {
                let labels = [&*broker, fault.as_str()];
                self.recorder.touch(Id::CanaryFailed, &labels);
            }
            for stage in ["produce", "round_trip"] {
                self.recorder.touch(Id::CanaryDuration, &[&broker, stage]);
            }
        }
    }

    pub(super) fn take(&mut self, now: Instant, verdicts: Vec<Verdict>) {
        self.recorder.set_now(now);
        for verdict in verdicts {
            let (id, broker) = match verdict {
                Verdict::Sent(broker) => (Id::CanarySent, broker),
                Verdict::Late(broker) => (Id::CanaryLate, broker),
                Verdict::Lost(broker) => (Id::CanaryLost, broker),
                Verdict::Recovered(broker) => (Id::CanaryRecovered, broker),
                Verdict::Acknowledged(broker, took) => {
                    self.took(broker, "produce", took);
                    continue;
                }
                Verdict::CameBack(broker, took) => {
                    self.took(broker, "round_trip", took);
                    continue;
                }
                Verdict::Failed(broker, fault) => {
                    self.expect([broker]);
                    let labels = [&*broker.to_string(), fault.as_str()];
                    self.recorder.add(Id::CanaryFailed, &labels, 1);
                    continue;
                }
                Verdict::Unknown(doubt) => {
                    let labels = [doubt.as_str()];
                    self.recorder.add(Id::CanaryUnknown, &labels, 1);
                    continue;
                }
            };
            self.expect([broker]);
            self.recorder.add(id, &[&broker.to_string()], 1);
        }
    }

    fn took(&mut self, broker: i32, stage: &str, took: Duration) {
        let labels = [&*broker.to_string(), stage];
        let seconds = took.as_secs_f64();
        self.recorder
            .observe(Id::CanaryDuration, &labels, seconds, 1);
    }

    pub(super) fn committed(&mut self, coordinator: i32, took: Duration) {
        self.took(coordinator, "commit", took);
    }

    pub(super) fn commit_failed(&mut self, answered: bool) {
        let reason = if answered {
            COMMIT_REFUSED
        } else {
            COMMIT_NOT_ANSWERED
        };
        self.recorder.add(Id::CanaryCommitFailures, &[reason], 1);
    }

    /// Sets the gauges. `covered` = whether each broker leads a partition of the topic.
    pub(super) fn gauges(&mut self, covered: &BTreeMap<i32, bool>, overdue: &BTreeMap<i32, u64>) {
        let covered: Vec<(String, bool)> =
            covered.iter().map(|(b, is)| (b.to_string(), *is)).collect();
        let rows = covered.iter();
        let rows = rows.map(|(b, is)| ([b.as_str()], f64::from(u8::from(*is))));
        self.recorder.replace(Id::CanaryCovered, rows);
        let overdue: Vec<(String, u64)> =
            overdue.iter().map(|(b, n)| (b.to_string(), *n)).collect();
        let rows = overdue.iter().map(|(b, n)| {
            let count = u32::try_from(*n).unwrap_or(u32::MAX);
            ([b.as_str()], f64::from(count))
        });
        self.recorder.replace(Id::CanaryOverdue, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export,
        metrics::{Metrics, Settings},
    };

    #[test]
    fn what_became_of_records_and_commits_is_told_by_its_own_family() {
        let settings = Settings {
            max_series: 1_000,
            latency_bounds: vec![1.0],
            push: false,
        };
        let metrics = Metrics::new(&settings).unwrap();
        let now = Instant::now();
        let mut shown = Shown::new(metrics.recorder(now));
        let told = |wanted: [u32; 4]| {
            let page = String::from_utf8(export::page(&metrics, None, None).body).unwrap();
            let [recovered, unknown, commits, lost] = wanted;
            let doubt = Doubt::ALL[0].as_str();
            for line in [
                format!(
                    "throughline_canary_recovered_total{{cluster=\"\",broker=\"3\"}} {recovered}"
                ),
                format!(
                    "throughline_canary_unknown_total{{cluster=\"\",reason=\"{doubt}\"}} {unknown}"
                ),
                format!(
                    "throughline_canary_commit_failures_total{{cluster=\"\",reason=\"refused\"}} {commits}"
                ),
                format!("throughline_canary_lost_total{{cluster=\"\",broker=\"3\"}} {lost}"),
            ] {
                assert!(page.lines().any(|l| l == line), "{line}\n{page}");
            }
        };
        shown.expect([3]);
        told([0, 0, 0, 0]);
        let verdicts = vec![
            Verdict::Lost(3),
            Verdict::Recovered(3),
            Verdict::Unknown(Doubt::ALL[0]),
        ];
        shown.take(now, verdicts);
        shown.commit_failed(true);
        told([1, 1, 1, 1]);
    }
}
