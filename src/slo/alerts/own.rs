//! Throughline itself: what it could not do, and whether anybody still watches.

use super::{Alert, Mute, Of, SIDECAR, Severity, gained};

pub(super) fn alerts() -> Vec<Alert> {
    let mut all = losses();
    all.extend(watchers());
    all
}

fn ticket(
    name: &'static str,
    holds: &'static str,
    expr: String,
    summary: &'static str,
    description: &'static str,
) -> Alert {
    Alert {
        name,
        severity: Severity::Ticket,
        holds,
        expr,
        of: Of::Platform,
        mute: Mute::Nothing,
        summary,
        description,
        board: SIDECAR,
    }
}

/// What was lost to a limit that is set for it (how many records are examined or opened, how many lines are written) is no fault: the coverage says it.
fn losses() -> Vec<Alert> {
    let grew = |by: &str, family: &str| gained(by, family, "10m");
    vec![
        ticket(
            "TelemetryDropped",
            "",
            grew(
                "cluster, job, instance, signal, reason",
                "throughline_telemetry_dropped_total{reason!~\"examine_budget|cpu_budget|rate\"}",
            ),
            "{{ $labels.instance }} dropped {{ $labels.signal }}: {{ $labels.reason }}",
            "{{ $value | humanize }} observations in ten minutes, so that traffic need not wait. Counts are too low by as much.",
        ),
        Alert {
            of: Of::Topic,
            ..ticket(
                "InjectionSwitchedOff",
                "",
                grew(
                    "cluster, topic",
                    "throughline_injection_skipped_total{reason=\"refused\"}",
                ),
                "Records of topic {{ $labels.topic }} in {{ $labels.cluster }} get no context any more",
                "The broker refused headers on them, so that they are left as they are: {{ $value | humanize }} records in ten minutes.",
            )
        },
        ticket(
            "ExporterFailing",
            "",
            grew(
                "cluster, job, instance, signal",
                "throughline_export_failures_total",
            ),
            "{{ $labels.instance }} cannot export {{ $labels.signal }}",
            "{{ $value | humanize }} exports failed after all retries in ten minutes; what was in them is lost.",
        ),
        ticket(
            "SidecarBypassing",
            "",
            grew(
                "cluster, job, instance, reason",
                "throughline_proxy_bypassed_total",
            ),
            "{{ $labels.instance }} passes traffic on unread: {{ $labels.reason }}",
            "{{ $value | humanize }} times in ten minutes. The program notices nothing; figures lack what was not read.",
        ),
        ticket(
            "SeriesCapped",
            "",
            grew(
                "cluster, job, instance, family",
                "throughline_series_capped_total",
            ),
            "{{ $labels.instance }} has more series of {{ $labels.family }} than metrics.max_series",
            "What came past the cap is summed up as _other. Fold generated names (`names`), or raise the cap.",
        ),
    ]
}

fn watchers() -> Vec<Alert> {
    vec![
        Alert {
            severity: Severity::None,
            ..ticket(
                "Watchdog",
                "",
                "vector(1)".to_owned(),
                "Alerts are evaluated and sent",
                "Always fires. Whoever receives it must complain when it does not come.",
            )
        },
        ticket(
            "ObserverAbsent",
            "10m",
            // A sidecar knows no cluster before its first client; a cluster that had an observer still wants one.
            "(
  group by (cluster) (throughline_proxy_connections{cluster!=\"\"})
  or
  group by (cluster) (last_over_time(throughline_observer_cycle_seconds[1d]))
)
unless on (cluster)
group by (cluster) (throughline_observer_cycle_seconds)
or
absent(throughline_observer_cycle_seconds)
unless on ()
throughline_proxy_connections"
                .to_owned(),
            "Nobody observes {{ or $labels.cluster \"any cluster\" }} from outside",
            "Dead groups, lost leaders and brokers without clients are not seen. Start `throughline observe`.",
        ),
        ticket(
            "SidecarScrapeDown",
            "2m",
            // The name of its cluster changed within the hour, where it learnt it: the one it had longer.
            "(up == 0)
* on (job, instance) group_left (cluster)
group by (job, instance, cluster) (
  topk by (job, instance) (1,
    sum by (job, instance, cluster) (count_over_time(throughline_build_info[1h]))
  )
)"
            .to_owned(),
            "Prometheus cannot read {{ $labels.instance }}",
            "It was there within the hour. Its part of every figure is missing.",
        ),
    ]
}
