//! One client connection and its one broker connection.
//!
//! Dials the broker, runs both directions until they end, and reports the beginning and the end. A side that fails resets
//! the other: nothing looks alive that is not. Must not look into frames.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    answers,
    brokers::Target,
    facts::RequestFacts,
    inflight::InFlight,
    lane::{Lane, LaneFault, LaneResult},
    requests::{self, End},
    responses,
    shared::Shared,
};
use crate::{
    event::{BypassReason, Connection, Direction, Event, EventKind, Name, Side, Stamp},
    kafka::{
        dial::{self, DialError, HostPort, Upstream},
        wire::{api::ApiKey, error::DecodeError, frame::Leading},
    },
};

/// What both directions of a connection use.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) in_flight: InFlight,
    /// The address under which the client reached us.
    pub(crate) ours: String,
}

impl Context {
    pub(crate) fn emit(&self, at: Stamp, client: Name, kind: EventKind) {
        self.shared.observer.observe(Event {
            at,
            connection: Arc::clone(&self.connection),
            client,
            kind,
        });
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.shared.draining.borrow()
    }

    /// Resolves once the proxy drains.
    pub(crate) async fn drained(&self) {
        super::until_true(&mut self.shared.draining.clone()).await;
    }

    /// Bytes that do not decode pass unread; says so once a minute.
    pub(crate) fn decode_fault(&self, api: ApiKey, error: DecodeError) {
        self.shared.counters.add_bypass(BypassReason::Decode);
        if self.shared.notices.due("decode") {
            tracing::warn!(api = api.name(), broker = %self.connection.broker, %error, "message not understood; it passes unread");
        }
    }

    pub(crate) fn address_bypass(&self, reason: BypassReason, api: ApiKey) {
        if reason != BypassReason::Address {
            self.shared.counters.add_bypass(reason);
        }
        self.shared.counters.add_bypass(BypassReason::Address);
        if self.shared.notices.due("address") {
            tracing::error!(
                api = api.name(),
                reason = reason.as_str(),
                "an answer that names brokers passes unread: clients may dial brokers directly"
            );
        }
    }

    pub(crate) fn unmatched_response(&self) {
        self.shared.counters.add_bypass(BypassReason::Unmatched);
        self.shared.counters.add_bypass(BypassReason::Tunnel);
        if self.shared.notices.due("unmatched") {
            tracing::warn!(broker = %self.connection.broker_address, "a response matches no request; the connection passes unread from here on");
        }
    }

    pub(crate) fn framing_fault_from_client(&self, leading: Leading) {
        self.shared.counters.add_bypass(BypassReason::Tunnel);
        if !self.shared.notices.due("client framing") {
            return;
        }
        let peer = self.connection.peer;
        match leading {
            Leading::TlsHello => {
                tracing::warn!(%peer, "the client speaks TLS to the sidecar, which listens in plaintext: set the client's security.protocol to PLAINTEXT (or SASL_PLAINTEXT), and kafka.tls here for TLS to the brokers")
            }
            Leading::Http => {
                tracing::warn!(%peer, "the client speaks HTTP to the Kafka port; the admin pages are on admin.listen")
            }
            _ => {
                tracing::warn!(%peer, "the client does not speak Kafka, or a frame is over limits.frame_bytes; the connection passes unread from here on")
            }
        }
    }

    pub(crate) fn framing_fault_from_broker(&self, leading: Leading) {
        self.shared.counters.add_bypass(BypassReason::Tunnel);
        if !self.shared.notices.due("broker framing") {
            return;
        }
        let broker = &self.connection.broker_address;
        match leading {
            Leading::TlsAlert | Leading::TlsHello => {
                tracing::warn!(%broker, "the broker's port speaks TLS and the sidecar plaintext: set kafka.tls")
            }
            Leading::Http => {
                tracing::warn!(%broker, "an HTTP server answers at the broker's address; check kafka.bootstrap")
            }
            _ => {
                tracing::warn!(%broker, "the broker's bytes are no Kafka frames; the connection passes unread from here on")
            }
        }
    }

    /// Names the software behind the connection, and the first client in the log.
    pub(crate) fn seen_client(&self, client: &Name, facts: &RequestFacts, at: Stamp) {
        let RequestFacts::Software { name, version } = facts else {
            return;
        };
        self.emit(
            at,
            Name::clone(client),
            EventKind::Identified {
                software: Name::clone(name),
                version: Name::clone(version),
            },
        );
        if self.shared.is_first_client() {
            tracing::info!(client = %client, software = %name, version = %version, broker = %self.connection.broker_address, mode = self.shared.modes.load().default.as_str(), "first client connected");
        }
    }
}

/// Serves one accepted client.
pub(crate) async fn serve(shared: Arc<Shared>, client: TcpStream, target: Target) {
    let (Ok(peer), Ok(local)) = (client.peer_addr(), client.local_addr()) else {
        return;
    };
    // Fails only on a socket that is gone, which the next read reports.
    client.set_nodelay(true).ok();
    let opened = Stamp::now();
    let id = shared
        .next_connection
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (label, dialled) = match &target {
        Target::Bootstrap => dial_bootstrap(&shared).await,
        Target::Node(node, advertised) => {
            let address = advertised
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone();
            let dialled = dial::dial(
                &address,
                shared.settings.tls.as_ref(),
                shared.settings.connect_timeout,
            )
            .await;
            (node.to_string(), (address, dialled))
        }
    };
    let (address, dialled) = dialled;
    let connection = Arc::new(Connection {
        id,
        peer,
        broker: label.into(),
        broker_address: address.to_string().into(),
        opened,
    });
    let context = Context {
        shared,
        connection,
        in_flight: InFlight::default(),
        ours: local.ip().to_string(),
    };
    match dialled {
        Err(fault) => refuse(&context, &client, &fault),
        Ok(Upstream::Plain(broker)) => {
            context.emit(opened, Name::from(""), EventKind::Opened);
            let (client_half, broker_half) = (client, broker);
            plain(&context, client_half, broker_half).await;
        }
        Ok(Upstream::Tls(broker)) => {
            context.emit(opened, Name::from(""), EventKind::Opened);
            let mut client = client;
            let ended = {
                let (client_read, client_write) = client.split();
                let (broker_read, broker_write) = tokio::io::split(broker);
                exchange(
                    &context,
                    (client_read, client_write),
                    (broker_read, broker_write),
                )
                .await
            };
            close(&context, ended, &[&client]);
        }
    }
}

/// Tries the bootstrap brokers in turn, beginning with another one each time.
async fn dial_bootstrap(shared: &Shared) -> (String, (HostPort, Result<Upstream, DialError>)) {
    let brokers = &shared.settings.bootstrap;
    let first = shared
        .next_bootstrap
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let first = usize::try_from(first)
        .unwrap_or(0)
        .checked_rem(brokers.len())
        .unwrap_or(0);
    let mut last = None;
    for broker in brokers.iter().cycle().skip(first).take(brokers.len()) {
        match dial::dial(
            broker,
            shared.settings.tls.as_ref(),
            shared.settings.connect_timeout,
        )
        .await
        {
            Ok(stream) => return ("bootstrap".into(), (broker.clone(), Ok(stream))),
            Err(fault) => last = Some((broker.clone(), Err(fault))),
        }
    }
    let none = || {
        let source = io::Error::new(io::ErrorKind::NotFound, "no bootstrap broker is configured");
        (
            HostPort {
                host: String::new(),
                port: 0,
            },
            Err(DialError {
                kind: "resolve",
                source,
            }),
        )
    };
    ("bootstrap".into(), last.unwrap_or_else(none))
}

/// A broker that is dead must look dead: the client's connection is reset.
fn refuse(context: &Context, client: &TcpStream, fault: &DialError) {
    context.emit(
        Stamp::now(),
        Name::from(""),
        EventKind::ConnectFailed { kind: fault.kind },
    );
    if context.shared.notices.due(fault.kind) {
        tracing::warn!(broker = %context.connection.broker_address, %fault, "broker not reached; the client's connection is reset");
    }
    reset(client);
}

/// Makes closing a socket a reset instead of an orderly end.
pub(crate) fn reset(socket: &TcpStream) {
    // Failing means the socket is already gone.
    socket2::SockRef::from(socket)
        .set_linger(Some(std::time::Duration::ZERO))
        .ok();
}

async fn plain(context: &Context, mut client: TcpStream, mut broker: TcpStream) {
    let ended = {
        let (client_read, client_write) = client.split();
        let (broker_read, broker_write) = broker.split();
        exchange(
            context,
            (client_read, client_write),
            (broker_read, broker_write),
        )
        .await
    };
    close(context, ended, &[&client, &broker]);
}

struct Ended {
    side: Side,
    kind: &'static str,
}

/// Runs both directions. A clean end of one leaves the other running; a fault of one ends both.
async fn exchange<CR, CW, BR, BW>(context: &Context, client: (CR, CW), broker: (BR, BW)) -> Ended
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    BR: AsyncRead + Unpin,
    BW: AsyncWrite + Unpin,
{
    let counters = || Arc::clone(&context.shared.counters);
    let pool = || Arc::clone(&context.shared.pool);
    let mut to_broker = Lane::new(
        client.0,
        broker.1,
        Direction::ClientToBroker,
        counters(),
        pool(),
    );
    let mut to_client = Lane::new(
        broker.0,
        client.1,
        Direction::BrokerToClient,
        counters(),
        pool(),
    );
    let mut directions = Directions {
        in_flight: &context.in_flight,
        requests: pin!(requests::run(context, &mut to_broker)),
        responses: pin!(responses::run(context, &mut to_client)),
        drained: pin!(tokio::task::unconstrained(context.drained())),
        listening: None,
        drain_seen: false,
        requests_done: false,
        responses_done: false,
        requests_first: false,
    };
    let mut first_end: Option<Ended> = None;
    while !(directions.requests_done && directions.responses_done) {
        let stopped = directions.requests_done && context.is_draining();
        let (side, result): (Side, LaneResult<End>) = tokio::select! {
            next = poll_fn(|cx| directions.poll_next(cx)) => next,
            () = context.idle_after_drain(), if stopped => {
                return Ended { side: Side::Proxy, kind: "drain" };
            }
        };
        match result {
            Ok(End::Eof) => first_end = first_end.or(Some(Ended { side, kind: "eof" })),
            Ok(End::Drained) => {
                first_end = first_end.or(Some(Ended {
                    side: Side::Proxy,
                    kind: "drain",
                }))
            }
            Err(fault) => return at_fault(side, &fault),
        }
    }
    first_end.unwrap_or(Ended {
        side: Side::Proxy,
        kind: "eof",
    })
}

/// The two directions of a connection, polled by one task: what one leaves for the other needs no lock and no wake-up.
struct Directions<'a, Q, S, D> {
    in_flight: &'a InFlight,
    requests: Pin<&'a mut Q>,
    responses: Pin<&'a mut S>,
    /// Only wakes the task; the requests look at the flag themselves.
    drained: Pin<&'a mut D>,
    /// Who is woken when the proxy drains.
    listening: Option<Waker>,
    drain_seen: bool,
    requests_done: bool,
    responses_done: bool,
    requests_first: bool,
}

impl<Q, S, D> Directions<'_, Q, S, D>
where
    Q: Future<Output = LaneResult<End>>,
    S: Future<Output = LaneResult<End>>,
    D: Future<Output = ()>,
{
    /// The next direction that ends.
    fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<(Side, LaneResult<End>)> {
        self.listen(cx);
        // In turn, so that neither starves the other of the task's budget.
        self.requests_first = !self.requests_first;
        if self.requests_first {
            if let Poll::Ready(ended) = self.poll_requests(cx) {
                return Poll::Ready(ended);
            }
            return self.poll_responses(cx);
        }
        if let Poll::Ready(ended) = self.poll_responses(cx) {
            return Poll::Ready(ended);
        }
        if let Poll::Ready(ended) = self.poll_requests(cx) {
            return Poll::Ready(ended);
        }
        if self.in_flight.has_news() {
            return self.poll_responses(cx);
        }
        Poll::Pending
    }

    fn poll_requests(&mut self, cx: &mut task::Context<'_>) -> Poll<(Side, LaneResult<End>)> {
        if self.requests_done {
            return Poll::Pending;
        }
        let result = std::task::ready!(self.requests.as_mut().poll(cx));
        self.requests_done = true;
        Poll::Ready((Side::Client, result))
    }

    fn poll_responses(&mut self, cx: &mut task::Context<'_>) -> Poll<(Side, LaneResult<End>)> {
        if self.responses_done {
            return Poll::Pending;
        }
        let result = std::task::ready!(self.responses.as_mut().poll(cx));
        self.responses_done = true;
        Poll::Ready((Side::Broker, result))
    }

    /// Asks once to be woken by a drain: a connection is polled thousands of times for every drain.
    fn listen(&mut self, cx: &mut task::Context<'_>) {
        let known = self.listening.as_ref();
        if known.is_none_or(|waker| !waker.will_wake(cx.waker())) && !self.drain_seen {
            self.drain_seen = self.drained.as_mut().poll(cx).is_ready();
            self.listening = Some(cx.waker().clone());
        }
    }
}

/// Reading from one side or writing to the other failed: whose fault it is.
fn at_fault(reader: Side, fault: &LaneFault) -> Ended {
    let other = if reader == Side::Client {
        Side::Broker
    } else {
        Side::Client
    };
    let (side, source) = match fault {
        LaneFault::Read(source) => (reader, source),
        LaneFault::Write(source) => (other, source),
    };
    let kind = match source.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => "reset",
        io::ErrorKind::UnexpectedEof => "eof",
        _ => "io",
    };
    Ended { side, kind }
}

fn close(context: &Context, ended: Ended, sockets: &[&TcpStream]) {
    if ended.kind == "reset" || ended.kind == "io" {
        for socket in sockets {
            reset(socket);
        }
    }
    let at = Stamp::now();
    let unanswered = context
        .in_flight
        .drain()
        .into_iter()
        .map(|p| answers::unanswered(at, p))
        .collect();
    context.emit(
        at,
        Name::from(""),
        EventKind::Closed {
            side: ended.side,
            kind: ended.kind,
            unanswered,
        },
    );
}

impl Context {
    /// Resolves once nothing is in flight any more.
    async fn idle_after_drain(&self) {
        while self.in_flight.len() > 0 {
            self.in_flight.changed_room.notified().await;
        }
    }
}
