//! `kafka:` - which cluster to dial, where to listen for the application.
//!
//! Here because both ends of the proxy are configured together. Must not resolve or dial anything.

use serde_json::{Map, Value, json};

use super::{
    address::{AddressError, HostPort, ListenAddress, ListenHost, host_name},
    sasl::SaslConfig,
    section::{Section, text},
    tls::TlsConfig,
};

/// Most bootstrap addresses.
const BOOTSTRAP_MAX: usize = 100;
/// Longest cluster name, in bytes; it is a label of every series.
const CLUSTER_NAME_BYTES_MAX: usize = 128;

/// The `kafka` section.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaConfig {
    /// Brokers to dial first. Empty only where no role needs them.
    pub bootstrap: Vec<HostPort>,
    /// What the application dials.
    pub listen: ListenAddress,
    /// Where broker listeners begin: this port + node id, the next free one where taken; port 0 = any free port.
    pub broker_listen: ListenAddress,
    /// Name or address given to clients; `None` = the local address of the accepted socket. IPv6 without brackets.
    pub advertise: Option<String>,
    /// Value of the `cluster` label; `None` = the cluster id.
    pub cluster_name: Option<String>,
    /// TLS towards the brokers; `None` = plaintext.
    pub tls: Option<TlsConfig>,
    /// Login of our own connections; `None` = none.
    pub sasl: Option<SaslConfig>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        let loopbacks = |port| ListenAddress {
            host: ListenHost::Loopbacks,
            port,
        };
        Self {
            bootstrap: Vec::new(),
            listen: loopbacks(9092),
            broker_listen: loopbacks(9193),
            advertise: None,
            cluster_name: None,
            tls: None,
            sasl: None,
        }
    }
}

impl KafkaConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let mut bootstrap: Vec<HostPort> = Vec::new();
        for address in section.many("bootstrap", |t| {
            t.parse::<HostPort>().map_err(|e| e.to_string())
        }) {
            if !bootstrap.contains(&address) {
                bootstrap.push(address);
            }
        }
        if bootstrap.len() > BOOTSTRAP_MAX {
            let message = format!(
                "has {} addresses, allowed: {BOOTSTRAP_MAX}",
                bootstrap.len()
            );
            section.fault("bootstrap", message);
        }
        Self {
            bootstrap,
            listen: section.or("listen", default.listen, text(str::parse)),
            broker_listen: section.or("broker_listen", default.broker_listen, text(str::parse)),
            advertise: section.optional("advertise", text(advertised)),
            cluster_name: section.optional("cluster_name", text(cluster_name)),
            tls: TlsConfig::read(&section.section("tls")),
            sasl: SaslConfig::read(&section.section("sasl")),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let bootstrap: Vec<String> = self.bootstrap.iter().map(HostPort::to_string).collect();
        let mut map = Map::new();
        map.insert("bootstrap".to_owned(), json!(bootstrap));
        map.insert("listen".to_owned(), json!(self.listen.to_string()));
        map.insert(
            "broker_listen".to_owned(),
            json!(self.broker_listen.to_string()),
        );
        map.insert("advertise".to_owned(), json!(self.advertise));
        map.insert("cluster_name".to_owned(), json!(self.cluster_name));
        if let Some(tls) = &self.tls {
            map.insert("tls".to_owned(), tls.to_json());
        }
        if let Some(sasl) = &self.sasl {
            map.insert("sasl".to_owned(), sasl.to_json());
        }
        Value::Object(map)
    }
}

fn advertised(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(bare.to_owned());
    }
    host_name(text)
        .map(str::to_owned)
        .map_err(|error: AddressError| {
            if text.contains(':') {
                "carries a port or scheme, allowed: a host name or address alone".to_owned()
            } else {
                error.to_string()
            }
        })
}

fn cluster_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > CLUSTER_NAME_BYTES_MAX || text.chars().any(char::is_control)
    {
        return Err(format!(
            "is not a name, allowed: 1 to {CLUSTER_NAME_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}
