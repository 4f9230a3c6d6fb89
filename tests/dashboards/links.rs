//! Where the links of dashboards lead, and what they carry along.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::{
    linter::{array, panels, text, variables},
    promql,
};

/// What a link may take from where it is clicked, but for variables of its own dashboard.
const BUILT_IN: &[&str] = &["__url_time_range", "__from", "__to"];

/// One address, and the labels that are at hand where it stands.
pub(crate) struct Link<'a> {
    pub(crate) url: &'a str,
    labels: BTreeSet<String>,
    /// It carries all variables beside those it names.
    everything: bool,
}

/// All links of a dashboard: at its top, on series and on columns.
pub(crate) fn of(board: &Value) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    for link in array(&board["links"]) {
        found.push(Link {
            url: text(&link["url"]),
            labels: BTreeSet::new(),
            everything: link["includeVars"] == true,
        });
    }
    for panel in panels(board) {
        let config = &panel["fieldConfig"];
        let overrides = array(&config["overrides"]).iter();
        let properties = overrides.flat_map(|one| array(&one["properties"]));
        let columns = properties.filter(|property| property["id"] == "links");
        let columns = columns.flat_map(|property| array(&property["value"]));
        for link in columns.chain(array(&config["defaults"]["links"])) {
            let labels = labels(panel);
            let url = text(&link["url"]);
            let everything = false;
            found.push(Link {
                url,
                labels,
                everything,
            });
        }
    }
    found
}

fn labels(panel: &Value) -> BTreeSet<String> {
    let queries = array(&panel["targets"]).iter();
    let read = queries.filter_map(|query| promql::read(text(&query["expr"])).ok());
    read.flat_map(|read| read.grouping.into_iter().chain(read.introduced))
        .collect()
}

/// What is wrong with a link of `board`, `others` being all dashboards there are.
pub(crate) fn wrong(link: &Link<'_>, board: &Value, others: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let own = |name: &str| variables(board).iter().any(|v| v["name"] == name);
    let inserted = Regex::new(r"\$\{([a-zA-Z_.]+)(:[a-z]+)?\}").expect("regex");
    let target = target(link.url, others);
    for insert in inserted.captures_iter(link.url) {
        let name = &insert[1];
        let label = name.strip_prefix("__data.fields.");
        let label = label.or_else(|| name.strip_prefix("__field.labels."));
        match label {
            Some(label) if !link.labels.contains(label) => {
                found.push(format!("{label} is not at hand"));
            }
            None if !own(name) && !BUILT_IN.contains(&name) => {
                found.push(format!("no variable {name}"));
            }
            _ => {}
        }
        let carried = insert
            .get(2)
            .is_some_and(|format| format.as_str() == ":queryparam");
        if let (true, Some(target)) = (carried, target) {
            found.extend(takes(target, name));
        }
    }
    if link.url.starts_with("/explore?") {
        found.extend(unreadable(link.url));
        return found;
    }
    let Some(target) = target else {
        found.push(format!("leads nowhere: {}", link.url));
        return found;
    };
    let set = Regex::new(r"[?&]var-([a-z_]+)=").expect("regex");
    for variable in set.captures_iter(link.url) {
        found.extend(takes(target, &variable[1]));
    }
    let hides = variables(target)
        .iter()
        .any(|variable| variable["name"] == "job" && variable["hide"] == 2);
    if hides && (link.everything || link.url.contains("job")) {
        found.push("narrows by a job that nobody sees there".to_owned());
    }
    found
}

fn target<'a>(url: &str, others: &'a [Value]) -> Option<&'a Value> {
    let uid = url.strip_prefix("/d/")?.split('?').next()?;
    others.iter().find(|board| board["uid"] == uid)
}

fn takes(target: &Value, variable: &str) -> Option<String> {
    let there = variables(target).iter().any(|v| v["name"] == variable);
    (!there).then(|| format!("{} has no variable {variable}", target["title"]))
}

/// Explore wants JSON behind `panes=`, percent-encoded.
fn unreadable(url: &str) -> Option<String> {
    let encoded = url.split_once("panes=").map_or("", |(_, panes)| panes);
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?.to_owned();
            bytes.push(u8::from_str_radix(&digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let pane: Result<Value, _> = serde_json::from_slice(&bytes);
    pane.err()
        .map(|error| format!("Explore cannot read {url}: {error}"))
}
