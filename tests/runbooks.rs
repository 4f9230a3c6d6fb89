//! Runbooks an on-call engineer can trust: every alert has one, and what they tell to type, to ask and to open exists.
//!
//! Held against the rules as they are shipped, the catalogue, the binary's own `--help`, the routes of the admin listener and the
//! dashboards. Must not ask a network: that a link of another host answers is not tested.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod promql;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use promql::recorded;
use support::throughline::binary;
use throughline::metrics::catalogue::{Id, Kind};

const SECTIONS: [&str; 5] = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Escalation"];
/// Labels that Prometheus adds, or that a histogram or its deployment brings.
const ADDED: [&str; 7] = [
    "cluster",
    "job",
    "instance",
    "pod",
    "namespace",
    "le",
    "quantile",
];

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(relative: &str) -> String {
    let path = path(relative);
    fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Files of a folder with this ending, by name without it.
fn stems(folder: &str, ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(path(folder)).expect(folder);
    let names = files.map(|file| file.expect("a file").file_name());
    names
        .filter_map(|name| Some(name.to_str()?.strip_suffix(ending)?.to_owned()))
        .collect()
}

/// Every page of `alerts/` for people, with its path.
fn pages() -> Vec<(String, String)> {
    let runbooks = stems("alerts/runbooks", ".md").into_iter();
    let mut all: Vec<_> = runbooks
        .map(|name| format!("alerts/runbooks/{name}.md"))
        .collect();
    all.push("alerts/README.md".to_owned());
    all.into_iter()
        .map(|file| (file.clone(), read(&file)))
        .collect()
}

/// An alert of the rules: name, severity, the label `mute` as it stands there, runbook.
struct Shipped {
    name: String,
    severity: String,
    mute: String,
    runbook: String,
}

/// The file is our own output, one scalar a line: no more of YAML is needed.
fn shipped() -> Vec<Shipped> {
    let text = read("alerts/throughline.alerts.yaml");
    let blocks = text.split("- alert: ").skip(1);
    let all: Vec<_> = blocks
        .map(|block| {
            let value = |key: &str| {
                let mut lines = block.lines();
                let line = lines.find_map(|line| line.trim().strip_prefix(key));
                let line = line.unwrap_or_else(|| panic!("{key} in {block}"));
                line.trim().trim_matches('\'').to_owned()
            };
            Shipped {
                name: block.lines().next().expect("a name").trim().to_owned(),
                severity: value("severity:"),
                mute: value("mute:"),
                runbook: value("runbook_url:"),
            }
        })
        .collect();
    assert!(all.len() > 30, "{} alerts", all.len());
    all
}

/// The text between fences, and between single backticks.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            out.push_str(line);
            out.push('\n');
        } else {
            for span in line.split('`').skip(1).step_by(2) {
                out.push_str(span);
                out.push('\n');
            }
        }
    }
    assert!(!fenced, "a fence is not closed: {text}");
    out
}

/// Names as Prometheus has them, with what follows each.
fn names(text: &str) -> Vec<(&str, &str)> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(of_name) {
        let tail = &rest[start..];
        let end = tail.find(|c| !of_name(c)).unwrap_or(tail.len());
        out.push((&tail[..end], &tail[end..]));
        rest = &tail[end..];
    }
    out
}

#[test]
fn every_alert_has_the_runbook_that_its_link_names_and_every_runbook_an_alert() {
    let files = stems("alerts/runbooks", ".md");
    let mut alerts = BTreeSet::new();
    for alert in shipped() {
        let named = alert.runbook.rsplit('/').next().expect("a path");
        assert_eq!(named, format!("{}.md", alert.name));
        alerts.insert(alert.name);
    }
    assert_eq!(alerts, files);
}

#[test]
fn every_runbook_says_in_its_first_line_what_is_broken_and_has_its_five_sections_in_order() {
    for name in stems("alerts/runbooks", ".md") {
        let text = read(&format!("alerts/runbooks/{name}.md"));
        let first = text.lines().next().expect("a line");
        let said = first.strip_prefix(&format!("# {name}: "));
        let said = said.unwrap_or_else(|| panic!("{name}: {first}"));
        assert!(said.ends_with('.') && said.len() > 20, "{name}: {first}");
        let mut sections = text.split("\n## ").skip(1);
        for wanted in SECTIONS {
            let section = sections
                .next()
                .unwrap_or_else(|| panic!("{name}: no {wanted}"));
            let (title, body) = section.split_once('\n').expect("a body");
            assert_eq!(title, wanted, "{name}");
            assert!(body.trim().len() > 40, "{name}: {wanted} says nothing");
            let steps = body.contains("\n1. ") || body.starts_with("1. ");
            assert!(
                wanted != "Diagnosis" || steps,
                "{name}: diagnosis without steps"
            );
        }
        assert_eq!(sections.next(), None, "{name}: one section too many");
    }
}

#[test]
fn every_metric_in_a_page_is_in_the_catalogue_or_recorded() {
    let recorded = recorded();
    let families: BTreeMap<&str, Kind> = Id::ALL
        .iter()
        .map(|id| (id.family().name, id.family().kind))
        .collect();
    let known = |name: &str| {
        let window = name.strip_suffix('W').map(|name| format!("{name}30d"));
        let part = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part));
        recorded.contains(window.as_deref().unwrap_or(name))
            || families.contains_key(name)
            || part.is_some_and(|part| matches!(families.get(part), Some(Kind::Histogram)))
            // A pattern over two families: `throughline_(group_)?time_to_loss_seconds`.
            || name == "throughline_"
    };
    let ours = [
        "throughline_",
        "kafka_consumergroup",
        "kafka_topic_",
        "process_",
    ];
    let mut seen = 0;
    for (file, text) in pages() {
        for (name, _) in names(&code(&text)) {
            if name.contains(":throughline_") || ours.iter().any(|begin| name.starts_with(begin)) {
                assert!(
                    known(name),
                    "{file}: {name} is neither in the catalogue nor recorded"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen} names");
}

#[test]
fn every_label_that_a_query_selects_by_is_one_of_its_family() {
    let families: BTreeMap<&str, &[&str]> = Id::ALL
        .iter()
        .map(|id| (id.family().name, id.family().labels))
        .collect();
    let mut seen = 0;
    for (file, text) in pages() {
        for (name, rest) in names(&code(&text)) {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            let Some(labels) = families.get(family) else {
                continue;
            };
            let Some((selector, _)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) else {
                continue;
            };
            for matcher in selector.split("\",").filter(|matcher| !matcher.is_empty()) {
                let label = matcher.split(['=', '!']).next().unwrap_or_default().trim();
                let known = labels.contains(&label) || ADDED.contains(&label);
                assert!(known, "{file}: {name} has no label {label}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen} matchers");
}

/// The words of each command line of this binary in the code of a text, without what a shell sends them to.
fn commands(code: &str) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for line in code.lines() {
        let line = line.trim();
        let line = line.rsplit_once(" -- ").map_or(line, |(_, inner)| inner);
        if !line.starts_with("throughline ") {
            continue;
        }
        let words = line.split_whitespace();
        let words = words.take_while(|word| !["|", ">", "&&", "||", ";"].contains(word));
        out.push(words.skip(1).map(str::to_owned).collect());
    }
    out
}

/// The options that a command knows, by its own help.
fn options(command: &[&str]) -> BTreeSet<String> {
    let help = binary()
        .args(command)
        .arg("--help")
        .output()
        .expect("the binary runs");
    assert!(help.status.success(), "throughline {command:?} --help");
    let text = String::from_utf8(help.stdout).expect("text");
    let words = text.split(|c: char| c.is_whitespace() || [',', '|', '<', '>', '='].contains(&c));
    words
        .filter(|word| word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_option_that_a_page_gives_to_the_binary_is_one_that_it_takes() {
    let mut helps: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    let mut seen = 0;
    for (file, text) in pages() {
        for words in commands(&code(&text)) {
            let first = words.first().map_or("", String::as_str);
            let depth = match first {
                "slo" => 2,
                _ if first.starts_with("--") => 0,
                _ => 1,
            };
            let command: Vec<String> = words.iter().take(depth).cloned().collect();
            let help = helps.entry(command).or_insert_with_key(|command| {
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                options(&command)
            });
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap_or_default();
                assert!(
                    help.contains(option),
                    "{file}: throughline {words:?}: no {option}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} commands");
}

#[test]
fn every_configuration_that_a_page_tries_out_is_right() {
    let mut seen = 0;
    for (file, text) in pages() {
        let code = code(&text);
        let tries = code
            .lines()
            .filter(|line| line.trim().starts_with("throughline check --offline"));
        for line in tries {
            let (_, setting) = line.split_once("--set ").expect("what is tried");
            let setting = setting.trim().trim_matches('\'');
            let answer = binary()
                .args(["check", "--offline", "--set", setting])
                .output()
                .expect("the binary runs");
            let said = String::from_utf8_lossy(&answer.stderr);
            assert!(answer.status.success(), "{file}: {setting}: {said}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} settings");
}

#[test]
fn every_address_of_the_admin_listener_in_a_page_is_one_that_it_serves() {
    // The table of routes is private to the listener, which answers nothing that is not in it.
    let routes = read("src/admin/routes.rs");
    let mut seen = 0;
    for (file, text) in pages() {
        for line in code(&text).lines() {
            for after in line.split(":9470/").skip(1) {
                let end = after
                    .find([' ', '\'', '?', '"', '`'])
                    .unwrap_or(after.len());
                let route = &after[..end];
                let method = if line.contains("-X POST") {
                    "POST"
                } else {
                    "GET"
                };
                let wanted = format!("(\"/{route}\", &[\"{method}\"])");
                assert!(routes.contains(&wanted), "{file}: no {method} /{route}");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen} addresses");
}

#[test]
fn every_dashboard_and_panel_that_the_pages_name_exists() {
    let boards: Vec<serde_json::Value> = stems("dashboards", ".json")
        .iter()
        .map(|name| serde_json::from_str(&read(&format!("dashboards/{name}.json"))).expect(name))
        .collect();
    let uids: BTreeSet<&str> = boards.iter().filter_map(|b| b["uid"].as_str()).collect();
    let everything = boards.iter().map(ToString::to_string).collect::<String>();
    let mut seen = BTreeSet::new();
    for (file, text) in pages() {
        for after in text.split("/d/throughline-").skip(1) {
            let end = after.find(|c: char| !c.is_ascii_lowercase() && c != '-');
            let uid = format!("throughline-{}", &after[..end.unwrap_or(after.len())]);
            assert!(uids.contains(uid.as_str()), "{file}: no board {uid}");
            seen.insert(uid);
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    let walk = read("alerts/runbooks/ErrorBudgetBurnFast.md");
    let (_, walk) = walk.split_once("### The walk").expect("the walk");
    let (walk, _) = walk.split_once("\n## ").expect("an end");
    let quoted: Vec<&str> = walk.split('"').skip(1).step_by(2).collect();
    assert!(quoted.len() > 10, "{quoted:?}");
    for title in quoted {
        let there = everything.contains(&format!("\"title\":\"{title}\""))
            || everything.contains(&format!("\"title\":\"Throughline / {title}\""));
        assert!(
            there,
            "the walk names {title}, and no panel or link is called so"
        );
    }
}

/// The name that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    kept.collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut seen = 0;
    for (file, text) in pages() {
        let folder = Path::new(&file).parent().expect("a folder").to_owned();
        for after in text.split("](").skip(1) {
            let (link, _) = after.split_once(')').expect("a link ends");
            if link.starts_with("http") {
                continue;
            }
            let (target, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if target.is_empty() {
                path(&file)
            } else {
                path(folder.join(target).to_str().expect("text"))
            };
            assert!(target.exists(), "{file}: {link} leads nowhere");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line) == heading),
                    "{file}: {link}: no such heading"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} links");
}

#[test]
fn the_table_of_alerts_says_severity_and_mute_as_the_rules_do() {
    let mut wanted: BTreeMap<String, (BTreeSet<String>, String)> = BTreeMap::new();
    for alert in shipped() {
        let mute = if alert.mute.contains("{{") {
            "budget"
        } else {
            &alert.mute
        };
        let entry = wanted.entry(alert.name);
        let (severities, muted) = entry.or_default();
        severities.insert(alert.severity);
        mute.clone_into(muted);
    }
    let text = read("alerts/README.md");
    let mut told = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("| [") && line.contains("(runbooks/"))
    {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, severity, mute, what, _] = cells.as_slice() else {
            continue;
        };
        let (name, link) = name
            .trim_start_matches('[')
            .split_once("](")
            .expect("a link");
        assert_eq!(link, format!("runbooks/{name}.md)"));
        assert!(what.len() > 10, "{name}: {what}");
        let severities = severity.split(", ").map(str::to_owned).collect();
        told.insert(name.to_owned(), (severities, (*mute).to_owned()));
    }
    assert_eq!(told, wanted);
}

#[test]
fn every_recorded_name_is_in_the_readme() {
    let text = read("alerts/README.md");
    for name in recorded() {
        let window = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"];
        let folded = window.iter().find_map(|w| {
            let stem = name.strip_suffix(w)?;
            (stem.ends_with("increase") || stem.ends_with("errors:ratio"))
                .then(|| format!("{stem}W"))
        });
        let told = folded.as_deref().unwrap_or(&name);
        assert!(
            text.contains(&format!("`{told}`")),
            "{told} is recorded and not in alerts/README.md"
        );
    }
}

#[test]
fn the_checks_see_a_fault_that_is_planted() {
    let line = "kubectl exec NAME -c throughline -- throughline check --nonsense | tee --append\n";
    let found = commands(line);
    assert_eq!(found, [["check", "--nonsense"]]);
    assert!(!options(&["check"]).contains("--nonsense"));
    let spans = code("Ask `throughline_nonsense_total`.\n```\nmore\n```\n");
    let found: Vec<&str> = names(&spans).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["throughline_nonsense_total", "more"]);
    assert!(Id::ALL.iter().all(|id| id.family().name != found[0]));
    let heading = "### The walk: from a record's trace";
    assert_eq!(anchor(heading), "the-walk-from-a-records-trace");
}
