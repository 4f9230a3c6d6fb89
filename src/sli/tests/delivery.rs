//! Deliveries: attribution, latency by stage, the latency SLI, rebalances.

use std::time::Duration;

use regex::Regex;

use super::script::{Script, T0, batch, delivered, opened, part};
use crate::{
    event::{BatchFact, BatchKind, DeliveredPart, Facts, MembershipChange, Traced},
    sli::{AMBIGUOUS, NO_GROUP, Objective, Sli},
};

fn latency(script: &Script, group: &str, stage: &str) -> Option<(u64, u64)> {
    script.out.pair("latency", "t", group, stage)
}

/// A group that commits each batch 10 ms after it was delivered, four times, so that its interval is known.
fn prompt_group(script: &mut Script) -> u64 {
    script.assign(0, "g", 1, &[0]);
    script.commit(1, "g", 0, 0);
    for n in 0..4_i64 {
        let at = 100 + u64::try_from(n).unwrap() * 100;
        let sent = i64::try_from(at).unwrap() - 5;
        script.fetch(at, n, n + 1, vec![batch(n, n, sent, sent)]);
        script.commit(at + 10, "g", 0, n + 1);
    }
    1000
}

#[test]
fn delivered_counts_data_only_and_goes_to_the_group_the_partition_is_assigned_in() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    let control = BatchFact {
        kind: BatchKind::Control,
        delivered: 0,
        ..batch(5, 5, 0, 0)
    };
    let aborted = BatchFact {
        kind: BatchKind::Aborted,
        delivered: 0,
        ..batch(6, 9, 0, 0)
    };
    let resent = BatchFact {
        delivered: 3,
        ..batch(0, 4, 0, 0)
    };
    script.fetch(10, 2, 10, vec![resent, control, aborted]);
    let sums = script.out.delivered.get(&("t".into(), "g".into()));
    assert_eq!(sums, Some(&(3, 100)));
}

#[test]
fn fetches_without_or_between_groups_are_labelled_so_and_the_ambiguous_have_no_sli() {
    let mut script = Script::new();
    script.fetch(0, 0, 1, vec![batch(0, 0, 0, 0)]);
    assert!(
        script
            .out
            .delivered
            .contains_key(&("t".into(), NO_GROUP.into()))
    );
    assert_eq!(latency(&script, NO_GROUP, "fetched"), Some((1, 0)));
    script.assign(1, "g", 1, &[0]);
    script.assign(1, "h", 1, &[0]);
    script.fetch(2, 1, 2, vec![batch(1, 1, 0, 0)]);
    assert!(
        script
            .out
            .delivered
            .contains_key(&("t".into(), AMBIGUOUS.into()))
    );
    assert_eq!(latency(&script, AMBIGUOUS, "fetched"), None);
}

#[test]
fn a_traced_record_stands_for_its_latency_when_it_is_fetched_and_once_when_it_is_committed() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    let batches = vec![batch(0, 4, 0, 10), batch(5, 9, 10, 20)];
    let of = |offset, published| Traced::numbered(offset, T0 + published);
    script.fetch_part(
        100,
        DeliveredPart {
            // Two of the first batch, and one whose clock is ahead.
            traced: vec![of(2, 4), of(3, 6), of(7, 500)],
            unrecorded: None,
            ..part(0, 10, batches)
        },
    );
    assert_eq!(script.out.examples, [("fetched", 96, 2)]);
    script.out.examples.clear();
    script.commit(150, "g", 0, 2);
    assert_eq!(script.out.examples, [], "it is not committed yet");
    script.commit(200, "g", 0, 4);
    let both = [("processed", 100, 2), ("committed", 196, 2)];
    assert_eq!(script.out.examples, both);
    script.out.examples.clear();
    script.commit(300, "g", 0, 10);
    assert_eq!(script.out.examples, [("processed", 200, 7)]);
}

#[test]
fn the_latency_pair_of_an_assigned_topic_exists_at_zero() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    assert_eq!(latency(&script, "g", "fetched"), Some((0, 0)));
    assert_eq!(script.out.readers, [("t".to_owned(), "g".to_owned())]);
    for reason in ["join", "rejoin", "expired", "unknown"] {
        let key = ("g".to_owned(), reason.to_owned());
        assert_eq!(script.out.rebalances.get(&key), Some(&0), "{reason}");
    }
}

#[test]
fn latency_is_judged_at_the_fetch_where_commits_are_seldom_or_their_interval_is_unknown() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.fetch(
        1000,
        0,
        2,
        vec![batch(0, 0, 500, 500), batch(1, 1, 499, 499)],
    );
    assert_eq!(latency(&script, "g", "fetched"), Some((1, 1)));
    assert_eq!(
        script.out.latencies,
        [("fetched", 500, 1), ("fetched", 501, 1)]
    );
    // A default client commits every 5 s: the committed latency is in the histogram, never in the SLI.
    for n in 1..5_u64 {
        script.commit(1000 + n * 5000, "g", 0, 2);
        let at = 1100 + n * 5000;
        let from = 1 + i64::try_from(n).unwrap();
        let sent = i64::try_from(at).unwrap();
        script.fetch(at, from, from + 1, vec![batch(from, from, sent, sent)]);
    }
    assert_eq!(latency(&script, "g", "committed"), None);
    assert_eq!(latency(&script, "g", "fetched"), Some((5, 1)));
    assert!(script.out.latencies.contains(&("committed", 5500, 1)));
}

#[test]
fn latency_is_judged_at_the_commit_where_the_group_commits_often_enough() {
    let mut script = Script::new();
    let now = prompt_group(&mut script);
    let before = latency(&script, "g", "committed").unwrap_or_default();
    let fetched = latency(&script, "g", "fetched");
    // Fetched in time, committed too late.
    script.fetch(now, 4, 6, vec![batch(4, 5, 990, 990)]);
    assert_eq!(
        latency(&script, "g", "fetched"),
        fetched,
        "not judged twice"
    );
    script.commit(now + 200, "g", 0, 5);
    script.commit(now + 600, "g", 0, 6);
    let (good, bad) = latency(&script, "g", "committed").unwrap();
    assert_eq!((good - before.0, bad - before.1), (1, 1));
    let processed = &script.out.processed;
    assert_eq!(processed[processed.len() - 2..], [(200, 1), (600, 1)]);
}

#[test]
fn records_judged_at_the_commit_that_never_comes_are_unknown() {
    let mut script = Script::new();
    let now = prompt_group(&mut script);
    script.fetch(now, 4, 9, vec![batch(4, 8, 990, 990)]);
    script.commit(now + 1, "g", 0, 6);
    script.assign(now + 2, "g", 2, &[]);
    assert_eq!(script.out.unknown("latency", "not_committed"), 3);
}

#[test]
fn an_objective_moves_the_threshold_of_its_topic() {
    let mut script = Script::with(vec![Objective {
        pattern: Regex::new("^t$").ok(),
        stage: None,
        sli: Sli::Latency,
        threshold: Some(Duration::from_secs(2)),
        target: Some(0.9),
    }]);
    script.assign(0, "g", 1, &[0]);
    script.fetch(
        3000,
        0,
        2,
        vec![batch(0, 0, 1000, 1000), batch(1, 1, 999, 999)],
    );
    assert_eq!(latency(&script, "g", "fetched"), Some((1, 1)));
    let status = script.engine.slis();
    let pair = status.iter().find(|s| s.sli == "latency").unwrap();
    assert_eq!(pair.threshold_seconds, Some(2.0));
    assert!((pair.objective - 0.9).abs() < 1e-9);
    assert_eq!(pair.ratio, Some(0.5));
}

#[test]
fn an_opened_batch_is_judged_record_by_record_from_the_offset_asked_for() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    // Latencies at 10,000: 9000, 600, 400, 400; the first is before the offset asked for.
    let mut fact = opened(0, &[1000, 9400, 9600, 9600]);
    fact.delivered = 3;
    script.fetch(10_000, 1, 4, vec![fact]);
    assert_eq!(latency(&script, "g", "fetched"), Some((2, 1)));
    assert_eq!(
        script.out.latencies,
        [("fetched", 600, 1), ("fetched", 400, 2)]
    );
    let health = script.engine.health();
    assert!((health[0].coverage - 1.0).abs() < 1e-9);
}

#[test]
fn a_batch_not_opened_is_unknown_where_its_header_leaves_it_open_and_lowers_the_coverage() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.fetch(
        10_000,
        0,
        8,
        vec![batch(0, 5, 1000, 9900), batch(6, 7, 9990, 9990)],
    );
    assert_eq!(latency(&script, "g", "fetched"), Some((2, 0)));
    assert_eq!(script.out.unknown("latency", "not_examined"), 6);
    assert_eq!(script.out.latencies, [("fetched", 10, 2)]);
    let health = script.engine.health();
    assert!((health[0].coverage - 0.25).abs() < 1e-9);
}

#[test]
fn publish_times_in_the_future_are_skew_and_never_in_the_histogram() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.fetch(1000, 0, 3, vec![batch(0, 2, 1250, 1250)]);
    assert_eq!(script.out.unknown("latency", "negative_skew"), 3);
    assert!(script.out.latencies.is_empty());
    assert_eq!(script.engine.health()[0].skew_ms, Some(250));
    // It is shown for ten minutes after it was last seen.
    script.tick(600_999);
    assert_eq!(script.engine.health()[0].skew_ms, Some(250));
    script.tick(601_000);
    assert_eq!(script.engine.health()[0].skew_ms, None);
}

#[test]
fn a_record_without_publish_time_is_unknown() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.fetch(1000, 0, 1, vec![batch(0, 0, -1 - T0, -1 - T0)]);
    assert_eq!(script.out.unknown("latency", "no_timestamp"), 1);
}

#[test]
fn log_append_time_makes_every_record_the_batch_time() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    let fact = BatchFact {
        log_append_time: true,
        ..batch(0, 9, -99_000, 900)
    };
    script.fetch(1000, 0, 10, vec![fact]);
    assert_eq!(script.out.latencies, [("fetched", 100, 10)]);
    assert_eq!(latency(&script, "g", "fetched"), Some((10, 0)));
}

#[test]
fn records_fetched_again_are_delivered_again_but_committed_once() {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.fetch(10, 0, 4, vec![batch(0, 3, 0, 0)]);
    let again = BatchFact {
        delivered: 2,
        ..batch(0, 3, 0, 0)
    };
    script.fetch(20, 2, 4, vec![again]);
    script.commit(30, "g", 0, 4);
    let sums = script.out.delivered.get(&("t".into(), "g".into()));
    assert_eq!(sums, Some(&(6, 200)));
    assert_eq!(script.out.processed, [(20, 4)]);
}

#[test]
fn a_share_group_is_named_by_the_fetch_and_has_no_lag() {
    let mut script = Script::new();
    let mut facts = delivered(vec![part(0, 5, vec![batch(0, 4, 0, 0)])]);
    facts.group = Some("share".into());
    script.facts(10, Facts::Delivered(facts));
    let key = ("t".to_owned(), "share".to_owned());
    assert_eq!(script.out.delivered.get(&key), Some(&(5, 100)));
    assert!(script.lags(10).is_empty());
}

#[test]
fn a_rebalance_counts_once_per_generation_whatever_the_protocol() {
    let mut script = Script::new();
    let joined = |generation, reason| MembershipChange::Joined { generation, reason };
    // Classic: joined, then assigned in the same generation; a second member of the pod joins it too.
    script.member(0, "g", joined(5, "join"));
    script.assign(1, "g", 5, &[0]);
    script.client("other", 2);
    script.member(2, "g", joined(5, "join"));
    script.member(3, "g", joined(6, "rejoin"));
    // KIP-848: assigned only.
    script.assign(4, "new", 1, &[0]);
    script.assign(5, "new", 2, &[0, 1]);
    let count = |group: &str, reason: &str| {
        let key = (group.to_owned(), reason.to_owned());
        script.out.rebalances.get(&key).copied()
    };
    assert_eq!(count("g", "join"), Some(1));
    assert_eq!(count("g", "rejoin"), Some(1));
    assert_eq!(count("g", "assigned"), Some(0));
    assert_eq!(count("new", "assigned"), Some(2));
}
