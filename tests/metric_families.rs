//! Every family of the catalogue is moved by a test: the list of which, held against the catalogue and against the tests.
//!
//! Why: a figure that nobody ever saw move may not move. Each entry names the test that makes its family take a value that it has not
//! by itself; that test's file must name the family, or what it is pushed as. A new family needs an entry here, and a test.

#![allow(
    clippy::panic,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use throughline::metrics::catalogue;

/// (file, test, families that it moves).
const MOVED: &[(&str, &str, &[&str])] = &[
    (
        "src/metrics/tests.rs",
        "names_past_the_cap_go_to_other_and_are_counted",
        &["throughline_series_capped_total"],
    ),
    (
        "src/pipeline/tests.rs",
        "a_topic_has_the_first_owner_that_matches_and_an_unowned_one_has_none",
        &[
            "throughline_topic_expected_traffic_seconds",
            "throughline_topic_owner_info",
        ],
    ),
    (
        "src/app/observe/canary/shown.rs",
        "what_became_of_records_and_commits_is_told_by_its_own_family",
        &[
            "throughline_canary_commit_failures_total",
            "throughline_canary_recovered_total",
            "throughline_canary_unknown_total",
        ],
    ),
    (
        "tests/real_canary.rs",
        "records_come_back_in_time_and_every_counter_is_there_from_the_start",
        &[
            "throughline_canary_duration_seconds",
            "throughline_canary_sent_total",
        ],
    ),
    (
        "tests/real_canary.rs",
        "brokers_restart_die_and_hang_and_nothing_is_lost",
        &[
            "throughline_canary_broker_covered",
            "throughline_canary_late_total",
        ],
    ),
    (
        "tests/real_canary.rs",
        "what_was_deleted_before_it_was_read_is_lost_exactly",
        &[
            "throughline_canary_lost_total",
            "throughline_canary_overdue_records",
        ],
    ),
    (
        "tests/real_canary.rs",
        "a_cluster_that_is_not_there_yet_is_waited_for_and_one_that_goes_fails_records",
        &["throughline_canary_failed_total"],
    ),
    (
        "tests/real_bursts.rs",
        "lag_rises_and_falls_with_a_burst_and_is_nothing_in_the_silence_after",
        &[
            "throughline_sli_events_total",
            "throughline_sli_good_events_total",
        ],
    ),
    (
        "tests/real_bytes.rs",
        "both_sides_of_the_sidecar_carry_the_same_bytes",
        &[
            "throughline_proxy_bytes_total",
            "throughline_proxy_frames_total",
        ],
    ),
    (
        "tests/real_failure_modes.rs",
        "records_that_retention_deleted_before_the_group_came_back",
        &["throughline_lost_records_total"],
    ),
    (
        "tests/real_failure_modes.rs",
        "retention_that_is_about_to_overtake_a_group",
        &[
            "throughline_time_to_loss_seconds",
            "throughline_consumer_lag_records",
            "throughline_consumer_lag_seconds",
        ],
    ),
    (
        "tests/real_failure_modes.rs",
        "a_hole_in_the_sequence_of_a_producer",
        &["throughline_sequence_gaps_total"],
    ),
    (
        "tests/real_failure_modes.rs",
        "who_did_what_and_who_was_not_let_in",
        &[
            "throughline_authorization_failures_total",
            "throughline_authentication_failures_total",
        ],
    ),
    (
        "tests/real_failure_modes.rs",
        "a_group_that_rebalances_all_the_time",
        &["throughline_rebalances_total"],
    ),
    (
        "tests/real_failure_modes.rs",
        "clients_that_a_quota_slows_down",
        &["throughline_throttled_seconds_total"],
    ),
    (
        "tests/real_failures.rs",
        "an_event_written_twice_is_a_duplicate_and_what_a_restart_brings_again_is_none",
        &[
            "throughline_duplicate_records_total",
            "throughline_duplicate_false_positive_ratio",
            "throughline_duplicate_window_seconds",
            "throughline_examined_ratio",
        ],
    ),
    (
        "tests/real_failures.rs",
        "records_without_an_id_are_unknown_and_the_same_content_is_told",
        &["throughline_sli_unknown_events_total"],
    ),
    (
        "tests/real_failures.rs",
        "what_a_program_sets_aside_is_counted_once_by_origin_and_fails_its_processing",
        &[
            "throughline_dead_letter_records_total",
            "throughline_retried_records_total",
        ],
    ),
    (
        "tests/real_failures.rs",
        "a_record_nobody_gets_past_is_poison_until_it_is_committed",
        &["throughline_poison_records"],
    ),
    (
        "tests/real_families.rs",
        "what_is_known_of_a_member_and_of_its_partitions",
        &[
            "throughline_lineage_records_total",
            "throughline_produced_skew_ratio",
            "throughline_broker_request_duration_seconds",
            "throughline_consumer_assigned_partitions",
            "throughline_consumer_members",
            "throughline_consumer_partition_lag_records",
            "throughline_consumer_partition_lag_seconds",
            "throughline_group_partition_lag_records",
            "throughline_commit_interval_seconds",
            "throughline_group_commit_interval_seconds",
            "throughline_poll_gap_seconds",
            "throughline_consumer_lag_age_seconds",
            "throughline_coverage_ratio",
            "throughline_commit_failures_total",
            "throughline_request_failures_total",
            "process_resident_memory_bytes",
            "throughline_observer_cycle_seconds",
        ],
    ),
    (
        "tests/real_families.rs",
        "publish_times_in_the_future",
        &["throughline_clock_skew_seconds"],
    ),
    (
        "tests/real_families.rs",
        "fetches_that_the_broker_refuses",
        &["throughline_fetch_failures_total"],
    ),
    (
        "tests/real_families.rs",
        "connections_that_are_not_made",
        &[
            "throughline_connect_failures_total",
            "throughline_proxy_connections",
            "throughline_proxy_connections_refused_total",
            "process_start_time_seconds",
            "process_open_fds",
        ],
    ),
    (
        "tests/real_families.rs",
        "what_is_left_alone_is_counted",
        &[
            "throughline_proxy_bypassed_total",
            "throughline_connections_closed_total",
            "throughline_injection_skipped_total",
            "throughline_lineage_unindexed_batches_total",
            "throughline_series",
        ],
    ),
    (
        "tests/real_figures.rs",
        "records_bytes_and_commits",
        &[
            "throughline_produced_records_total",
            "throughline_produced_bytes_total",
            "throughline_produced_batches_total",
            "throughline_batch_records",
            "throughline_delivered_records_total",
            "throughline_delivered_bytes_total",
            "throughline_commits_total",
            "throughline_client_info",
        ],
    ),
    (
        "tests/real_figures.rs",
        "refusals_by_name",
        &["throughline_produce_failures_total"],
    ),
    (
        "tests/real_figures.rs",
        "lag_of_one_record_batches",
        &["throughline_consumer_lag_seconds_bound"],
    ),
    (
        "tests/real_figures.rs",
        "a_healthy_run_with_default_settings",
        &["throughline_end_to_end_latency_seconds"],
    ),
    (
        "tests/real_healthy.rs",
        "a_healthy_run_with_a_rolling_restart_raises_nothing",
        &[
            "throughline_consumer_state",
            "throughline_consumer_lag_drain_seconds",
        ],
    ),
    (
        "tests/real_injection.rs",
        "a_topic_whose_limit_only_the_edited_batch_exceeds_takes_every_record_and_no_client_notices",
        &["throughline_injection_refused_total"],
    ),
    (
        "tests/real_metrics_push.rs",
        "every_push_is_the_page_and_so_is_the_last_one",
        &[
            "throughline_fetch_duration_seconds",
            "throughline_commit_duration_seconds",
            "throughline_processing_duration_seconds",
            "throughline_operation_duration_seconds",
            "throughline_process_duration_seconds",
            "throughline_sent_messages_total",
            "throughline_consumed_messages_total",
            "throughline_proxy_connections_accepted_total",
            "throughline_proxy_added_latency_seconds",
            "process_cpu_seconds_total",
        ],
    ),
    (
        "tests/real_metrics_push.rs",
        "a_collector_that_was_away_has_every_total_once_it_is_back",
        &[
            "throughline_telemetry_dropped_total",
            "throughline_export_failures_total",
        ],
    ),
    (
        "tests/real_observer.rs",
        "a_dead_group_with_a_backlog_is_seen_and_its_age_is_exact",
        &[
            "throughline_group_lag_seconds",
            "throughline_group_lag_seconds_bound",
        ],
    ),
    (
        "tests/real_observer.rs",
        "a_topic_created_again_and_one_overtaken_by_retention",
        &[
            "throughline_group_lost_records_total",
            "throughline_retention_used_ratio",
        ],
    ),
    (
        "tests/real_observer.rs",
        "a_killed_broker_is_down_and_its_partitions_are_short_of_replicas",
        &[
            "throughline_broker_up",
            "throughline_under_replicated_partitions",
            "throughline_offline_partitions",
        ],
    ),
    (
        "tests/real_observer.rs",
        "figures_have_the_names_of_another_exporter_where_that_is_asked_for",
        &[
            "kafka_brokers",
            "kafka_topic_partitions",
            "kafka_topic_partition_current_offset",
            "kafka_topic_partition_oldest_offset",
            "kafka_topic_partition_in_sync_replica",
            "kafka_topic_partition_replicas",
            "kafka_topic_partition_leader",
            "kafka_topic_partition_under_replicated_partition",
            "kafka_consumergroup_current_offset",
            "kafka_consumergroup_lag",
            "kafka_consumergroup_lag_sum",
            "kafka_consumergroup_members",
        ],
    ),
    (
        "tests/real_rights.rs",
        "time_to_loss_is_told_to_who_may_know_the_retention_and_read",
        &["throughline_group_time_to_loss_seconds"],
    ),
    (
        "tests/real_rights.rs",
        "disks_are_known_to_who_may_describe_the_cluster",
        &["throughline_log_dir_used_ratio"],
    ),
    (
        "tests/real_rights.rs",
        "a_group_is_seen_by_who_may_describe_it",
        &["throughline_observer_refusals_total"],
    ),
    (
        "tests/real_rights.rs",
        "the_cluster_is_named_as_soon_as_somebody_may_ask",
        &["throughline_build_info"],
    ),
    (
        "tests/real_rights.rs",
        "the_sidecar_does_its_work_without_a_right_of_its_own",
        &["throughline_injected_records_total"],
    ),
    (
        "tests/real_schemas.rs",
        "what_a_registry_does_not_confirm_is_a_failure_by_its_reason",
        &[
            "throughline_schema_records_total",
            "throughline_schema_failures_total",
            "throughline_schema_info",
            "throughline_schema_drift",
        ],
    ),
    (
        "tests/real_shares.rs",
        "every_record_counts_as_the_member_said",
        &["throughline_share_acknowledged_records_total"],
    ),
    (
        "tests/real_states.rs",
        "a_group_is_warn_stalled_stopped_rewinding_and_ok_as_its_consumers_are",
        &[
            "throughline_group_lag_records",
            "throughline_group_state",
            "throughline_group_members",
            "throughline_group_lag_drain_seconds",
        ],
    ),
    (
        "tests/real_states.rs",
        "a_hot_key_makes_a_hot_partition_and_its_share_is_exact",
        &["throughline_partition_skew_ratio"],
    ),
    (
        "tests/real_states.rs",
        "a_replay_takes_as_long_as_was_estimated",
        &["throughline_replay_estimate_seconds"],
    ),
    (
        "tests/real_traces.rs",
        "one_trace_leads_from_the_produce_to_the_commit",
        &["throughline_produce_duration_seconds"],
    ),
];

/// Families that are only pushed, and the names they are pushed under.
const PUSHED_AS: [(&str, &str); 4] = [
    (
        "throughline_operation_duration_seconds",
        "messaging.client.operation.duration",
    ),
    (
        "throughline_process_duration_seconds",
        "messaging.process.duration",
    ),
    (
        "throughline_sent_messages_total",
        "messaging.client.sent.messages",
    ),
    (
        "throughline_consumed_messages_total",
        "messaging.client.consumed.messages",
    ),
];

#[test]
fn every_family_is_moved_by_a_test_and_no_other_is_listed() {
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    for name in MOVED.iter().flat_map(|(_, _, families)| *families) {
        let count = listed.entry(name).or_default();
        *count += 1;
    }
    let twice: Vec<_> = listed.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "listed twice: {twice:?}");
    let all = catalogue::Id::ALL.iter().map(|id| id.family().name);
    let all: BTreeSet<&str> = all.collect();
    let listed: BTreeSet<&str> = listed.into_keys().collect();
    let missing: Vec<_> = all.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "no test moves {missing:?}: write one, and list it in tests/metric_families.rs"
    );
    let unknown: Vec<_> = listed.difference(&all).collect();
    assert!(unknown.is_empty(), "not in the catalogue: {unknown:?}");
}

#[test]
fn every_listed_test_is_there_and_names_what_it_moves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, test, families) in MOVED {
        let text = fs::read_to_string(root.join(file));
        let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(is_test(&text, test), "{file} has no test {test}");
        for family in *families {
            let pushed = PUSHED_AS.iter().find(|(name, _)| name == family);
            let shown = pushed.map_or(*family, |(_, shown)| shown);
            assert!(names(&text, shown), "{file} does not name {shown}");
        }
    }
}

/// Whether the text has a test of this name: the function, with the attribute before it.
fn is_test(text: &str, name: &str) -> bool {
    let own = [format!("\nfn {name}("), format!("\n    fn {name}(")];
    let at = own.iter().find_map(|own| text.find(own));
    let by_itself = at.is_some_and(|at| {
        let before = &text[..at];
        let start = before.rfind("\n\n").unwrap_or(0);
        before[start..].contains("#[test]")
    });
    // Or a line of a table that a macro makes tests of.
    by_itself || text.contains("fn $test()") && text.contains(&format!("    {name}\n"))
}

/// Whether the text has this name by itself: not as the beginning of another one, suffixes of histograms apart.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let rest = &text[at + name.len()..];
        let rest = ["_count", "_sum", "_bucket"]
            .iter()
            .find_map(|suffix| rest.strip_prefix(suffix))
            .unwrap_or(rest);
        !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
    })
}
