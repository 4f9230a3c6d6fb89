//! Which consumer group does a fetch belong to? A fetch does not say.
//!
//! Joins the client id of the fetch with what the same client was assigned, asked or committed. Client ids repeat, so the
//! answer may be "several" ([`AMBIGUOUS`]), and programs without a group have none ([`NO_GROUP`]). Must not guess between two
//! groups, and must not judge.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::verdicts::{AMBIGUOUS, NO_GROUP};
use crate::event::{Name, PartitionSet};

/// Most members behind one sidecar.
pub const MAX_MEMBERS: usize = 10_000;
/// Most (client, topic, partition) whose group was inferred from commits and questions.
pub const MAX_INFERRED: usize = 50_000;
/// Groups remembered per inference; two are enough to know that it is ambiguous.
const MAX_CANDIDATES: usize = 2;
/// A member not heard of this long counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// A member not heard of this long is forgotten: longer than a classic rebalance, during which nobody beats.
const FORGET_AFTER: Duration = Duration::from_secs(330);
/// An inference not confirmed by a commit or question this long is dropped.
const INFERENCE_LIMIT: Duration = Duration::from_secs(1800);

/// What a member is doing, as far as its own traffic tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberState {
    /// Owns partitions and beats.
    Stable,
    /// A rebalance is under way.
    Rebalancing,
    /// Beats, but what it owns is not known (it joined before the sidecar started) or is nothing.
    Unassigned,
    /// Not heard of for a minute.
    Silent,
}

impl MemberState {
    /// All of them; every group shows all.
    pub const ALL: [Self; 4] = [
        Self::Stable,
        Self::Rebalancing,
        Self::Unassigned,
        Self::Silent,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Rebalancing => "rebalancing",
            Self::Unassigned => "unassigned",
            Self::Silent => "silent",
        }
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) client: Name,
    /// `None` = not known.
    assigned: Option<HashMap<Name, Vec<i32>>>,
    rebalancing: bool,
    heard: Instant,
}

impl Member {
    fn owns(&self, topic: &str, partition: i32) -> bool {
        self.assigned
            .as_ref()
            .and_then(|topics| topics.get(topic))
            .is_some_and(|partitions| partitions.contains(&partition))
    }

    pub(super) fn state(&self, now: Instant) -> MemberState {
        if now.saturating_duration_since(self.heard) >= SILENT_AFTER {
            MemberState::Silent
        } else if self.rebalancing {
            MemberState::Rebalancing
        } else if self.assigned.as_ref().is_none_or(HashMap::is_empty) {
            MemberState::Unassigned
        } else {
            MemberState::Stable
        }
    }

    pub(super) fn owned(&self) -> impl Iterator<Item = (&Name, &Vec<i32>)> {
        self.assigned.iter().flatten()
    }
}

type MemberKey = (Name, Name);

#[derive(Debug)]
struct Inference {
    groups: Vec<Name>,
    confirmed: Instant,
}

/// (group, topic, partition) that this pod does not own any more.
pub(super) type Revoked = Vec<(Name, Name, i32)>;

/// Every member behind this sidecar.
#[derive(Debug)]
pub(super) struct Members {
    members: HashMap<MemberKey, Member>,
    by_client: HashMap<Name, Vec<MemberKey>>,
    inferred: HashMap<(Name, Name, i32), Inference>,
    none: Name,
    ambiguous: Name,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            by_client: HashMap::new(),
            inferred: HashMap::new(),
            none: NO_GROUP.into(),
            ambiguous: AMBIGUOUS.into(),
        }
    }
}

impl Members {
    /// Each with its group.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Member)> {
        self.members
            .iter()
            .map(|((group, _), member)| (group, member))
    }

    /// A member was heard of.
    pub(super) fn beat(
        &mut self,
        group: &Name,
        id: &Name,
        client: &Name,
        rebalancing: Option<bool>,
        now: Instant,
    ) {
        if let Some(member) = self.member(group, id, client, now) {
            member.heard = now;
            member.rebalancing = rebalancing.unwrap_or(member.rebalancing);
        }
    }

    /// A member was given exactly these partitions. Says what the pod lost by it.
    pub(super) fn assign(
        &mut self,
        group: &Name,
        id: &Name,
        client: &Name,
        partitions: &PartitionSet,
        now: Instant,
    ) -> Revoked {
        let mut fresh: HashMap<Name, Vec<i32>> = HashMap::new();
        for (topic, numbers) in partitions {
            fresh.entry(Arc::clone(topic)).or_default().extend(numbers);
        }
        let Some(member) = self.member(group, id, client, now) else {
            return Vec::new();
        };
        member.heard = now;
        member.rebalancing = false;
        let old = member.assigned.replace(fresh);
        let lost = self.revoked(group, old);
        for (_, topic, partition) in &lost {
            let key = (Arc::clone(client), Arc::clone(topic), *partition);
            self.inferred.remove(&key);
        }
        lost
    }

    /// A member is gone. Says what the pod lost by it.
    pub(super) fn remove(&mut self, group: &Name, id: &Name) -> Revoked {
        let key = (Arc::clone(group), Arc::clone(id));
        let Some(member) = self.members.remove(&key) else {
            return Vec::new();
        };
        if let Some(keys) = self.by_client.get_mut(&member.client) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_client.remove(&member.client);
            }
        }
        self.inferred
            .retain(|(client, _, _), i| *client != member.client || !i.groups.contains(group));
        self.revoked(group, member.assigned)
    }

    /// Forgets who was not heard of for long. Says what the pod lost by it.
    pub(super) fn tick(&mut self, now: Instant) -> Revoked {
        self.inferred
            .retain(|_, i| now.saturating_duration_since(i.confirmed) < INFERENCE_LIMIT);
        let gone: Vec<MemberKey> = self
            .members
            .iter()
            .filter(|(_, m)| now.saturating_duration_since(m.heard) >= FORGET_AFTER)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter()
            .flat_map(|(group, id)| self.remove(group, id))
            .collect()
    }

    /// A client committed, or asked for, a group's position: it reads this partition for the group, if nothing better is known.
    pub(super) fn infer(
        &mut self,
        client: &Name,
        group: &Name,
        topic: &Name,
        partition: i32,
        now: Instant,
    ) {
        let key = (Arc::clone(client), Arc::clone(topic), partition);
        if let Some(known) = self.inferred.get_mut(&key) {
            known.confirmed = now;
            if !known.groups.contains(group) && known.groups.len() < MAX_CANDIDATES {
                known.groups.push(Arc::clone(group));
            }
        } else if self.inferred.len() < MAX_INFERRED {
            let inference = Inference {
                groups: vec![Arc::clone(group)],
                confirmed: now,
            };
            self.inferred.insert(key, inference);
        }
    }

    /// The group a fetch of this client belongs to.
    pub(super) fn group_of(&self, client: &Name, topic: &Name, partition: i32) -> Name {
        let members = || {
            self.by_client
                .get(client)
                .into_iter()
                .flatten()
                .filter_map(|key| self.members.get(key).map(|member| (&key.0, member)))
        };
        let owners = members()
            .filter(|(_, m)| m.owns(topic, partition))
            .map(|(group, _)| group);
        if let Some(group) = self.only(owners) {
            return group;
        }
        let key = (Arc::clone(client), Arc::clone(topic), partition);
        let inferred = self.inferred.get(&key).into_iter().flat_map(|i| &i.groups);
        if let Some(group) = self.only(inferred) {
            return group;
        }
        let unassigned = members()
            .filter(|(_, m)| m.assigned.is_none())
            .map(|(group, _)| group);
        self.only(unassigned)
            .unwrap_or_else(|| Arc::clone(&self.none))
    }

    /// Whether a member of the group behind this sidecar owns the partition.
    pub(super) fn owned(&self, group: &Name, topic: &str, partition: i32) -> bool {
        self.iter()
            .any(|(of, member)| of == group && member.owns(topic, partition))
    }

    fn only<'a>(&self, mut groups: impl Iterator<Item = &'a Name>) -> Option<Name> {
        let first = groups.next()?;
        if groups.all(|other| other == first) {
            Some(Arc::clone(first))
        } else {
            Some(Arc::clone(&self.ambiguous))
        }
    }

    fn revoked(&self, group: &Name, old: Option<HashMap<Name, Vec<i32>>>) -> Revoked {
        let mut lost = Vec::new();
        for (topic, partitions) in old.into_iter().flatten() {
            for partition in partitions {
                if !self.owned(group, &topic, partition) {
                    lost.push((Arc::clone(group), Arc::clone(&topic), partition));
                }
            }
        }
        lost
    }

    fn member(
        &mut self,
        group: &Name,
        id: &Name,
        client: &Name,
        now: Instant,
    ) -> Option<&mut Member> {
        let key = (Arc::clone(group), Arc::clone(id));
        if !self.members.contains_key(&key) {
            if self.members.len() >= MAX_MEMBERS {
                return None;
            }
            self.by_client
                .entry(Arc::clone(client))
                .or_default()
                .push(key.clone());
            let member = Member {
                client: Arc::clone(client),
                assigned: None,
                rebalancing: false,
                heard: now,
            };
            self.members.insert(key.clone(), member);
        }
        self.members.get_mut(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.into()
    }

    struct Fixture {
        members: Members,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                members: Members::default(),
                now: Instant::now(),
            }
        }

        fn assign(&mut self, group: &str, id: &str, client: &str, partitions: &[i32]) -> Revoked {
            let set = vec![(name("t"), partitions.to_vec())];
            self.members
                .assign(&name(group), &name(id), &name(client), &set, self.now)
        }

        fn infer(&mut self, client: &str, group: &str, partition: i32) {
            self.members
                .infer(&name(client), &name(group), &name("t"), partition, self.now);
        }

        fn group(&self, client: &str, partition: i32) -> String {
            self.members
                .group_of(&name(client), &name("t"), partition)
                .to_string()
        }
    }

    #[test]
    fn a_fetch_belongs_to_the_group_its_client_was_assigned_the_partition_in() {
        let mut f = Fixture::new();
        f.assign("billing", "m1", "rdkafka", &[0, 1]);
        f.assign("audit", "m2", "rdkafka", &[2]);
        assert_eq!(f.group("rdkafka", 1), "billing");
        assert_eq!(f.group("rdkafka", 2), "audit");
        assert_eq!(f.group("rdkafka", 3), NO_GROUP);
        assert_eq!(f.group("other", 0), NO_GROUP);
    }

    #[test]
    fn two_groups_of_one_client_id_and_partition_are_ambiguous_until_one_leaves() {
        let mut f = Fixture::new();
        f.assign("billing", "m1", "rdkafka", &[0]);
        f.assign("audit", "m2", "rdkafka", &[0]);
        assert_eq!(f.group("rdkafka", 0), AMBIGUOUS);
        f.members.remove(&name("audit"), &name("m2"));
        assert_eq!(f.group("rdkafka", 0), "billing");
    }

    #[test]
    fn two_members_of_one_group_are_not_ambiguous() {
        let mut f = Fixture::new();
        f.assign("billing", "m1", "rdkafka", &[0]);
        f.assign("billing", "m2", "rdkafka", &[0]);
        assert_eq!(f.group("rdkafka", 0), "billing");
    }

    #[test]
    fn after_a_sidecar_restart_commits_tell_and_before_the_first_a_beat_does() {
        let mut f = Fixture::new();
        f.members.beat(
            &name("billing"),
            &name("m1"),
            &name("c"),
            Some(false),
            f.now,
        );
        assert_eq!(f.group("c", 0), "billing");
        f.members
            .beat(&name("audit"), &name("m2"), &name("c"), Some(false), f.now);
        assert_eq!(f.group("c", 0), AMBIGUOUS);
        f.infer("c", "audit", 0);
        assert_eq!(f.group("c", 0), "audit");
        f.infer("c", "billing", 0);
        assert_eq!(f.group("c", 0), AMBIGUOUS);
    }

    #[test]
    fn an_assignment_outweighs_an_inference() {
        let mut f = Fixture::new();
        f.infer("c", "old", 0);
        f.assign("billing", "m1", "c", &[0]);
        assert_eq!(f.group("c", 0), "billing");
    }

    #[test]
    fn only_what_no_other_member_of_the_pod_owns_is_revoked() {
        let mut f = Fixture::new();
        f.assign("g", "m1", "c", &[0, 1]);
        f.assign("g", "m2", "c", &[1]);
        assert_eq!(f.assign("g", "m1", "c", &[]), [(name("g"), name("t"), 0)]);
        assert_eq!(
            f.members.remove(&name("g"), &name("m2")),
            [(name("g"), name("t"), 1)]
        );
    }

    #[test]
    fn a_member_not_heard_of_turns_silent_and_is_then_forgotten() {
        let mut f = Fixture::new();
        f.assign("g", "m1", "c", &[0]);
        let state = |f: &Fixture, after: u64| {
            let now = f.now + Duration::from_secs(after);
            f.members.iter().map(|(_, m)| m.state(now)).next().unwrap()
        };
        assert_eq!(state(&f, 59), MemberState::Stable);
        assert_eq!(state(&f, 60), MemberState::Silent);
        assert!(f.members.tick(f.now + Duration::from_secs(329)).is_empty());
        let lost = f.members.tick(f.now + Duration::from_secs(330));
        assert_eq!(lost, [(name("g"), name("t"), 0)]);
    }
}
