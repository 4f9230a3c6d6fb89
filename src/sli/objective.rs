//! What is asked of each SLI: target share and threshold, by topic and group pattern.
//!
//! The engine needs the threshold to judge; target and period are carried for whoever shows them. Must not judge.

use std::{collections::HashMap, sync::Arc, time::Duration};

use regex::Regex;

use super::{
    Sli, Stage,
    bounds::{Bounds, TooManyThresholds},
};
use crate::event::Name;

/// Latency threshold where no objective names one.
pub const DEFAULT_LATENCY_THRESHOLD: Duration = Duration::from_millis(500);

/// Most (sli, topic, group) answers kept.
const MAX_CACHED: usize = 20_000;

/// What one entry of `objectives:` says.
#[derive(Debug, Clone)]
pub struct Objective {
    /// Topics or groups it is for; `None` = all.
    pub pattern: Option<Regex>,
    /// The SLI.
    pub sli: Sli,
    /// Where good ends, for SLIs that have a threshold.
    pub threshold: Option<Duration>,
    /// Where latency is judged; `None` = by how often the group commits.
    pub stage: Option<Stage>,
    /// Share of good events asked for, 0 to 1.
    pub target: Option<f64>,
}

/// Threshold and target that hold for one (SLI, topic, group).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Where latency is judged; `None` = by how often the group commits.
    pub stage: Option<Stage>,
    /// Where good ends; `None` where the SLI has no threshold.
    pub threshold: Option<Duration>,
    /// Share of good events asked for.
    pub target: f64,
}

/// All objectives; the first that matches wins, then the defaults of the SLI.
#[derive(Debug, Default)]
pub struct Objectives {
    list: Vec<Objective>,
    cache: HashMap<(Sli, Name, Name), Goal>,
}

impl Objectives {
    /// In the order of the configuration.
    #[must_use]
    pub fn new(list: Vec<Objective>) -> Self {
        Self {
            list,
            cache: HashMap::new(),
        }
    }

    /// The bucket bounds these objectives need.
    ///
    /// # Errors
    /// Where their latency thresholds are too many for one histogram.
    pub fn bounds(&self) -> Result<Bounds, TooManyThresholds> {
        let given = self
            .list
            .iter()
            .filter(|o| o.sli == Sli::Latency)
            .filter_map(|o| o.threshold);
        Bounds::new(given.chain([DEFAULT_LATENCY_THRESHOLD]))
    }

    /// What is asked for this topic and group.
    pub fn goal(&mut self, sli: Sli, topic: &Name, group: &Name) -> Goal {
        if self.list.is_empty() {
            return sli.default_goal();
        }
        let key = (sli, Arc::clone(topic), Arc::clone(group));
        if let Some(goal) = self.cache.get(&key) {
            return *goal;
        }
        let goal = self.find(sli, topic, group);
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(key, goal);
        goal
    }

    fn find(&self, sli: Sli, topic: &str, group: &str) -> Goal {
        let fits = |o: &Objective| {
            let pattern = o.pattern.as_ref();
            pattern.is_none_or(|regex| regex.is_match(topic) || regex.is_match(group))
        };
        let found = self.list.iter().find(|o| o.sli == sli && fits(o));
        let default = sli.default_goal();
        found.map_or(default, |o| Goal {
            stage: o.stage,
            threshold: match sli {
                // Its default depends on how often the group commits.
                Sli::Lag => o.threshold,
                _ => default.threshold.and(o.threshold.or(default.threshold)),
            },
            target: o.target.unwrap_or(default.target),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_wins_and_gaps_are_filled_by_the_default() {
        let mut objectives = Objectives::new(vec![
            Objective {
                stage: None,
                pattern: Regex::new("^orders$").ok(),
                sli: Sli::Latency,
                threshold: Some(Duration::from_secs(2)),
                target: None,
            },
            Objective {
                stage: None,
                pattern: Regex::new("^bill").ok(),
                sli: Sli::Latency,
                threshold: None,
                target: Some(0.5),
            },
        ]);
        let goal = |threshold_ms: u64, target: f64| Goal {
            stage: None,
            threshold: Some(Duration::from_millis(threshold_ms)),
            target,
        };
        let mut goal_of =
            |topic: &str, group: &str| objectives.goal(Sli::Latency, &topic.into(), &group.into());
        for _ in 0..2 {
            assert_eq!(goal_of("orders", "billing"), goal(2000, 0.95));
            assert_eq!(goal_of("orders.eu", "billing"), goal(500, 0.5));
            assert_eq!(goal_of("orders.eu", "audit"), goal(500, 0.95));
        }
        let publish = objectives.goal(Sli::Publish, &"orders".into(), &"".into());
        assert_eq!(publish.threshold, None);
    }
}
