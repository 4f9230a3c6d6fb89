//! Addresses as people write them: `host:port` to dial, `localhost` or an IP with a port to listen on.
//!
//! Here because the standard library's parser knows no host names and says nothing about what is wrong. Must not resolve
//! names: that is the dataplane's business, and names change.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What is wrong with an address; reads as the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// `PLAINTEXT://host:9092`.
    Scheme,
    /// No `:port` at the end.
    NoPort,
    /// The port is no number from 1 to 65535 (0 where listening).
    Port,
    /// An IPv6 address without brackets, or brackets around something else.
    Ipv6,
    /// Not a host name: empty, too long, or with characters no name has.
    Host,
    /// A host name other than `localhost` where an address to listen on is needed.
    ListenName,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "carries a scheme, allowed: host:port without `scheme://`",
            Self::NoPort => "has no port, allowed: host:port, for example kafka:9092",
            Self::Port => "has a wrong port, allowed: host:port with a port from 1 to 65535",
            Self::Ipv6 => "is not an IPv6 address in brackets, allowed: [::1]:9092",
            Self::Host => {
                "has a wrong host name, allowed: letters, digits, `-`, `_` and `.`, at most 253"
            }
            Self::ListenName => {
                "is not an address to listen on, allowed: localhost:port or IP:port"
            }
        })
    }
}

impl std::error::Error for AddressError {}

/// A host (name or address) and a port to dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        if port == 0 {
            return Err(AddressError::Port);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Cuts `host:port`; the host comes without brackets.
fn split(text: &str) -> Result<(&str, u16), AddressError> {
    if text.contains("://") {
        return Err(AddressError::Scheme);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Ipv6);
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
    let host = if let Some(rest) = host.strip_prefix('[') {
        let inner = rest.strip_suffix(']').ok_or(AddressError::Ipv6)?;
        inner.parse::<Ipv6Addr>().map_err(|_| AddressError::Ipv6)?;
        inner
    } else if host.contains(':') {
        return Err(AddressError::Ipv6);
    } else {
        host_name(host)?
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits);
    Ok((host, port.ok_or(AddressError::Port)?))
}

/// Checks a host name or IPv4 address; says nothing about its existence.
pub(super) fn host_name(text: &str) -> Result<&str, AddressError> {
    const BYTES_MAX: usize = 253;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > BYTES_MAX || !text.bytes().all(allowed) {
        return Err(AddressError::Host);
    }
    Ok(text)
}

/// Which local addresses to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenHost {
    /// `localhost`: both loopbacks, because some clients dial `::1` and some `127.0.0.1`.
    Loopbacks,
    /// One address; the unspecified ones mean all interfaces.
    Ip(IpAddr),
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// Where.
    pub host: ListenHost,
    /// 0 stands for any free port.
    pub port: u16,
}

impl ListenAddress {
    /// The sockets to bind, IPv4 first. Where the host has no IPv6, the second of two may fail.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketAddr> {
        let ips = match self.host {
            ListenHost::Loopbacks => vec![
                IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::from(Ipv6Addr::LOCALHOST),
            ],
            ListenHost::Ip(ip) => vec![ip],
        };
        ips.into_iter()
            .map(|ip| SocketAddr::new(ip, self.port))
            .collect()
    }

    /// Whether dialling `ip` on this machine arrives here, ports aside.
    pub(super) fn takes(&self, ip: IpAddr) -> bool {
        match self.host {
            ListenHost::Loopbacks => ip.is_loopback() || ip.is_unspecified(),
            ListenHost::Ip(own) if own.is_unspecified() => ip.is_loopback() || ip.is_unspecified(),
            ListenHost::Ip(own) => own == ip || (ip.is_unspecified() && own.is_loopback()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            ListenHost::Loopbacks => write!(f, "localhost:{}", self.port),
            ListenHost::Ip(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        let host = if host.eq_ignore_ascii_case("localhost") {
            ListenHost::Loopbacks
        } else {
            ListenHost::Ip(host.parse().map_err(|_| AddressError::ListenName)?)
        };
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        let ok = |text: &str| text.parse::<HostPort>().unwrap().to_string();
        assert_eq!(ok("kafka:9092"), "kafka:9092");
        assert_eq!(ok("[::1]:9092"), "[::1]:9092");
        assert_eq!(ok("10.0.0.1:1"), "10.0.0.1:1");
        let bad = |text: &str| text.parse::<HostPort>().unwrap_err();
        assert_eq!(bad("PLAINTEXT://kafka:9092"), AddressError::Scheme);
        assert_eq!(bad("kafka"), AddressError::NoPort);
        assert_eq!(bad("kafka:0"), AddressError::Port);
        assert_eq!(bad("kafka:+1"), AddressError::Port);
        assert_eq!(bad("kafka:65536"), AddressError::Port);
        assert_eq!(bad("::1"), AddressError::Ipv6);
        assert_eq!(bad("::1:9092"), AddressError::Ipv6);
        assert_eq!(bad("[kafka]:9092"), AddressError::Ipv6);
        assert_eq!(bad(":9092"), AddressError::Host);
        assert_eq!(bad("ka fka:9092"), AddressError::Host);
    }

    #[test]
    fn localhost_listens_on_both_loopbacks() {
        let address: ListenAddress = "localhost:9092".parse().unwrap();
        let sockets: Vec<String> = address
            .sockets()
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        assert_eq!(sockets, ["127.0.0.1:9092", "[::1]:9092"]);
        assert_eq!(
            "kafka:9092".parse::<ListenAddress>(),
            Err(AddressError::ListenName)
        );
        assert_eq!(
            "[::]:0".parse::<ListenAddress>().unwrap().to_string(),
            "[::]:0"
        );
    }
}
