//! From metrics pages to the figures of the live view.
//!
//! Here because rates and quantiles need two pages and their difference. Must not read anything but pages, and shows "no
//! figure" rather than a guess: a quantile is the upper bound of its bucket.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    page::{self, Page},
    topology::{DEAD_LETTERS, GROUPS, ORDERS, ServiceAddresses, TOPICS},
};

const PRODUCED: &str = "throughline_produced_records_total";
const DELIVERED: &str = "throughline_delivered_records_total";
const LAG_RECORDS: &str = "throughline_consumer_lag_records";
const LAG_SECONDS: &str = "throughline_consumer_lag_seconds";
const LATENCY: &str = "throughline_end_to_end_latency_seconds_bucket";
const JUDGED: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";

/// Scrapes kept, one a second: quantiles are over this many seconds.
const KEPT: usize = 10;
/// Seconds that rates are taken over.
const RATE_OVER: usize = 3;

/// The pages of all sidecars at one moment.
#[derive(Debug, Clone)]
pub(super) struct Scrape {
    at: Instant,
    pages: Vec<Page>,
    /// What could not be read, and why.
    pub(super) silent: Vec<String>,
}

impl Scrape {
    /// Reads `/metrics` of every sidecar.
    pub(super) async fn read(services: &[ServiceAddresses]) -> Self {
        let mut scrape = Self {
            at: Instant::now(),
            pages: Vec::new(),
            silent: Vec::new(),
        };
        for service in services {
            match page::get(service.admin, "/metrics").await {
                Ok(text) => scrape.pages.push(Page::parse(&text)),
                Err(fault) => scrape.silent.push(format!("{}: {fault}", service.name)),
            }
        }
        scrape
    }

    /// Sum over all sidecars; `None` where no series fits.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.pages.iter().flat_map(|page| page.find(name, labels));
        found.fold(None, |sum, sample| {
            Some(sum.unwrap_or(0.0) + sample.value())
        })
    }

    /// Records that the sidecars saw acknowledged on a topic, by the good events of the publish SLI.
    pub(super) fn acknowledged(&self, topic: &str) -> Option<f64> {
        self.sum(GOOD, &[("sli", "publish"), ("topic", topic)])
    }

    /// The same by the traffic counter.
    pub(super) fn produced(&self, topic: &str) -> Option<f64> {
        self.sum(PRODUCED, &[("topic", topic)])
    }

    /// Good share of an SLI, where something was judged.
    pub(super) fn ratio(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let (good, judged) = (self.sum(GOOD, labels)?, self.sum(JUDGED, labels)?);
        (judged > 0.0).then(|| good / judged)
    }

    /// Cumulative counts by upper bound in microseconds (`u64::MAX` = no bound).
    fn buckets(&self, labels: &[(&str, &str)]) -> BTreeMap<u64, f64> {
        let mut all = BTreeMap::new();
        for sample in self
            .pages
            .iter()
            .flat_map(|page| page.find(LATENCY, labels))
        {
            let bound = sample.label("le").and_then(|le| le.parse::<f64>().ok());
            if let Some(seconds) = bound {
                *all.entry(micros(seconds)).or_default() += sample.value();
            }
        }
        all
    }
}

/// A bound in whole microseconds, so that it can be a key.
fn micros(seconds: f64) -> u64 {
    if seconds.is_finite() {
        let bound = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)
    } else {
        u64::MAX
    }
}

/// One topic now.
#[derive(Debug, PartialEq)]
pub(super) struct TopicFigures {
    pub(super) topic: &'static str,
    pub(super) produced: Option<f64>,
    pub(super) per_second: Option<f64>,
    pub(super) publish: Option<f64>,
}

/// One group now. Latencies are upper bounds in microseconds, over the last seconds.
#[derive(Debug, PartialEq)]
pub(super) struct GroupFigures {
    pub(super) group: &'static str,
    pub(super) delivered: Option<f64>,
    pub(super) per_second: Option<f64>,
    pub(super) lag_records: Option<f64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) fetched_p50: Option<u64>,
    pub(super) fetched_p95: Option<u64>,
    pub(super) committed_p95: Option<u64>,
    pub(super) latency: Option<f64>,
}

/// Everything the view shows.
#[derive(Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) topics: Vec<TopicFigures>,
    pub(super) groups: Vec<GroupFigures>,
    pub(super) dead_letters: Option<f64>,
    pub(super) availability: Option<f64>,
    pub(super) silent: Vec<String>,
}

/// The last scrapes.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Scrape>);

impl History {
    pub(super) fn add(&mut self, scrape: Scrape) {
        self.0.push_front(scrape);
        self.0.truncate(KEPT);
    }

    /// The figures now; `None` before the first scrape.
    pub(super) fn figures(&self) -> Option<Figures> {
        let now = self.0.front()?;
        let topics = TOPICS.iter().map(|topic| {
            let labels = [("topic", topic.name)];
            TopicFigures {
                topic: topic.name,
                produced: now.produced(topic.name),
                per_second: self.rate(PRODUCED, &labels),
                publish: now.ratio(&[("sli", "publish"), ("topic", topic.name)]),
            }
        });
        Some(Figures {
            topics: topics.collect(),
            groups: GROUPS.iter().map(|group| self.group(now, group)).collect(),
            dead_letters: now.produced(DEAD_LETTERS.name),
            availability: now.ratio(&[("sli", "availability")]),
            silent: now.silent.clone(),
        })
    }

    fn group(&self, now: &Scrape, group: &'static str) -> GroupFigures {
        let labels = [("topic", ORDERS.name), ("group", group)];
        let quantile = |stage, share| {
            let [topic, group] = labels;
            self.quantile(&[topic, group, ("stage", stage)], share)
        };
        let [topic, of_group] = labels;
        GroupFigures {
            group,
            delivered: now.sum(DELIVERED, &labels),
            per_second: self.rate(DELIVERED, &labels),
            lag_records: now.sum(LAG_RECORDS, &labels),
            lag_seconds: now.sum(LAG_SECONDS, &labels),
            fetched_p50: quantile("fetched", 0.5),
            fetched_p95: quantile("fetched", 0.95),
            committed_p95: quantile("committed", 0.95),
            latency: now.ratio(&[("sli", "latency"), topic, of_group]),
        }
    }

    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let now = self.0.front()?;
        let then = self
            .0
            .iter()
            .take(RATE_OVER.saturating_add(1))
            .next_back()?;
        let seconds = now.at.duration_since(then.at).as_secs_f64();
        // A series that was not there yet had counted nothing.
        let grown = now.sum(name, labels)? - then.sum(name, labels).unwrap_or(0.0);
        (seconds > 0.0).then(|| grown / seconds)
    }

    /// Upper bound, microseconds, of the bucket that holds this share of what was observed since the oldest scrape.
    fn quantile(&self, labels: &[(&str, &str)], share: f64) -> Option<u64> {
        let (now, then) = (
            self.0.front()?.buckets(labels),
            self.0.back()?.buckets(labels),
        );
        let grown = |(bound, count): (&u64, &f64)| {
            (*bound, count - then.get(bound).copied().unwrap_or(0.0))
        };
        let grown: Vec<_> = now.iter().map(grown).collect();
        let (_, total) = grown.last().copied()?;
        let wanted = total * share;
        let holds = |(_, count): &&(u64, f64)| *count >= wanted;
        (total > 0.0).then(|| grown.iter().find(holds).map(|(bound, _)| *bound))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(at: Instant, text: &str) -> Scrape {
        Scrape {
            at,
            pages: vec![Page::parse(text)],
            silent: Vec::new(),
        }
    }

    fn page(produced: u64, fast: u64, all: u64) -> String {
        format!(
            "{PRODUCED}{{cluster=\"c\",topic=\"orders\"}} {produced}\n\
             {LATENCY}{{topic=\"orders\",group=\"billing\",stage=\"fetched\",le=\"0.025\"}} {fast}\n\
             {LATENCY}{{topic=\"orders\",group=\"billing\",stage=\"fetched\",le=\"0.5\"}} {all}\n\
             {LATENCY}{{topic=\"orders\",group=\"billing\",stage=\"fetched\",le=\"+Inf\"}} {all}\n"
        )
    }

    #[test]
    fn figures_are_differences_of_pages() {
        let start = Instant::now();
        let mut history = History::default();
        assert_eq!(history.figures(), None);
        history.add(scrape(start, &page(100, 1_000, 1_000)));
        history.add(scrape(
            start + Duration::from_secs(2),
            &page(160, 1_060, 1_100),
        ));
        let figures = history.figures().unwrap();
        assert_eq!(figures.topics[0].produced, Some(160.0));
        assert_eq!(figures.topics[0].per_second, Some(30.0));
        assert_eq!(figures.topics[0].publish, None);
        // Of the hundred between the pages sixty were fast; the thousand before do not count.
        assert_eq!(figures.groups[0].fetched_p50, Some(25_000));
        assert_eq!(figures.groups[0].fetched_p95, Some(500_000));
        assert_eq!(figures.groups[1].fetched_p95, None);
    }
}
