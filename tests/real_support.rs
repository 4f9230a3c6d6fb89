//! The witnesses themselves: relay, metrics parser, process guard.
//!
//! Why: a comparison is worth what its instruments are worth.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use support::metrics::Metrics;
use support::process::Process;
use support::relay::{Direction, Relay};

const LIMIT: Duration = Duration::from_secs(10);

/// A server that sends everything back, and ends when the client has.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reading = stream.try_clone().expect("a clone");
            let mut writing = stream;
            std::thread::spawn(move || std::io::copy(&mut reading, &mut writing));
        }
    });
    address
}

fn connect(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect(relay.address()).expect("the relay listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream
}

#[test]
fn relay_passes_and_keeps_every_byte_and_a_half_close() {
    let relay = Relay::recording(echo());
    let mut stream = connect(&relay);
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let mut writing = stream.try_clone().expect("a clone");
    let copy = sent.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(&copy).expect("written");
        writing.shutdown(Shutdown::Write).expect("half closed");
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("read to the end");
    writer.join().expect("the writer ends");
    assert!(received == sent, "the relay changed what passed");
    relay.wait_until_closed(LIMIT);
    let recordings = relay.recordings();
    assert_eq!(recordings.len(), 1);
    let only = recordings.first().expect("one connection");
    assert!(only.client_to_broker == sent && only.broker_to_client == sent);
    assert_eq!(relay.bytes(Direction::ClientToBroker), 300_000);
}

#[test]
fn relay_cuts_a_connection_at_the_byte_it_was_told() {
    let relay = Relay::recording(echo());
    relay.cut_next(Direction::BrokerToClient, 7);
    let mut stream = connect(&relay);
    stream.write_all(b"0123456789").expect("written");
    let mut received = Vec::new();
    // A reset after the seven bytes is as good as an end.
    let _ended = stream.read_to_end(&mut received);
    assert_eq!(received, b"0123456");
    let mut next = connect(&relay);
    next.write_all(b"0123456789").expect("written");
    next.shutdown(Shutdown::Write).expect("half closed");
    let mut received = Vec::new();
    next.read_to_end(&mut received).expect("not cut");
    assert_eq!(received, b"0123456789");
}

#[test]
fn relay_holds_a_stalled_direction_back_and_goes_on() {
    let relay = Relay::counting(echo());
    relay.stall(Direction::BrokerToClient, true);
    let mut stream = connect(&relay);
    stream.write_all(b"held").expect("written");
    let short = Some(Duration::from_millis(200));
    stream.set_read_timeout(short).expect("a timeout");
    let mut received = [0; 4];
    let early = stream.read(&mut received);
    assert!(early.is_err(), "a stalled direction passed {early:?}");
    relay.stall(Direction::BrokerToClient, false);
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream.read_exact(&mut received).expect("passed on");
    assert_eq!(&received, b"held");
}

#[test]
fn metrics_are_read_with_labels_escapes_and_exemplars() {
    let text = concat!(
        "# HELP a_total Things.\n# TYPE a_total counter\n",
        "a_total{direction=\"in\",topic=\"o\\\"r,d}\"} 3 # {trace_id=\"1\"} 1 2\n",
        "a_total{direction=\"out\",topic=\"x\"} 4.5\na_total_created 1e9\n",
        "h_bucket{le=\"+Inf\"} 7\nlimit +Inf\n# EOF\n",
    );
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.sum("a_total", &[]), 7.5);
    assert_eq!(metrics.sum("a_total", &[("topic", "o\"r,d}")]), 3.0);
    assert_eq!(metrics.sum("a_total", &[("direction", "none")]), 0.0);
    assert_eq!(metrics.sum("h_bucket", &[("le", "+Inf")]), 7.0);
    assert!(metrics.has("limit") && !metrics.has("absent"));
}

#[test]
fn a_dropped_process_takes_its_children_with_it() {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!; wait"]);
    let process = Process::spawn("parent", &mut command);
    let child = process.wait_for("the child's id", LIMIT, |lines| lines.first().cloned());
    drop(process);
    support::deadline::poll_until("the child is gone", LIMIT, || {
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Whoever inherits a dead process may take its time to collect it.
        (state.is_empty() || state.contains(" Z ")).then_some(())
    });
}
