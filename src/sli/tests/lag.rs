//! Lag in records and in seconds: exact, or an interval that holds the truth.

use super::script::{Script, batch, delivered, opened, part};
use crate::{
    event::{BatchFact, BatchKind, Facts, MembershipChange, UNRESOLVED},
    sli::MAX_BATCHES,
};

fn script() -> Script {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script
}

const EXACT: fn(i64) -> (i64, Option<i64>) = |ms| (ms, Some(ms));

#[test]
fn the_first_uncommitted_record_tells_the_lag_exactly_where_the_header_knows_its_time() {
    let append = |base, last, low, high| BatchFact {
        log_append_time: true,
        ..batch(base, last, low, high)
    };
    // (batch, committed) -> (records, (lower, upper)) at 10,000
    for (what, fact, committed, records, bounds) in [
        ("one record", batch(0, 0, 400, 400), 0, 1, EXACT(9600)),
        ("first of many", batch(0, 9, 400, 900), 0, 10, EXACT(9600)),
        ("equal times", batch(0, 9, 400, 400), 4, 6, EXACT(9600)),
        ("log append time", append(0, 9, 100, 900), 4, 6, EXACT(9100)),
        (
            "in mid-batch",
            batch(0, 9, 400, 900),
            4,
            6,
            (9100, Some(9600)),
        ),
        (
            "in mid-batch, opened",
            opened(0, &[400, 500, 600, 700]),
            2,
            2,
            EXACT(9400),
        ),
    ] {
        let mut script = script();
        let end = fact.last_offset + 1;
        script.commit(5, "g", 0, 0);
        script.fetch(1000, 0, end, vec![fact]);
        script.commit(1010, "g", 0, committed);
        assert_eq!(
            script.lags(10_000),
            [(records, bounds.0, bounds.1)],
            "{what}"
        );
    }
}

#[test]
fn a_partition_read_to_its_end_has_lag_zero_and_not_no_data() {
    let mut script = script();
    script.fetch(10, 0, 5, vec![batch(0, 4, 0, 0)]);
    script.commit(20, "g", 0, 5);
    assert_eq!(script.lags(30), [(0, 0, Some(0))]);
}

#[test]
fn an_idle_partition_keeps_lag_zero_while_its_connection_still_fetches() {
    let mut script = script();
    script.position(5, "g", Some(5));
    script.fetch(10, 5, 5, vec![]);
    // An incremental answer names only what changed: this one names nothing.
    script.facts(40_000, Facts::Delivered(delivered(vec![])));
    assert_eq!(script.lags(50_000), [(0, 0, Some(0))]);
    assert_eq!(script.lags(69_999).len(), 1);
    assert_eq!(script.lags(70_000), []);
}

#[test]
fn a_group_without_a_position_has_no_lag() {
    let mut script = script();
    script.position(5, "g", None);
    script.fetch(10, 0, 5, vec![batch(0, 4, 0, 0)]);
    assert_eq!(script.lags(20), []);
}

#[test]
fn markers_and_aborted_records_at_the_tail_are_not_lag() {
    for kind in [BatchKind::Control, BatchKind::Aborted] {
        let mut script = script();
        let tail = BatchFact {
            kind,
            delivered: 0,
            ..batch(5, 6, 0, 0)
        };
        script.fetch(10, 0, 7, vec![batch(0, 4, 0, 0), tail]);
        script.commit(20, "g", 0, 3);
        assert_eq!(script.lags(30), [(2, 30, Some(30))], "{kind:?}");
        script.commit(40, "g", 0, 5);
        assert_eq!(script.lags(50), [(0, 0, Some(0))], "{kind:?}");
        // A record behind them is lag again, and so are the offsets before it.
        script.fetch(60, 7, 8, vec![batch(7, 7, 55, 55)]);
        assert_eq!(script.lags(65), [(3, 10, Some(10))], "{kind:?}");
    }
}

#[test]
fn a_hole_that_compaction_left_at_the_tail_is_not_lag() {
    let mut script = script();
    let emptied = BatchFact {
        records: 0,
        delivered: 0,
        ..batch(5, 8, 0, 0)
    };
    script.fetch(10, 0, 9, vec![batch(0, 4, 0, 0), emptied]);
    script.commit(20, "g", 0, 5);
    assert_eq!(script.lags(30), [(0, 0, Some(0))]);
}

#[test]
fn a_compacted_batch_gives_an_interval() {
    let mut script = script();
    let compacted = BatchFact {
        records: 3,
        delivered: 3,
        ..batch(0, 9, 100, 900)
    };
    script.commit(5, "g", 0, 0);
    script.fetch(1000, 0, 10, vec![compacted]);
    assert_eq!(script.lags(1000), [(10, 100, Some(900))]);
}

#[test]
fn the_end_is_the_last_stable_offset_for_who_reads_committed_and_the_high_watermark_else() {
    for (read_committed, expected) in [(true, 4), (false, 6)] {
        let mut script = script();
        script.commit(5, "g", 0, 0);
        let mut facts = delivered(vec![part(0, 6, vec![batch(0, 1, 0, 0)])]);
        facts.read_committed = read_committed;
        facts.parts[0].last_stable = 4;
        script.facts(10, Facts::Delivered(facts));
        assert_eq!(script.lags(20)[0].0, expected, "{read_committed}");
    }
}

#[test]
fn a_record_not_fetched_yet_is_at_least_as_old_as_the_end_that_showed_it() {
    let mut script = script();
    script.fetch(1000, 0, 5, vec![batch(0, 4, 900, 900)]);
    script.commit(1010, "g", 0, 5);
    // Two more records exist from 2,000 on at the latest; the consumer has not asked for them.
    script.fetch(2000, 5, 7, vec![]);
    script.fetch(3000, 5, 9, vec![]);
    assert_eq!(script.lags(4000), [(4, 2000, Some(3100))]);
    // Seen at last: exact.
    script.fetch(4000, 5, 9, vec![batch(5, 8, 1500, 1600)]);
    assert_eq!(script.lags(4000), [(4, 2500, Some(2500))]);
}

#[test]
fn a_backlog_of_which_nothing_was_seen_has_no_upper_bound() {
    let mut script = script();
    script.position(5, "g", Some(100));
    // The consumer went elsewhere: it fetches from 500.
    script.fetch(1000, 500, 600, vec![batch(500, 510, 10, 10)]);
    assert_eq!(script.lags(3000), [(500, 2000, None)]);
}

#[test]
fn seeking_back_is_redelivery_and_the_position_stays_what_was_committed() {
    let mut script = script();
    script.fetch(10, 0, 10, vec![batch(0, 4, 1, 1), batch(5, 9, 2, 2)]);
    script.commit(20, "g", 0, 10);
    script.fetch(30, 0, 10, vec![batch(0, 4, 1, 1)]);
    assert_eq!(script.lags(40), [(0, 0, Some(0))]);
    // Then commits from there.
    script.commit(50, "g", 0, 3);
    assert_eq!(script.lags(61), [(7, 60, Some(60))]);
}

#[test]
fn a_partition_not_fetched_for_half_a_minute_is_not_shown() {
    let mut script = script();
    script.commit(5, "g", 0, 0);
    script.fetch(10, 0, 5, vec![batch(0, 4, 0, 0)]);
    assert_eq!(script.lags(30_009).len(), 1);
    assert_eq!(script.lags(30_010), []);
}

#[test]
fn lag_vanishes_when_the_partition_is_revoked_or_the_member_gone_or_the_topic_deleted() {
    let ends: [fn(&mut Script); 5] = [
        |s| s.assign(20, "g", 2, &[1]),
        |s| s.member(20, "g", MembershipChange::Left),
        |s| s.member(20, "g", MembershipChange::Lost { reason: "FENCED" }),
        |s| s.topics(20, &["t"], true),
        |s| s.tick(20 + 330_000),
    ];
    for end in ends {
        let mut script = script();
        script.commit(5, "g", 0, 0);
        script.fetch(10, 0, 5, vec![batch(0, 4, 0, 0)]);
        assert_eq!(script.lags(20).len(), 1);
        end(&mut script);
        assert_eq!(script.lags(20), []);
    }
}

#[test]
fn a_truncated_log_begins_its_history_of_ends_anew() {
    let mut script = script();
    script.commit(5, "g", 0, 2);
    script.fetch(10, 2, 50, vec![]);
    script.fetch(1000, 2, 4, vec![]);
    assert_eq!(script.lags(1500), [(2, 500, None)]);
}

#[test]
fn many_uncommitted_batches_are_merged_and_the_interval_still_holds_the_truth() {
    let mut script = script();
    script.commit(5, "g", 0, 0);
    let count = i64::try_from(MAX_BATCHES).unwrap() * 5;
    for n in 0..count {
        let at = 1000 + u64::try_from(n).unwrap();
        script.fetch(at, n, n + 1, vec![batch(n, n, 1000 + n, 1000 + n)]);
    }
    let now = 20_000;
    for committed in [0, 7, 500, 1300, count - 1] {
        script.commit(now, "g", 0, committed);
        let [(records, lower, Some(upper))] = script.lags(now)[..] else {
            panic!("no lag");
        };
        assert_eq!(i64::try_from(records).unwrap(), count - committed);
        let truth = 20_000 - (1000 + committed);
        assert!(lower <= truth && truth <= upper, "{lower} {truth} {upper}");
        assert!(upper - lower < 64, "{lower} {upper}");
    }
    assert_eq!(
        script.out.processed.iter().map(|(_, n)| n).sum::<u64>(),
        u64::try_from(count - 1).unwrap()
    );
}

#[test]
fn an_admin_tool_that_asks_for_positions_makes_no_group_known() {
    let mut script = Script::new();
    script.position(0, "g", Some(3));
    script.tick(1000);
    assert!(script.engine.groups(script.at(1000)).is_empty());
    assert!(script.out.rebalances.is_empty());
    // A program that assigns by hand asks too, and then fetches: the position it was told counts.
    script.fetch(2000, 3, 5, vec![batch(3, 4, 1000, 1000)]);
    assert_eq!(script.lags(3000), [(2, 2000, Some(2000))]);
}

#[test]
fn topics_without_a_name_have_no_lag_because_they_would_share_one() {
    let mut script = script();
    let mut nameless = part(0, 5, vec![batch(0, 4, 0, 0)]);
    nameless.topic = UNRESOLVED.into();
    script.position(5, "g", Some(0));
    script.fetch_part(10, nameless);
    assert_eq!(script.lags(20), []);
}
