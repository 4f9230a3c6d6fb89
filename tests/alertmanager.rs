//! Who is told of what: the Alertmanager configuration as it is shipped, in `amtool` and in a running Alertmanager.
//!
//! The alerts here are planted; that the rules raise such alerts is shown elsewhere. Must not change the configuration beyond what
//! `tests/alertmanager/server.rs` says.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use support::alertmanager::{ALWAYS, Alertmanager, NEVER, amtool, folder, shipped, with_interval};
use support::deadline::{poll_until, try_poll_until};
use support::hook::Notification;

const LIMIT: Duration = Duration::from_secs(120);
const RUNBOOKS: &str = "https://github.com/throughline/throughline/blob/main/alerts/runbooks";

/// An alert as Prometheus sends it; labels are `name=value`.
fn alert(name: &str, severity: &str, labels: &[&str]) -> Value {
    let mut all = serde_json::Map::new();
    let always = [
        ("alertname", name),
        ("severity", severity),
        ("team", "logistics"),
        ("mute", "none"),
    ];
    let given = labels.iter().filter_map(|label| label.split_once('='));
    for (key, value) in always.into_iter().chain(given) {
        all.insert(key.to_owned(), json!(value));
    }
    let topic = all.get("topic").and_then(Value::as_str).unwrap_or_default();
    let annotations = json!({
        "summary": format!("{name} {topic}"),
        "description": format!("what {name} means"),
        "runbook_url": format!("{RUNBOOKS}/{name}.md"),
        "dashboard_url": format!("http://localhost:3000/d/throughline-on-call?var-topic={topic}"),
    });
    json!({"labels": all, "annotations": annotations, "generatorURL": "http://localhost:9090/graph"})
}

/// What a broker that is away brings about on eight topics; the broker itself is not among it.
fn storm(cluster: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for topic in [
        "orders",
        "payments",
        "reservations",
        "shipments",
        "invoices",
        "returns",
        "stock",
        "audit",
    ] {
        let labels = |more: &[&str]| -> Vec<String> {
            let team = if topic == "orders" {
                "team=checkout"
            } else {
                "team=logistics"
            };
            let of = [
                format!("cluster={cluster}"),
                format!("topic={topic}"),
                team.to_owned(),
                "mute=maintenance".to_owned(),
            ];
            of.into_iter()
                .chain(more.iter().map(|label| (*label).to_owned()))
                .collect()
        };
        let mut add = |name: &str, severity: &str, more: &[&str]| {
            let labels = labels(more);
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            all.push(alert(name, severity, &labels));
        };
        add("UnderReplicatedPartitions", "page", &[]);
        add("ErrorBudgetBurnFast", "page", &["sli=lag", "group=billing"]);
        add("ErrorBudgetBurnFast", "page", &["sli=availability"]);
        add(
            "ErrorBudgetBurnHigh",
            "page",
            &["sli=delivery", "group=billing"],
        );
        add(
            "ErrorBudgetBurnOnCall",
            "channel",
            &["sli=latency", "group=billing"],
        );
        add("PartitionStuck", "page", &["group=billing"]);
    }
    all.push(alert(
        "CanaryLost",
        "page",
        &[&format!("cluster={cluster}"), "mute=maintenance"],
    ));
    all
}

fn broker_unavailable(cluster: &str) -> Value {
    let labels = [
        format!("cluster={cluster}"),
        "broker=2".to_owned(),
        "mute=maintenance".to_owned(),
    ];
    alert(
        "BrokerUnavailable",
        "page",
        &labels.each_ref().map(String::as_str),
    )
}

/// Waits until `count` notifications went to a path, and gives those.
#[track_caller]
fn notified(alertmanager: &Alertmanager, path: &str, count: usize) -> Vec<Notification> {
    let got = try_poll_until(LIMIT, || {
        let got = alertmanager.hook.to(path);
        (got.len() >= count).then_some(got)
    });
    got.unwrap_or_else(|| {
        panic!(
            "no {count} at {path}: {:#?}\n{:#?}",
            alertmanager.hook.all(),
            alertmanager.alerts()
        )
    })
}

fn is_hidden(alert: &Value) -> bool {
    let by = alert["status"]["inhibitedBy"].as_array();
    by.is_some_and(|by| !by.is_empty())
}

/// Names of the alerts that something hides, and of those that nothing does.
fn hidden(alertmanager: &Alertmanager) -> (BTreeSet<String>, BTreeSet<String>) {
    let all = alertmanager.alerts();
    let name = |alert: &Value| {
        alert["labels"]["alertname"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (hidden, shown): (Vec<_>, Vec<_>) = all.iter().partition(|alert| is_hidden(alert));
    (
        hidden.into_iter().map(name).collect(),
        shown.into_iter().map(name).collect(),
    )
}

/// Nothing was sent to anybody beyond what the test has looked at.
#[track_caller]
fn assert_sent(alertmanager: &Alertmanager, count: usize) {
    let all = alertmanager.hook.all();
    assert_eq!(all.len(), count, "{all:#?}");
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn amtool_accepts_the_shipped_configuration_and_its_templates() {
    let config = folder().join("alertmanager.yaml");
    let (good, said) = amtool(&["check-config", &config.to_string_lossy()]);
    assert!(good, "{said}");
    assert!(said.contains("1 templates"), "{said}");
    let broken = tempfile::NamedTempFile::new().expect("a file");
    fs::write(
        broken.path(),
        shipped().replace(
            "mute_time_intervals: [maintenance]",
            "mute_time_intervals: [none]",
        ),
    )
    .expect("it is written");
    let (good, said) = amtool(&["check-config", &broken.path().to_string_lossy()]);
    assert!(!good, "an interval that is not there was accepted: {said}");
}

#[test]
fn every_combination_of_severity_and_team_has_the_receiver_it_should() {
    let table = [
        (
            "pager",
            "alertname=BrokerUnavailable severity=page team=checkout cluster=eu broker=1 mute=maintenance",
        ),
        (
            "pager",
            "alertname=OfflinePartitions severity=page team=checkout cluster=eu topic=orders mute=maintenance",
        ),
        (
            "pager",
            "alertname=PartitionStuck severity=page team=logistics cluster=eu topic=stock group=a mute=none",
        ),
        (
            "pager",
            "alertname=PoisonRecord severity=page team=unowned cluster=eu topic=stock mute=schema_migration",
        ),
        (
            "checkout-pager",
            "alertname=RecordsLost severity=page team=checkout cluster=eu topic=orders mute=none",
        ),
        (
            "checkout-pager",
            "alertname=PartitionStuck severity=page team=checkout topic=orders mute=maintenance",
        ),
        (
            "checkout-pager",
            "alertname=DeadLetterGrowth severity=page team=checkout mute=schema_migration",
        ),
        (
            "chat",
            "alertname=ErrorBudgetBurnOnCall severity=channel team=checkout sli=lag",
        ),
        (
            "chat",
            "alertname=ErrorBudgetBurnFast severity=channel team=logistics sli=processing",
        ),
        (
            "ticket",
            "alertname=ErrorBudgetBurnSlow severity=ticket team=checkout sli=lag",
        ),
        ("ticket", "alertname=SidecarScrapeDown severity=ticket"),
        ("ticket", "alertname=OfSomebodyElse severity=warning"),
        ("ticket", "alertname=WithoutSeverity"),
        ("dead-mans-switch", "alertname=Watchdog severity=none"),
    ];
    let config = format!(
        "--config.file={}",
        folder().join("alertmanager.yaml").display()
    );
    let expect = |receiver: &str, labels: &str| {
        let verify = format!("--verify.receivers={receiver}");
        let mut arguments = vec!["config", "routes", "test", &config, &verify];
        arguments.extend(labels.split(' '));
        amtool(&arguments)
    };
    for (receiver, labels) in table {
        let (good, said) = expect(receiver, labels);
        assert!(good, "{labels}: {said}");
    }
    let (good, said) = expect("chat", "severity=page team=logistics");
    assert!(!good, "amtool tells no difference: {said}");
}

#[test]
fn a_broker_down_sends_one_page_and_not_one_for_each_of_fifty_alerts() {
    let alertmanager = Alertmanager::start();
    let mut planted = storm("orders-eu");
    planted.push(broker_unavailable("orders-eu"));
    assert!(planted.len() >= 50, "only {} alerts", planted.len());
    alertmanager.post(&planted);
    let page = notified(&alertmanager, "/pager", 1).remove(0);
    assert_eq!(page.labels("alertname"), ["BrokerUnavailable"]);
    let annotations = &page.body["alerts"][0]["annotations"];
    assert_eq!(
        annotations,
        &planted.last().expect("the broker")["annotations"]
    );
    assert_eq!(alertmanager.alerts().len(), planted.len());
    let (hidden, shown) = hidden(&alertmanager);
    assert_eq!(shown, names(&["BrokerUnavailable"]), "hidden: {hidden:?}");

    // What the broker does not excuse still pages, and by then everything before it has been sent.
    let lost = [
        "cluster=orders-eu",
        "topic=orders",
        "group=billing",
        "team=checkout",
    ];
    alertmanager.post(&[alert("RecordsLost", "page", &lost)]);
    let pages = notified(&alertmanager, "/pager", 2);
    let told: Vec<_> = pages
        .iter()
        .map(|page| (page.path.as_str(), page.labels("alertname")))
        .collect();
    let expected = [
        ("/pager", "BrokerUnavailable"),
        ("/pager/checkout", "RecordsLost"),
    ];
    assert_eq!(
        told,
        expected.map(|(path, name)| (path, vec![name.to_owned()]))
    );
    assert_sent(&alertmanager, 2);
}

#[test]
fn the_same_storm_without_its_cause_is_a_page_per_topic_and_team() {
    let alertmanager = Alertmanager::start();
    let mut planted = storm("orders-eu");
    // On another cluster: it excuses nothing here.
    planted.push(broker_unavailable("orders-us"));
    alertmanager.post(&planted);
    // Per topic what concerns a group and what does not; the replicas of the cluster; the canary; the other cluster.
    let pages = notified(&alertmanager, "/pager", 19);
    let of_checkout = pages.iter().filter(|page| page.path == "/pager/checkout");
    assert_eq!(of_checkout.count(), 2, "{pages:#?}");
    let replicas = ["UnderReplicatedPartitions"; 8].map(str::to_owned).to_vec();
    assert!(
        pages
            .iter()
            .any(|page| page.labels("alertname") == replicas),
        "{pages:#?}"
    );
    notified(&alertmanager, "/chat", 8);
}

#[test]
fn a_budget_that_pages_is_not_told_a_second_time_by_a_slower_burn() {
    const PAIRS: [(&str, &str, &str); 7] = [
        ("ErrorBudgetBurnFast", "ErrorBudgetBurnHigh", "page"),
        ("ErrorBudgetBurnFast", "ErrorBudgetBurnOnCall", "channel"),
        ("ErrorBudgetBurnFast", "ErrorBudgetBurnSlow", "ticket"),
        ("ErrorBudgetBurnFast", "ErrorBudgetBurnTrickle", "ticket"),
        ("ErrorBudgetBurnHigh", "ErrorBudgetBurnOnCall", "channel"),
        ("ErrorBudgetBurnHigh", "ErrorBudgetBurnSlow", "ticket"),
        ("ErrorBudgetBurnHigh", "ErrorBudgetBurnTrickle", "ticket"),
    ];
    let alertmanager = Alertmanager::start();
    let mut planted = Vec::new();
    for (number, (fast, slow, severity)) in PAIRS.into_iter().enumerate() {
        let topic = format!("topic=t{number}");
        let of = ["cluster=eu", "sli=lag", "group=billing", &topic];
        planted.push(alert(fast, "page", &of));
        planted.push(alert(slow, severity, &of));
    }
    // Of another budget of a topic that pages.
    let other = ["cluster=eu", "sli=latency", "topic=t0", "group=billing"];
    planted.push(alert("ErrorBudgetBurnOnCall", "channel", &other));
    alertmanager.post(&planted);
    let pages = notified(&alertmanager, "/pager", PAIRS.len());
    for page in &pages {
        let names = page.labels("alertname");
        assert_eq!(names.len(), 1, "{page:#?}");
        let fast = PAIRS.iter().any(|(fast, ..)| names == [*fast]);
        assert!(fast, "{page:#?}");
    }
    let chat = notified(&alertmanager, "/chat", 1);
    assert_eq!(chat[0].labels("sli"), ["latency"]);
    let all = alertmanager.alerts();
    let hidden = all.iter().filter(|alert| is_hidden(alert)).count();
    assert_eq!(hidden, PAIRS.len(), "{all:#?}");
    assert_sent(&alertmanager, PAIRS.len() + 1);
}

#[test]
fn a_sidecar_that_is_not_scraped_excuses_missing_traffic_of_its_cluster_and_nothing_else() {
    let alertmanager = Alertmanager::start();
    let absent = |cluster: &str| alert("TrafficAbsent", "page", &[cluster, "topic=orders"]);
    alertmanager.post(&[
        alert("SidecarScrapeDown", "ticket", &["cluster=eu"]),
        absent("cluster=eu"),
        absent("cluster=us"),
    ]);
    let (hidden_now, _) = poll_until("the alerts are known", LIMIT, || {
        Some(hidden(&alertmanager)).filter(|(_, shown)| shown.len() == 2)
    });
    assert_eq!(hidden_now, names(&["TrafficAbsent"]));
    let all = alertmanager.alerts();
    let us = all
        .iter()
        .find(|alert| alert["labels"]["cluster"] == "us")
        .expect("the other cluster");
    assert_eq!(us["status"]["inhibitedBy"], json!([]), "{us}");
}

/// The lines of the configuration's head that a reader is to type.
fn documented_silences() -> Vec<String> {
    let lines: Vec<String> = shipped()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("#   ")?.to_owned()))
        .filter(|line| line.starts_with("amtool ") && line.contains(" silence add "))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    lines
}

#[test]
fn the_documented_silences_mute_what_they_name_and_no_more() {
    let alertmanager = Alertmanager::start();
    for line in documented_silences() {
        let line = line.replace("http://localhost:9093", &alertmanager.url());
        let output = Command::new("sh")
            .args(["-c", &line])
            .env("USER", "on-call")
            .output();
        let output = output.expect("a shell");
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    alertmanager.post(&[
        alert(
            "PoisonRecord",
            "page",
            &["topic=orders", "mute=schema_migration", "cluster=a"],
        ),
        alert(
            "BrokerUnavailable",
            "page",
            &["cluster=orders-eu", "mute=maintenance"],
        ),
        alert(
            "PoisonRecord",
            "page",
            &["topic=stock", "mute=schema_migration", "cluster=a"],
        ),
        alert(
            "BrokerUnavailable",
            "page",
            &["cluster=orders-us", "mute=maintenance"],
        ),
        alert(
            "RecordsLost",
            "page",
            &["topic=orders", "cluster=orders-eu"],
        ),
    ]);
    let pages = notified(&alertmanager, "/pager", 3);
    let one = |page: &Notification| {
        let labels = ["alertname", "cluster", "topic"].map(|name| page.labels(name).concat());
        labels.join(" ").trim_end().to_owned()
    };
    let told: BTreeSet<String> = pages.iter().map(one).collect();
    let heard = [
        "PoisonRecord a stock",
        "BrokerUnavailable orders-us",
        "RecordsLost orders-eu orders",
    ];
    assert_eq!(told, names(&heard));
    let all = alertmanager.alerts();
    let silenced = all.iter().filter(|alert| {
        let by = alert["status"]["silencedBy"].as_array();
        by.is_some_and(|by| !by.is_empty())
    });
    assert_eq!(silenced.count(), 2, "{all:#?}");
    assert_sent(&alertmanager, 3);
}

#[test]
fn pages_of_planned_work_wait_while_its_window_is_open_and_no_others() {
    let planned = [
        ("maintenance", "maintenance"),
        ("schema-migration", "schema_migration"),
    ];
    for (window, muted) in planned {
        // Beside the receivers and waits: this window is always open.
        let alertmanager = Alertmanager::with(|text| {
            assert_eq!(
                text.matches(NEVER).count(),
                2,
                "the windows are not as they were"
            );
            with_interval(&text, window, ALWAYS)
        });
        let mute = format!("mute={muted}");
        alertmanager.post(&[
            alert("BrokerUnavailable", "page", &["cluster=eu", &mute]),
            alert(
                "PartitionStuck",
                "page",
                &["cluster=us", "topic=orders", "team=checkout", &mute],
            ),
            alert(
                "PoisonRecord",
                "page",
                &["cluster=us", "topic=stock", &mute],
            ),
            alert(
                "ErrorBudgetBurnOnCall",
                "channel",
                &["cluster=us", "topic=audit", &mute],
            ),
        ]);
        let chat = notified(&alertmanager, "/chat", 1);
        assert_eq!(chat[0].labels("topic"), ["audit"]);
        // Sent after them and let through: by then they would have been sent.
        let (_, other) = planned
            .into_iter()
            .find(|(name, _)| *name != window)
            .expect("two");
        let other = format!("mute={other}");
        alertmanager.post(&[alert(
            "RecordsLost",
            "page",
            &["cluster=us", "topic=stock", &other],
        )]);
        let pages = notified(&alertmanager, "/pager", 1);
        assert_eq!(pages[0].labels("alertname"), ["RecordsLost"]);
        assert_sent(&alertmanager, 2);
    }
}

#[test]
fn tickets_wait_for_office_hours() {
    for (hours, tickets) in [(NEVER, 0), (ALWAYS, 1)] {
        // Beside the receivers and waits: when the office is open.
        let alertmanager = Alertmanager::with(|text| with_interval(&text, "office-hours", hours));
        alertmanager.post(&[alert(
            "SchemaDrift",
            "ticket",
            &["cluster=eu", "topic=orders"],
        )]);
        notified(&alertmanager, "/ticket", tickets);
        // Sent after it: by then it would have been sent.
        alertmanager.post(&[alert(
            "RecordsLost",
            "page",
            &["cluster=eu", "topic=orders"],
        )]);
        notified(&alertmanager, "/pager", 1);
        assert_sent(&alertmanager, tickets + 1);
    }
}

#[test]
fn the_watchdog_reaches_the_dead_mans_switch() {
    let alertmanager = Alertmanager::start();
    alertmanager.post(&[alert("Watchdog", "none", &[])]);
    let told = notified(&alertmanager, "/dead-mans-switch", 1);
    assert_eq!(told[0].labels("alertname"), ["Watchdog"]);
}

#[test]
fn the_examples_for_slack_and_pagerduty_say_summary_description_runbook_and_dashboard() {
    let keys = tempfile::tempdir().expect("a directory");
    let key = |name: &str| keys.path().join(name);
    // Beside the receivers and waits: the examples in the place of the webhooks, their files here, PagerDuty's URL here.
    let alertmanager = Alertmanager::with(|text| {
        let hook = text
            .split("url: ")
            .nth(1)
            .and_then(|rest| rest.split("/pager").next())
            .expect("a URL")
            .to_owned();
        fs::write(key("slack-webhook-url"), format!("{hook}/slack")).expect("the URL");
        fs::write(
            key("pagerduty-routing-key"),
            "0123456789abcdef0123456789abcdef",
        )
        .expect("the key");
        let pagerduty = "routing_key_file: /etc/alertmanager/secrets/pagerduty-routing-key";
        assert!(text.contains(pagerduty), "the example is not as it was");
        text.replace("receiver: pager\n", "receiver: pager-pagerduty\n")
            .replace("receiver: chat\n", "receiver: chat-slack\n")
            .replace(
                pagerduty,
                &format!("{pagerduty}\n        url: {hook}/pagerduty"),
            )
            .replace("/etc/alertmanager/secrets", &keys.path().to_string_lossy())
    });
    let of = ["cluster=eu", "topic=orders", "group=billing"];
    alertmanager.post(&[
        alert("PartitionStuck", "page", &of),
        alert("ErrorBudgetBurnOnCall", "channel", &of),
    ]);
    let slack = notified(&alertmanager, "/slack", 1).remove(0).body;
    let pagerduty = notified(&alertmanager, "/pagerduty", 1).remove(0).body;
    assert_eq!(slack["channel"], "#logistics-alerts", "{slack}");
    assert_eq!(pagerduty["payload"]["component"], "orders", "{pagerduty}");
    for (sent, name) in [
        (slack.to_string(), "ErrorBudgetBurnOnCall"),
        (pagerduty.to_string(), "PartitionStuck"),
    ] {
        for wanted in [
            format!("{name} orders"),
            format!("what {name} means"),
            format!("{RUNBOOKS}/{name}.md"),
            "http://localhost:3000/d/throughline-on-call?var-topic=orders".to_owned(),
        ] {
            assert!(sent.contains(&wanted), "{wanted} is missing: {sent}");
        }
        assert!(!sent.contains("no value"), "{sent}");
    }
}

/// Alerts of the rules file: name and the labels that stand there as plain text.
fn alerts_of_rules() -> Vec<(String, Vec<String>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/throughline.alerts.yaml");
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in text
        .lines()
        .map(|line| line.trim().trim_start_matches("- "))
    {
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        let value = value.trim_matches(['"', '\'']);
        match (key, all.last_mut()) {
            ("alert", _) => all.push((value.to_owned(), Vec::new())),
            ("severity" | "mute", Some((_, labels))) if !value.contains("{{") => {
                labels.push(format!("{key}={value}"));
            }
            _ => {}
        }
    }
    all
}

#[test]
fn every_alert_of_the_rules_goes_where_its_severity_says_and_every_name_used_here_is_one_of_theirs()
{
    let rules = alerts_of_rules();
    assert!(rules.len() > 30, "the rules were not understood: {rules:?}");
    let config = format!(
        "--config.file={}",
        folder().join("alertmanager.yaml").display()
    );
    for (name, labels) in &rules {
        let severity = labels
            .iter()
            .find_map(|label| label.strip_prefix("severity="));
        let receiver = match severity {
            Some("page") => "pager",
            Some("channel") => "chat",
            Some("ticket") => "ticket",
            Some("none") => "dead-mans-switch",
            other => panic!("{name}: severity {other:?}"),
        };
        let verify = format!("--verify.receivers={receiver}");
        let alertname = format!("alertname={name}");
        let mut arguments = vec!["config", "routes", "test", &config, &verify, &alertname];
        arguments.extend(labels.iter().map(String::as_str));
        let (good, said) = amtool(&arguments);
        assert!(good, "{name} {labels:?}: {said}");
    }
    let known: BTreeSet<&str> = rules.iter().map(|(name, _)| name.as_str()).collect();
    for matcher in shipped().split("alertname=").skip(1) {
        let quoted = matcher
            .trim_start_matches('~')
            .split('"')
            .nth(1)
            .unwrap_or_default();
        for name in unfolded(quoted) {
            assert!(
                known.contains(name.as_str()),
                "{name} is no alert of the rules"
            );
        }
    }
}

/// `A(B|C)|D` as `AB`, `AC`, `D`.
fn unfolded(pattern: &str) -> Vec<String> {
    match pattern.split_once('(') {
        Some((prefix, rest)) => {
            let inner = rest.trim_end_matches(')').split('|');
            inner.map(|end| format!("{prefix}{end}")).collect()
        }
        None => pattern.split('|').map(str::to_owned).collect(),
    }
}
