//! Which groups there are, who coordinates each, and how many members it had when last told.
//!
//! Must not ask: `cycle` does, and tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::kafka::control::{ClusterLayout, GroupKind, GroupListed};

/// Most groups that are watched; those past it are left out and said so.
pub(super) const GROUPS_MAX: usize = 50_000;

/// One group.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Node id of its coordinator.
    pub(super) coordinator: i32,
    pub(super) kind: GroupKind,
    pub(super) simple: bool,
    pub(super) members: Option<u32>,
}

/// What the canary uses: nobody's workload, and in no figure but those of the cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) topic: String,
    pub(super) group: String,
}

impl Own {
    /// Makes its topic one of those that are the cluster's own.
    pub(super) fn hide_topic(own: Option<&Self>, mut layout: ClusterLayout) -> ClusterLayout {
        let mut topics = layout.topics.iter_mut();
        if let Some(own) = own
            && let Some(topic) = topics.find(|topic| *topic.name == *own.topic)
        {
            topic.internal = true;
        }
        layout
    }

    /// Leaves its group out.
    pub(super) fn hide_group(own: Option<&Self>, groups: &mut Vec<GroupListed>) {
        if let Some(own) = own {
            groups.retain(|group| *group.group != *own.group);
        }
    }
}

/// The groups.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) groups: BTreeMap<Arc<str>, Entry>,
    pub(super) left_out: usize,
}

impl Directory {
    /// Takes what the brokers listed: (node id, its groups). A group that a broker which answered no longer lists, and no
    /// other does, is gone; one whose broker did not answer stays.
    pub(super) fn learn(&mut self, listed: Vec<(i32, Vec<GroupListed>)>) {
        let answered: BTreeSet<i32> = listed.iter().map(|(node, _)| *node).collect();
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        self.left_out = 0;
        for (node, groups) in listed {
            for group in groups {
                if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&group.group) {
                    self.left_out = self.left_out.saturating_add(1);
                    continue;
                }
                let entry = self.groups.entry(Arc::clone(&group.group));
                let entry = entry.or_insert(Entry {
                    coordinator: node,
                    kind: group.kind,
                    simple: group.simple,
                    members: None,
                });
                entry.coordinator = node;
                entry.kind = group.kind;
                entry.simple = group.simple;
                seen.insert(group.group);
            }
        }
        self.groups
            .retain(|name, entry| seen.contains(name) || !answered.contains(&entry.coordinator));
    }

    /// Takes who coordinates a group now.
    pub(super) fn moved(&mut self, group: &Arc<str>, node: i32) {
        if let Some(entry) = self.groups.get_mut(group) {
            entry.coordinator = node;
        }
    }

    /// Takes how many members a group has; `None` = it was not told.
    pub(super) fn count(&mut self, group: &Arc<str>, members: Option<u32>) {
        if let Some(entry) = self.groups.get_mut(group) {
            entry.members = members;
        }
    }
}
