//! The dashboards in `dashboards/`: written by their generator, right by the rules of Grafana's linter and by Grafana's own types,
//! reading only what there is, and linked so that a figure leads to its record.
//!
//! Every check is also shown something that is wrong. Whether panels show data is tried against a real Prometheus elsewhere.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

#[path = "dashboards/links.rs"]
mod links;
#[path = "dashboards/linter.rs"]
mod linter;
mod promql;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use linter::{array, panels, text, variables};
use promql::Series;
use regex::Regex;
use serde_json::{Value, json};
use support::cache;
use throughline::metrics::catalogue::Id;

const BOARDS: &[&str] = &["executive", "on-call", "debug", "sidecar"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn board(name: &str) -> Value {
    let path = root().join(format!("dashboards/{name}.json"));
    let content = fs::read_to_string(&path).expect("dashboard");
    serde_json::from_str(&content).expect("JSON")
}

fn boards() -> Vec<Value> {
    BOARDS.iter().map(|name| board(name)).collect()
}

/// (panel, PromQL) of every query.
fn expressions(board: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for panel in panels(board) {
        for query in array(&panel["targets"]) {
            if query["datasource"]["type"] == "prometheus" {
                found.push((text(&panel["title"]), text(&query["expr"])));
            }
        }
    }
    found
}

/// PromQL of variables and annotations.
fn other_expressions(board: &Value) -> Vec<&str> {
    let queries = variables(board).iter();
    let queries = queries.filter_map(|variable| variable["query"]["query"].as_str());
    let selectors = queries.filter_map(|query| {
        let inner = query.strip_prefix("label_values(")?;
        Some(inner.rsplit_once(", ")?.0)
    });
    let annotations = array(&board["annotations"]["list"]).iter();
    let annotations = annotations.map(|annotation| text(&annotation["target"]["expr"]));
    selectors.chain(annotations).collect()
}

/// Labels in the legend that the query does not keep.
fn lost_in_legend(query: &Value) -> Vec<String> {
    let Ok(read) = promql::read(text(&query["expr"])) else {
        return Vec::new();
    };
    let kept: BTreeSet<&String> = read.grouping.iter().chain(&read.introduced).collect();
    let label = Regex::new(r"\{\{([a-z_]+)\}\}").expect("regex");
    let legend = label.captures_iter(text(&query["legendFormat"]));
    let legend = legend.map(|found| found[1].to_owned());
    legend.filter(|label| !kept.contains(label)).collect()
}

fn generate(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("python3");
    command.arg("-B").arg(directory.join("generate.py"));
    command.args(arguments).output().expect("python3")
}

#[test]
fn the_files_are_what_the_generator_writes() {
    let output = generate(&root().join("dashboards"), &["--check"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let copy = tempfile::tempdir().expect("directory");
    for name in ["generate.py", "grafana.py", "shared.py"] {
        let from = root().join("dashboards").join(name);
        fs::copy(from, copy.path().join(name)).expect("copy");
    }
    assert!(generate(copy.path(), &[]).status.success());
    assert!(generate(copy.path(), &["--check"]).status.success());
    fs::write(copy.path().join("debug.json"), "{}\n").expect("changed by hand");
    let output = generate(copy.path(), &["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("debug.json"));
}

#[test]
fn the_rules_of_grafanas_linter_hold_in_strict_form() {
    for board in boards() {
        let found = linter::lint(&board);
        assert!(found.is_empty(), "{}: {}", board["title"], said(&found));
    }
}

fn said(found: &[linter::Finding]) -> String {
    let lines = found.iter();
    let lines = lines.map(|finding| format!("{}: {}\n", finding.rule, finding.what));
    lines.collect()
}

/// Sets the value at `path` of a dashboard that is right.
fn broken(path: &str, value: Value) -> Value {
    let mut board = board("debug");
    *board.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
    board
}

#[test]
fn each_rule_finds_a_dashboard_that_breaks_it() {
    // What is changed stands where it is thought to stand.
    let debug = board("debug");
    assert_eq!(debug["templating"]["list"][7]["name"], "job");
    assert_eq!(debug["panels"][1]["type"], "timeseries");
    assert_eq!(debug["panels"][6]["type"], "logs");

    let cases = fs::read_to_string(root().join("tests/dashboards/broken.json")).expect("cases");
    let cases: Value = serde_json::from_str(&cases).expect("JSON");
    let mut broke = BTreeSet::new();
    for case in array(&cases["cases"]) {
        let rule = text(&case["rule"]);
        let found = linter::lint(&broken(text(&case["path"]), case["value"].clone()));
        let hit = found.iter().any(|finding| finding.rule == rule);
        assert!(hit, "{rule} does not mind {case}: {}", said(&found));
        broke.insert(rule);
    }
    assert_eq!(broke.len(), 17, "the linter has seventeen rules");
}

/// Whether promtool takes the expressions, as rules of a file.
fn promtool(expressions: &[&str]) -> Output {
    let rule = |(n, expr): (usize, &&str)| {
        let expr = expr.replace("$__rate_interval", "5m");
        json!({"record": format!("rule{n}"), "expr": expr.replace("$__range", "1h")})
    };
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    let file = tempfile::NamedTempFile::new().expect("file");
    let groups = json!({"groups": [{"name": "panels", "rules": rules}]});
    fs::write(file.path(), groups.to_string()).expect("rules");
    let mut command = Command::new("promtool");
    command.args(["check", "rules"]).arg(file.path());
    command
        .output()
        .expect("promtool, from Debian's package prometheus")
}

#[test]
fn every_query_is_promql() {
    for board in boards() {
        let all: Vec<&str> = expressions(&board)
            .into_iter()
            .map(|(_, expr)| expr)
            .collect();
        let output = promtool(&[all, other_expressions(&board)].concat());
        assert!(
            output.status.success(),
            "{}: {}",
            board["title"],
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(!promtool(&["sum by (a)"]).status.success());
}

#[test]
fn nothing_is_read_that_is_not_there() {
    let known = Series::with(promql::recorded());
    for board in boards() {
        let mut found: Vec<String> = Vec::new();
        for (title, expr) in expressions(&board) {
            let wrong = known.strangers(expr).into_iter();
            found.extend(wrong.map(|what| format!("{title}: {what}")));
            if expr.contains("vector(") {
                found.push(format!("{title}: makes up a value: {expr}"));
            }
        }
        for expr in other_expressions(&board) {
            found.extend(known.strangers(expr));
        }
        for query in panels(&board)
            .iter()
            .flat_map(|panel| array(&panel["targets"]))
        {
            found.extend(
                lost_in_legend(query)
                    .into_iter()
                    .map(|label| format!("{} does not keep {label}", text(&query["expr"]))),
            );
        }
        assert!(found.is_empty(), "{}: {found:#?}", board["title"]);
    }
    for wrong in [
        "throughline_no_such_family",
        "throughline_poison_records{broker=\"1\"}",
        "sum by (broker) (throughline_poison_records)",
        "cluster:throughline_no_such_rule:ratio",
    ] {
        assert!(!known.strangers(wrong).is_empty(), "{wrong} passes");
    }
    let query = json!({"expr": "sum by (topic) (up)", "legendFormat": "{{topic}} {{group}}"});
    assert_eq!(lost_in_legend(&query), ["group"]);
}

/// Families that are neither in `read` nor explained, and explanations of families that are.
fn unused(read: &str, explained: &str) -> Vec<String> {
    let word = Regex::new(r"[a-z_]+").expect("regex");
    let words: BTreeSet<&str> = word.find_iter(read).map(|found| found.as_str()).collect();
    let lines = explained.lines().filter(|line| !line.starts_with('#'));
    let mut reasons: BTreeMap<&str, &str> = lines
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let mut found = Vec::new();
    let families = Id::ALL.iter().map(|id| id.family());
    for family in families.filter(|family| !family.only_pushed()) {
        let parts = ["", "_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name));
        let is_read = parts.iter().any(|name| words.contains(name.as_str()));
        match reasons.remove(family.name) {
            None if !is_read => found.push(format!("{} is read nowhere", family.name)),
            Some(_) if is_read => found.push(format!("{} is read", family.name)),
            Some(reason) if reason.trim().is_empty() => found.push(format!("why {}?", family.name)),
            _ => {}
        }
    }
    found.extend(reasons.keys().map(|name| format!("{name} is no family")));
    found
}

#[test]
fn every_family_is_in_a_panel_or_a_rule_or_its_absence_is_explained() {
    let mut read = String::new();
    for board in boards() {
        for (_, expr) in expressions(&board) {
            read.push_str(expr);
            read.push('\n');
        }
    }
    for entry in fs::read_dir(root().join("alerts")).expect("alerts") {
        let path = entry.expect("entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            read.push_str(&fs::read_to_string(path).expect("rules"));
        }
    }
    let explained = fs::read_to_string(root().join("dashboards/detail-only.txt")).expect("list");
    let found = unused(&read, &explained);
    assert!(found.is_empty(), "{found:#?}");

    let less = read.replace("throughline_poison_records", "");
    assert_eq!(
        unused(&less, &explained),
        ["throughline_poison_records is read nowhere"]
    );
    let more = format!("{explained}throughline_broker_up too much\nthroughline_gone long ago\n");
    assert_eq!(unused(&read, &more).len(), 2);
}

#[test]
fn links_lead_to_what_there_is_with_variables_that_are_taken_there() {
    let all = boards();
    for board in &all {
        for link in links::of(board) {
            let found = links::wrong(&link, board, &all);
            assert!(
                found.is_empty(),
                "{}: {}: {found:?}",
                board["title"],
                link.url
            );
        }
    }
    for url in [
        "/d/throughline-gone",
        "/d/throughline-debug?var-nothing=1",
        "/d/throughline-debug?var-topic=${__data.fields.topic}",
        "/d/throughline-debug?${nothing:queryparam}",
        "/d/throughline-executive?${job:queryparam}",
        "/explore?panes=%7B",
    ] {
        let board = broken("/links/0/url", json!(url));
        let link = links::of(&board).into_iter().next().expect("link");
        assert!(
            !links::wrong(&link, &board, &all).is_empty(),
            "{url} passes"
        );
    }
}

/// Whether a click in a panel of `from` opens `to` with these variables.
fn leads(from: &Value, to: &str, set: &[&str]) -> bool {
    links::of(from).iter().any(|link| {
        let sets = |name: &&str| link.url.contains(&format!("&var-{name}=${{__"));
        link.url.starts_with(&format!("/d/{to}?")) && set.iter().all(sets)
    })
}

#[test]
fn from_executive_to_a_trace_is_four_clicks() {
    let [executive, on_call, debug, _] = &boards()[..] else {
        panic!("four dashboards")
    };
    assert!(leads(
        executive,
        "throughline-on-call",
        &["cluster", "topic"]
    ));
    assert!(leads(
        on_call,
        "throughline-debug",
        &["cluster", "topic", "group"]
    ));
    assert!(!leads(on_call, "throughline-executive", &["topic"]));
    let queries = panels(debug)
        .into_iter()
        .flat_map(|panel| array(&panel["targets"]));
    let dots = queries.filter(|query| query["exemplar"] == true);
    let dots: Vec<&str> = dots.map(|query| text(&query["expr"])).collect();
    for family in [
        "end_to_end_latency",
        "processing_duration",
        "produce_duration",
    ] {
        let shown = dots.iter().any(|expr| expr.contains(family));
        assert!(shown, "no exemplars of {family}");
    }
    let explore = links::of(debug);
    let mut explore = explore
        .iter()
        .filter(|link| link.url.starts_with("/explore"));
    assert!(explore.any(|link| link.url.contains("${tempo_datasource}")));
    assert!(explore.any(|link| link.url.contains("${loki_datasource}")));
}

/// What Grafana would take, and people would stumble over.
fn untidy(board: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in array(&board["panels"]) {
        if !ids.insert(panel["id"].as_u64()) {
            found.push(format!("id {} twice", panel["id"]));
        }
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(99);
        if place("x") + place("w") > 24 {
            found.push(format!("{} is too wide", panel["title"]));
        }
        if panel["type"] != "row" && text(&panel["description"]).split(' ').count() < 8 {
            found.push(format!("{} does not say how to read it", panel["title"]));
        }
    }
    for (key, wanted) in [
        ("tags", json!(["throughline"])),
        ("schemaVersion", json!(42)),
        ("editable", json!(false)),
    ] {
        if board[key] != wanted {
            found.push(format!("{key} is {}", board[key]));
        }
    }
    for name in ["cluster", "team", "topic", "group", "job", "instance"] {
        if !variables(board)
            .iter()
            .any(|variable| variable["name"] == name)
        {
            found.push(format!("no variable {name}"));
        }
    }
    let alerts = text(&board["annotations"]["list"][0]["target"]["expr"]);
    if !alerts.starts_with("ALERTS{") {
        found.push("alerts are not marked".to_owned());
    }
    let named = Regex::new(r#""uid":"([^"]*)""#).expect("regex");
    let mut content = board.clone();
    content["uid"] = Value::Null;
    for uid in named.captures_iter(&content.to_string()) {
        if !uid[1].starts_with("${") {
            found.push(format!("the data source {} is fixed", &uid[1]));
        }
    }
    found
}

#[test]
fn dashboards_are_tidy_and_name_no_data_source() {
    let uids: BTreeSet<String> = boards()
        .iter()
        .map(|board| board["uid"].to_string())
        .collect();
    let wanted = BOARDS.iter().map(|name| format!("\"throughline-{name}\""));
    assert_eq!(uids, wanted.collect());
    for board in boards() {
        let found = untidy(&board);
        assert!(found.is_empty(), "{}: {found:#?}", board["title"]);
    }
    for (path, value) in [
        ("/panels/2/id", json!(1)),
        ("/panels/1/gridPos/w", json!(30)),
        ("/panels/1/description", json!("Latency.")),
        ("/schemaVersion", json!(16)),
        ("/templating/list/4/name", json!("owner")),
        ("/annotations/list/0/target/expr", json!("up")),
        ("/panels/1/targets/0/datasource/uid", json!("prometheus")),
    ] {
        assert_eq!(untidy(&broken(path, value)).len(), 1, "{path}");
    }
}

/// What the compiler says of dashboards as values of Grafana's types.
fn compile(files: &[PathBuf]) -> Output {
    let sources = root().join("tests/dashboards/typecheck");
    let manifests = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    let digest = cache::digest(&manifests);
    let modules = cache::artifact(&format!("node-dashboards-{digest}"), |directory| {
        for (from, name) in manifests.iter().zip(["package.json", "package-lock.json"]) {
            fs::copy(from, directory.join(name)).expect("manifest");
        }
        let mut command = Command::new("npm");
        command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        cache::step(command.current_dir(directory));
    });
    let work = tempfile::tempdir().expect("directory");
    let mut command = Command::new("node");
    command.arg(sources.join("check.mjs")).arg(modules);
    command.arg(work.path()).args(files).output().expect("node")
}

#[test]
fn dashboards_are_what_grafanas_published_types_want() {
    let path = |name: &&str| root().join(format!("dashboards/{name}.json"));
    let files: Vec<PathBuf> = BOARDS.iter().map(path).collect();
    let output = compile(&files);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");

    let directory = tempfile::tempdir().expect("directory");
    let wrong = [
        (
            "/panels/1/fieldConfig/defaults/custom/drawStyle",
            json!("crayon"),
        ),
        ("/panels/1/options/legend/placement", json!("left")),
        ("/panels/2/gridPos/h", json!("tall")),
        ("/templating/list/4/hide", json!("yes")),
        ("/annotations/list/0/iconColor", json!(7)),
    ];
    let mut files = Vec::new();
    for (n, (path, value)) in wrong.iter().enumerate() {
        let file = directory.path().join(format!("wrong{n}.json"));
        fs::write(&file, broken(path, value.clone()).to_string()).expect("dashboard");
        files.push(file);
    }
    let output = compile(&files);
    let said = String::from_utf8_lossy(&output.stdout);
    for (n, case) in wrong.iter().enumerate() {
        assert!(
            said.contains(&format!("wrong{n}.ts")),
            "{case:?} passes: {said}"
        );
    }
}
