//! The rules of Grafana's dashboard linter, under its names, in strict form: what it warns of is wrong here, and kinds of panels that
//! it passes over (heat maps, state time lines) are held to them too.

use regex::Regex;
use serde_json::Value;

use super::promql::{self, Expression, Selector};

/// What breaks a rule.
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

/// Those of the linter's units that fit what is shown here.
const UNITS: &[&str] = &[
    "none",
    "short",
    "percent",
    "percentunit",
    "bytes",
    "Bps",
    "s",
    "ms",
    "cps",
    "ops",
    "reqps",
    "rps",
    "wps",
    "dateTimeAsIso",
    "dateTimeFromNow",
    "dtdurations",
    "bool",
    "bool_yes_no",
    "string",
];

pub(crate) fn lint(board: &Value) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    template_datasource_rule(board, &mut found);
    template_rule(board, "job", "template-job-rule", &mut found);
    template_rule(board, "instance", "template-instance-rule", &mut found);
    template_queries(board, &mut found);
    if board["editable"] != Value::Bool(false) {
        found.add("uneditable-dashboard", "is editable");
    }
    for panel in panels(board) {
        panel_rules(board, panel, &mut found);
        for target in array(&panel["targets"]) {
            let title = text(&panel["title"]);
            if text(&target["datasource"]["type"]) == "loki" {
                logql_rules(title, text(&target["expr"]), &mut found);
            } else {
                promql_rules(title, text(&target["expr"]), &mut found);
            }
        }
    }
    found.0
}

/// All panels that show something, also those inside rows.
pub(crate) fn panels(board: &Value) -> Vec<&Value> {
    let top = array(&board["panels"]);
    let inner = top.iter().flat_map(|panel| array(&panel["panels"]));
    let every = top.iter().chain(inner);
    every.filter(|panel| panel["type"] != "row").collect()
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn variables(board: &Value) -> &[Value] {
    array(&board["templating"]["list"])
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Finding { rule, what });
    }

    fn unless(&mut self, holds: bool, rule: &'static str, what: impl Into<String>) {
        if !holds {
            self.add(rule, what);
        }
    }
}

fn template_datasource_rule(board: &Value, found: &mut Findings) {
    const RULE: &str = "template-datasource-rule";
    let sources = variables(board)
        .iter()
        .filter(|variable| variable["type"] == "datasource");
    let sources: Vec<&Value> = sources.collect();
    // The linter takes the first for the one that panels use, and lets others go unchecked where it is no Prometheus.
    let first = sources.first().map(|source| text(&source["query"]));
    found.unless(first == Some("prometheus"), RULE, "prometheus is not first");
    for source in &sources {
        let kind = text(&source["query"]);
        let single = sources.len() == 1;
        let name = text(&source["name"]);
        let named = name == format!("{kind}_datasource") || single && name == "datasource";
        found.unless(named, RULE, format!("{kind} is called {name}"));
        let mut title = kind.to_owned();
        title.get_mut(..1).map(str::make_ascii_uppercase);
        let label = text(&source["label"]);
        let labelled = label == format!("{title} data source") || single && label == "Data source";
        found.unless(labelled, RULE, format!("{kind} is labelled {label}"));
    }
}

fn template_rule(board: &Value, name: &str, rule: &'static str, found: &mut Findings) {
    let Some(variable) = variables(board).iter().find(|v| v["name"] == name) else {
        found.add(rule, format!("no variable {name}"));
        return;
    };
    let source = text(&variable["datasource"]["uid"]);
    found.unless(source == "${prometheus_datasource}", rule, source);
    found.unless(variable["type"] == "query", rule, "is no query");
    let label = text(&variable["label"]);
    found.unless(label.to_lowercase() == name && label != name, rule, label);
    found.unless(variable["multi"] == true, rule, "is not multi");
    found.unless(variable["allValue"] == ".+", rule, "allValue is not .+");
}

fn template_queries(board: &Value, found: &mut Findings) {
    const RULE: &str = "template-label-promql-rule";
    let shape = Regex::new(r"^label_values\((.+), ([a-z_]+)\)$").expect("regex");
    for variable in variables(board).iter().filter(|v| v["type"] == "query") {
        let name = text(&variable["name"]);
        let query = text(&variable["query"]["query"]);
        match shape.captures(query) {
            None => found.add(RULE, format!("{name}: {query}")),
            Some(parts) => {
                if let Err(error) = selecting(&parts[1]) {
                    found.add(RULE, format!("{name}: {error}"));
                }
            }
        }
        found.unless(
            variable["refresh"] == 2,
            "template-on-time-change-reload-rule",
            name,
        );
    }
}

fn panel_rules(board: &Value, panel: &Value, found: &mut Findings) {
    let title = text(&panel["title"]);
    let source = text(&panel["datasource"]["uid"]);
    let templated = variables(board).iter().any(|variable| {
        variable["type"] == "datasource" && source == format!("${{{}}}", text(&variable["name"]))
    });
    found.unless(
        templated,
        "panel-datasource-rule",
        format!("{title}: {source}"),
    );
    found.unless(
        !title.is_empty() && !text(&panel["description"]).is_empty(),
        "panel-title-description-rule",
        format!("{title} ({})", panel["id"]),
    );
    found.unless(
        !array(&panel["targets"]).is_empty(),
        "panel-no-targets-rule",
        title,
    );
    let config = &panel["fieldConfig"];
    let overrides = array(&config["overrides"]).iter();
    let properties = overrides.flat_map(|one| array(&one["properties"]));
    let units = properties.filter(|property| property["id"] == "unit");
    let mut units = units.map(|property| text(&property["value"]));
    let known = |unit: &str| UNITS.contains(&unit);
    let unit = text(&config["defaults"]["unit"]);
    found.unless(
        known(unit) && units.all(known),
        "panel-units-rule",
        format!("{title}: {unit}"),
    );
}

/// Reads an expression that selects something.
fn selecting(expr: &str) -> Result<Expression, String> {
    let read = promql::read(expr)?;
    match read.selectors.as_slice() {
        [] => Err(format!("selects nothing: {expr}")),
        _ => Ok(read),
    }
}

fn promql_rules(title: &str, expr: &str, found: &mut Findings) {
    let read = match selecting(expr) {
        Ok(read) => read,
        Err(error) => {
            found.add("target-promql-rule", format!("{title}: {error}"));
            return;
        }
    };
    for selector in &read.selectors {
        let what = || format!("{title}: {} in {expr}", selector.name);
        for (label, rule) in [
            ("job", "target-job-rule"),
            ("instance", "target-instance-rule"),
        ] {
            let mut matchers = selector.matchers.iter();
            let holds = matchers.any(|matcher| {
                matcher.label == label
                    && matcher.operator == "=~"
                    && matcher.value == format!("${label}")
            });
            found.unless(holds, rule, what());
        }
        found.unless(
            range_is_right(selector),
            "target-rate-interval-rule",
            what(),
        );
        let function = selector.function.as_deref().unwrap_or_default();
        let aggregated = ["rate", "irate", "increase"].contains(&function);
        let counter = selector.name.ends_with("_total") || selector.name.ends_with("_bucket");
        found.unless(!counter || aggregated, "target-counter-agg-rule", what());
    }
}

/// Rates are over `$__rate_interval`; what grew in a panel's own time is over `$__range`; a fixed time is never right.
fn range_is_right(selector: &Selector) -> bool {
    let function = selector.function.as_deref().unwrap_or_default();
    match selector.range.as_deref() {
        None => true,
        Some("$__rate_interval") => ["rate", "irate", "increase"].contains(&function),
        Some("$__range") => !["rate", "irate"].contains(&function),
        Some(_) => false,
    }
}

fn logql_rules(title: &str, expr: &str, found: &mut Findings) {
    let stream = Regex::new(r#"^\{[a-z_]+=~?"[^"]+"(,[a-z_]+=~?"[^"]+")*\}( \|[=~]? .+)?$"#);
    let quotes = expr.matches('"').count().is_multiple_of(2);
    let holds = quotes && stream.expect("regex").is_match(expr);
    found.unless(holds, "target-logql-rule", format!("{title}: {expr}"));
    let fixed = Regex::new(r"\[([^\]]+)\]").expect("regex");
    let ranges = fixed
        .captures_iter(expr)
        .all(|range| &range[1] == "$__auto");
    found.unless(ranges, "target-logql-auto-rule", format!("{title}: {expr}"));
}
