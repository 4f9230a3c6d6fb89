//! What the proxy needs to know, already validated.

use std::{net::IpAddr, time::Duration};

use crate::{
    kafka::dial::{HostPort, TlsSettings},
    lineage::{self, BusinessIds},
    propagation::{CorrelationNames, HeaderChoice},
};

/// Where to listen: all addresses on one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Addresses; where there are two, the second may be missing on the machine.
    pub addresses: Vec<IpAddr>,
    /// Port, 0 = any.
    pub port: u16,
}

/// What is done with the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicMode {
    /// Read while they pass, and given context where they have none.
    Inject,
    /// Read while they pass.
    Observe,
    /// Passed unread.
    Off,
}

impl TopicMode {
    /// As in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// Modes by topic; swapped whole on reload.
#[derive(Debug, Clone)]
pub struct Modes {
    /// Where no pattern matches.
    pub default: TopicMode,
    /// First match wins.
    pub topics: Vec<(regex::Regex, TopicMode)>,
}

impl Modes {
    /// Whether any topic's records may be changed.
    #[must_use]
    pub fn injects(&self) -> bool {
        let rules = self.topics.iter().map(|(_, mode)| mode);
        rules
            .chain([&self.default])
            .any(|m| *m == TopicMode::Inject)
    }

    /// The mode of a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> TopicMode {
        self.topics
            .iter()
            .find(|(pattern, _)| pattern.is_match(topic))
            .map_or(self.default, |(_, mode)| *mode)
    }
}

/// Limits; past each the proxy degrades to passing bytes, or refuses a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Client connections at a time.
    pub connections: usize,
    /// A frame said to be larger is no frame: the connection becomes a tunnel.
    pub frame_bytes: usize,
    /// An answer that names brokers is held whole up to this size, bytes.
    pub edit_bytes: usize,
    /// Requests without an answer per connection; past it the client is not read from.
    pub in_flight_requests: usize,
}

/// How records are given context, in topics whose mode is inject.
#[derive(Debug, Clone)]
pub struct InjectSettings {
    /// Which headers are added.
    pub headers: HeaderChoice,
    /// Whether records that lack a correlation id get one.
    pub correlation: bool,
    /// What a correlation id is called: written under the first name, read under all.
    pub names: CorrelationNames,
    /// Traces that are recorded, per topic; of the others the context still travels.
    pub traces_per_second_per_topic: u32,
    /// A request up to this size is held for the edit, bytes; the same bounds the records of one batch, decompressed.
    pub frame_bytes: usize,
    /// All requests held at a time, bytes.
    pub bytes_total: usize,
    /// Processor time per second and topic for opening and packing compressed batches, those delivered included.
    pub compressed_budget: Duration,
    /// What the observer examines of an edited batch is what is sent, with what was added: somebody shows single records.
    pub shows_edited: bool,
}

/// How the parents of records are found.
#[derive(Debug, Clone)]
pub struct LineageSettings {
    /// What is remembered, and from which confidence on it is believed.
    pub deliveries: lineage::Settings,
    /// What identifies the thing a record is about.
    pub business: BusinessIds,
    /// How long a delivered batch may be kept to be indexed; zero switches lineage off.
    pub hold: Duration,
    /// Records whose trace is recorded are reported, also of a program that sends nothing.
    pub traces: bool,
}

impl Default for LineageSettings {
    /// As the configuration's defaults.
    fn default() -> Self {
        Self {
            deliveries: lineage::Settings::default(),
            business: BusinessIds::default(),
            hold: Duration::from_millis(10),
            traces: false,
        }
    }
}

impl Default for InjectSettings {
    /// As the configuration's defaults.
    fn default() -> Self {
        Self {
            headers: HeaderChoice::Full,
            correlation: true,
            names: CorrelationNames::default(),
            traces_per_second_per_topic: 10,
            frame_bytes: 4 << 20,
            bytes_total: 32 << 20,
            compressed_budget: Duration::from_millis(250),
            shows_edited: false,
        }
    }
}

/// Settings of the proxy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Brokers to begin with.
    pub bootstrap: Vec<HostPort>,
    /// What the application dials.
    pub listen: Listen,
    /// One port per broker: this one plus the node id.
    pub broker_listen: Listen,
    /// Name or address given to clients; `None` = local address of the accepted socket.
    pub advertise: Option<String>,
    /// TLS towards the brokers.
    pub tls: Option<TlsSettings>,
    /// Injection.
    pub inject: InjectSettings,
    /// Lineage.
    pub lineage: LineageSettings,
    /// Limits.
    pub limits: Limits,
    /// For connecting to a broker, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// For answering what is in flight when told to stop.
    pub drain_timeout: Duration,
}
