//! Names of the demo: services, topics, groups.
//!
//! Here because the services, the view and the checks must agree on them. Holds names only; must not hold a figure that
//! anything shows.

use std::net::SocketAddr;

use crate::kafka::cluster::Topic;

/// The topic every service starts from.
pub(super) const ORDERS: Topic = topic("orders", 6);
pub(super) const PAYMENTS: Topic = topic("payments", 3);
pub(super) const RESERVATIONS: Topic = topic("reservations", 3);
pub(super) const SHIPMENTS: Topic = topic("shipments", 3);
pub(super) const DEAD_LETTERS: Topic = topic("orders.billing.dlq", 3);

/// All topics of the pipeline.
pub const TOPICS: [Topic; 5] = [ORDERS, PAYMENTS, RESERVATIONS, SHIPMENTS, DEAD_LETTERS];

/// All services, in the order of the flow; each wants a sidecar of its own.
pub const SERVICES: [&str; 4] = ["checkout", "billing", "inventory", "fulfilment"];

/// The consumer groups of `orders`, named after their services.
pub(super) const GROUPS: [&str; 3] = ["billing", "inventory", "fulfilment"];

/// Where one service finds its sidecar, and where its console is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddresses {
    /// One of [`SERVICES`].
    pub name: String,
    /// `host:port` of the sidecar's own listener: the service's `bootstrap.servers`.
    pub bootstrap: String,
    /// The sidecar's admin listener.
    pub admin: SocketAddr,
}

const fn topic(name: &'static str, partitions: i32) -> Topic {
    Topic { name, partitions }
}
