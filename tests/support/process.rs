//! A child process with its output captured, killed with everything it started when dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::deadline::try_poll_until;
use super::reaper;

/// Lines of standard error that a failure message shows.
const STDERR_TAIL: usize = 40;
/// Lines of standard error that are kept.
const STDERR_KEPT: usize = 20_000;
/// Lines of standard output that a failure message shows.
const STDOUT_TAIL: usize = 20;

/// What a child wrote so far.
#[derive(Default)]
struct Captured {
    stdout: Mutex<Stdout>,
    stderr: Mutex<VecDeque<String>>,
    changed: Condvar,
}

#[derive(Default)]
struct Stdout {
    lines: Vec<String>,
    closed: bool,
}

/// A running child.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    captured: Arc<Captured>,
    gone: bool,
}

impl Process {
    /// Starts `command` in a process group of its own.
    #[track_caller]
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        Self::start(name, command, None)
    }

    /// As [`Process::spawn`], and copies standard output to a file.
    #[track_caller]
    pub(crate) fn spawn_logged(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::create(log)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", log.display()));
        Self::start(name, command, Some(file))
    }

    #[track_caller]
    fn start(name: &str, command: &mut Command, log: Option<File>) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        reaper::watch(child.id());
        let captured = Arc::new(Captured::default());
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was asked for");
        let stderr = child.stderr.take().expect("stderr was asked for");
        let both = Arc::clone(&captured);
        std::thread::spawn(move || both.read_stdout(stdout, log));
        let both = Arc::clone(&captured);
        std::thread::spawn(move || both.read_stderr(stderr));
        Self {
            name: name.to_owned(),
            child,
            stdin,
            captured,
            gone: false,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of standard output from number `from` on.
    pub(crate) fn lines_from(&self, from: usize) -> Vec<String> {
        let stdout = self.captured.stdout();
        stdout.lines.get(from..).unwrap_or_default().to_vec()
    }

    /// Waits until `find` yields something from the lines of standard output so far.
    ///
    /// Fails the test when the limit passes, or when the child closes its output without it.
    #[track_caller]
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> T {
        let end = Instant::now() + limit;
        let mut stdout = self.captured.stdout();
        loop {
            if let Some(found) = find(&stdout.lines) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || stdout.closed {
                let closed = stdout.closed;
                drop(stdout);
                let cause = if closed { "it ended" } else { "time is up" };
                panic!(
                    "{}: {what}: {cause} ({limit:?})\n{}",
                    self.name,
                    self.tail()
                );
            }
            stdout = self
                .captured
                .changed
                .wait_timeout(stdout, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Writes one line to standard input.
    #[track_caller]
    pub(crate) fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input was closed");
        if let Err(error) = stdin.write_all(format!("{line}\n").as_bytes()) {
            panic!(
                "{}: cannot write to it: {error}\n{}",
                self.name,
                self.tail()
            );
        }
    }

    /// Closes standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end of the child and of its output.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let status = try_poll_until(limit, || self.child.try_wait().expect("child is ours"));
        let Some(status) = status else {
            panic!(
                "{}: still running after {limit:?}\n{}",
                self.name,
                self.tail()
            );
        };
        self.bury();
        // The reader threads may lag behind the exit.
        try_poll_until(limit, || self.captured.stdout().closed.then_some(()));
        status
    }

    /// SIGTERM to the whole group.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Any signal by name (`STOP`, `CONT`, `HUP`, ...) to the whole group.
    pub(crate) fn signal(&self, name: &str) {
        if !self.gone {
            reaper::signal(name, self.id());
        }
    }

    /// SIGKILL to the whole group, and waits for the end.
    pub(crate) fn kill(&mut self) {
        if self.gone {
            return;
        }
        reaper::signal("KILL", self.id());
        // Not awaited through `wait`: this also runs while a test unwinds.
        let _status = self.child.wait();
        self.bury();
    }

    /// Whether the child has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.gone || matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// The last lines of both outputs, for failure messages.
    pub(crate) fn tail(&self) -> String {
        let stdout = self.captured.stdout();
        let first = stdout.lines.len().saturating_sub(STDOUT_TAIL);
        let out = stdout.lines[first..].join("\n");
        drop(stdout);
        let stderr = self.captured.stderr();
        let first = stderr.len().saturating_sub(STDERR_TAIL);
        let err: Vec<&str> = stderr.iter().skip(first).map(String::as_str).collect();
        format!(
            "last lines of stdout:\n{out}\nlast lines of stderr:\n{}",
            err.join("\n")
        )
    }

    /// All lines of standard error, but for the oldest of very many.
    pub(crate) fn log(&self) -> String {
        let stderr = self.captured.stderr();
        stderr.iter().map(|line| format!("{line}\n")).collect()
    }

    fn bury(&mut self) {
        self.gone = true;
        reaper::forget(self.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Captured {
    fn stdout(&self) -> MutexGuard<'_, Stdout> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stderr(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_stdout(&self, from: impl Read, mut log: Option<File>) {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(log) = log.as_mut() {
                // A full disk shows up in the child first.
                let _written = writeln!(log, "{line}");
            }
            self.stdout().lines.push(line);
            self.changed.notify_all();
        }
        self.stdout().closed = true;
        self.changed.notify_all();
    }

    fn read_stderr(&self, from: impl Read) {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut kept = self.stderr();
            if kept.len() == STDERR_KEPT {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }
}
