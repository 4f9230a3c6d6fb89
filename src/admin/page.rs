//! The one page for people: what is asked, what is so, who is connected. Server-rendered, readable at 3 a.m.
//!
//! Everything that came from outside is escaped. Must not need JavaScript, nor fetch anything.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::Sources;
use crate::{
    catalog::{ClientStatus, ConnectionStatus},
    event::Direction,
    lineage::{Edge, Sighting},
    pipeline::{GroupView, Snapshot},
    sli::SliStatus,
};

/// Most rows per table; what is left out is said.
const ROWS_MAX: usize = 200;
/// Seconds between two loads of the page.
const REFRESH_SECONDS: u32 = 5;

const STYLE: &str = "\
:root{color-scheme:light dark;--bad:#b3261e;--good:#1b6e3c;--dim:#666;--line:#ccc}\
@media(prefers-color-scheme:dark){:root{--bad:#ff8a80;--good:#81c995;--dim:#aaa;--line:#444}}\
body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:1.5rem auto;padding:0 1rem}\
h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:1.8rem 0 .4rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .7rem .25rem 0;\
border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600}\
.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:var(--bad);font-weight:600}\
.good{color:var(--good)}.dim{color:var(--dim)}";

/// Renders the page.
pub(super) fn render(sources: &Sources, snapshot: &Snapshot) -> String {
    let mut out = Html(String::with_capacity(16 * 1024));
    out.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.raw(&format!(
        "<meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">"
    ));
    out.raw(
        "<meta name=\"viewport\" content=\"width=device-width\"><title>Throughline</title><style>",
    );
    out.raw(STYLE);
    out.raw("</style></head><body>");
    head(&mut out, sources);
    gates(&mut out, sources);
    let measured: Vec<&SliStatus> = snapshot
        .slis
        .iter()
        .filter(|s| s.events > 0 || s.unknown > 0)
        .collect();
    slis(&mut out, &measured);
    groups(&mut out, &snapshot.groups);
    let whose = if sources.control.serves_clients() {
        lineage(&mut out, &snapshot.lineage);
        traces(&mut out, &snapshot.traces);
        connections(&mut out, &snapshot.connections);
        clients(&mut out, &snapshot.clients);
        "this pod only"
    } else {
        "the whole cluster"
    };
    out.raw(&format!(
        "<p class=\"dim\">Figures since start, {whose}. <a href=\"/metrics\">/metrics</a> "
    ));
    out.raw("<a href=\"/api/v1/openapi.json\">API</a> <a href=\"/config\">configuration</a></p>");
    out.raw("</body></html>\n");
    out.0
}

struct Html(String);

impl Html {
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\'' => self.raw("&#39;"),
                c => self.0.push(c),
            }
        }
    }

    fn cell(&mut self, class: &str, text: &str) {
        self.raw("<td class=\"");
        self.raw(class);
        self.raw("\">");
        self.text(text);
        self.raw("</td>");
    }

    /// A heading and a table, or a sentence where there are no rows.
    fn table<T>(
        &mut self,
        title: &str,
        columns: &[(&str, &str)],
        rows: &[T],
        nothing: &str,
        mut row: impl FnMut(&mut Self, &T),
    ) {
        self.raw("<h2>");
        self.text(title);
        self.raw("</h2>");
        if rows.is_empty() {
            self.raw("<p class=\"dim\">");
            self.text(nothing);
            self.raw("</p>");
            return;
        }
        self.raw("<table><thead><tr>");
        for (class, name) in columns {
            self.raw("<th class=\"");
            self.raw(class);
            self.raw("\">");
            self.text(name);
            self.raw("</th>");
        }
        self.raw("</tr></thead><tbody>");
        for item in rows.iter().take(ROWS_MAX) {
            self.raw("<tr>");
            row(self, item);
            self.raw("</tr>");
        }
        self.raw("</tbody></table>");
        if let Some(more) = rows.len().checked_sub(ROWS_MAX).filter(|n| *n > 0) {
            self.raw(&format!("<p class=\"dim\">and {more} more</p>"));
        }
    }
}

fn head(out: &mut Html, sources: &Sources) {
    let counters = &sources.counters;
    out.raw("<h1>Throughline ");
    out.text(&sources.version);
    out.raw("</h1><p>");
    let ready = sources.readiness.is_ready();
    out.raw(if ready {
        "<span class=\"good\">ready</span>"
    } else {
        "<span class=\"bad\">not ready</span>"
    });
    out.raw(" &middot; mode ");
    out.text(&sources.control.mode());
    out.raw(" &middot; cluster ");
    let cluster = sources.metrics.cluster();
    out.text(if cluster.is_empty() {
        "not known yet"
    } else {
        &cluster
    });
    out.text(&format!(
        " · {} connections · {} to brokers, {} to clients",
        counters.connections.load(Relaxed),
        bytes(counters.bytes(Direction::ClientToBroker)),
        bytes(counters.bytes(Direction::BrokerToClient)),
    ));
    out.raw("</p>");
}

fn gates(out: &mut Html, sources: &Sources) {
    for (name, gate) in sources.readiness.gates() {
        if !gate.open || !gate.reason.is_empty() {
            out.raw(if gate.open {
                "<p class=\"dim\">"
            } else {
                "<p class=\"bad\">"
            });
            out.text(name);
            out.raw(": ");
            out.text(&gate.reason);
            out.raw("</p>");
        }
    }
}

fn slis(out: &mut Html, slis: &[&SliStatus]) {
    let columns = [
        ("", "SLI"),
        ("", "topic"),
        ("", "group"),
        ("", "good when"),
        ("n", "good"),
        ("n", "of"),
        ("n", "not judged"),
        ("n", "ratio"),
        ("n", "objective"),
    ];
    out.table(
        "Service levels",
        &columns,
        slis,
        "Nothing measured yet.",
        |out, s| {
            let met = s.ratio.is_none_or(|ratio| ratio >= s.objective);
            out.cell("", s.sli);
            out.cell("", &s.topic);
            out.cell("", &s.group);
            out.cell("dim", &condition(s));
            out.cell("n", &s.good.to_string());
            out.cell("n", &s.events.to_string());
            out.cell("n", &s.unknown.to_string());
            let class = match (s.ratio, met) {
                (None, _) => "n dim",
                (_, true) => "n good",
                (_, false) => "n bad",
            };
            out.cell(class, &s.ratio.map_or_else(|| "-".to_owned(), percent));
            out.cell("n", &percent(s.objective));
        },
    );
}

fn condition(s: &SliStatus) -> String {
    match (s.sli, s.threshold_seconds) {
        ("publish", _) => "acknowledged".to_owned(),
        ("availability", _) => "answered in time".to_owned(),
        (_, Some(threshold)) => format!("{} within {threshold} s", s.stage),
        (_, None) => s.stage.to_owned(),
    }
}

fn groups(out: &mut Html, groups: &[GroupView]) {
    let columns = [
        ("", "group"),
        ("", "members here"),
        ("", "topic"),
        ("n", "partitions"),
        ("n", "lag, records"),
        ("n", "lag, seconds"),
        ("n", "as of"),
    ];
    let rows: Vec<_> = groups
        .iter()
        .flat_map(|group| {
            let topics = group.topics.iter().map(Some);
            let none = group.topics.is_empty().then_some(None);
            topics.chain(none).map(move |topic| (group, topic))
        })
        .collect();
    let nothing = "No consumer group seen yet.";
    out.table(
        "Consumer groups",
        &columns,
        &rows,
        nothing,
        |out, (group, topic)| {
            let members: Vec<String> = group
                .members
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(state, count)| format!("{count} {state}"))
                .collect();
            out.cell("", &group.group);
            out.cell("", &members.join(", "));
            let Some(topic) = topic else {
                out.raw("<td class=\"dim\" colspan=\"5\">nothing fetched here lately</td>");
                return;
            };
            out.cell("", &topic.topic);
            out.cell("n", &topic.partitions.to_string());
            out.cell("n", &topic.lag_records.to_string());
            out.cell(
                "n",
                &interval(topic.lag_seconds_lower, topic.lag_seconds_upper),
            );
            out.cell("n dim", &format!("{:.0} s ago", topic.lag_age_seconds));
        },
    );
}

/// One figure where it is exact to 0.1 s, else the interval.
fn interval(lower: f64, upper: Option<f64>) -> String {
    match upper {
        Some(upper) if upper - lower < 0.1 => format!("{upper:.1}"),
        Some(upper) => format!("{lower:.1} to {upper:.1}"),
        None => format!("at least {lower:.1}"),
    }
}

fn lineage(out: &mut Html, edges: &[Edge]) {
    let columns = [
        ("", "from"),
        ("", "to"),
        ("n", "records"),
        ("n", "per second"),
        ("n", "mean seconds"),
        ("", "evidence"),
    ];
    let nothing = "No record was given context yet.";
    out.table("Lineage", &columns, edges, nothing, |out, e| {
        out.cell("", e.from.as_deref().unwrap_or("(begins here)"));
        out.cell("", &e.to);
        out.cell("n", &e.records.to_string());
        out.cell("n", &format!("{:.1}", e.records_per_second));
        let mean = e.mean_seconds.map(|mean| format!("{mean:.3}"));
        out.cell("n", mean.as_deref().unwrap_or("-"));
        let kinds = e.evidence.iter().map(|(kind, n)| format!("{kind} {n}"));
        out.cell("dim", &kinds.collect::<Vec<_>>().join(", "));
    });
}

/// Rows of recorded traces on the page; the API has them all.
const SIGHTINGS_MAX: usize = 20;

fn traces(out: &mut Html, sightings: &[Arc<Sighting>]) {
    let columns = [
        ("", "trace"),
        ("", "correlation id"),
        ("", "seen"),
        ("", "record"),
        ("", "parent"),
    ];
    let nothing = "No record of a recorded trace lately.";
    let newest = sightings.get(..sightings.len().min(SIGHTINGS_MAX));
    let newest = newest.unwrap_or_default();
    out.table("Recent traces", &columns, newest, nothing, |out, s| {
        out.cell("", &s.trace_id);
        out.cell("", &s.correlation_id);
        out.cell("", s.seen);
        let offset = s.offset.map_or("?".to_owned(), |offset| offset.to_string());
        out.cell("", &format!("{}:{}:{offset}", s.topic, s.partition));
        let parent = match (&s.parent_span_id, s.evidence) {
            (Some(parent), Some(evidence)) => format!("{parent} ({evidence})"),
            _ => "-".to_owned(),
        };
        out.cell("dim", &parent);
    });
}

fn connections(out: &mut Html, connections: &[ConnectionStatus]) {
    let columns = [
        ("", "from"),
        ("", "client id"),
        ("", "software"),
        ("", "broker"),
        ("", "address"),
    ];
    let nothing = "No connection open. Point the program's bootstrap.servers at this sidecar.";
    out.table("Connections", &columns, connections, nothing, |out, c| {
        out.cell("", &c.peer);
        out.cell("", &c.client);
        out.cell("", &format!("{} {}", c.software, c.version));
        out.cell("", &c.broker);
        out.cell("dim", &c.broker_address);
    });
}

fn clients(out: &mut Html, clients: &[ClientStatus]) {
    let columns = [
        ("", "client id"),
        ("", "software"),
        ("n", "connections"),
        ("", "produces to"),
        ("", "consumes from"),
        ("", "groups"),
    ];
    let nothing = "No client in the last hour.";
    out.table("Clients", &columns, clients, nothing, |out, c| {
        out.cell("", &c.client);
        out.cell("", &format!("{} {}", c.software, c.version));
        out.cell("n", &c.connections.to_string());
        for names in [&c.produces, &c.consumes, &c.groups] {
            let names: Vec<&str> = names.iter().map(|n| &**n).collect();
            out.cell("", &names.join(", "));
        }
    });
}

fn percent(share: f64) -> String {
    // Floored, so that 99.996 % never shows as an even 100 %.
    format!("{} %", (share * 1e5).floor() / 1e3)
}

fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| count >= *size) {
        #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / *size as f64),
        None => format!("{count} B"),
    }
}
