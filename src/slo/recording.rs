//! What is recorded: good and bad events per window, error budgets, owners, traffic and what it usually is.
//!
//! Names follow Prometheus' `level:metric:operation`. Must not decide when somebody is told.

use super::{
    BY_OBSERVERS, BY_SIDECARS, Objective, Untranslatable,
    pattern::matcher,
    rule::{Group, Rule, indented, promql_string},
};

/// Windows of which every counter is asked directly.
const SHORT: [&str; 4] = ["5m", "30m", "1h", "2h"];
/// Windows that are added up, and of what: a recorded window, so often as it is long.
const LONG: [(&str, &str); 4] = [("6h", "5m"), ("1d", "30m"), ("3d", "1h"), ("30d", "2h")];

const EVENTS: &str = "throughline_sli_events";
const GOOD: &str = "throughline_sli_good_events";

/// The share of good events that is asked for.
pub(super) const OBJECTIVE: &str = "cluster_sli_topic_group:throughline_sli_objective:ratio";
/// Whose a topic is.
pub(super) const OWNER: &str = "cluster_topic:throughline_topic_owner:info";
/// When a topic last had traffic.
pub(super) const LAST_SEEN: &str = "cluster_topic:throughline_traffic_last_seen:timestamp_seconds";

/// Good or all events of a window.
pub(super) fn increase(what: &str, window: &str) -> String {
    format!("cluster_sli_topic_group:{what}:increase{window}")
}

/// All events of a window.
pub(super) fn events(window: &str) -> String {
    increase(EVENTS, window)
}

/// Good events of a window.
pub(super) fn good(window: &str) -> String {
    increase(GOOD, window)
}

/// The share of bad events in a window.
pub(super) fn errors(window: &str) -> String {
    format!("cluster_sli_topic_group:throughline_sli_errors:ratio{window}")
}

/// The one owner of each topic, to join. While a restarted Prometheus still shows the row of before, there may be two.
pub(super) fn owner() -> String {
    format!("topk by (cluster, topic) (1, {OWNER})")
}

/// An expression over what is recorded, without the target that all of it has.
pub(super) fn bare(expr: &str) -> String {
    format!("max without (job, instance) (\n{}\n)", indented(expr))
}

pub(super) fn groups(objectives: &[Objective]) -> Result<Vec<Group>, Untranslatable> {
    let group = |name, interval, rules| Group {
        name,
        interval,
        rules,
    };
    Ok(vec![
        group("throughline.sli", "1m", short()),
        group("throughline.objectives", "1m", objective_rules(objectives)?),
        group("throughline.sli.long", "2m", long()),
        group("throughline.owners", "1m", owners()),
        group("throughline.teams", "1m", teams()),
        group("throughline.traffic", "1m", traffic()),
        group("throughline.firing", "30s", firing()),
    ])
}

fn short() -> Vec<Rule> {
    let mut rules = Vec::new();
    for window in SHORT {
        for what in [EVENTS, GOOD] {
            let seen = if window == "5m" {
                // Of two observers each sees everything; which of them restarts does not matter.
                format!(
                    "max by (cluster, sli, topic, group) (increase({what}_total{{sli=~\"{BY_OBSERVERS}\"}}[5m]))"
                )
            } else {
                let recorded = increase(what, "5m");
                format!("sum_over_time({recorded}{{sli=~\"{BY_OBSERVERS}\"}}[{window}:5m])")
            };
            rules.push(Rule::record(
                increase(what, window),
                format!(
                    "sum by (cluster, sli, topic, group) (increase({what}_total{{sli=~\"{BY_SIDECARS}\"}}[{window}]))\nor\n{seen}"
                ),
            ));
        }
        rules.push(ratio(window));
    }
    rules
}

fn long() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (window, step) in LONG {
        for what in [EVENTS, GOOD] {
            let recorded = increase(what, step);
            rules.push(Rule::record(
                increase(what, window),
                format!("sum_over_time({recorded}[{window}:{step}])"),
            ));
        }
        rules.push(ratio(window));
    }
    let spent = format!("{} / (1 - {OBJECTIVE})", errors("30d"));
    rules.push(Rule::record(
        "cluster_sli_topic_group:throughline_sli_budget_left:ratio30d",
        format!("1 - {spent}"),
    ));
    rules
}

/// Bad events over all, where there are any.
fn ratio(window: &str) -> Rule {
    let expr = format!("1 - {} / ({} > 0)", good(window), events(window));
    Rule::record(errors(window), format!("clamp_min({expr}, 0)"))
}

/// One rule for all, because only `or` takes the first that matches.
fn objective_rules(objectives: &[Objective]) -> Result<Vec<Rule>, Untranslatable> {
    let (now, ever) = (events("5m"), events("30d"));
    let mut expr = String::new();
    for Objective {
        sli,
        pattern,
        target,
    } in objectives
    {
        if !expr.is_empty() {
            expr.push_str("\nor\n");
        }
        let wanted = match pattern {
            None => vec![format!("sli=\"{sli}\"")],
            Some(pattern) => {
                let matcher = promql_string(&matcher(pattern)?);
                vec![
                    format!("sli=\"{sli}\", topic=~{matcher}"),
                    format!("sli=\"{sli}\", group=~{matcher}"),
                ]
            }
        };
        let all: Vec<_> = wanted
            .iter()
            .flat_map(|wanted| [format!("{now}{{{wanted}}}"), format!("{ever}{{{wanted}}}")])
            .collect();
        let all = all.join(" or ");
        expr.push_str(&format!(
            "group by (cluster, sli, topic, group) ({all}) * {target}"
        ));
    }
    Ok(vec![Rule::record(OBJECTIVE, expr)])
}

/// One owner per topic: whom most pods name. Where as many name another, the one who was there stays. What pods said that are gone counts for a
/// day, where no other says anything. Nobody's topics and those of no topic are named too, so that nothing is lost where rules join.
fn owners() -> Vec<Rule> {
    let by = "cluster, topic, team, tier, tenant";
    let info = "throughline_topic_owner_info";
    let known = "group_lag_records|produced_records_total|delivered_records_total|topic_expected_traffic_seconds|\
         dead_letter_records_total|poison_records|lost_records_total|group_lost_records_total|schema_drift|\
         schema_failures_total|partition_skew_ratio|injection_skipped_total|injection_refused_total|clock_skew_seconds";
    let (now, ever) = (events("5m"), events("30d"));
    let expr = format!(
        "group by ({by}) (
  topk by (cluster, topic) (1,
    count by ({by}) ({info}) + on ({by}) 0.5 * {OWNER}
    or
    count by ({by}) ({info})
  )
)
or on (cluster, topic)
group by ({by}) (
  topk by (cluster, topic) (1, count by ({by}) (last_over_time({info}[1d])))
)
or on (cluster, topic)
label_replace(
  group by (cluster, topic) (
    {now}{{topic!=\"\"}} or {ever}{{topic!=\"\"}}
    or
    {{__name__=~\"throughline_({known})\", topic!=\"\"}}
  ),
  \"team\", \"unowned\", \"\", \"\"
)
or on (cluster, topic)
label_replace(
  group by (cluster) ({now}{{topic=\"\"}} or {ever}{{topic=\"\"}}),
  \"team\", \"platform\", \"\", \"\"
)"
    );
    vec![Rule::record(OWNER, expr)]
}

fn teams() -> Vec<Rule> {
    let windows = SHORT.into_iter().chain(LONG.map(|(window, _)| window));
    let team =
        |what: &str, window: &str| format!("cluster_sli_team_tenant:{what}:increase{window}");
    let mut rules = Vec::new();
    for window in windows {
        for what in [EVENTS, GOOD] {
            let recorded = increase(what, window);
            rules.push(Rule::record(
                team(what, window),
                format!(
                    "sum by (cluster, sli, team, tenant) (\n  {recorded}\n  * on (cluster, topic) group_left (team, tenant) {}\n)",
                    owner()
                ),
            ));
        }
        let (good, events) = (team(GOOD, window), team(EVENTS, window));
        rules.push(Rule::record(
            format!("cluster_sli_team_tenant:throughline_sli_errors:ratio{window}"),
            format!("clamp_min(1 - {good} / ({events} > 0), 0)"),
        ));
    }
    rules
}

/// What a topic carries, what it carried at the same hour of the last three weeks, and when it carried anything.
fn traffic() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (what, window) in [
        ("produced_records", "5m"),
        ("produced_records", "1h"),
        ("dead_letter_records", "1h"),
    ] {
        let recorded = format!("cluster_topic:throughline_{what}:rate{window}");
        let expr = format!("sum by (cluster, topic) (rate(throughline_{what}_total[{window}]))");
        rules.push(Rule::record(&recorded, expr));
        if window == "1h" {
            let weeks = [1, 2, 3].map(|n| {
                format!("  label_replace({recorded} offset {n}w, \"week\", \"{n}\", \"\", \"\")")
            });
            rules.push(Rule::record(
                format!("cluster_topic:throughline_{what}:baseline1h"),
                format!("avg without (week) (\n{}\n)", weeks.join("\n  or\n")),
            ));
        }
    }
    rules.push(Rule::record(
        "cluster_topic_group:throughline_delivered_records:rate5m",
        "sum by (cluster, topic, group) (rate(throughline_delivered_records_total[5m]))",
    ));
    let declared = "max by (cluster, topic) (throughline_topic_expected_traffic_seconds)";
    // Changed since the last evaluation: a window would call a topic alive for as long as it is wide.
    let counter = "throughline_produced_records_total";
    let moved = format!(
        "group by (cluster, topic) ({counter} > 0 unless {counter} == {counter} offset 1m)"
    );
    rules.push(Rule::record(
        LAST_SEEN,
        format!(
            "time() * {moved}\nor on (cluster, topic)\n{LAST_SEEN} and on (cluster, topic) {declared}\nor on (cluster, topic)\n0 * {declared} + time()"
        ),
    ));
    rules
}

/// Our alerts that fire, for dashboards.
fn firing() -> Vec<Rule> {
    vec![Rule::record(
        "cluster_alertname:throughline_alerts:firing",
        "max by (alertname, severity, team, tier, cluster, topic, group, sli, broker) (\n  ALERTS{alertstate=\"firing\", mute!=\"\"}\n)",
    )]
}
