//! Who is behind a connection: what the client said of itself, and the name that a broker accepted.
//!
//! Must not decide what is worth an entry.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use crate::event::{Event, Name};

/// Most connections whose client is remembered.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Somebody. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Who {
    /// Client id.
    pub client: Name,
    /// Client software.
    pub software: Name,
    /// Its version.
    pub version: Name,
    /// SASL mechanism.
    pub mechanism: &'static str,
    /// The name that the client claimed; in entries of what it did afterwards, one that the broker accepted.
    pub principal: Name,
    /// Address of the client, without its port.
    pub peer: Name,
}

#[derive(Debug)]
struct Identity {
    who: Arc<Who>,
    greeted: bool,
}

/// By connection.
#[derive(Debug, Default)]
pub(super) struct Identities {
    connections: HashMap<u64, Identity>,
}

impl Identities {
    /// The client named its software.
    pub(super) fn software(&mut self, event: &Event, software: &Name, version: &Name) {
        self.update(event, |who| {
            who.software = Arc::clone(software);
            who.version = Arc::clone(version);
        });
    }

    /// Who asks to be let in.
    pub(super) fn claim(
        &mut self,
        event: &Event,
        mechanism: &'static str,
        principal: Option<&Name>,
    ) -> Arc<Who> {
        let known = self.of(event);
        let mut who = known.map_or_else(|| unknown(event), |who| (*who).clone());
        who.mechanism = mechanism;
        who.principal = principal.map_or_else(|| "".into(), Arc::clone);
        Arc::new(who)
    }

    /// It was let in.
    pub(super) fn accept(&mut self, event: &Event, claimed: &Arc<Who>) {
        self.update(event, |who| who.clone_from(claimed));
    }

    /// Who is behind the connection of this event; `None` where too many are.
    pub(super) fn of(&mut self, event: &Event) -> Option<Arc<Who>> {
        self.update(event, |_| {})
    }

    /// True once per connection.
    pub(super) fn greet(&mut self, connection: u64) -> bool {
        let known = self.connections.get_mut(&connection);
        known.is_some_and(|identity| !std::mem::replace(&mut identity.greeted, true))
    }

    pub(super) fn closed(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    fn update(&mut self, event: &Event, change: impl FnOnce(&mut Who)) -> Option<Arc<Who>> {
        let id = event.connection.id;
        if self.connections.len() >= MAX_CONNECTIONS && !self.connections.contains_key(&id) {
            return None;
        }
        let identity = self.connections.entry(id).or_insert_with(|| Identity {
            who: Arc::new(unknown(event)),
            greeted: false,
        });
        let mut who = (*identity.who).clone();
        if !event.client.is_empty() {
            who.client = Arc::clone(&event.client);
        }
        change(&mut who);
        if who != *identity.who {
            identity.who = Arc::new(who);
        }
        Some(Arc::clone(&identity.who))
    }
}

fn unknown(event: &Event) -> Who {
    let empty: Name = "".into();
    Who {
        client: Arc::clone(&event.client),
        software: Arc::clone(&empty),
        version: Arc::clone(&empty),
        mechanism: "",
        principal: empty,
        peer: event.connection.peer.ip().to_string().into(),
    }
}
