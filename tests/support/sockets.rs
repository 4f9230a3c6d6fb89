//! Which TCP sockets a process holds, by the kernel's account: who listens where, and who dialled whom.

use std::collections::{BTreeSet, HashSet};
use std::fs;

const LISTEN: &str = "0A";

/// Ports on which the process listens.
#[track_caller]
pub(crate) fn listening(process: u32) -> BTreeSet<u16> {
    let own = sockets(process);
    let all = table().into_iter();
    all.filter(|socket| socket.listens && own.contains(&socket.inode))
        .map(|socket| socket.local)
        .collect()
}

/// Ports that the process has dialled, connected or still connecting.
#[track_caller]
pub(crate) fn dialled(process: u32) -> BTreeSet<u16> {
    let own = sockets(process);
    let all = table().into_iter();
    all.filter(|socket| !socket.listens && own.contains(&socket.inode))
        .map(|socket| socket.remote)
        .collect()
}

struct Socket {
    local: u16,
    remote: u16,
    listens: bool,
    inode: String,
}

/// Inodes of the sockets behind a process's open files; empty once it is gone.
fn sockets(process: u32) -> HashSet<String> {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return HashSet::new();
    };
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect()
}

/// Every TCP socket of this network namespace. Java's are all in the table of IPv6.
#[track_caller]
fn table() -> Vec<Socket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    assert!(!texts[0].is_empty(), "cannot read {}", tables[0]);
    let rows = texts.iter().flat_map(|text| text.lines().skip(1));
    rows.filter_map(row).collect()
}

fn row(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    Some(Socket {
        local: port(fields.get(1)?)?,
        remote: port(fields.get(2)?)?,
        listens: *fields.get(3)? == LISTEN,
        inode: (*fields.get(9)?).to_owned(),
    })
}
