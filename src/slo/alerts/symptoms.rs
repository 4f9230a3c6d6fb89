//! What hurts, and what will: brokers, groups, records, schemas, access, traffic.

use super::{
    super::recording::{LAST_SEEN, OWNER, bare, errors, events, good},
    Alert, Mute, ON_CALL, Of, Severity, gained, grew,
};

pub(super) fn alerts() -> Vec<Alert> {
    let mut all = brokers();
    all.extend(groups());
    all.extend(odd_groups());
    all.extend(records());
    all.extend(access());
    all.extend(topics());
    all.extend(traffic());
    all.extend(slow());
    all
}

/// A page that follows a topic's owner; what differs is set over it.
fn page(
    name: &'static str,
    holds: &'static str,
    expr: impl Into<String>,
    summary: &'static str,
    description: &'static str,
) -> Alert {
    Alert {
        name,
        severity: Severity::Page,
        holds,
        expr: expr.into(),
        of: Of::Topic,
        mute: Mute::Maintenance,
        summary,
        description,
        board: ON_CALL,
    }
}

/// Likewise a ticket.
fn ticket(
    name: &'static str,
    holds: &'static str,
    expr: impl Into<String>,
    summary: &'static str,
    description: &'static str,
) -> Alert {
    Alert {
        severity: Severity::Ticket,
        ..page(name, holds, expr, summary, description)
    }
}

/// Nothing planned brings it about.
fn unmuted(alert: Alert) -> Alert {
    Alert {
        mute: Mute::Nothing,
        ..alert
    }
}

fn brokers() -> Vec<Alert> {
    let platform = |name, holds, expr: &str, summary, description| Alert {
        of: Of::Platform,
        ..page(name, holds, expr, summary, description)
    };
    vec![
        platform(
            "BrokerUnavailable",
            "1m",
            "max by (cluster, broker) (throughline_broker_up) == 0",
            "Broker {{ $labels.broker }} of {{ $labels.cluster }} does not answer",
            "No observer got an answer from it for a minute.",
        ),
        platform(
            "OfflinePartitions",
            "1m",
            "max by (cluster) (throughline_offline_partitions) > 0",
            "{{ $value }} partitions of {{ $labels.cluster }} have no leader",
            "Nobody can write to them or read from them.",
        ),
        platform(
            "UnderReplicatedPartitions",
            "5m",
            "max by (cluster) (throughline_under_replicated_partitions) > 0",
            "{{ $value }} partitions of {{ $labels.cluster }} lack replicas in sync",
            "One more failure may stop writes to them, or lose what was acknowledged.",
        ),
        Alert {
            of: Of::Platform,
            mute: Mute::Nothing,
            ..platform(
                "CanaryLost",
                "",
                &gained("cluster, broker", "throughline_canary_lost_total", "5m"),
                "Broker {{ $labels.broker }} of {{ $labels.cluster }} lost records it had acknowledged",
                "{{ $value | humanize }} records of the observer's canary were acknowledged and are not there.",
            )
        },
        Alert {
            severity: Severity::Ticket,
            mute: Mute::Nothing,
            ..platform(
                "QuotaNearlyUsed",
                "15m",
                "max by (cluster, broker) (throughline_log_dir_used_ratio) > 0.8",
                "Broker {{ $labels.broker }} of {{ $labels.cluster }} has used {{ $value | humanizePercentage }} of a disk",
                "Its fullest log directory is over 80 %. A full one takes the broker down.",
            )
        },
    ]
}

fn groups() -> Vec<Alert> {
    let lag = "{__name__=~\"throughline_(group|consumer)_lag_seconds\"}";
    // Not `members == 0`: a program that assigns itself partitions (Flink, Spark) is no member, and works.
    let dead = "max by (cluster, group) (throughline_group_state{state=\"stopped\"}) == 1";
    let abandoned = "max by (cluster, group) (throughline_group_state{state=\"abandoned\"}) == 1";
    let loss = "{__name__=~\"throughline_(group_)?time_to_loss_seconds\"}";
    vec![
        page(
            "PartitionStuck",
            "2m",
            format!(
                "max by (cluster, topic, group) ({lag}) > 120
and
max by (cluster, topic, group) (deriv({lag}[5m])) > 0.95
unless on (cluster, group)
({dead} or {abandoned})"
            ),
            "Group {{ $labels.group }} stands still in topic {{ $labels.topic }} of {{ $labels.cluster }}",
            "The first record that it has not committed is {{ $value | humanizeDuration }} old and ages with the clock: a partition does not move though the group has members.",
        ),
        page(
            "GroupDeadWithBacklog",
            "5m",
            format!(
                "max by (cluster, topic, group) (throughline_group_lag_records) > 0
and on (cluster, group)
{dead}"
            ),
            "Group {{ $labels.group }} has no members and {{ $value | humanize }} records to read in topic {{ $labels.topic }} of {{ $labels.cluster }}",
            "Nobody of the group is connected, and what it should read piles up.",
        ),
        Alert {
            mute: Mute::Nothing,
            ..page(
                "RetentionOvertakesGroup",
                "5m",
                format!("min by (cluster, topic, group) ({loss}) < 3600"),
                "Retention will delete records of topic {{ $labels.topic }} in {{ $labels.cluster }} before group {{ $labels.group }} reads them",
                "At the speed of both it happens in {{ $value | humanizeDuration }}.",
            )
        },
    ]
}

/// What groups do that somebody should look at, some day.
fn odd_groups() -> Vec<Alert> {
    vec![
        Alert {
            of: Of::Platform,
            ..ticket(
                "RebalanceStorm",
                "15m",
                "max by (cluster, group) (\n  sum by (cluster, group, job, instance) (increase(throughline_rebalances_total[15m]))\n) >= 10",
                "Group {{ $labels.group }} of {{ $labels.cluster }} rebalances all the time",
                "{{ $value | humanize }} rebalances in 15 minutes; members read little meanwhile.",
            )
        },
        Alert {
            of: Of::Platform,
            mute: Mute::Nothing,
            ..ticket(
                "AbandonedGroup",
                "10m",
                "max by (cluster, group) (throughline_group_state{state=\"abandoned\"}) == 1",
                "Group {{ $labels.group }} of {{ $labels.cluster }} is abandoned",
                "It has had no members for a day and is in no indicator any more. Delete it, or bring it back.",
            )
        },
    ]
}

fn records() -> Vec<Alert> {
    let by = "cluster, topic, group";
    let letters = "throughline_dead_letter_records_total";
    vec![
        unmuted(page(
            "RecordsLost",
            "",
            // The observer's and the sidecars' counts are of the same records, and so are those of two observers.
            format!(
                "max by ({by}) (\n  label_replace({}, \"by\", \"sidecars\", \"\", \"\")\n  or\n  {}\n)",
                gained(by, "throughline_lost_records_total", "5m"),
                grew("throughline_group_lost_records_total", "5m"),
            ),
            "Group {{ $labels.group }} lost records of topic {{ $labels.topic }} in {{ $labels.cluster }}",
            "{{ $value | humanize }} offsets were deleted or skipped before the group had read them.",
        )),
        unmuted(page(
            "DeadLetterGrowth",
            "",
            format!(
                "{} >= 10
unless on (cluster, topic)
cluster_topic:throughline_dead_letter_records:rate1h < 3 * cluster_topic:throughline_dead_letter_records:baseline1h",
                gained(by, letters, "10m")
            ),
            "Group {{ $labels.group }} gives up on records of topic {{ $labels.topic }} in {{ $labels.cluster }}",
            "{{ $value | humanize }} records went to a dead-letter topic in ten minutes, more than three times what is usual at this hour.",
        )),
        unmuted(page(
            "PoisonRecord",
            "5m",
            format!("max by ({by}) (throughline_poison_records) > 0"),
            "Group {{ $labels.group }} does not get past a record of topic {{ $labels.topic }} in {{ $labels.cluster }}",
            "{{ $value }} records are given to it again and again, or were dead-lettered again after a re-drive.",
        )),
        Alert {
            mute: Mute::SchemaMigration,
            ..ticket(
                "SchemaFailures",
                "",
                gained("cluster, topic, reason", "throughline_schema_failures_total", "10m"),
                "Records of topic {{ $labels.topic }} in {{ $labels.cluster }} have a schema that does not hold",
                "{{ $value | humanize }} records in ten minutes: {{ $labels.reason }}.",
            )
        },
    ]
}

fn access() -> Vec<Alert> {
    let rights = gained(
        "cluster, api, resource",
        "throughline_authorization_failures_total",
        "5m",
    );
    let logins = gained(
        "cluster, mechanism",
        "throughline_authentication_failures_total",
        "5m",
    );
    vec![Alert {
        name: "UnauthorisedAccessBurst",
        severity: Severity::Page,
        holds: "",
        expr: format!("{rights} >= 20\nor\n{logins} >= 20"),
        of: Of::Platform,
        mute: Mute::Nothing,
        summary: "{{ $labels.cluster }} refuses {{ with $labels.mechanism }}logins with {{ . }}{{ else }}{{ $labels.api }} on {{ $labels.resource }}{{ end }}",
        description: "{{ $value | humanize }} refusals in five minutes: rights were taken away, a secret ran out, or somebody tries doors.",
        board: ON_CALL,
    }]
}

fn topics() -> Vec<Alert> {
    vec![
        unmuted(ticket(
            "HotPartition",
            "30m",
            "max by (cluster, topic) (throughline_partition_skew_ratio) > 3",
            "One partition of topic {{ $labels.topic }} in {{ $labels.cluster }} takes {{ $value | humanize }} times its share",
            "Consumers of that partition fall behind first, and more of them do not help. Look at the keys.",
        )),
        Alert {
            mute: Mute::SchemaMigration,
            ..ticket(
                "SchemaDrift",
                "5m",
                "max by (cluster, topic) (throughline_schema_drift) > 0",
                "Producers of topic {{ $labels.topic }} in {{ $labels.cluster }} disagree on the schema",
                "{{ $value }} more versions than one per subject were written in the last hour.",
            )
        },
        unmuted(ticket(
            "UnownedTopic",
            "1h",
            format!(
                "group by (cluster, topic) ({OWNER}{{team=\"unowned\",topic!~\"_other|_unresolved|_ambiguous\"}})\nand on (cluster)\ngroup by (cluster) (throughline_topic_owner_info)"
            ),
            "Topic {{ $labels.topic }} in {{ $labels.cluster }} has no owner",
            "Others of the cluster have. Its alerts go to team unowned until an entry of `owners` matches it.",
        )),
        unmuted(ticket(
            "ClockSkew",
            "10m",
            "max by (cluster, topic) (\n  label_replace(throughline_clock_skew_seconds, \"topic\", \"$1\", \"peer\", \"(.*)\")\n) > 1",
            "Records of topic {{ $labels.topic }} in {{ $labels.cluster }} come from the future",
            "By {{ $value | humanizeDuration }}: a clock of a producer or of this host is wrong, and latency with it.",
        )),
    ]
}

/// Traffic that is not as it should be.
fn traffic() -> Vec<Alert> {
    let usual = "cluster_topic:throughline_produced_records:baseline1h";
    let now = "cluster_topic:throughline_produced_records:rate1h";
    vec![
        page(
            "TrafficAbsent",
            "1m",
            bare(&format!(
                "time() - {LAST_SEEN}\n> on (cluster, topic)\nmax by (cluster, topic) (throughline_topic_expected_traffic_seconds)"
            )),
            "Topic {{ $labels.topic }} in {{ $labels.cluster }} is silent",
            "Nothing was produced to it for {{ $value | humanizeDuration }}, longer than declared in `expected_traffic`.",
        ),
        ticket(
            "TrafficOffBaseline",
            "30m",
            bare(&format!(
                "{now} / ({usual} > 10) < 0.3\nor\n{now} / ({usual} > 10) > 3"
            )),
            "Topic {{ $labels.topic }} in {{ $labels.cluster }} carries {{ $value | humanizePercentage }} of what it usually does at this hour",
            "Against the mean of the same hour one, two and three weeks ago.",
        ),
    ]
}

/// Shares that are too high whatever the objective says.
fn slow() -> Vec<Alert> {
    let (errors, events, good) = (errors("30m"), events("30m"), good("30m"));
    let which = "sli=~\"publish|delivery|availability|processing\"";
    vec![Alert {
        name: "ErrorRateHigh",
        severity: Severity::Ticket,
        holds: "5m",
        expr: bare(&format!(
            "{errors}{{{which}}} > 0.05\nand\n{events} - {good} >= 10"
        )),
        of: Of::Topic,
        mute: Mute::Maintenance,
        summary: "{{ $value | humanizePercentage }} of {{ $labels.sli }} events{{ if $labels.topic }} of topic {{ $labels.topic }}{{ end }} in {{ $labels.cluster }} are bad",
        description: "In the last half hour, over 5 %, whatever the objective is.",
        board: ON_CALL,
    }]
}
