//! Free loopback ports for servers that must know their port before they start.
//!
//! Between choosing a port and the server's own bind lie seconds (a broker formats its storage first), and the test programs
//! of another lane choose ports at the same time. So a port is held until this process ends: a socket is bound to it that
//! never listens. While both set `SO_REUSEADDR` a server may bind and listen beside it, a connection to it is refused until
//! one does, no outgoing connection is given it, and [`take`] of another process, which binds without that option, fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// Below the range the system takes ports of outgoing connections from (32,768 on).
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static NEXT: AtomicU32 = AtomicU32::new(0);
static HELD: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// A port that nothing listens on and nothing else is given until this process ends.
pub(crate) fn free() -> u16 {
    // Test programs that run at the same time begin far apart, mostly.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).expect("range is u16");
        if let Ok(socket) = take(port) {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            held.push(socket);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// The first of `count` such ports in a row.
pub(crate) fn in_a_row(count: usize) -> u16 {
    let mut row = vec![free()];
    while row.len() < count {
        let port = free();
        if row.last() != Some(&(port - 1)) {
            row.clear();
        }
        row.push(port);
    }
    row[0]
}

/// Binds `port` where no other socket is bound to it, then lets servers bind it too.
fn take(port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}
