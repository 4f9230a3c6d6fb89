//! Nothing outlives the test binary, however that ends.
//!
//! `Drop` does not run for a process that is killed, nor for statics. So a small shell, in a process
//! group of its own, reads which groups are alive from a pipe that only we hold, and kills what is
//! left when the pipe closes.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"
groups=""
while read -r line; do
  case $line in
    +*) groups="$groups ${line#+}" ;;
    -*) kept=""
        for group in $groups; do [ "$group" = "${line#-}" ] || kept="$kept $group"; done
        groups=$kept ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Says that a process group was started.
pub(crate) fn watch(group: u32) {
    tell(&format!("+{group}\n"));
}

/// Says that a process group is gone.
pub(crate) fn forget(group: u32) {
    tell(&format!("-{group}\n"));
}

/// Sends a signal (`TERM`, `KILL`, `STOP`, `CONT`) to a whole process group.
pub(crate) fn signal(name: &str, group: u32) {
    // A group that is gone already is what the caller wanted.
    let _sent = Command::new("sh")
        .args(["-c", r#"kill -s "$0" -- "-$1""#, name, &group.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn tell(line: &str) {
    let pipe = REAPER.get_or_init(start);
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    pipe.write_all(line.as_bytes())
        .expect("the reaper has ended");
}

#[allow(
    clippy::zombie_processes,
    reason = "it must outlive us: it ends when our end of its pipe closes"
)]
fn start() -> Mutex<ChildStdin> {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("cannot start sh");
    Mutex::new(child.stdin.take().expect("stdin was asked for"))
}
