//! Where Alertmanager sends its notifications in a test: a small HTTP server on loopback that keeps what it is sent.
//!
//! Why here: a notification is what a person gets, so that is what is looked at. Must not answer anything but 200: retries would
//! be counted as notifications.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

const READ_LIMIT: Duration = Duration::from_secs(10);

/// One request: the path it went to, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Notification {
    /// The label `name` of each of its alerts.
    pub(crate) fn labels(&self, name: &str) -> Vec<String> {
        let alerts = self.body["alerts"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let all = alerts.iter().map(|alert| &alert["labels"][name]);
        all.map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// A running receiver; ends when dropped.
pub(crate) struct Hook {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Notification>>>,
    ended: Arc<AtomicBool>,
}

impl Hook {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let hook = Self {
            address: listener.local_addr().expect("its address"),
            received: Arc::default(),
            ended: Arc::default(),
        };
        let (received, ended) = (Arc::clone(&hook.received), Arc::clone(&hook.ended));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A request that breaks off was no notification.
                let Some(told) = stream.ok().and_then(receive) else {
                    continue;
                };
                let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
                received.push(told);
            }
        });
        hook
    }

    /// Without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything received so far.
    pub(crate) fn all(&self) -> Vec<Notification> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.clone()
    }

    /// What went to this path or below it.
    pub(crate) fn to(&self, path: &str) -> Vec<Notification> {
        let mut all = self.all();
        all.retain(|told| told.path.starts_with(path));
        all
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is to end.
        let _woken = TcpStream::connect(self.address);
    }
}

fn receive(stream: TcpStream) -> Option<Notification> {
    stream.set_read_timeout(Some(READ_LIMIT)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    reader.get_mut().write_all(answer).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Notification { path, body })
}
