//! The inventory: which client software is connected, and which topics and groups each client uses.
//!
//! Learnt from traffic alone. Everything is bounded and ages out. Must not judge, and must not know a metric name.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use crate::event::{Event, EventKind, Facts, Name};

/// Most connections listed.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Most clients remembered.
pub const MAX_CLIENTS: usize = 1_000;
/// Most topics, and most groups, remembered per client.
pub const MAX_NAMES: usize = 200;
/// A client without a sign this long is forgotten.
pub const CLIENT_IDLE: Duration = Duration::from_secs(3600);

/// One open connection.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionStatus {
    /// Unique within the process.
    pub id: u64,
    /// Client socket.
    pub peer: String,
    /// Label of the broker behind it.
    pub broker: Name,
    /// `host:port` of the broker behind it.
    pub broker_address: Name,
    /// Client id, empty before the first request.
    pub client: Name,
    /// Client software, empty where it was not named.
    pub software: Name,
    /// Its version.
    pub version: Name,
    /// Accepted, ms since the Unix epoch.
    pub opened_ms: i64,
    /// Last answer, ms since the Unix epoch.
    pub last_seen_ms: i64,
}

/// One client program, by client id and software.
#[derive(Debug, Clone, Serialize)]
pub struct ClientStatus {
    /// Client id.
    pub client: Name,
    /// Client software, empty where it was not named.
    pub software: Name,
    /// Its version.
    pub version: Name,
    /// Open connections.
    pub connections: u64,
    /// Topics it produced to.
    pub produces: BTreeSet<Name>,
    /// Topics it fetched records from.
    pub consumes: BTreeSet<Name>,
    /// Groups it committed for or was a member of.
    pub groups: BTreeSet<Name>,
    /// SASL mechanism it authenticated with, empty without.
    pub mechanism: &'static str,
    /// Last sign, ms since the Unix epoch.
    pub last_seen_ms: i64,
}

type ClientKey = (Name, Name, Name);

#[derive(Debug)]
struct Client {
    status: ClientStatus,
    touched: Instant,
}

/// What is known of the clients behind this sidecar.
#[derive(Debug, Default)]
pub struct Inventory {
    connections: HashMap<u64, (ConnectionStatus, Instant)>,
    clients: HashMap<ClientKey, Client>,
}

impl Inventory {
    /// Takes one event.
    pub fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Opened => {
                self.connection(event);
            }
            EventKind::Identified { software, version } => {
                if let Some(connection) = self.connection(event) {
                    connection.software = Arc::clone(software);
                    connection.version = Arc::clone(version);
                }
                self.client(event);
            }
            EventKind::ConnectFailed { .. } => {}
            EventKind::Closed { .. } => {
                self.connections.remove(&event.connection.id);
            }
            EventKind::Answered(answer) => {
                self.connection(event);
                self.facts(event, &answer.facts);
            }
        }
    }

    /// Forgets what is idle.
    pub fn tick(&mut self, now: Instant) {
        // The event that closed a connection may have been dropped.
        self.connections
            .retain(|_, (_, touched)| now.saturating_duration_since(*touched) < CLIENT_IDLE);
        self.clients
            .retain(|_, c| now.saturating_duration_since(c.touched) < CLIENT_IDLE);
    }

    /// Open connections, by id.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionStatus> {
        let mut out: Vec<_> = self.connections.values().map(|(c, _)| c.clone()).collect();
        out.sort_by_key(|c| c.id);
        out
    }

    /// Clients, by name.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientStatus> {
        let mut open: HashMap<ClientKey, u64> = HashMap::new();
        for (c, _) in self.connections.values() {
            let key = (c.client.clone(), c.software.clone(), c.version.clone());
            let count = open.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        let mut out: Vec<_> = self
            .clients
            .iter()
            .map(|(key, client)| ClientStatus {
                connections: open.get(key).copied().unwrap_or(0),
                ..client.status.clone()
            })
            .collect();
        out.sort_by(|a, b| {
            (&a.client, &a.software, &a.version).cmp(&(&b.client, &b.software, &b.version))
        });
        out
    }

    /// Distinct (software, version) of the clients, sorted; programs that do not name theirs are left out.
    #[must_use]
    pub fn software(&self) -> BTreeSet<(Name, Name)> {
        self.clients
            .keys()
            .filter(|(_, software, _)| !software.is_empty())
            .map(|(_, software, version)| (software.clone(), version.clone()))
            .collect()
    }

    fn connection(&mut self, event: &Event) -> Option<&mut ConnectionStatus> {
        let full = self.connections.len() >= MAX_CONNECTIONS;
        let (connection, touched) = match self.connections.entry(event.connection.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(new) => new.insert((opened(event), event.at.mono)),
        };
        *touched = event.at.mono;
        connection.last_seen_ms = event.at.wall_ms;
        if !event.client.is_empty() && connection.client != event.client {
            connection.client = Arc::clone(&event.client);
        }
        Some(connection)
    }

    fn client(&mut self, event: &Event) -> Option<&mut ClientStatus> {
        let (connection, _) = self.connections.get(&event.connection.id)?;
        let key = (
            Arc::clone(&connection.client),
            Arc::clone(&connection.software),
            Arc::clone(&connection.version),
        );
        let full = self.clients.len() >= MAX_CLIENTS;
        let client = match self.clients.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(new) => {
                let status = first_seen(new.key(), event);
                new.insert(Client {
                    status,
                    touched: event.at.mono,
                })
            }
        };
        client.touched = event.at.mono;
        client.status.last_seen_ms = event.at.wall_ms;
        Some(&mut client.status)
    }

    fn facts(&mut self, event: &Event, facts: &Facts) {
        let Some(client) = self.client(event) else {
            return;
        };
        match facts {
            Facts::Produced(produced) => {
                for part in &produced.parts {
                    add(&mut client.produces, &part.topic);
                }
            }
            Facts::Delivered(delivered) => {
                for part in delivered.parts.iter().filter(|p| !p.batches.is_empty()) {
                    add(&mut client.consumes, &part.topic);
                }
            }
            Facts::Settled(settled) => add(&mut client.groups, &settled.group),
            Facts::Membership(membership) => add(&mut client.groups, &membership.group),
            Facts::Authenticated {
                mechanism,
                accepted: true,
            } => client.mechanism = mechanism,
            _ => {}
        }
    }
}

fn opened(event: &Event) -> ConnectionStatus {
    let (from, empty): (_, Name) = (&event.connection, "".into());
    ConnectionStatus {
        id: from.id,
        peer: from.peer.to_string(),
        broker: Arc::clone(&from.broker),
        broker_address: Arc::clone(&from.broker_address),
        client: Arc::clone(&empty),
        software: Arc::clone(&empty),
        version: empty,
        opened_ms: from.opened.wall_ms,
        last_seen_ms: event.at.wall_ms,
    }
}

fn first_seen((client, software, version): &ClientKey, event: &Event) -> ClientStatus {
    ClientStatus {
        client: Arc::clone(client),
        software: Arc::clone(software),
        version: Arc::clone(version),
        connections: 0,
        produces: BTreeSet::new(),
        consumes: BTreeSet::new(),
        groups: BTreeSet::new(),
        mechanism: "",
        last_seen_ms: event.at.wall_ms,
    }
}

fn add(set: &mut BTreeSet<Name>, name: &Name) {
    if set.len() < MAX_NAMES && !set.contains(name) {
        set.insert(Arc::clone(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Answer, Connection, Membership, MembershipChange, Produced, ProducedPart, PublishOutcome,
        Side, Stamp,
    };
    use std::net::SocketAddr;

    fn event(id: u64, at: Stamp, kind: EventKind) -> Event {
        Event {
            at,
            connection: Arc::new(Connection {
                id,
                peer: SocketAddr::from(([127, 0, 0, 1], 5)),
                broker: "1".into(),
                broker_address: "b:9092".into(),
                opened: at,
            }),
            client: "checkout".into(),
            kind,
        }
    }

    fn answered(id: u64, at: Stamp, facts: Facts) -> Event {
        let answer = Answer {
            operation: "Any",
            time_limit: None,
            duration: Duration::ZERO,
            throttle: Duration::ZERO,
            error: None,
            facts,
        };
        event(id, at, EventKind::Answered(answer))
    }

    fn produced(topic: &str) -> Facts {
        Facts::Produced(Produced {
            acks: -1,
            transactional: false,
            parts: vec![ProducedPart {
                topic: topic.into(),
                partition: 0,
                batches: 1,
                records: 1,
                bytes: 1,
                codec: crate::event::Codec::None,
                transaction: None,
                sequence: None,
                base_timestamp_ms: 0,
                max_timestamp_ms: 0,
                outcome: PublishOutcome::Lost,
                captured: None,
                injection: crate::event::Injection::default(),
                traced: Vec::new(),
                unrecorded: None,
                descent: Vec::new(),
            }],
        })
    }

    fn named(id: u64, at: Stamp) -> Event {
        let kind = EventKind::Identified {
            software: "apache-kafka-java".into(),
            version: "4.4.0".into(),
        };
        event(id, at, kind)
    }

    #[test]
    fn a_client_is_one_program_over_all_its_connections() {
        let (mut inventory, at) = (Inventory::default(), Stamp::now());
        for id in [1, 2] {
            inventory.take(&event(id, at, EventKind::Opened));
            inventory.take(&named(id, at));
        }
        inventory.take(&answered(1, at, produced("orders")));
        let change = MembershipChange::Left;
        let membership = Membership {
            group: "g".into(),
            member: "m".into(),
            change,
        };
        inventory.take(&answered(2, at, Facts::Membership(membership)));
        let clients = inventory.clients();
        let client = &clients[0];
        assert_eq!((clients.len(), client.connections), (1, 2));
        assert_eq!(&*client.software, "apache-kafka-java");
        assert!(client.produces.contains("orders") && client.groups.contains("g"));
        inventory.take(&event(
            1,
            at,
            EventKind::Closed {
                side: Side::Client,
                kind: "eof",
                unanswered: Vec::new(),
            },
        ));
        assert_eq!(inventory.connections().len(), 1);
        assert_eq!(inventory.clients()[0].connections, 1);
    }

    #[test]
    fn a_client_silent_for_an_hour_is_forgotten_and_names_are_bounded() {
        let (mut inventory, at) = (Inventory::default(), Stamp::now());
        inventory.take(&named(1, at));
        for n in 0..MAX_NAMES + 5 {
            inventory.take(&answered(1, at, produced(&format!("t{n}"))));
        }
        assert_eq!(inventory.clients()[0].produces.len(), MAX_NAMES);
        assert_eq!(inventory.software().len(), 1);
        inventory.tick(at.mono + CLIENT_IDLE);
        assert!(inventory.clients().is_empty() && inventory.software().is_empty());
    }
}
