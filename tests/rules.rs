//! Recording rules and alerts: as the binary writes them, what they name, that each is tested, and what `slo status` makes of them.
//!
//! What each rule says is tested by `promtool test rules` over `alerts/tests/`; here it is run, and held against the rules so that none is
//! left out. `UPDATE_ALERTS=1 cargo test --test rules` writes the files of `alerts/` that are output of `throughline slo generate`.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

#[path = "rules/prometheus.rs"]
mod prometheus;
mod promql;
#[path = "rules/yaml.rs"]
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use prometheus::{prometheus_with, promtool};
use promql::Series;
use support::{ports, throughline::binary};
use yaml::{list, text};

/// File in `alerts/`, and what makes it.
const WRITTEN: [(&str, &[&str]); 3] = [
    ("throughline.rules.yaml", &["--only", "rules"]),
    ("throughline.alerts.yaml", &["--only", "alerts"]),
    ("crd/prometheusrule.yaml", &["--format", "crd"]),
];
/// Fires always, so that its silence is the alarm.
const NEVER_SILENT: &str = "Watchdog";
/// Seconds for which Prometheus takes an old value for one of now.
const LOOKBACK: u64 = 300;

fn alerts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")
}

/// Runs the binary: exit status, stdout, stderr.
#[track_caller]
fn throughline(arguments: &[&str]) -> (i32, String, String) {
    let output = binary().args(arguments).output();
    let output = output.expect("the binary");
    let said = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().expect("it ended by itself");
    (code, said(output.stdout), said(output.stderr))
}

#[track_caller]
fn generated(arguments: &[&str]) -> String {
    let all: Vec<_> = ["slo", "generate"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let (code, out, err) = throughline(&all);
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    out
}

/// The rule groups of both files.
fn groups() -> Vec<Value> {
    let files = ["throughline.rules.yaml", "throughline.alerts.yaml"];
    let read = files.map(|file| yaml::read(&alerts().join(file)));
    read.iter()
        .flat_map(|file| list(file, "groups").to_vec())
        .collect()
}

fn rules() -> Vec<Value> {
    let groups = groups();
    let rules: Vec<_> = groups
        .iter()
        .flat_map(|group| list(group, "rules").to_vec())
        .collect();
    assert!(rules.len() > 80, "the rules were not understood: {rules:?}");
    rules
}

fn test_files() -> Vec<PathBuf> {
    let folder = fs::read_dir(alerts().join("tests")).expect("alerts/tests");
    let mut files: Vec<_> = folder
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.to_string_lossy().ends_with(".test.yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no tests of rules");
    files
}

/// Every test of every file in `alerts/tests`.
fn tests() -> Vec<Value> {
    let files = test_files();
    let files = files.iter().map(|file| yaml::read(file));
    files
        .flat_map(|file| list(&file, "tests").to_vec())
        .collect()
}

#[test]
fn the_files_of_alerts_are_what_the_binary_writes_for_the_defaults() {
    for (file, arguments) in WRITTEN {
        let (path, wanted) = (alerts().join(file), generated(arguments));
        if std::env::var_os("UPDATE_ALERTS").is_some() {
            fs::write(&path, wanted).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            continue;
        }
        let there = fs::read_to_string(&path);
        let there = there.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            there == wanted,
            "alerts/{file} is not what `throughline slo generate {}` writes; run UPDATE_ALERTS=1 cargo test --test rules",
            arguments.join(" ")
        );
    }
}

#[test]
fn the_custom_resource_holds_the_groups_of_both_files() {
    let resource = yaml::read(&alerts().join("crd/prometheusrule.yaml"));
    assert_eq!(text(&resource, "kind"), "PrometheusRule");
    assert_eq!(text(&resource, "apiVersion"), "monitoring.coreos.com/v1");
    assert_eq!(resource["spec"]["groups"], json!(groups()));
    let both = yaml::parse(&generated(&[])).expect("YAML");
    assert_eq!(both["groups"], json!(groups()), "both parts in one file");
}

#[test]
fn promtool_finds_no_fault_in_the_rules() {
    let files = ["throughline.rules.yaml", "throughline.alerts.yaml"];
    let (fine, said) = promtool(&alerts(), &[&["check", "rules"][..], &files].concat());
    assert!(fine, "{said}");
}

#[test]
fn every_test_of_the_rules_passes() {
    let files = test_files();
    let files = files.iter().map(|file| file.to_str().expect("a path"));
    let arguments: Vec<_> = ["test", "rules"].into_iter().chain(files).collect();
    let (fine, said) = promtool(&alerts(), &arguments);
    assert!(fine, "{said}");
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let (mut fire, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in tests() {
        for case in list(&test, "alert_rule_test") {
            let name = text(case, "alertname").to_owned();
            let expected = list(case, "exp_alerts");
            if expected.is_empty() {
                silent.insert(name.clone());
            }
            for alert in expected {
                fire.insert((
                    name.clone(),
                    text(&alert["exp_labels"], "severity").to_owned(),
                ));
            }
        }
    }
    let alerts = rules().into_iter().filter(|rule| rule["alert"].is_string());
    let alerts: BTreeSet<_> = alerts
        .map(|rule| {
            let severity = text(&rule["labels"], "severity").to_owned();
            (text(&rule, "alert").to_owned(), severity)
        })
        .collect();
    assert_eq!(
        fire, alerts,
        "left: fires in a test; right: alerts there are"
    );
    let names = alerts.into_iter().map(|(name, _)| name);
    let names: BTreeSet<_> = names.filter(|name| name != NEVER_SILENT).collect();
    assert_eq!(
        silent, names,
        "left: stays silent in a test; right: alerts there are"
    );
}

#[test]
fn every_recording_rule_has_an_expectation_on_what_it_makes_of_other_series() {
    let mut expected = BTreeSet::new();
    for test in tests() {
        let fed: BTreeSet<_> = list(&test, "input_series")
            .iter()
            .map(|input| text(input, "series").split('{').next().unwrap_or_default())
            .collect();
        for case in list(&test, "promql_expr_test") {
            if list(case, "exp_samples").is_empty() {
                continue;
            }
            let read = promql::read(text(case, "expr")).expect("PromQL");
            let names = read.selectors.iter().flat_map(promql::Selector::names);
            expected.extend(names.filter(|name| !fed.contains(name.as_str())));
        }
    }
    let missing: Vec<_> = rules()
        .iter()
        .map(|rule| text(rule, "record").to_owned())
        .filter(|name| !name.is_empty() && !expected.contains(name))
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "recorded, and never expected"
    );
}

/// Every name that stands in a template after `$labels.`.
fn template_labels(text: &str) -> BTreeSet<String> {
    let after = text.split("$labels.").skip(1);
    after
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

/// Every expression of rules, and what it belongs to.
fn known() -> (Vec<Value>, Series) {
    let rules = rules();
    let recorded = rules.iter().filter_map(|rule| rule["record"].as_str());
    let known = Series::with(recorded.map(str::to_owned));
    (rules, known)
}

#[test]
fn no_rule_names_a_metric_or_label_that_is_not_in_the_catalogue() {
    let (rules, known) = known();
    for rule in &rules {
        let unknown = known.strangers(text(rule, "expr"));
        assert!(
            unknown.is_empty(),
            "{}{}: {unknown:?}",
            text(rule, "alert"),
            text(rule, "record")
        );
        for part in ["labels", "annotations"] {
            let templates = rule[part].as_object().into_iter().flatten();
            for (name, template) in templates {
                let template = template.as_str().unwrap_or_default();
                for label in template_labels(template) {
                    assert!(
                        known.has_label(&label),
                        "{} {name}: {label}",
                        text(rule, "alert")
                    );
                }
            }
        }
    }
}

#[test]
fn a_name_that_nobody_has_is_found_out() {
    let (_, known) = known();
    for (expr, wrong) in [
        (
            "rate(throughline_nothing_total[5m])",
            "throughline_nothing_total is not there",
        ),
        (
            "sum by (colour) (up)",
            "nothing in it has the label colour: sum by (colour) (up)",
        ),
        (
            "{__name__=~\"throughline_(group_)?nothing\"}",
            "throughline_group_nothing is not there",
        ),
        (
            "throughline_broker_up{topic=\"x\"}",
            "[\"throughline_broker_up\"] has no label topic",
        ),
        (
            "throughline_proxy_added_latency_seconds",
            "throughline_proxy_added_latency_seconds is not there",
        ),
        (
            "cluster_topic:nothing:rate5m",
            "cluster_topic:nothing:rate5m is not there",
        ),
    ] {
        let unknown = known.strangers(expr);
        assert!(unknown.contains(&wrong.to_owned()), "{expr}: {unknown:?}");
    }
}

#[test]
fn every_alert_says_how_loud_whose_what_mutes_it_and_where_to_look() {
    let (rules, _) = known();
    let severities = ["page", "channel", "ticket", "none"];
    let mutes = [
        "maintenance",
        "schema_migration",
        "none",
        "{{ if eq $labels.sli \"schema\" }}schema_migration{{ else }}maintenance{{ end }}",
    ];
    for rule in rules.iter().filter(|rule| rule["alert"].is_string()) {
        let (name, labels) = (text(rule, "alert"), &rule["labels"]);
        let notes = &rule["annotations"];
        assert!(severities.contains(&text(labels, "severity")), "{name}");
        assert!(mutes.contains(&text(labels, "mute")), "{name}");
        assert_ne!(text(labels, "team"), "", "{name}");
        for note in ["summary", "description"] {
            assert_ne!(text(notes, note), "", "{name} {note}");
        }
        let page = format!("/alerts/runbooks/{name}.md");
        assert!(text(notes, "runbook_url").ends_with(&page), "{name}");
        let board = text(notes, "dashboard_url");
        assert!(board.contains("/d/throughline-"), "{name}");
        assert!(
            board.contains("?var-cluster={{ $labels.cluster | urlquery }}"),
            "{name}"
        );
    }
}

#[test]
fn what_is_recorded_never_grows_old_before_it_is_recorded_anew() {
    for group in groups() {
        let every = text(&group, "interval");
        let seconds = match every.split_at(every.len() - 1) {
            (count, "s") => count.parse::<u64>().expect("seconds"),
            (count, "m") => count.parse::<u64>().expect("minutes") * 60,
            _ => panic!("{every}"),
        };
        // At once the lookback is at its end and the next value, some time in evaluation, is not there: a hole that alerts fall into.
        assert!(
            seconds * 2 <= LOOKBACK,
            "group {} every {every}, and a value is taken for one of now for {LOOKBACK} s",
            text(&group, "name")
        );
    }
}

#[test]
fn links_lead_where_it_was_asked_for() {
    let wiki = "https://wiki.example.com/kafka";
    let board = "https://grafana.example.com";
    let out = generated(&[
        "--only",
        "alerts",
        "--runbooks",
        wiki,
        "--dashboards",
        board,
    ]);
    let file = yaml::parse(&out).expect("YAML");
    let groups = list(&file, "groups").iter();
    for rule in groups.flat_map(|group| list(group, "rules")) {
        let Some(name) = rule["alert"].as_str() else {
            continue;
        };
        let notes = &rule["annotations"];
        assert_eq!(text(notes, "runbook_url"), format!("{wiki}/{name}.md"));
        assert!(text(notes, "dashboard_url").starts_with(&format!("{board}/d/throughline-")));
    }
}

#[test]
fn own_objectives_count_the_first_that_matches_and_one_too_low_for_the_factor_still_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let config = here.join("own_objectives.yaml");
    let config = config.to_str().expect("a path");
    let mut all = Vec::new();
    for (file, part) in [
        ("throughline.rules.yaml", "rules"),
        ("throughline.alerts.yaml", "alerts"),
    ] {
        let out = generated(&["--config", config, "--only", part]);
        let parsed = yaml::parse(&out).expect("YAML");
        all.extend(list(&parsed, "groups").to_vec());
        fs::write(directory.path().join(file), out).expect("the rules");
    }
    let resource = generated(&["--config", config, "--format", "crd"]);
    let resource = yaml::parse(&resource).expect("YAML");
    assert_eq!(
        resource["spec"]["groups"],
        json!(all),
        "the custom resource"
    );
    let test = "own_objectives.test.yaml";
    fs::copy(here.join(test), directory.path().join(test)).expect("the test");
    let (fine, said) = promtool(directory.path(), &["test", "rules", test]);
    assert!(fine, "{said}");
}

#[test]
fn a_pattern_that_prometheus_reads_otherwise_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("throughline.yaml");
    for pattern in ["(?x)orders # all", "[a-z&&[^x]]", "\\p{Greek}"] {
        let objective =
            format!("objectives:\n  - {{match: '{pattern}', sli: publish, target: 0.9}}\n");
        fs::write(&config, objective).expect("a configuration");
        let file = config.to_str().expect("a path");
        for arguments in [&["--format", "crd"][..], &["--only", "rules"], &[]] {
            let before = ["slo", "generate", "--config", file];
            let (code, out, err) = throughline(&[&before[..], arguments].concat());
            assert_eq!((code, out.as_str()), (2, ""), "{pattern}: {err}");
            assert!(
                err.starts_with("objectives: ") && err.contains(pattern) && err.contains("RE2"),
                "{err}"
            );
        }
    }
}

/// What is recorded of one budget: share and count of bad events of an hour, and what is left of 30 days.
fn recorded(
    labels: &str,
    objective: f64,
    (events, bad): (f64, f64),
    left: f64,
) -> Vec<(String, f64)> {
    let values = BTreeMap::from([
        ("throughline_sli_objective:ratio", objective),
        ("throughline_sli_errors:ratio1h", bad / events),
        ("throughline_sli_events:increase1h", events),
        ("throughline_sli_good_events:increase1h", events - bad),
        ("throughline_sli_budget_left:ratio30d", left),
    ]);
    let named =
        |(name, value): (&str, f64)| (format!("cluster_sli_topic_group:{name}{{{labels}}}"), value);
    values.into_iter().map(named).collect()
}

const ORDERS: &str = "cluster=\"east\",sli=\"publish\",topic=\"orders\"";
const STOCK: &str = "cluster=\"east\",sli=\"lag\",topic=\"stock\",group=\"billing\"";

/// `slo status` at an address, with these flags: exit status, lines as words, stderr.
#[track_caller]
fn status(url: &str, flags: &[&str]) -> (i32, Vec<Vec<String>>, String) {
    let before = ["slo", "status", "--prometheus", url];
    let (code, out, err) = throughline(&[&before[..], flags].concat());
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    (code, out.lines().map(words).collect(), err)
}

#[test]
fn a_budget_that_burns_stops_what_asks_first_and_only_where_it_burns() {
    let mut series = recorded(ORDERS, 0.999, (10_000.0, 41.0), 0.25);
    series.extend(recorded(STOCK, 0.99, (10_000.0, 399.0), 0.5));
    let few = "cluster=\"west\",sli=\"publish\",topic=\"orders\"";
    series.extend(recorded(few, 0.999, (10.0, 9.0), -1.5));
    let prometheus = prometheus_with(&series);
    let url = prometheus.url();
    let (code, lines, err) = status(&url, &["--fail-if-burning"]);
    assert_eq!(code, 1, "{err}");
    assert_eq!(err, "1 of 3 error budgets burn over 4x\n");
    let expected = [
        "CLUSTER SLI TOPIC GROUP OBJECTIVE BAD 1H BURN 1H LEFT 30D",
        "west publish orders - 99.9 % 9 900x -150 %",
        "east publish orders - 99.9 % 41 4.1x 25 % BURNING",
        "east lag stock billing 99 % 399 3.99x 50 %",
    ];
    let lines: Vec<_> = lines.iter().map(|line| line.join(" ")).collect();
    assert_eq!(lines, expected);
    for (flags, wanted) in [
        (&[][..], 0),
        (&["--topic", "^stock$", "--fail-if-burning"], 0),
        (&["--cluster", "west", "--fail-if-burning"], 0),
        (
            &[
                "--topic",
                "^orders$",
                "--cluster",
                "east",
                "--fail-if-burning",
            ],
            1,
        ),
    ] {
        let (code, lines, err) = status(&format!("{url}/"), flags);
        assert_eq!(code, wanted, "{flags:?}: {lines:?} {err}");
    }
    let (code, lines, err) = status(&url, &["--topic", "^nothing"]);
    assert_eq!((code, lines.len()), (1, 0), "{err}");
    assert!(err.contains("no indicator that is asked for"), "{err}");
}

#[test]
fn healthy_budgets_let_it_pass() {
    let mut series = recorded(ORDERS, 0.999, (10_000.0, 10.0), 0.9);
    series.extend(recorded(STOCK, 0.99, (1_000.0, 0.0), 1.0));
    let prometheus = prometheus_with(&series);
    let (code, lines, err) = status(&prometheus.url(), &["--fail-if-burning"]);
    assert_eq!((code, err.as_str(), lines.len()), (0, "", 3), "{lines:?}");
    let burning = lines.iter().flatten().any(|word| word == "BURNING");
    assert!(!burning, "{lines:?}");
}

#[test]
fn what_cannot_be_known_does_not_pass_for_healthy_and_says_why() {
    let prometheus = prometheus_with(&[]);
    let url = prometheus.url();
    let (code, lines, err) = status(&url, &["--fail-if-burning"]);
    assert_eq!((code, lines.len()), (1, 0), "{err}");
    assert!(
        err.starts_with(&format!("prometheus {url}: ")) && err.contains("slo generate"),
        "no data: {err}"
    );
    let (code, lines, err) = status(&format!("{url}/graph"), &["--fail-if-burning"]);
    assert_eq!((code, lines.len()), (1, 0), "{err}");
    assert!(err.contains("/graph?"), "the address of a page: {err}");
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let (code, lines, err) = status(&nobody, &["--fail-if-burning"]);
    assert_eq!((code, lines.len()), (1, 0), "{err}");
    assert!(err.contains(&nobody) && err.contains("refused"), "{err}");
    let (code, _, err) = status("prometheus:9090", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("http://"), "no scheme: {err}");
}
