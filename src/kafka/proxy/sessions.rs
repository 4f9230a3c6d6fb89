//! Fetch sessions (KIP-227): which offsets were asked for, where a request names only what changed.
//!
//! The session is the broker's; this is a copy of what passed by, keyed by broker and session id. An unknown session yields
//! no answer, never a guess. Must not change a request.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use super::topics::Topics;
use crate::{event::Name, kafka::wire::messages::fetch::FetchRequest};

/// Sessions kept per process; the oldest goes first.
const SESSIONS_MAX: usize = 4_096;
/// Partitions kept per session.
const PARTITIONS_MAX: usize = 50_000;

/// What is known of one partition in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Next offset wanted.
    pub(crate) offset: i64,
    /// End of the log at the last answer, -1 before it.
    pub(crate) known_end: i64,
}

/// The partitions of one session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    partitions: HashMap<Name, HashMap<i32, Asked>>,
    count: usize,
}

impl Session {
    pub(crate) fn asked(&mut self, topic: &str, partition: i32) -> Option<&mut Asked> {
        self.partitions.get_mut(topic)?.get_mut(&partition)
    }

    fn apply(&mut self, request: &FetchRequest<'_>, topics: &Topics) {
        for topic in &request.topics {
            let name = topics.resolve(topic.topic);
            let of_topic = self.partitions.entry(name).or_default();
            for asked in &topic.partitions {
                if let Some(known) = of_topic.get_mut(&asked.partition) {
                    known.offset = asked.fetch_offset;
                } else if self.count < PARTITIONS_MAX {
                    of_topic.insert(
                        asked.partition,
                        Asked {
                            offset: asked.fetch_offset,
                            known_end: -1,
                        },
                    );
                    self.count = self.count.saturating_add(1);
                }
            }
        }
        for topic in &request.forgotten {
            let name = topics.resolve(topic.topic);
            if let Some(of_topic) = self.partitions.get_mut(&name) {
                for partition in &topic.partitions {
                    if of_topic.remove(partition).is_some() {
                        self.count = self.count.saturating_sub(1);
                    }
                }
            }
        }
    }
}

/// A session in use by a request.
pub(crate) type Shared = Arc<Mutex<Session>>;

type Key = (Name, i32);

#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<Key, Shared>,
    order: VecDeque<Key>,
}

/// The sessions seen by this process.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: Mutex<Known>,
}

impl Sessions {
    /// Takes note of a request; `None` where it continues a session whose beginning was not seen.
    pub(crate) fn request(
        &self,
        broker: &Name,
        request: &FetchRequest<'_>,
        topics: &Topics,
    ) -> Option<Shared> {
        // Epoch 0 begins a session, -1 ends it (or asks without one): both name everything.
        if request.session_epoch <= 0 || request.session_id == 0 {
            let mut session = Session::default();
            if request.session_epoch < 0 && request.session_id != 0 {
                self.forget(&(Arc::clone(broker), request.session_id));
            }
            session.apply(request, topics);
            return Some(Arc::new(Mutex::new(session)));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let session = known
            .sessions
            .get(&(Arc::clone(broker), request.session_id))
            .map(Arc::clone)?;
        drop(known);
        session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(request, topics);
        Some(session)
    }

    /// Takes note of the id that the broker gave to the session of a request.
    pub(crate) fn answered(&self, broker: &Name, session_id: i32, session: &Shared) {
        if session_id == 0 {
            return;
        }
        let key = (Arc::clone(broker), session_id);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known
            .sessions
            .get(&key)
            .is_some_and(|same| Arc::ptr_eq(same, session))
        {
            return;
        }
        if known
            .sessions
            .insert(key.clone(), Arc::clone(session))
            .is_none()
        {
            known.order.push_back(key);
        }
        while known.order.len() > SESSIONS_MAX {
            if let Some(oldest) = known.order.pop_front() {
                known.sessions.remove(&oldest);
            }
        }
    }

    fn forget(&self, key: &Key) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.sessions.remove(key).is_some() {
            known.order.retain(|other| other != key);
        }
    }
}
