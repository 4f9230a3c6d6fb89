//! Topic names: ids learnt from descriptions passing by, and one shared copy of every name.
//!
//! Newer requests carry topic ids only (KIP-516). What has not been described yet is labelled `_unresolved`. A recreated
//! topic has a new id. Must not ask the cluster anything.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    event::{Name, UNRESOLVED},
    kafka::wire::reader::TopicRef,
};

/// Names and ids kept; a cluster with more topics than this is labelled `_unresolved` beyond.
const TOPICS_MAX: usize = 100_000;

#[derive(Debug, Default)]
struct Known {
    names: HashSet<Name>,
    ids: HashMap<[u8; 16], Name>,
}

/// The topics seen so far.
#[derive(Debug)]
pub(crate) struct Topics {
    known: RwLock<Known>,
    unresolved: Name,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            unresolved: Arc::from(UNRESOLVED),
        }
    }
}

impl Topics {
    /// The shared name of a topic.
    pub(crate) fn resolve(&self, topic: TopicRef<'_>) -> Name {
        match topic {
            TopicRef::Name(name) => self.intern(name),
            TopicRef::Id(id) => {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                known
                    .ids
                    .get(&id)
                    .map_or_else(|| Arc::clone(&self.unresolved), Arc::clone)
            }
        }
    }

    /// The shared copy of a name.
    pub(crate) fn intern(&self, name: &str) -> Name {
        if let Some(found) = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .get(name)
        {
            return Arc::clone(found);
        }
        let fresh: Name = Arc::from(name);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.names.len() < TOPICS_MAX {
            known.names.insert(Arc::clone(&fresh));
        }
        fresh
    }

    /// Learns which name an id stands for.
    pub(crate) fn learn(&self, id: [u8; 16], name: &str) -> Name {
        let shared = self.intern(name);
        if id == [0; 16] {
            return shared;
        }
        let read = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = read.ids.get(&id).is_some_and(|known| known == &shared);
        drop(read);
        if !is_known {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.ids.len() < TOPICS_MAX {
                known.ids.insert(id, Arc::clone(&shared));
            }
        }
        shared
    }
}
