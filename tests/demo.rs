//! `throughline demo` as a newcomer runs it: on the embedded cluster, and on a real one.
//!
//! The summary itself compares the sidecars with the cluster; here it is held to have compared something, and on a real
//! cluster its figures are compared once more with what Kafka's own client reads. Must not look into the process.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{process::Command, time::Duration};

use support::kafka::{Kafka, Listener, Version};
use support::process::Process;

const LIMIT: Duration = Duration::from_secs(120);
const TOPICS: [(&str, u32); 5] = [
    ("orders", 6),
    ("payments", 3),
    ("reservations", 3),
    ("shipments", 3),
    ("orders.billing.dlq", 3),
];

fn demo(arguments: &[&str]) -> Process {
    let mut command = support::throughline::binary();
    command.arg("demo").args(arguments);
    Process::spawn("throughline demo", &mut command)
}

/// Waits for the end: (exit status, lines of standard output).
fn end(mut process: Process) -> (Option<i32>, Vec<String>) {
    let status = process.wait(LIMIT).code();
    if status != Some(0) {
        // Shown where the test fails.
        eprintln!("{}", process.tail());
    }
    (status, process.lines_from(0))
}

/// Rows of the summary: (group, partition, [log end, committed, lag, delivered]); all must say ok.
fn rows(lines: &[String]) -> Vec<(String, usize, Vec<i64>)> {
    let table = lines.iter().filter(|line| line.contains(" orders:"));
    table
        .map(|line| {
            let cells: Vec<_> = line.split_whitespace().collect();
            assert_eq!(cells.last(), Some(&"ok"), "{line}");
            let partition = cells[1].trim_start_matches("orders:").parse();
            let figures = cells[2..6].iter().map(|cell| cell.parse().unwrap_or(-1));
            (
                cells[0].to_owned(),
                partition.expect("a partition"),
                figures.collect(),
            )
        })
        .collect()
}

/// Records acknowledged on a topic as the summary says.
fn acknowledged(lines: &[String], topic: &str) -> i64 {
    let prefix = format!("{topic}: ");
    let line = lines.iter().find_map(|line| line.strip_prefix(&prefix));
    let first = line.and_then(|line| line.split(' ').next());
    first
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no count of {topic} in {lines:#?}"))
}

fn assert_consistent(status: Option<i32>, lines: &[String]) {
    assert_eq!(status, Some(0), "{lines:#?}");
    let verdict = lines.iter().position(|line| line == "consistent");
    let trees = lines
        .get(verdict.expect("the verdict")..)
        .unwrap_or_default();
    let order = trees
        .iter()
        .position(|line| line.starts_with("one order, from Kafka alone"));
    let failed = trees
        .iter()
        .position(|line| line.starts_with("one order that failed"));
    let (order, failed) = (order.expect("a tree"), failed.expect("a second tree"));
    let branch = |tree: &[String], topic: &str| {
        let of = |line: &String| {
            line.trim_start_matches(['├', '└', '─', ' '])
                .starts_with(&format!("{topic}:"))
        };
        assert!(tree.iter().any(of), "no {topic} in {tree:#?}");
    };
    for topic in ["orders", "payments", "reservations", "shipments"] {
        branch(&trees[order..failed], topic);
    }
    for topic in ["orders", "orders.billing.dlq"] {
        branch(&trees[failed..], topic);
    }
    let rows = rows(lines);
    assert_eq!(rows.len(), 18, "{lines:#?}");
    for (group, partition, figures) in rows {
        let (end, committed, lag, delivered) = (figures[0], figures[1], figures[2], figures[3]);
        assert_eq!(end, committed + lag, "{group} {partition}");
        assert!(delivered >= committed, "{group} {partition}");
    }
    for (topic, _) in TOPICS {
        assert!(acknowledged(lines, topic) > 0, "{topic}: {lines:#?}");
    }
}

#[test]
fn the_embedded_demo_ends_consistent_and_shows_lag_grow_and_drain() {
    let process = demo(&[]);
    let lag = |line: &String| -> Option<i64> {
        let (_, behind) = line.split_once("fulfilment ")?;
        let (_, lag) = behind.split_once(" lag ")?;
        lag.split(' ').next()?.parse().ok()
    };
    process.wait_for("lag that grows and drains", LIMIT, |lines| {
        let lags: Vec<i64> = lines.iter().filter_map(lag).collect();
        let worst = lags.iter().max().copied().filter(|worst| *worst > 60)?;
        let mut after = lags.iter().skip_while(|lag| **lag < worst);
        after.find(|lag| **lag < worst / 3).map(drop)
    });
    process.signal("INT");
    let (status, lines) = end(process);
    assert_consistent(status, &lines);
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
}

/// Waits until there was enough to do for every topic and partition to be used.
#[track_caller]
fn works(process: &Process) {
    let dead = |line: &String| -> Option<u64> {
        let (_, count) = line.rsplit_once("dead letters ")?;
        count.split_whitespace().next()?.parse().ok()
    };
    process.wait_for("dead letters", LIMIT, |lines| {
        lines.iter().filter_map(dead).find(|count| *count >= 2)
    });
}

#[test]
fn a_demo_ends_by_itself_after_its_duration() {
    let (status, lines) = end(demo(&["--duration", "15s"]));
    assert_eq!(status, Some(0), "{lines:#?}");
    assert!(!rows(&lines).is_empty(), "{lines:#?}");
}

#[test]
fn an_interrupted_demo_ends_with_the_same_summary() {
    let process = demo(&[]);
    works(&process);
    process.signal("INT");
    let (status, lines) = end(process);
    assert_consistent(status, &lines);
}

#[test]
fn a_demo_that_nobody_reads_any_more_ends() {
    let program = support::throughline::binary();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" demo 2>&1 | head -n 12"]);
    shell.arg(program.get_program());
    for (name, _) in program.get_envs() {
        shell.env_remove(name);
    }
    let mut both = Process::spawn("demo | head", &mut shell);
    assert!(both.wait(LIMIT).success());
    assert_eq!(both.lines_from(0).len(), 12);
}

#[test]
fn the_demo_runs_on_a_real_cluster_twice_and_leaves_foreign_topics_alone() {
    let kafka = Kafka::single(Version::V4_4_0);
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let arguments = ["--bootstrap", &bootstrap, "--duration", "15s"];
    let process = demo(&arguments[..2]);
    works(&process);
    process.signal("INT");
    let (status, lines) = end(process);
    assert_consistent(status, &lines);
    assert!(
        lines[0].starts_with("created topics: orders, "),
        "{}",
        lines[0]
    );
    for (group, partition, figures) in rows(&lines) {
        let offsets = kafka.offsets(&group, "orders");
        assert_eq!(
            (figures[0], figures[1]),
            (offsets[partition].1, offsets[partition].0)
        );
    }

    let (status, lines) = end(demo(&arguments));
    assert_eq!(status, Some(0), "{lines:#?}");
    assert!(lines[0].contains("are there already"), "{}", lines[0]);

    let other = Kafka::single(Version::V4_4_0);
    other.create_topic("payments", 1);
    let bootstrap = other.bootstrap(Listener::Plaintext);
    let mut process = demo(&["--bootstrap", &bootstrap, "--duration", "15s"]);
    assert_eq!(process.wait(LIMIT).code(), Some(1));
    let told = process.tail();
    assert!(
        told.contains("payments has 1 partitions where 3 are needed"),
        "{told}"
    );
}
