//! One local listener per broker, so that every address a client learns is ours.
//!
//! The port is the configured one plus the node id where that is free: a restarted sidecar offers the same ports, which
//! clients without re-bootstrap need (Java before 4.0). A listener is bound before the answer that names it leaves. Must not
//! dial anything.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio::net::TcpListener;

use super::settings::Listen;
use crate::kafka::dial::HostPort;

/// Listeners for brokers at most; more nodes than this keep their own address (counted by the caller).
const NODES_MAX: usize = 2_000;
/// Ports tried above a taken one.
const PORT_TRIES: u16 = 200;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 1024;

/// Where a connection goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Any broker of the bootstrap list.
    Bootstrap,
    /// One node, at the address it advertised last.
    Node(i32, Arc<RwLock<HostPort>>),
}

#[derive(Debug)]
struct Node {
    advertised: Arc<RwLock<HostPort>>,
    port: u16,
}

/// A listener that is bound and wants to be served.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) target: Target,
}

/// The brokers known so far.
#[derive(Debug)]
pub(crate) struct Brokers {
    listen: Listen,
    nodes: Mutex<BTreeMap<i32, Node>>,
}

impl Brokers {
    pub(crate) fn new(listen: Listen) -> Self {
        Self {
            listen,
            nodes: Mutex::default(),
        }
    }

    /// The local port that stands for a node, which is now advertised as `host:port`. The second value is a new listener
    /// that must be served.
    ///
    /// # Errors
    /// No port could be bound.
    pub(crate) fn port_for(
        &self,
        node: i32,
        host: &str,
        port: u16,
    ) -> io::Result<(u16, Option<Bound>)> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = nodes.get(&node) {
            let mut advertised = known
                .advertised
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if advertised.host != host || advertised.port != port {
                *advertised = HostPort {
                    host: host.to_owned(),
                    port,
                };
            }
            return Ok((known.port, None));
        }
        if nodes.len() >= NODES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "more brokers than listeners are allowed",
            ));
        }
        let listeners = self.bind_near(node)?;
        let local = listeners
            .first()
            .map_or(Ok(0), |l| l.local_addr().map(|a| a.port()))?;
        let advertised = Arc::new(RwLock::new(HostPort {
            host: host.to_owned(),
            port,
        }));
        nodes.insert(
            node,
            Node {
                advertised: Arc::clone(&advertised),
                port: local,
            },
        );
        Ok((
            local,
            Some(Bound {
                listeners,
                target: Target::Node(node, advertised),
            }),
        ))
    }

    fn bind_near(&self, node: i32) -> io::Result<Vec<TcpListener>> {
        let addresses = &self.listen.addresses;
        let wanted = u16::try_from(node)
            .ok()
            .and_then(|id| self.listen.port.checked_add(id));
        let (Some(first), true) = (wanted, self.listen.port != 0) else {
            return bind(addresses, 0);
        };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in first..=first.saturating_add(PORT_TRIES) {
            match bind(addresses, port) {
                Ok(bound) => return Ok(bound),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// (node id, advertised address, local port) of every broker, for inventories.
    pub(crate) fn list(&self) -> Vec<(i32, HostPort, u16)> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .iter()
            .map(|(id, n)| {
                (
                    *id,
                    n.advertised
                        .read()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                    n.port,
                )
            })
            .collect()
    }
}

/// Binds all addresses on one port. An address family the machine lacks is left out where another one is bound.
///
/// # Errors
/// The port is taken on an address, or nothing could be bound.
pub(crate) fn bind(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut port = port;
    for address in addresses {
        match bind_one(SocketAddr::new(*address, port)) {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                bound.push(listener);
            }
            Err(fault) if fault.kind() == io::ErrorKind::AddrNotAvailable && !bound.is_empty() => {}
            Err(fault) if fault.raw_os_error() == Some(97) && !bound.is_empty() => {} // EAFNOSUPPORT: no IPv6 here
            Err(fault) => return Err(fault),
        }
    }
    if bound.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "no address to listen on",
        ));
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted sidecar must get its ports back while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
