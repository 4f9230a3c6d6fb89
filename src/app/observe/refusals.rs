//! What we may not ask: remembered for an hour, so that no broker's audit log fills with our denials.
//!
//! Also the words for `/readyz?verbose`: what stays unknown, and which right would change it. Must not ask anything.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use crate::kafka::control::ASK_AGAIN;

/// Most refusals remembered; past it nothing more of the kind is asked.
const REFUSALS_MAX: usize = 250_000;
/// Names shown per kind.
const NAMES_SHOWN: usize = 5;

/// A kind of question that needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Needs {
    /// Members and positions: DescribeGroups, ConsumerGroupDescribe, OffsetFetch.
    Group,
    /// Ends: ListOffsets.
    TopicEnds,
    /// First uncommitted records: Fetch.
    TopicRecords,
    /// Retention: DescribeConfigs.
    TopicConfigs,
    /// Disks: DescribeLogDirs.
    ClusterDisks,
}

impl Needs {
    pub(super) const ALL: [Self; 5] = [
        Self::Group,
        Self::TopicEnds,
        Self::TopicRecords,
        Self::TopicConfigs,
        Self::ClusterDisks,
    ];

    /// Label of the counter of refusals.
    pub(super) const fn api(self) -> &'static str {
        match self {
            Self::Group => "DescribeGroups",
            Self::TopicEnds => "ListOffsets",
            Self::TopicRecords => "Fetch",
            Self::TopicConfigs => "DescribeConfigs",
            Self::ClusterDisks => "DescribeLogDirs",
        }
    }

    /// What is unknown without it, and the right it needs.
    const fn lack(self) -> (&'static str, &'static str) {
        match self {
            Self::Group => ("lag and members", "DESCRIBE on group"),
            Self::TopicEnds => ("lag", "DESCRIBE on topic"),
            Self::TopicRecords => ("exact lag in seconds", "READ on topic"),
            Self::TopicConfigs => ("time to loss", "DESCRIBE_CONFIGS on topic"),
            Self::ClusterDisks => ("disks", "DESCRIBE on cluster"),
        }
    }
}

/// Whether an error code says that a right is missing.
pub(super) fn is_refusal(code: i16) -> bool {
    // TOPIC_, GROUP_ and CLUSTER_AUTHORIZATION_FAILED.
    matches!(code, 29..=31)
}

/// The refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    until: HashMap<(Needs, Arc<str>), Instant>,
}

impl Refusals {
    /// Forgets what may be asked again.
    pub(super) fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }

    /// Takes a refusal.
    pub(super) fn note(&mut self, now: Instant, needs: Needs, resource: &Arc<str>) {
        let key = (needs, Arc::clone(resource));
        if self.until.len() < REFUSALS_MAX {
            self.until.insert(key, now + ASK_AGAIN);
        }
    }

    /// Whether this may be asked now.
    pub(super) fn allow(&self, needs: Needs, resource: &Arc<str>) -> bool {
        self.until.len() < REFUSALS_MAX && !self.until.contains_key(&(needs, Arc::clone(resource)))
    }

    /// What is unknown for want of rights; empty where nothing is.
    pub(super) fn said(&self, cluster: Option<bool>, hidden: Option<&BTreeSet<String>>) -> String {
        let mut names: BTreeMap<Needs, Vec<&str>> = BTreeMap::new();
        for (needs, resource) in self.until.keys() {
            names.entry(*needs).or_default().push(resource);
        }
        let mut all: Vec<String> = Vec::new();
        if cluster == Some(false) {
            all.push(
                "disks, and groups but those that may be described (DESCRIBE on cluster)"
                    .to_owned(),
            );
        }
        if let Some(hidden) = hidden.filter(|hidden| !hidden.is_empty()) {
            let names = hidden.iter().map(String::as_str).collect();
            all.push(lack("everything", "DESCRIBE on topic", names));
        }
        for (needs, names) in names {
            let (what, right) = needs.lack();
            all.push(lack(what, right, names));
        }
        all.join("; ")
    }
}

fn lack(what: &str, right: &str, mut names: Vec<&str>) -> String {
    names.sort_unstable();
    let shown = names
        .get(..names.len().min(NAMES_SHOWN))
        .unwrap_or_default();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{what} ({right} {}{more})", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_again_after_an_hour() {
        let mut refusals = Refusals::default();
        let orders: Arc<str> = "orders".into();
        assert!(refusals.allow(Needs::TopicRecords, &orders));
        refusals.note(Instant::now(), Needs::TopicRecords, &orders);
        assert!(!refusals.allow(Needs::TopicRecords, &orders));
        assert!(refusals.allow(Needs::TopicEnds, &orders));
        assert_eq!(
            refusals.said(None, None),
            "exact lag in seconds (READ on topic orders)"
        );
        tokio::time::advance(ASK_AGAIN).await;
        refusals.expire(Instant::now());
        assert!(refusals.allow(Needs::TopicRecords, &orders));
        assert_eq!(refusals.said(None, None), "");
        assert_eq!(
            refusals.said(Some(false), None),
            "disks, and groups but those that may be described (DESCRIBE on cluster)"
        );
    }
}
