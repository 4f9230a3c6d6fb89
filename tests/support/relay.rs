//! A TCP relay that changes nothing and keeps what passed: an independent witness on either side of
//! the sidecar, and a way to break a connection at a chosen byte.
//!
//! Plain threads and blocking sockets, so that it shares no code with the proxy under test.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deadline::poll_until;

const CHUNK: usize = 64 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Which way bytes go, seen from the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ClientToBroker,
    BrokerToClient,
}

use Direction::{BrokerToClient, ClientToBroker};

/// What one connection carried so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    pub(crate) client_to_broker: Vec<u8>,
    pub(crate) broker_to_client: Vec<u8>,
    /// Both directions have ended.
    pub(crate) closed: bool,
}

/// A listening relay; ends with all its connections when dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    keep_bytes: bool,
    ended: AtomicBool,
    bytes: [AtomicU64; 2],
    stalled: Mutex<[bool; 2]>,
    changed: Condvar,
    /// The next connection is cut when this many bytes went this way.
    cut: Mutex<Option<(Direction, u64)>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    client: TcpStream,
    broker: TcpStream,
    cut: Option<(Direction, u64)>,
    recording: Mutex<Recording>,
    open_directions: AtomicU64,
}

impl Relay {
    /// Listens on a free port, passes to `target`, and keeps every byte in memory.
    #[track_caller]
    pub(crate) fn recording(target: SocketAddr) -> Self {
        Self::start(0, target, true)
    }

    /// As [`Relay::recording`], but only counts.
    #[track_caller]
    pub(crate) fn counting(target: SocketAddr) -> Self {
        Self::start(0, target, false)
    }

    /// Listens on a chosen port; 0 is any.
    #[track_caller]
    pub(crate) fn start(port: u16, target: SocketAddr, keep_bytes: bool) -> Self {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::start_at(own, target, keep_bytes)
    }

    /// Listens on a chosen address, for instance on one of the other addresses of the loopback.
    #[track_caller]
    pub(crate) fn start_at(own: SocketAddr, target: SocketAddr, keep_bytes: bool) -> Self {
        let listener = TcpListener::bind(own)
            .unwrap_or_else(|error| panic!("relay cannot listen on {own}: {error}"));
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            target,
            keep_bytes,
            ended: AtomicBool::new(false),
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
            stalled: Mutex::new([false; 2]),
            changed: Condvar::new(),
            cut: Mutex::new(None),
            connections: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that passed one way, over all connections.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].load(Ordering::Relaxed)
    }

    /// Every connection so far, in the order of their arrival.
    pub(crate) fn recordings(&self) -> Vec<Recording> {
        let connections = lock(&self.shared.connections);
        let all = connections.iter();
        all.map(|connection| lock(&connection.recording).clone())
            .collect()
    }

    /// Waits until every connection has ended both ways.
    #[track_caller]
    pub(crate) fn wait_until_closed(&self, limit: Duration) {
        poll_until("all relayed connections end", limit, || {
            let connections = lock(&self.shared.connections);
            let open = connections.iter().any(|one| one.is_open());
            (!open).then_some(())
        });
    }

    /// Cuts the next connection as soon as `bytes` bytes went `direction`.
    pub(crate) fn cut_next(&self, direction: Direction, bytes: u64) {
        *lock(&self.shared.cut) = Some((direction, bytes));
    }

    /// Cuts every open connection, both ways.
    pub(crate) fn cut_all(&self) {
        lock(&self.shared.connections)
            .iter()
            .for_each(|one| one.cut());
    }

    /// Stops or continues reading one direction of every connection, present and future.
    pub(crate) fn stall(&self, direction: Direction, stalled: bool) {
        lock(&self.shared.stalled)[direction as usize] = stalled;
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        lock(&self.shared.stalled).fill(false);
        self.shared.changed.notify_all();
        self.cut_all();
        // Wakes the accepting thread, which then sees that it should end.
        let _woken = TcpStream::connect_timeout(&self.address, CONNECT_LIMIT);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            // A target that refuses looks to the client as it would without us: closed.
            if let Ok(broker) = TcpStream::connect_timeout(&self.target, CONNECT_LIMIT) {
                self.relay(client, broker);
            }
        }
    }

    fn relay(self: &Arc<Self>, client: TcpStream, broker: TcpStream) {
        for stream in [&client, &broker] {
            // Held back bytes would blur what a test measures.
            let _set = stream.set_nodelay(true);
        }
        let connection = Arc::new(Connection {
            client,
            broker,
            cut: lock(&self.cut).take(),
            recording: Mutex::new(Recording::default()),
            open_directions: AtomicU64::new(2),
        });
        lock(&self.connections).push(Arc::clone(&connection));
        for direction in [ClientToBroker, BrokerToClient] {
            let shared = Arc::clone(self);
            let connection = Arc::clone(&connection);
            std::thread::spawn(move || shared.pump(&connection, direction));
        }
    }

    fn pump(&self, connection: &Connection, direction: Direction) {
        let (mut from, mut to) = match direction {
            ClientToBroker => (&connection.client, &connection.broker),
            BrokerToClient => (&connection.broker, &connection.client),
        };
        let mut chunk = vec![0; CHUNK];
        let mut passed = 0;
        let clean = loop {
            self.wait_while_stalled(direction);
            let room = connection.room(direction, passed).min(CHUNK);
            if room == 0 {
                break false;
            }
            match from.read(&mut chunk[..room]) {
                Ok(0) => break true,
                Ok(read) => {
                    self.keep(connection, direction, &chunk[..read]);
                    if to.write_all(&chunk[..read]).is_err() {
                        break false;
                    }
                    passed += read as u64;
                }
                Err(_) => break false,
            }
        };
        if clean {
            // The other direction goes on: a half-closed connection stays half-closed.
            let _done = to.shutdown(Shutdown::Write);
        } else {
            connection.cut();
        }
        if connection.open_directions.fetch_sub(1, Ordering::SeqCst) == 1 {
            lock(&connection.recording).closed = true;
        }
    }

    fn keep(&self, connection: &Connection, direction: Direction, bytes: &[u8]) {
        self.bytes[direction as usize].fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.keep_bytes {
            let mut recording = lock(&connection.recording);
            match direction {
                ClientToBroker => recording.client_to_broker.extend_from_slice(bytes),
                BrokerToClient => recording.broker_to_client.extend_from_slice(bytes),
            }
        }
    }

    fn wait_while_stalled(&self, direction: Direction) {
        let mut stalled = lock(&self.stalled);
        while stalled[direction as usize] {
            let woken = self.changed.wait(stalled);
            stalled = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Connection {
    /// How many more bytes may go this way before the connection is cut.
    fn room(&self, direction: Direction, passed: u64) -> usize {
        match self.cut {
            Some((cut, bytes)) if cut == direction => {
                usize::try_from(bytes.saturating_sub(passed)).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        }
    }

    fn cut(&self) {
        for stream in [&self.client, &self.broker] {
            // Ended already is fine.
            let _cut = stream.shutdown(Shutdown::Both);
        }
    }

    fn is_open(&self) -> bool {
        self.open_directions.load(Ordering::SeqCst) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
