//! What groups are asked for: everything, or, where some topics may not be described, only topics that may.
//!
//! A group that is asked for everything has its topics looked up by the broker, which logs each that we may not describe as
//! denied; so it is not asked that way while there is such a topic. Must not ask: `cycle` does, and tells.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::directory::Entry;
use crate::kafka::control::{ClusterLayout, PartitionName, TopicList};

/// Between two questions about all topics that are there.
const STORED_EVERY: Duration = Duration::from_secs(3_600);
/// Between two questions about all topics of a group, where some topics may not be described.
const DISCOVER_EVERY: Duration = Duration::from_secs(300);
/// Positions that groups which have none so far are asked for in one look, all together.
const NEW_MAX: usize = 100_000;

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Scope {
    stored_at: Option<Instant>,
    discovered_at: Option<Instant>,
    /// Topics that are there and may not be described; `None` = that cannot be told.
    hidden: Option<BTreeSet<String>>,
    /// Topics of each group, where not all may be described.
    read: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

/// What this look asks groups for.
#[derive(Debug)]
pub(super) struct Asking {
    every: TopicList,
    discover: bool,
    /// How many groups that have nothing so far may still be asked for everything.
    new: usize,
}

impl Scope {
    /// Whether it is time to ask which topics are there.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.stored_at.is_none_or(|at| since(at) >= STORED_EVERY)
    }

    /// Topics that are there and may not be described; `None` = that cannot be told.
    pub(super) fn hidden(&self) -> Option<&BTreeSet<String>> {
        self.hidden.as_ref()
    }

    /// It cannot be told which topics are there.
    pub(super) fn cannot_tell(&mut self) {
        self.hidden = None;
        self.stored_at = None;
    }

    /// Takes the topics that brokers hold, of which those that were laid out before are known; `whole` = of all brokers.
    ///
    /// A topic may be made or deleted between the two questions. So an answer that differs from the one before is asked for
    /// again in the next look.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        mut stored: BTreeSet<String>,
        layout: &ClusterLayout,
        whole: bool,
    ) {
        for topic in &layout.topics {
            stored.remove(&*topic.name);
        }
        let same = stored == self.hidden.take().unwrap_or_default();
        self.hidden = Some(stored);
        self.stored_at = (same && whole).then_some(now);
    }

    fn is_whole(&self) -> bool {
        self.hidden.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Begins a look.
    pub(super) fn asking(&mut self, now: Instant, layout: &ClusterLayout) -> Asking {
        let topics = layout.topics.iter().filter(|topic| !topic.internal);
        let every = topics.map(|topic| {
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            (Arc::clone(&topic.name), count)
        });
        let partitions: usize = layout.topics.iter().map(|t| t.partitions.len()).sum();
        let since = |at| now.saturating_duration_since(at);
        let discover = self
            .discovered_at
            .is_none_or(|at| since(at) >= DISCOVER_EVERY);
        if discover {
            self.discovered_at = Some(now);
        }
        Asking {
            every: Arc::new(every.collect()),
            discover,
            new: NEW_MAX / partitions.max(1),
        }
    }

    /// What a group is asked for, `None` = everything: the topics it is known to read, and now and then every topic we may
    /// describe; a group that is not known to read any, at each look, while there are few of them.
    pub(super) fn topics_of(&self, group: &Arc<str>, asking: &mut Asking) -> Option<TopicList> {
        if self.is_whole() {
            return None;
        }
        let read = self.read.get(group);
        let discover = asking.discover
            || read.is_none_or(|read| {
                let few = read.is_empty() && asking.new > 0;
                asking.new -= usize::from(few);
                few
            });
        match read {
            Some(read) if !discover => {
                let of = asking.every.iter();
                let of = of.filter(|(topic, _)| read.contains(topic));
                Some(Arc::new(of.cloned().collect()))
            }
            _ => Some(Arc::clone(&asking.every)),
        }
    }

    /// Takes the positions that a group has.
    pub(super) fn has(&mut self, group: &Arc<str>, positions: &[(PartitionName, i64)]) {
        if !self.is_whole() {
            let read = self.read.entry(Arc::clone(group)).or_default();
            read.extend(positions.iter().map(|((topic, _), _)| Arc::clone(topic)));
        }
    }

    /// Ends a look: forgets groups that are gone.
    pub(super) fn keep(&mut self, groups: &BTreeMap<Arc<str>, Entry>) {
        let partial = !self.is_whole();
        self.read
            .retain(|group, _| partial && groups.contains_key(group));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::control::{PartitionLayout, TopicLayout};

    fn laid(names: &[&str]) -> ClusterLayout {
        let partition = PartitionLayout {
            partition: 0,
            leader: Some(1),
            replicas: vec![1],
            in_sync: 1,
        };
        let topics = names.iter().map(|name| TopicLayout {
            name: (*name).into(),
            id: [0; 16],
            internal: false,
            partitions: vec![partition.clone()],
            may_read: None,
            may_write: None,
            may_describe_configs: None,
        });
        ClusterLayout {
            topics: topics.collect(),
            ..ClusterLayout::default()
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Names a group is asked for in the look at `now`.
    fn asked(scope: &mut Scope, now: Instant, group: &str, layout: &ClusterLayout) -> String {
        let mut asking = scope.asking(now, layout);
        match scope.topics_of(&group.into(), &mut asking) {
            None => "everything".to_owned(),
            Some(topics) => {
                let names: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
                names.join(" ")
            }
        }
    }

    #[test]
    fn a_topic_made_between_two_questions_is_not_taken_for_a_hidden_one() {
        let (mut scope, now) = (Scope::default(), Instant::now());
        scope.learn(now, names(&["orders", "made"]), &laid(&["orders"]), true);
        let first = asked(&mut scope, now, "reader", &laid(&["orders"]));
        assert_eq!(first, "orders", "nothing that may be hidden is asked for");
        scope.has(&"reader".into(), &[]);
        assert!(
            scope.is_due(now),
            "an answer that is new is asked for again"
        );
        let after = laid(&["orders", "made"]);
        scope.learn(now, names(&["orders", "made"]), &after, true);
        assert_eq!(scope.hidden(), Some(&BTreeSet::new()));
        assert_eq!(asked(&mut scope, now, "reader", &after), "everything");
        // An answer without surprise holds for an hour.
        scope.learn(now, names(&["orders", "made"]), &after, true);
        assert!(!scope.is_due(now));
        assert!(scope.is_due(now + STORED_EVERY));
    }

    #[test]
    fn a_topic_deleted_between_two_questions_does_not_stay_hidden() {
        let (mut scope, now) = (Scope::default(), Instant::now());
        let layout = laid(&["orders"]);
        scope.learn(now, names(&["orders", "deleted"]), &layout, true);
        assert!(scope.is_due(now));
        scope.learn(now, names(&["orders"]), &layout, true);
        assert_eq!(asked(&mut scope, now, "reader", &layout), "everything");
    }

    #[test]
    fn a_hidden_topic_is_never_asked_for_and_what_a_group_reads_is() {
        let (mut scope, mut now) = (Scope::default(), Instant::now());
        let layout = laid(&["orders", "payments"]);
        for _ in 0..2 {
            scope.learn(now, names(&["orders", "secret"]), &layout, true);
        }
        assert!(!scope.is_due(now), "the same twice is so");
        assert_eq!(asked(&mut scope, now, "reader", &layout), "orders payments");
        scope.has(&"reader".into(), &[(("orders".into(), 0), 7)]);
        assert_eq!(asked(&mut scope, now, "reader", &layout), "orders");
        // What it reads besides is found now and then.
        now += DISCOVER_EVERY;
        assert_eq!(asked(&mut scope, now, "reader", &layout), "orders payments");
    }

    #[test]
    fn a_group_without_positions_is_asked_for_all_that_may_be_at_each_look() {
        let (mut scope, now) = (Scope::default(), Instant::now());
        let layout = laid(&["orders", "payments"]);
        scope.cannot_tell();
        for _ in 0..3 {
            assert_eq!(asked(&mut scope, now, "new", &layout), "orders payments");
            scope.has(&"new".into(), &[]);
        }
        // In one look no more than a bounded number of such groups.
        let mut asking = scope.asking(now, &layout);
        asking.new = 1;
        let mut both = |group: &str| scope.topics_of(&group.into(), &mut asking).map(|t| t.len());
        assert_eq!(both("new"), Some(2));
        assert_eq!(both("new"), Some(0));
    }

    #[test]
    fn brokers_that_did_not_answer_are_asked_in_the_next_look() {
        let (mut scope, now) = (Scope::default(), Instant::now());
        scope.learn(now, names(&["orders"]), &laid(&["orders"]), false);
        assert!(scope.is_due(now));
    }
}
