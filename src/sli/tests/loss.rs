//! What is lost on the way in and on the way out, and what only looks like it.

use std::time::Duration;

use super::script::{Script, batch, failure, part, sent, sequence};
use crate::{
    event::{DeliveredPart, Facts, FaultClass, PublishOutcome},
    sli::{GAP_DEADLINE, GONE_AFTER, MAX_RUNS},
};

const OK: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 0,
    log_append_ms: None,
};
const LOST: PublishOutcome = PublishOutcome::Lost;
const LATE: u64 = 1_000_000;

fn refused(name: &'static str) -> PublishOutcome {
    PublishOutcome::Failed(failure(name, FaultClass::Broker, true))
}

fn out_of_order() -> PublishOutcome {
    refused("OUT_OF_ORDER_SEQUENCE_NUMBER")
}

/// (epoch, sequence, records, outcome)
type Attempt = (i16, i32, u64, PublishOutcome);

/// Gaps after these attempts, one a millisecond, once every deadline has passed.
fn gaps(attempts: &[Attempt]) -> u64 {
    let mut script = Script::new();
    for (ms, (epoch, base, records, outcome)) in (0..).zip(attempts) {
        script.publish(ms, vec![sent(*records, sequence(*epoch, *base), *outcome)]);
    }
    script.tick(1_000 + u64::try_from(GAP_DEADLINE.as_millis()).unwrap());
    script.out.gaps.values().sum()
}

#[test]
fn a_hole_is_told_where_no_retry_closes_it_and_nothing_else_is() {
    for (what, attempts, wanted) in rows() {
        assert_eq!(gaps(&attempts), wanted, "{what}");
    }
}

#[allow(clippy::too_many_lines, reason = "one table")]
fn rows() -> Vec<(&'static str, Vec<Attempt>, u64)> {
    let max = i32::MAX;
    vec![
        ("in order", vec![(0, 0, 5, OK), (0, 5, 5, OK)], 0),
        (
            "begun in the middle",
            vec![(0, 700, 5, OK), (0, 705, 5, OK)],
            0,
        ),
        (
            "numbered anew, below what was seen first",
            vec![
                (0, 700, 5, OK),
                (0, 0, 5, OK),
                (0, 5, 5, OK),
                (0, 705, 5, OK),
            ],
            0,
        ),
        ("a jump", vec![(0, 0, 5, OK), (0, 9, 5, OK)], 1),
        (
            "two jumps",
            vec![(0, 0, 5, OK), (0, 9, 5, OK), (0, 20, 5, OK)],
            2,
        ),
        (
            "a jump that the broker refuses",
            vec![(0, 0, 5, OK), (0, 9, 5, out_of_order())],
            1,
        ),
        (
            "answers out of order: five in flight",
            vec![
                (0, 0, 5, OK),
                (0, 10, 5, OK),
                (0, 15, 5, OK),
                (0, 20, 5, OK),
                (0, 5, 5, OK),
            ],
            0,
        ),
        (
            "refused, and everything behind it, until it came again",
            vec![
                (0, 0, 5, OK),
                (0, 5, 5, refused("NOT_LEADER_OR_FOLLOWER")),
                (0, 10, 5, out_of_order()),
                (0, 15, 5, out_of_order()),
                (0, 5, 5, OK),
                (0, 10, 5, OK),
                (0, 15, 5, OK),
            ],
            0,
        ),
        (
            "a duplicate is there",
            vec![
                (0, 0, 5, OK),
                (0, 10, 5, OK),
                (0, 5, 5, refused("DUPLICATE_SEQUENCE_NUMBER")),
            ],
            0,
        ),
        (
            "the parts of a split batch close what it left",
            vec![
                (0, 0, 5, OK),
                (0, 5, 10, refused("MESSAGE_TOO_LARGE")),
                (0, 15, 5, out_of_order()),
                (0, 5, 4, OK),
                (0, 9, 6, OK),
                (0, 15, 5, OK),
            ],
            0,
        ),
        (
            "a batch given up, those behind it renumbered",
            vec![
                (0, 0, 5, OK),
                (0, 5, 1, refused("MESSAGE_TOO_LARGE")),
                (0, 6, 2, out_of_order()),
                (0, 5, 2, OK),
            ],
            0,
        ),
        (
            "refused, then the program ended: publishes that failed, no hole",
            vec![
                (0, 0, 5, OK),
                (0, 5, 5, refused("NOT_LEADER_OR_FOLLOWER")),
                (0, 10, 5, out_of_order()),
            ],
            0,
        ),
        (
            "refused for good, and the broker took what came behind it",
            vec![
                (0, 0, 5, OK),
                (0, 5, 5, refused("INVALID_RECORD")),
                (0, 10, 5, OK),
            ],
            1,
        ),
        (
            "an answer was lost: it may be there",
            vec![(0, 0, 5, OK), (0, 5, 5, LOST), (0, 10, 5, OK)],
            0,
        ),
        (
            "a new epoch begins anew",
            vec![(0, 0, 5, OK), (0, 9, 5, out_of_order()), (1, 0, 5, OK)],
            0,
        ),
        (
            "every transaction has an epoch",
            vec![
                (0, 0, 5, OK),
                (1, 0, 5, OK),
                (2, 0, 7, OK),
                (2, 7, 1, OK),
                (1, 40, 1, OK),
            ],
            0,
        ),
        (
            "numbers begin again",
            vec![(0, max - 4, 5, OK), (0, 0, 5, OK)],
            0,
        ),
        (
            "a batch over their end",
            vec![(0, max - 1, 5, OK), (0, 3, 5, OK)],
            0,
        ),
        (
            "a jump over their end",
            vec![(0, max - 4, 5, OK), (0, 2, 5, OK)],
            1,
        ),
        (
            "without acknowledgement",
            vec![
                (0, 0, 5, PublishOutcome::NotAsked),
                (0, 9, 5, PublishOutcome::NotAsked),
            ],
            0,
        ),
    ]
}

#[test]
fn more_holes_than_are_remembered_begin_anew() {
    let many = i32::try_from(MAX_RUNS).unwrap() + 1;
    let attempts: Vec<Attempt> = (0..many).map(|n| (0, n * 10, 5, OK)).collect();
    assert_eq!(gaps(&attempts), 0);
}

#[test]
fn a_hole_waits_for_its_deadline_or_for_the_end_of_its_producer() {
    let mut script = Script::new();
    let jump = || vec![sent(5, sequence(0, 9), OK)];
    script.publish(0, vec![sent(5, sequence(0, 0), OK)]);
    script.publish(10, jump());
    let deadline = u64::try_from(GAP_DEADLINE.as_millis()).unwrap();
    script.tick(deadline);
    assert!(script.out.gaps.is_empty());
    script.tick(deadline + 10);
    assert_eq!(script.out.gaps.get("t"), Some(&1));
    script.tick(deadline * 3);
    assert_eq!(script.out.gaps.get("t"), Some(&1), "once");

    let mut script = Script::new();
    script.publish(0, vec![sent(5, sequence(0, 0), OK)]);
    script.publish(10, jump());
    script.lose(20, vec![sent(5, sequence(0, 14), LOST)]);
    let gone = u64::try_from(GONE_AFTER.as_millis()).unwrap();
    script.tick(19 + gone);
    assert!(script.out.gaps.is_empty());
    script.tick(20 + gone);
    assert_eq!(script.out.gaps.get("t"), Some(&1));
}

#[test]
fn where_events_were_dropped_nothing_is_told() {
    let mut script = Script::new();
    script.publish(0, vec![sent(5, sequence(0, 0), OK)]);
    let missed = script.at(10);
    script.engine.missed(missed);
    // Was in the queue when the drop was noticed.
    script.publish(9, vec![sent(5, sequence(0, 20), OK)]);
    script.publish(11, vec![sent(5, sequence(0, 40), OK)]);
    script.publish(12, vec![sent(5, sequence(0, 45), OK)]);
    script.tick(LATE);
    assert!(script.out.gaps.is_empty());
    script.publish(LATE, vec![sent(5, sequence(0, 90), OK)]);
    script.tick(LATE + u64::try_from(GAP_DEADLINE.as_millis()).unwrap());
    assert!(script.out.gaps.is_empty(), "idle producers are forgotten");
}

fn out_of_range(asked: i64) -> DeliveredPart {
    DeliveredPart {
        error: Some(failure("OFFSET_OUT_OF_RANGE", FaultClass::Client, false)),
        high_watermark: -1,
        last_stable: -1,
        log_start: -1,
        ..part(asked, -1, vec![])
    }
}

fn answer(asked: i64, log_start: i64, end: i64) -> DeliveredPart {
    DeliveredPart {
        log_start,
        ..part(asked, end, vec![])
    }
}

/// A member of `g` that owns partition 0, at `position`.
fn reader(position: i64) -> Script {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.position(1, "g", Some(position));
    script
}

fn lost(script: &Script) -> Vec<(&'static str, u64)> {
    let all = script.out.lost.iter();
    all.map(|((_, reason), count)| (*reason, *count)).collect()
}

#[test]
fn what_lies_between_an_out_of_range_position_and_where_the_group_goes_on_is_lost() {
    // (position, where it goes on, start, end) -> losses
    for (what, position, asked, start, end, wanted) in [
        ("earliest", 10, 60, 60, 100, vec![("retention", 50)]),
        (
            "latest",
            10,
            100,
            60,
            100,
            vec![("out_of_range", 40), ("retention", 50)],
        ),
        (
            "an old answer does not tell the start",
            10,
            60,
            -1,
            100,
            vec![("out_of_range", 50)],
        ),
        (
            "earliest of a truncated log",
            90,
            0,
            0,
            70,
            vec![("truncated", 20)],
        ),
        (
            "latest of a truncated log",
            90,
            70,
            0,
            70,
            vec![("truncated", 20)],
        ),
        (
            "a truncated log that has grown over it",
            90,
            0,
            0,
            120,
            vec![],
        ),
        ("the same, latest", 90, 120, 0, 120, vec![]),
        ("asked again, of the leader", 10, 10, 0, 100, vec![]),
    ] {
        let mut script = reader(position);
        script.fetch_part(10, out_of_range(position));
        assert_eq!(
            lost(&script),
            [],
            "{what}: not before it is known where it goes on"
        );
        script.fetch_part(20, answer(asked, start, end));
        script.fetch_part(30, answer(asked, start, end));
        assert_eq!(lost(&script), wanted, "{what}");
    }
}

#[test]
fn a_consumer_that_is_told_that_its_records_are_gone_has_lost_them_once() {
    let ends = |script: &mut Script, ms, end| {
        script.facts(ms, Facts::EpochEnds(vec![("t".into(), 0, end)]));
    };
    let mut script = reader(0);
    script.fetch(10, 0, 150, vec![batch(0, 149, 0, 0)]);
    for (what, end) in [
        ("all are there", 150),
        ("more than it has read", 160),
        ("not known", -1),
    ] {
        ends(&mut script, 20, end);
        assert_eq!(lost(&script), [], "{what}");
    }
    ends(&mut script, 30, 100);
    ends(&mut script, 31, 100);
    assert_eq!(lost(&script), [("truncated", 50)]);
    // It goes on where the log ends now, and once more loses what it reads.
    script.fetch(40, 100, 120, vec![batch(100, 119, 0, 0)]);
    ends(&mut script, 50, 110);
    assert_eq!(lost(&script), [("truncated", 60)]);
    // One that was away stands where it committed.
    let mut script = reader(150);
    ends(&mut script, 10, 100);
    script.fetch_part(20, out_of_range(150));
    script.fetch_part(30, answer(100, 0, 100));
    assert_eq!(lost(&script), [("truncated", 50)], "not twice");
    // A reader of no group has no position of a group.
    let mut script = Script::new();
    ends(&mut script, 10, 100);
    assert_eq!(lost(&script), []);
}

#[test]
fn a_reader_that_runs_into_retention_is_at_the_offset_behind_what_it_was_given() {
    let mut script = reader(0);
    script.fetch(10, 0, 100, vec![batch(0, 9, 0, 0)]);
    script.fetch_part(20, out_of_range(10));
    script.fetch_part(30, answer(40, 40, 100));
    assert_eq!(lost(&script), [("retention", 30)]);
    // Once more, further on.
    script.fetch(40, 40, 100, vec![batch(40, 49, 0, 0)]);
    script.fetch_part(50, out_of_range(50));
    script.fetch_part(60, answer(70, 70, 100));
    assert_eq!(lost(&script), [("retention", 50)]);
}

#[test]
fn a_seek_to_where_the_group_never_was_loses_nothing() {
    let mut script = reader(50);
    script.fetch_part(10, out_of_range(0));
    script.fetch_part(20, answer(40, 40, 100));
    assert_eq!(lost(&script), []);
    // Nor does one without an error: forwards, backwards.
    script.fetch_part(30, answer(90, 40, 100));
    script.fetch_part(40, answer(45, 40, 100));
    assert_eq!(lost(&script), []);
}

#[test]
fn a_client_that_looks_where_the_log_begins_before_it_fetches_has_lost_what_lay_before() {
    let mut script = reader(10);
    script.fetch_part(10, answer(60, 60, 100));
    script.fetch_part(20, answer(60, 60, 100));
    assert_eq!(lost(&script), [("retention", 50)]);
    // A seek to the beginning of a log that begins before the position, or to its end, loses nothing.
    for (asked, start) in [(5, 5), (100, 60)] {
        let mut script = reader(10);
        script.fetch_part(10, answer(asked, start, 100));
        assert_eq!(lost(&script), [], "{asked}");
    }
    // Nor does a reader that never had a position.
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script.position(1, "g", None);
    script.fetch_part(10, answer(60, 60, 100));
    assert_eq!(lost(&script), []);
}

#[test]
fn what_another_pod_read_meanwhile_is_not_lost() {
    let mut script = reader(0);
    script.fetch(10, 0, 20, vec![batch(0, 9, 0, 0)]);
    script.assign(20, "g", 2, &[]);
    // Somebody else reads up to 900, and everything before is deleted; then the partition comes back.
    script.assign(30, "g", 3, &[0]);
    script.position(31, "g", Some(900));
    script.fetch_part(40, answer(900, 900, 900));
    script.facts(50, Facts::EpochEnds(vec![("t".into(), 0, 900)]));
    assert_eq!(lost(&script), []);
    script.fetch(60, 900, 950, vec![batch(900, 949, 0, 0)]);
    script.assign(70, "g", 4, &[]);
    script.assign(80, "g", 5, &[0]);
    script.position(81, "g", Some(920));
    script.facts(90, Facts::EpochEnds(vec![("t".into(), 0, 930)]));
    assert_eq!(
        lost(&script),
        [],
        "cut off while another one read: it was told"
    );
}

#[test]
fn holes_of_compaction_and_batches_before_the_offset_asked_are_no_loss() {
    let mut script = reader(5);
    script.fetch(10, 5, 100, vec![batch(0, 9, 0, 0), batch(40, 60, 0, 0)]);
    script.fetch(20, 61, 100, vec![batch(90, 99, 0, 0)]);
    assert_eq!(lost(&script), []);
}

#[test]
fn the_same_loss_is_counted_once_though_the_member_comes_back_before_it_commits() {
    let mut script = reader(10);
    for ms in [10, 1_000] {
        script.assign(ms, "g", 1, &[0]);
        script.position(ms + 1, "g", Some(10));
        script.fetch_part(ms + 2, out_of_range(10));
        script.fetch_part(ms + 3, answer(60, 60, 100));
        script.assign(ms + 4, "g", 2, &[]);
    }
    assert_eq!(lost(&script), [("retention", 50)]);
}

#[test]
fn a_topic_made_anew_is_another_one() {
    let mut script = reader(90);
    let gone = |asked| DeliveredPart {
        error: Some(failure("UNKNOWN_TOPIC_ID", FaultClass::Client, true)),
        ..out_of_range(asked)
    };
    script.fetch_part(10, out_of_range(90));
    script.fetch_part(15, gone(90));
    script.fetch_part(20, answer(0, 0, 5));
    assert_eq!(lost(&script), []);
    script.fetch_part(25, out_of_range(90));
    script.topics(26, &["t"], true);
    script.fetch_part(30, answer(0, 0, 5));
    assert_eq!(lost(&script), []);
}

#[test]
fn fetches_of_no_group_lose_nothing_and_drops_end_what_was_known() {
    let mut script = Script::new();
    script.fetch_part(0, answer(10, 0, 100));
    script.fetch_part(10, out_of_range(10));
    script.fetch_part(20, answer(60, 60, 100));
    assert_eq!(lost(&script), []);

    let mut script = reader(10);
    script.fetch_part(10, out_of_range(10));
    let missed = script.at(15);
    script.engine.missed(missed);
    script.facts(20, Facts::EpochEnds(vec![("t".into(), 0, 5)]));
    script.fetch_part(21, answer(60, 60, 100));
    assert_eq!(lost(&script), [], "a commit may have been among them");
    script.position(30, "g", Some(70));
    script.fetch_part(40, answer(80, 80, 100));
    assert_eq!(lost(&script), [("retention", 10)], "told since");
}

#[test]
fn the_time_until_retention_reaches_a_group_is_the_least_of_its_partitions() {
    let mut script = reader(1_000);
    for (ms, start) in [(10_000, 0), (20_000, 100), (30_000, 200)] {
        script.fetch_part(ms, answer(1_000, start, 5_000));
    }
    let at = script.at(30_000);
    let readers = script.engine.readers(at);
    let status = readers.values().next().unwrap();
    assert_eq!(status.time_to_loss_seconds, Some(80.0));
    let later = script.at(30_000 + u64::try_from(Duration::from_secs(31).as_millis()).unwrap());
    let readers = script.engine.readers(later);
    let status = readers.values().next().unwrap();
    assert_eq!(status.time_to_loss_seconds, None, "not fetched any more");
}
