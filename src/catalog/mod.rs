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

use crate::event::{Answer, Event, EventKind, Facts, Name, ProducedPart, PublishOutcome, Refusal};

/// Most connections listed.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Most clients remembered.
pub const MAX_CLIENTS: usize = 1_000;
/// Most topics, and most groups, remembered per client.
pub const MAX_NAMES: usize = 200;
/// Most principals remembered per client.
pub const MAX_PRINCIPALS: usize = 16;
/// Most refusals told apart per client; more are in the counters alone.
pub const MAX_REFUSED: usize = 64;
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
    /// Names that it claimed and that a broker accepted, where the mechanism carries them in clear.
    pub principals: BTreeSet<Name>,
    /// Authentications that a broker refused it.
    pub failed_authentications: u64,
    /// What it was refused for want of rights.
    pub refusals: Vec<RefusalStatus>,
    /// First sign, ms since the Unix epoch.
    pub first_seen_ms: i64,
    /// Last sign, ms since the Unix epoch.
    pub last_seen_ms: i64,
}

/// What a client was refused for want of rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalStatus {
    /// Protocol name of the request.
    pub api: &'static str,
    /// Kind of resource.
    pub resource: &'static str,
    /// Which one, where an answer said.
    pub name: Option<Name>,
    /// Answers that refused it.
    pub count: u64,
    /// The last of them, ms since the Unix epoch.
    pub last_ms: i64,
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
                let mut unnamed = None;
                if let Some(connection) = self.connection(event) {
                    if connection.software.is_empty() {
                        let none = || Name::from("");
                        unnamed = Some((Arc::clone(&connection.client), none(), none()));
                    }
                    connection.software = Arc::clone(software);
                    connection.version = Arc::clone(version);
                }
                // Some log in before they say what they are: what was noted under no name is theirs.
                let earlier = unnamed.and_then(|key| self.clients.remove(&key));
                if let (Some(client), Some(earlier)) = (self.client(event), earlier) {
                    join(client, earlier.status);
                }
            }
            EventKind::ConnectFailed { .. } => {}
            EventKind::Closed { .. } => {
                self.connections.remove(&event.connection.id);
            }
            EventKind::Answered(answer) => {
                self.connection(event);
                self.facts(event, &answer.facts);
                self.refused(event, answer);
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
                for part in produced.parts.iter().filter(|part| !is_refused(part)) {
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
                accepted: false, ..
            } => {
                client.failed_authentications = client.failed_authentications.saturating_add(1);
            }
            Facts::Authenticated {
                mechanism,
                principal,
                ..
            } => {
                client.mechanism = mechanism;
                if let Some(name) = principal
                    && client.principals.len() < MAX_PRINCIPALS
                {
                    client.principals.insert(Arc::clone(name));
                }
            }
            _ => {}
        }
    }

    fn refused(&mut self, event: &Event, answer: &Answer) {
        let refusals = answer.refusals();
        let Some(client) = (!refusals.is_empty()).then(|| self.client(event)).flatten() else {
            return;
        };
        for Refusal { resource, name } in refusals {
            let same = |known: &&mut RefusalStatus| {
                (known.api, known.resource) == (answer.operation, resource) && known.name == name
            };
            if let Some(known) = client.refusals.iter_mut().find(same) {
                known.count = known.count.saturating_add(1);
                known.last_ms = event.at.wall_ms;
            } else if client.refusals.len() < MAX_REFUSED {
                client.refusals.push(RefusalStatus {
                    api: answer.operation,
                    resource,
                    name,
                    count: 1,
                    last_ms: event.at.wall_ms,
                });
            }
        }
    }
}

/// Adds what was noted of the same client id before it named its software.
fn join(client: &mut ClientStatus, earlier: ClientStatus) {
    client.first_seen_ms = client.first_seen_ms.min(earlier.first_seen_ms);
    for (into, names, limit) in [
        (&mut client.produces, earlier.produces, MAX_NAMES),
        (&mut client.consumes, earlier.consumes, MAX_NAMES),
        (&mut client.groups, earlier.groups, MAX_NAMES),
        (&mut client.principals, earlier.principals, MAX_PRINCIPALS),
    ] {
        let room = limit.saturating_sub(into.len());
        into.extend(names.into_iter().take(room));
    }
    if client.mechanism.is_empty() {
        client.mechanism = earlier.mechanism;
    }
    client.failed_authentications = client
        .failed_authentications
        .saturating_add(earlier.failed_authentications);
    let room = MAX_REFUSED.saturating_sub(client.refusals.len());
    client
        .refusals
        .extend(earlier.refusals.into_iter().take(room));
}

fn is_refused(part: &ProducedPart) -> bool {
    matches!(&part.outcome, PublishOutcome::Failed(_))
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
        principals: BTreeSet::new(),
        failed_authentications: 0,
        refusals: Vec::new(),
        first_seen_ms: event.at.wall_ms,
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
        Connection, Failure, FaultClass, Membership, MembershipChange, Produced, Side, Stamp,
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
    fn who_a_client_claims_to_be_and_what_it_was_refused() {
        let (mut inventory, at) = (Inventory::default(), Stamp::now());
        inventory.take(&named(1, at));
        let mut authenticate = |accepted, principal: Option<&str>| {
            let facts = Facts::Authenticated {
                mechanism: "PLAIN",
                accepted,
                principal: principal.map(Name::from),
            };
            inventory.take(&answered(1, at, facts));
        };
        authenticate(false, Some("mallory"));
        authenticate(true, Some("alice"));
        authenticate(true, None);
        let refused = || {
            let mut facts = produced("payroll");
            if let Facts::Produced(produced) = &mut facts {
                produced.parts[0].outcome = PublishOutcome::Failed(Failure {
                    name: "TOPIC_AUTHORIZATION_FAILED",
                    class: FaultClass::Client,
                    retriable: false,
                });
            }
            answered(1, at, facts)
        };
        inventory.take(&refused());
        inventory.take(&refused());
        let client = &inventory.clients()[0];
        let principals: Vec<&str> = client.principals.iter().map(|p| &**p).collect();
        assert_eq!(
            (client.failed_authentications, principals),
            (1, vec!["alice"])
        );
        let wanted = RefusalStatus {
            api: "Any",
            resource: "topic",
            name: Some("payroll".into()),
            count: 2,
            last_ms: at.wall_ms,
        };
        assert_eq!(client.refusals, [wanted]);
        assert!(!client.produces.contains("payroll"), "it did not get there");
    }

    #[test]
    fn a_client_that_logs_in_before_it_names_its_software_is_one_client() {
        let (mut inventory, at) = (Inventory::default(), Stamp::now());
        for (id, more) in [(1, "orders"), (2, "payments")] {
            let login = Facts::Authenticated {
                mechanism: "SCRAM-SHA-256",
                accepted: true,
                principal: Some("alice".into()),
            };
            inventory.take(&answered(id, at, login));
            inventory.take(&named(id, at));
            inventory.take(&answered(id, at, produced(more)));
        }
        let clients = inventory.clients();
        let client = &clients[0];
        assert_eq!((clients.len(), client.connections), (1, 2));
        assert_eq!(
            (client.mechanism, client.produces.len()),
            ("SCRAM-SHA-256", 2)
        );
        assert!(client.principals.contains("alice"));
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
