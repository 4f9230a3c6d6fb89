//! What the kernel says of a process: CPU time, resident memory, time to ready.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Stdio,
};

use tokio::time::Instant;

use super::super::support::{ports, process::Process, throughline::binary};

/// CPU seconds used so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage(f64);

impl Usage {
    /// Of all threads of a process, by the scheduler's nanoseconds; nothing for no process.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let Some(pid) = pid else { return Self(0.0) };
        let mut nanoseconds = 0u64;
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .expect("a running process")
            .flatten()
        {
            if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
                nanoseconds += text
                    .split(' ')
                    .next()
                    .and_then(|n| n.parse::<u64>().ok())
                    .unwrap_or(0);
            }
        }
        Self(nanoseconds as f64 / 1e9)
    }

    /// Seconds between two looks.
    pub(crate) fn since(self, before: Self) -> f64 {
        self.0 - before.0
    }
}

/// Resident memory, MB of 10^6 bytes.
pub(crate) fn resident_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .expect("VmRSS");
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number");
    kib * 1024.0 / 1e6
}

/// Milliseconds from exec to the first 200 of `/readyz`, asked in a tight loop.
pub(crate) fn ready_ms(broker: SocketAddr) -> f64 {
    let (listen, admin) = (ports::free(), ports::free());
    let mut command = binary();
    command
        .args([
            "run",
            "--bootstrap",
            &broker.to_string(),
            "--listen",
            &format!("127.0.0.1:{listen}"),
        ])
        .args([
            "--admin",
            &format!("127.0.0.1:{admin}"),
            "--set",
            "kafka.broker_listen=127.0.0.1:0",
        ])
        .stdin(Stdio::null());
    let start = Instant::now();
    let _running = Process::spawn("throughline", &mut command);
    let address = SocketAddr::from(([127, 0, 0, 1], admin));
    while !is_ready(address) {
        assert!(start.elapsed().as_secs() < 20, "not ready in time");
    }
    start.elapsed().as_secs_f64() * 1e3
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(admin) else {
        return false;
    };
    let mut answer = String::new();
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .is_ok()
        && socket.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
