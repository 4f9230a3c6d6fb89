//! README's table of rights, row by row, on a broker that allows nothing without an ACL.
//!
//! Why: who gives a program rights must know what each is for, and who gives none must not find denials in the audit log all day. The
//! rights of each row are read from the table itself: with them its line works, without them exactly what the table says is lost, the
//! program says so, and the broker denied each thing once at most. This file must not look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use support::deadline::{poll_until, try_poll_until};
use support::kafka::{self, CLUSTER_ID, Kafka, KafkaSpec, Listener, Version};
use support::metrics::Metrics;
use support::throughline::{self, Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: usize = 10;
const COMMITTED: usize = 4;

const LAG: &str = "throughline_group_lag_records";
const BOUND: &str = "throughline_group_lag_seconds_bound";
const LOSS: &str = "throughline_group_time_to_loss_seconds";
const MEMBERS: &str = "throughline_group_members";
const DISKS: &str = "throughline_log_dir_used_ratio";
const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const UNKNOWN: &str = "throughline_sli_unknown_events_total";

/// One topic that is trimmed by age, one that never is; a group with a position in both.
const TOPICS: [&str; 2] = ["trimmed", "kept"];
const GROUP: &str = "reader";
/// Topic and group of the program beside the sidecar, which has rights of its own.
const PROGRAM: &str = "program";
/// Another topic that it writes to.
const LABELLED: &str = "labelled";
const READ: [(&str, &str); 2] = [("topic", "trimmed"), ("group", GROUP)];

/// An operation on a kind of resource, as ACLs name them.
type Right = (String, String);

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    what: String,
    rights: BTreeSet<Right>,
    without: String,
}

/// The table as README has it.
fn table() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).expect("README.md");
    let (_, after) = text
        .split_once("\n| what | rights in Kafka | without them |\n|---|---|---|\n")
        .expect("README.md has the table of rights");
    let lines = after.lines().take_while(|line| line.starts_with('|'));
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, rights, without] = cells[..] else {
            panic!("not three cells: {line}");
        };
        let elsewhere = ELSEWHERE.iter().any(|(row, ..)| *row == what);
        (!elsewhere).then(|| Row {
            what: what.to_owned(),
            rights: rights_of(rights),
            without: without.to_owned(),
        })
    });
    rows.flatten().collect()
}

/// Rows about topics of their own: (what, the file and the test that hold it).
const ELSEWHERE: [(&str, &str, &str); 2] = [
    (
        "`observe.canary`",
        "real_canary.rs",
        "rights_that_are_missing_are_said_and_hardly_ever_tried",
    ),
    (
        "`audit.topic`",
        "real_audit_topic.rs",
        "what_cannot_be_written_is_counted_and_traffic_goes_on",
    ),
];

/// `Describe and Read on the topics` and the like; what names no resource needs a login at most.
fn rights_of(cell: &str) -> BTreeSet<Right> {
    let Some((operations, resource)) = cell.split_once(" on the ") else {
        let none = cell.starts_with("none") || cell.starts_with("Metadata without a login");
        assert!(none, "what rights are `{cell}`?");
        return BTreeSet::new();
    };
    let resource = resource.trim_end_matches('s');
    assert!(["topic", "group", "cluster"].contains(&resource), "{cell}");
    let operations = operations.split(" and ").map(|word| match word {
        "Describe" | "Read" => word.to_uppercase(),
        "DescribeConfigs" => "DESCRIBE_CONFIGS".to_owned(),
        other => panic!("what operation is `{other}`?"),
    });
    operations.map(|one| (one, resource.to_owned())).collect()
}

/// Makes one test of each line, and the list of them that is held against README.
macro_rules! rows {
    ($($test:ident $what:literal $without:literal;)*) => {
        const ROWS: &[(&str, &str)] = &[$(($what, $without),)*];

        $(
            #[test]
            fn $test() {
                let stage = Stage::shared();
                let row = stage.table.iter().position(|row| row.what == $what);
                checks::$test(&stage, row.expect("README has the row"));
            }
        )*
    };
}

rows! {
    the_sidecar_does_its_work_without_a_right_of_its_own
        "`run`: proxy, injection, lineage, SLIs, lag, traces" "";
    the_cluster_is_named_as_soon_as_somebody_may_ask
        "label `cluster` before the program's first metadata request" "empty until then";
    check_needs_a_login_and_no_right
        "`check`" "";
    trace_searches_what_it_may_read
        "`trace`" "those topics are not searched";
    a_topic_is_seen_by_who_may_describe_it
        "`observe`: lag in records, delivery, retention of a topic" "the topic is not seen";
    a_group_is_seen_by_who_may_describe_it
        "`observe`: groups and their members" "the group is not seen; where the cluster may be described, it is named on `/readyz?verbose`";
    lag_in_seconds_is_exact_for_who_may_read
        "`observe`: exact lag in seconds" "a lower bound from how long the observer has seen the record's offset; what is not bad by it is unknown";
    time_to_loss_is_told_to_who_may_know_the_retention_and_read
        "`observe`: time to loss" "no time to loss";
    a_topic_that_is_never_trimmed_is_known_to_who_may_ask
        "`observe`: retention of topics that are never trimmed" "every topic is taken for one that is trimmed";
    disks_are_known_to_who_may_describe_the_cluster
        "`observe`: disks (half of the SLI `retention`); which topics may not be described" "partitions with enough headroom are unknown and not good";
}

#[test]
fn every_row_of_the_table_is_tested_and_nothing_else() {
    let table = table();
    let told: Vec<(&str, &str)> = table
        .iter()
        .map(|row| (row.what.as_str(), row.without.as_str()))
        .collect();
    assert_eq!(told, ROWS);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    for (what, file, test) in ELSEWHERE {
        assert!(readme.contains(&format!("\n| {what} | ")), "{what}");
        let text = std::fs::read_to_string(root.join("tests").join(file)).expect("a test");
        assert!(
            text.contains(&format!("\n#[test]\nfn {test}()")),
            "{file} {test}"
        );
    }
}

/// A broker with two users for each row of the table: one with its rights, one without.
struct Stage {
    kafka: Kafka,
    table: Vec<Row>,
    /// The trace of the first record of `trimmed`.
    trace: String,
}

fn with(row: usize) -> String {
    format!("with-{row}")
}

fn without(row: usize) -> String {
    format!("without-{row}")
}

impl Stage {
    fn shared() -> Arc<Self> {
        static STAGE: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut held = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        held.upgrade().unwrap_or_else(|| {
            let stage = Arc::new(Self::start());
            *held = Arc::downgrade(&stage);
            stage
        })
    }

    fn start() -> Self {
        let table = table();
        let mut spec = KafkaSpec::new(Version::V4_4_0)
            .listener(Listener::SaslPlaintext)
            .acls()
            .property("allow.everyone.if.no.acl.found", "false")
            // The brokers themselves, and who prepares the stage.
            .property("super.users", "User:ANONYMOUS");
        for row in 0..table.len() {
            for user in [with(row), without(row)] {
                spec = spec.user(&user, &format!("{user}-secret"));
            }
        }
        let kafka = Kafka::start(spec);
        let trace = prepare(&kafka);
        let stage = Self {
            kafka,
            table,
            trace,
        };
        stage.grant();
        stage
    }

    /// What the observer needs for everything, and the two rights that all its figures of a group rest on.
    fn grant(&self) {
        let of_observer = |row: &&Row| row.what.starts_with("`observe`");
        let rows = self.table.iter().filter(of_observer);
        let all: BTreeSet<&Right> = rows.flat_map(|row| &row.rights).collect();
        let basis = ["topic", "group"].map(|kind| ("DESCRIBE".to_owned(), kind.to_owned()));
        for (at, row) in self.table.iter().enumerate() {
            if of_observer(&row) {
                let mut rights = row.rights.clone();
                rights.extend(basis.clone());
                self.allow(&with(at), &rights);
                let lacks =
                    |right: &Right| row.rights.contains(right) || implies(right, &row.rights);
                let rest = all.iter().filter(|right| !lacks(right));
                self.allow(&without(at), &rest.map(|right| (*right).clone()).collect());
            } else {
                self.allow(&with(at), &row.rights);
            }
        }
        for (operation, kind) in [("READ", "topic"), ("WRITE", "topic"), ("READ", "group")] {
            self.acl("alice", operation, kind, PROGRAM);
        }
        self.acl("alice", "WRITE", "topic", LABELLED);
    }

    fn allow(&self, user: &str, rights: &BTreeSet<Right>) {
        for (operation, kind) in rights {
            let names: &[&str] = match kind.as_str() {
                "topic" => &TOPICS,
                "group" => &[GROUP],
                _ => &["kafka-cluster"],
            };
            for name in names {
                self.acl(user, operation, kind, name);
            }
        }
    }

    fn acl(&self, user: &str, operation: &str, kind: &str, name: &str) {
        self.kafka.admin(&format!(
            "add-acl --principal User:{user} --operation {operation} --resource {kind} --name {name}"
        ));
    }

    /// The program logs in as this user on its own connections.
    fn login(&self, spec: ThroughlineSpec, user: &str) -> ThroughlineSpec {
        let file = self.kafka.directory().join(format!("{user}-password"));
        std::fs::write(&file, format!("{user}-secret\n")).expect("a password file");
        spec.set("kafka.sasl.mechanism", "SCRAM-SHA-256")
            .set("kafka.sasl.username", user)
            .set("kafka.sasl.password_file", file.to_str().expect("text"))
    }

    fn address(&self) -> String {
        self.kafka.bootstrap(Listener::SaslPlaintext)
    }

    fn observer(&self, user: &str) -> Throughline {
        Throughline::start(self.login(ThroughlineSpec::observer(&self.address()), user))
    }

    fn sidecar(&self) -> ThroughlineSpec {
        ThroughlineSpec::new(&self.address())
    }

    /// A program that logs in as alice reads or writes through a sidecar.
    fn program(&self, sidecar: &Throughline, topic: &str, command: &str, more: &str) {
        let login = "--sasl-mechanism PLAIN --username alice --password alice-secret";
        kafka::run(
            &sidecar.bootstrap(),
            command,
            topic,
            &format!("{login} {more}"),
        );
    }

    /// The broker denied this user nothing twice.
    #[track_caller]
    fn denied_once(&self, user: &str) -> Vec<String> {
        let principal = format!("User:{user} ");
        let lines = self.kafka.log_lines(1, "Denied");
        let lines = lines.iter().filter(|line| line.contains(&principal));
        let what = lines.map(|line| {
            let from = line.find("operation = ").unwrap_or(0);
            line[from..]
                .split(" for request")
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        let mut denials: Vec<String> = what.collect();
        let all = denials.len();
        denials.sort();
        denials.dedup();
        assert_eq!(
            denials.len(),
            all,
            "{user} was denied the same twice: {denials:#?}"
        );
        denials
    }
}

/// Whether who has this right has one of those by it: Read implies Describe.
fn implies(right: &Right, those: &BTreeSet<Right>) -> bool {
    let (operation, kind) = right;
    operation == "READ" && those.contains(&("DESCRIBE".to_owned(), kind.clone()))
}

/// Records with context, and a group that has read some of them. The trace of the first.
fn prepare(kafka: &Kafka) -> String {
    kafka.topic("trimmed", 1, "--config retention.ms=86400000");
    kafka.topic("kept", 1, "");
    kafka.topic(PROGRAM, 1, "");
    kafka.topic(LABELLED, 1, "");
    let sidecar = Throughline::start(ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)));
    for topic in TOPICS {
        let more = format!("--count {COUNT} --partitions 1 --now");
        kafka::run(&sidecar.bootstrap(), "produce", topic, &more);
    }
    sidecar.terminate();
    let read = kafka.run(
        "consume",
        "trimmed",
        &format!("--group other --until {COUNT}"),
    );
    let first = read.records().into_iter().find(|record| record.offset == 0);
    let headers = first.expect("a first record").headers;
    let id = headers
        .into_iter()
        .find(|(name, _)| name == "correlation-id");
    kafka.admin(&format!(
        "commit --group {GROUP} --topic trimmed --partition 0 --offset {COMMITTED}"
    ));
    kafka.admin(&format!(
        "commit --group {GROUP} --topic kept --partition 0 --offset 0"
    ));
    let value = id.and_then(|(_, value)| value).expect("an id");
    support::clients::decoded(&value)
}

/// Waits until at least this many more looks were judged.
#[track_caller]
fn looks(observer: &Throughline, count: f64) -> Metrics {
    let labels = [("sli", "broker")];
    let begun = observer.metrics().sum(EVENTS, &labels);
    poll_until("looks at the cluster", LIMIT, || {
        let metrics = observer.metrics();
        (metrics.sum(EVENTS, &labels) >= begun + count).then_some(metrics)
    })
}

/// Waits until a figure is there.
#[track_caller]
fn appears(observer: &Throughline, name: &str, labels: &[(&str, &str)]) -> f64 {
    let found = try_poll_until(LIMIT, || observer.figure(name, labels));
    found.unwrap_or_else(|| {
        panic!(
            "no {name}{labels:?}\n{}",
            observer.metrics().page(&labels[..1])
        )
    })
}

#[track_caller]
fn says(of: &Throughline, what: &str) {
    let ready = of.get("/readyz?verbose");
    assert!(
        ready.body.contains(what),
        "`{what}` is not said: {}",
        ready.body
    );
}

#[track_caller]
fn says_nothing_of(of: &Throughline, what: &str) {
    let ready = of.get("/readyz?verbose");
    assert!(
        !ready.body.contains(what),
        "`{what}` is said: {}",
        ready.body
    );
}

/// Whoever tries a wrong password every second gets locked out, and fills the broker's log: once, then a minute's rest. The program
/// beside it goes on.
#[test]
fn a_refused_login_is_not_tried_again_and_again() {
    let stage = Stage::shared();
    let user = with(1);
    let file = stage.kafka.directory().join("wrong-password");
    std::fs::write(&file, "not-it").expect("a password file");
    let spec = stage.login(stage.sidecar(), &user);
    let spec = spec.set("kafka.sasl.password_file", file.to_str().expect("text"));
    let sidecar = Throughline::start_unready(spec);
    sidecar.wait_for_log("the broker refused the login");
    for _ in 0..3 {
        stage.program(
            &sidecar,
            LABELLED,
            "produce",
            "--count 1 --partitions 1 --now",
        );
    }
    let refused = stage.kafka.log_lines(1, "Failed authentication");
    let refused: Vec<_> = refused
        .iter()
        .filter(|line| !line.contains("alice"))
        .collect();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    sidecar.terminate();
}

/// What each row means, by the name of its test.
mod checks {
    use super::*;

    pub(super) fn the_sidecar_does_its_work_without_a_right_of_its_own(stage: &Stage, row: usize) {
        let user = without(row);
        for spec in [stage.sidecar(), stage.login(stage.sidecar(), &user)] {
            let sidecar = Throughline::start(spec);
            let [(read, written)] = stage.kafka.offsets(PROGRAM, PROGRAM)[..] else {
                panic!("one partition");
            };
            stage.program(
                &sidecar,
                PROGRAM,
                "produce",
                &format!("--count {COUNT} --partitions 1 --now"),
            );
            let topic = [("topic", PROGRAM)];
            sidecar.settles_at("throughline_produced_records_total", &topic, COUNT as f64);
            sidecar.settles_at("throughline_injected_records_total", &topic, COUNT as f64);
            // What tells that injection was switched off is there before it ever is.
            let off = [topic[0], ("reason", "refused")];
            sidecar.settles_at("throughline_injection_skipped_total", &off, 0.0);
            let left = written - read.max(0) + COUNT as i64;
            stage.program(
                &sidecar,
                PROGRAM,
                "consume",
                &format!("--group {PROGRAM} --until {left}"),
            );
            let read = [topic[0], ("group", PROGRAM)];
            sidecar.settles_at("throughline_delivered_records_total", &read, left as f64);
            sidecar.settles_at(GOOD, &[topic[0], ("sli", "publish")], COUNT as f64);
            let refused = sidecar.figure("throughline_authorization_failures_total", &[]);
            assert_eq!(refused, Some(0.0));
            says(&sidecar, "answered");
            sidecar.terminate();
        }
        assert_eq!(stage.denied_once(&user), [""; 0]);
        assert_eq!(stage.denied_once("alice"), [""; 0]);
    }

    pub(super) fn the_cluster_is_named_as_soon_as_somebody_may_ask(stage: &Stage, row: usize) {
        let named = |sidecar: &Throughline| {
            let metrics = sidecar.metrics();
            let build = metrics.select("throughline_build_info", &[]).next();
            let label = build.and_then(|sample| sample.labels.get("cluster").cloned());
            label.unwrap_or_default()
        };
        let user = with(row);
        let sidecar = Throughline::start(stage.login(stage.sidecar(), &user));
        let label = try_poll_until(LIMIT, || {
            Some(named(&sidecar)).filter(|label| !label.is_empty())
        });
        assert_eq!(label.as_deref(), Some(CLUSTER_ID));
        assert_eq!(stage.denied_once(&user), [""; 0]);
        sidecar.terminate();
        let sidecar = Throughline::start(stage.sidecar());
        says(
            &sidecar,
            "it wants authentication, so the cluster id is learnt from the application's traffic",
        );
        assert_eq!(named(&sidecar), "");
        stage.program(
            &sidecar,
            LABELLED,
            "produce",
            "--count 1 --partitions 1 --now",
        );
        let label = try_poll_until(LIMIT, || {
            Some(named(&sidecar)).filter(|label| !label.is_empty())
        });
        assert_eq!(label.as_deref(), Some(CLUSTER_ID));
        sidecar.terminate();
    }

    pub(super) fn check_needs_a_login_and_no_right(stage: &Stage, row: usize) {
        let user = without(row);
        let checked = throughline::check(&stage.login(stage.sidecar(), &user).settings());
        assert_eq!(checked.status, Some(0), "{}", checked.said);
        assert!(
            checked.said.contains(&format!("cluster {CLUSTER_ID}")),
            "{}",
            checked.said
        );
        assert_eq!(stage.denied_once(&user), [""; 0]);
    }

    pub(super) fn trace_searches_what_it_may_read(stage: &Stage, row: usize) {
        let trace = |user: &str, what: &[&str]| {
            let spec = stage.login(ThroughlineSpec::observer(&stage.address()), user);
            let settings = spec.settings();
            let mut command = throughline::binary();
            let output = command.arg("trace").args(what).args(settings).output();
            let output = output.expect("throughline trace runs");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (
                output.status.code(),
                text(&output.stdout),
                text(&output.stderr),
            )
        };
        let searched = ["--correlation-id", stage.trace.as_str()];
        for what in [&["trimmed:0:0"][..], &searched] {
            let (status, out, err) = trace(&with(row), what);
            assert_eq!(status, Some(0), "{what:?}: {err}");
            assert!(out.contains("trimmed:0:0"), "{out}");
        }
        assert_eq!(stage.denied_once(&with(row)), [""; 0]);
        let (status, out, err) = trace(&without(row), &["trimmed:0:0"]);
        assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("check the name and its rights"), "{err}");
        let (status, out, err) = trace(&without(row), &searched);
        assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
    }

    pub(super) fn a_topic_is_seen_by_who_may_describe_it(stage: &Stage, row: usize) {
        let seen = stage.observer(&with(row));
        seen.settles_at(LAG, &READ, (COUNT - COMMITTED) as f64);
        let pair = |sli: &'static str| [("sli", sli), READ[0]];
        assert_eq!(seen.figure(EVENTS, &pair("delivery")), Some(0.0));
        appears(&seen, "throughline_retention_used_ratio", &READ[..1]);
        stage.denied_once(&with(row));
        seen.terminate();
        let blind = stage.observer(&without(row));
        let metrics = looks(&blind, 4.0);
        let page = metrics.page(&READ[..1]);
        assert_eq!(page, "", "a topic that may not be described");
        says(&blind, "everything (DESCRIBE on topic");
        says(&blind, "kept, labelled, program, trimmed");
        stage.denied_once(&without(row));
        blind.terminate();
    }

    pub(super) fn a_group_is_seen_by_who_may_describe_it(stage: &Stage, row: usize) {
        let seen = stage.observer(&with(row));
        seen.settles_at(MEMBERS, &READ[1..], 0.0);
        stage.denied_once(&with(row));
        seen.terminate();
        let blind = stage.observer(&without(row));
        let metrics = looks(&blind, 4.0);
        assert_eq!(
            metrics.page(&READ[1..]),
            "",
            "a group that may not be described"
        );
        // It was told of both groups that are there, and asked for each once.
        let refusals = "throughline_observer_refusals_total";
        blind.settles_at(refusals, &[("api", "DescribeGroups")], 2.0);
        blind.settles_at(refusals, &[("api", "Fetch")], 0.0);
        says(&blind, "lag and members (DESCRIBE on group");
        says(&blind, GROUP);
        stage.denied_once(&without(row));
        blind.terminate();
    }

    pub(super) fn lag_in_seconds_is_exact_for_who_may_read(stage: &Stage, row: usize) {
        let upper = [READ[0], READ[1], ("bound", "upper")];
        let seen = stage.observer(&with(row));
        let finite = try_poll_until(LIMIT, || {
            seen.figure(BOUND, &upper).filter(|s| s.is_finite())
        });
        assert!(finite.is_some(), "{}", seen.metrics().page(&READ));
        says_nothing_of(&seen, "exact lag");
        stage.denied_once(&with(row));
        seen.terminate();
        let blind = stage.observer(&without(row));
        blind.settles_at(BOUND, &upper, f64::INFINITY);
        let unknown = [("sli", "lag"), READ[0], READ[1], ("reason", "no_rights")];
        appears(&blind, UNKNOWN, &unknown);
        says(&blind, "exact lag in seconds (READ on topic kept, trimmed)");
        looks(&blind, 4.0);
        stage.denied_once(&without(row));
        blind.terminate();
    }

    pub(super) fn time_to_loss_is_told_to_who_may_know_the_retention_and_read(
        stage: &Stage,
        row: usize,
    ) {
        let seen = stage.observer(&with(row));
        let blind = stage.observer(&without(row));
        let seconds = appears(&seen, LOSS, &READ);
        assert!((0.0..=86_400.0).contains(&seconds), "{seconds}");
        stage.denied_once(&with(row));
        seen.terminate();
        // The same time has passed for the other one.
        let metrics = looks(&blind, 1.0);
        assert!(
            metrics.select(LOSS, &READ).next().is_none(),
            "{}",
            metrics.page(&READ)
        );
        says(
            &blind,
            "time to loss (DESCRIBE_CONFIGS on topic kept, trimmed)",
        );
        stage.denied_once(&without(row));
        blind.terminate();
    }

    pub(super) fn a_topic_that_is_never_trimmed_is_known_to_who_may_ask(stage: &Stage, row: usize) {
        // The group has read none of it: it stands where a trim would take the next record.
        let bad = |user: &str| {
            let seen = stage.observer(user);
            let pair = [("sli", "retention"), ("topic", "kept")];
            let judged = try_poll_until(LIMIT, || {
                let events = seen.figure(EVENTS, &pair).unwrap_or(0.0);
                (events + seen.figure(UNKNOWN, &pair).unwrap_or(0.0) > 0.0).then_some(())
            });
            assert!(judged.is_some(), "{}", seen.metrics().page(&pair[1..]));
            let metrics = looks(&seen, 2.0);
            stage.denied_once(user);
            let named = seen.get("/readyz?verbose").body;
            seen.terminate();
            (metrics.sum(EVENTS, &pair) - metrics.sum(GOOD, &pair), named)
        };
        let (known, named) = bad(&with(row));
        assert_eq!(known, 0.0, "a topic that is never trimmed");
        assert!(!named.contains("DESCRIBE_CONFIGS"), "{named}");
        let (taken, named) = bad(&without(row));
        assert!(taken > 0.0, "it is taken for one that is trimmed");
        assert!(
            named.contains("(DESCRIBE_CONFIGS on topic kept, trimmed)"),
            "{named}"
        );
    }

    pub(super) fn disks_are_known_to_who_may_describe_the_cluster(stage: &Stage, row: usize) {
        let seen = stage.observer(&with(row));
        appears(&seen, DISKS, &[("broker", "1")]);
        let retention = [("sli", "retention"), READ[0]];
        let judged = try_poll_until(LIMIT, || {
            seen.figure(EVENTS, &retention).filter(|n| *n > 0.0)
        });
        assert!(judged.is_some(), "{}", seen.metrics().page(&READ[..1]));
        says(&seen, "everything (DESCRIBE on topic");
        stage.denied_once(&with(row));
        seen.terminate();
        let blind = stage.observer(&without(row));
        let unknown = [("sli", "retention"), READ[0], ("reason", "no_rights")];
        appears(&blind, UNKNOWN, &unknown);
        assert_eq!(blind.figure(DISKS, &[]), None);
        says(
            &blind,
            "disks, and groups but those that may be described (DESCRIBE on cluster)",
        );
        looks(&blind, 4.0);
        stage.denied_once(&without(row));
        blind.terminate();
    }
}
