//! The build that runs and what the kernel says of it (`/proc/self`), read when somebody looks.
//!
//! The names `process_*` are those every Prometheus client uses, so existing boards show them. Must not cache: a scrape wants
//! the value of now.

use std::{fs, time::SystemTime};

use prometheus::{
    core::{Collector, Desc},
    proto,
};

use super::{
    catalogue::Id,
    dataplane::{counter_f64, describe, family, gauge, gauge_with},
};

/// Kernel clock ticks per second: `USER_HZ` is 100 on every Linux architecture Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;
/// `VmRSS` is in KiB.
const KIB: f64 = 1024.0;

/// What was built.
#[derive(Debug, Clone)]
pub struct Build {
    /// Package version.
    pub version: String,
    /// Commit, or `unknown`.
    pub commit: String,
}

pub(super) struct Process {
    build: Build,
    started: f64,
    descs: Vec<Desc>,
}

impl Process {
    pub(super) fn new(build: &Build) -> Result<Self, prometheus::Error> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        Ok(Self {
            build: build.clone(),
            started: start_time().unwrap_or(now),
            descs: describe(&[
                Id::Build,
                Id::ProcessCpu,
                Id::ProcessMemory,
                Id::ProcessFds,
                Id::ProcessStart,
            ])?,
        })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let labels = [
            ("commit", self.build.commit.as_str()),
            ("version", self.build.version.as_str()),
        ];
        let mut out = vec![
            family(Id::Build, vec![gauge_with(&labels, 1.0)]),
            family(Id::ProcessStart, vec![gauge(self.started)]),
        ];
        let mut add = |id, metric: Option<proto::Metric>| {
            if let Some(metric) = metric {
                out.push(family(id, vec![metric]));
            }
        };
        add(Id::ProcessCpu, cpu_seconds().map(|v| counter_f64(&[], v)));
        add(Id::ProcessMemory, resident_bytes().map(gauge));
        add(Id::ProcessFds, open_fds().map(gauge));
        out
    }
}

/// Field `n` (1-based, as in proc(5)) of a stat line; fields before the third do not occur.
fn stat_field(line: &str, n: usize) -> Option<f64> {
    // The second field is the program's name in parentheses and may hold blanks.
    let (_, rest) = line.rsplit_once(')')?;
    rest.split_ascii_whitespace()
        .nth(n.checked_sub(3)?)?
        .parse()
        .ok()
}

fn cpu_seconds() -> Option<f64> {
    let line = fs::read_to_string("/proc/self/stat").ok()?;
    Some((stat_field(&line, 14)? + stat_field(&line, 15)?) / TICKS_PER_SECOND)
}

fn start_time() -> Option<f64> {
    let line = fs::read_to_string("/proc/self/stat").ok()?;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = stat
        .lines()
        .find_map(|l| l.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(boot + stat_field(&line, 22)? / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib: f64 = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib * KIB)
}

fn open_fds() -> Option<f64> {
    // One of them is the directory being read.
    let count = fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    u32::try_from(count).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_blanks_and_parentheses_does_not_shift_fields() {
        let line = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(stat_field(line, 14), Some(150.0));
        assert_eq!(stat_field(line, 15), Some(50.0));
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        assert!(resident_bytes().unwrap() > 1e5);
        assert!(open_fds().unwrap() >= 1.0);
        assert!(cpu_seconds().unwrap() >= 0.0);
        assert!(start_time().unwrap() > 1.6e9);
    }
}
