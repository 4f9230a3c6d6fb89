//! The publish SLI and its traps.

use super::script::{Script, failure, sent, sequence};
use crate::{
    event::{FaultClass, PublishOutcome, UNRESOLVED},
    sli::{MAX_PENDING, RETRY_DEADLINE},
};

const OK: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 0,
    log_append_ms: None,
};
const LOST: PublishOutcome = PublishOutcome::Lost;

fn refused(name: &'static str, retriable: bool) -> PublishOutcome {
    PublishOutcome::Failed(failure(name, FaultClass::Broker, retriable))
}

fn moved() -> PublishOutcome {
    refused("NOT_LEADER_OR_FOLLOWER", true)
}

fn duplicate() -> PublishOutcome {
    refused("DUPLICATE_SEQUENCE_NUMBER", false)
}

fn out_of_order() -> PublishOutcome {
    refused("OUT_OF_ORDER_SEQUENCE_NUMBER", false)
}

fn too_large() -> PublishOutcome {
    refused("MESSAGE_TOO_LARGE", false)
}

/// (ms, records, (epoch, sequence), outcome)
type Attempt = (u64, u64, Option<(i16, i32)>, PublishOutcome);

struct Row {
    what: &'static str,
    attempts: Vec<Attempt>,
    good: u64,
    bad: u64,
    unknown: Vec<(&'static str, u64)>,
    published: u64,
}

#[allow(clippy::too_many_lines, reason = "one table")]
fn rows() -> Vec<Row> {
    let id = Some((0, 10));
    let row = |what, attempts, good, bad, unknown, published| Row {
        what,
        attempts,
        good,
        bad,
        unknown,
        published,
    };
    vec![
        row("acknowledged", vec![(0, 5, None, OK)], 5, 0, vec![], 5),
        row(
            "acks=0 is unknown, and still traffic",
            vec![(0, 5, None, PublishOutcome::NotAsked)],
            0,
            0,
            vec![("acks_0", 5)],
            5,
        ),
        row(
            "without identity every attempt is an event",
            vec![(0, 5, None, moved()), (10, 5, None, OK)],
            5,
            5,
            vec![],
            5,
        ),
        row(
            "without identity a lost answer stays unknown",
            vec![(0, 5, None, LOST), (10, 5, None, OK)],
            5,
            0,
            vec![("connection_lost", 5)],
            5,
        ),
        row(
            "a retry counts once",
            vec![(0, 5, id, moved()), (10, 5, id, moved()), (20, 5, id, OK)],
            5,
            0,
            vec![],
            5,
        ),
        row(
            "a lost answer is resolved by the retry",
            vec![(0, 5, id, LOST), (10, 5, id, OK)],
            5,
            0,
            vec![],
            5,
        ),
        row(
            "a duplicate answer is a success",
            vec![(0, 5, id, LOST), (10, 5, id, duplicate())],
            5,
            0,
            vec![],
            5,
        ),
        row(
            "a batch acknowledged twice counts once",
            vec![(0, 5, id, OK), (10, 5, id, OK), (20, 5, id, duplicate())],
            5,
            0,
            vec![],
            5,
        ),
        row(
            "a final refusal is bad at once, and its echo is nothing",
            vec![
                (0, 5, id, refused("INVALID_RECORD", false)),
                (10, 5, id, refused("INVALID_RECORD", false)),
            ],
            0,
            5,
            vec![],
            0,
        ),
        row(
            "out of order is sent again by the producer",
            vec![(0, 5, id, out_of_order()), (10, 5, id, OK)],
            5,
            0,
            vec![],
            5,
        ),
        row(
            "a new epoch renumbers what was waiting",
            vec![(0, 5, id, out_of_order()), (10, 5, Some((1, 0)), OK)],
            5,
            0,
            vec![("epoch_bump", 5)],
            5,
        ),
        row(
            "the same sequence under a new epoch is another batch",
            vec![(0, 5, id, OK), (10, 5, Some((1, 10)), OK)],
            10,
            0,
            vec![],
            10,
        ),
        row(
            "a batch too large is split",
            vec![
                (0, 5, id, too_large()),
                (10, 2, id, OK),
                (20, 3, Some((0, 12)), OK),
            ],
            5,
            0,
            vec![],
            5,
        ),
        row(
            "one record too large cannot be split",
            vec![(0, 1, id, too_large())],
            0,
            1,
            vec![],
            0,
        ),
        row(
            "an old format is not counted in records",
            vec![(0, 0, None, OK)],
            0,
            0,
            vec![("old_format", 1)],
            0,
        ),
    ]
}

#[test]
fn every_row_of_the_publish_table() {
    for row in rows() {
        let mut script = Script::new();
        for (ms, records, id, outcome) in row.attempts {
            let id = id.and_then(|(epoch, base)| sequence(epoch, base));
            let part = vec![sent(records, id, outcome)];
            if outcome == LOST {
                script.lose(ms, part);
            } else {
                script.publish(ms, part);
            }
        }
        let what = row.what;
        let pair = script.out.pair("publish", "t", "", "").unwrap_or((0, 0));
        assert_eq!(pair, (row.good, row.bad), "{what}");
        let unknown: Vec<_> = script
            .out
            .unknown
            .iter()
            .filter(|((sli, _), _)| sli == "publish")
            .map(|((_, reason), n)| (reason.as_str(), *n))
            .collect();
        assert_eq!(unknown, row.unknown, "{what}");
        let published = script.out.published.get("t").copied().unwrap_or(0);
        assert_eq!(published, row.published, "{what}");
    }
}

#[test]
fn a_retry_that_never_comes_is_bad_after_a_refusal_and_unknown_after_a_lost_answer() {
    let deadline = u64::try_from(RETRY_DEADLINE.as_millis()).unwrap();
    let mut script = Script::new();
    script.publish(0, vec![sent(5, sequence(0, 0), moved())]);
    script.lose(0, vec![sent(3, sequence(0, 5), LOST)]);
    script.lose(0, vec![sent(2, sequence(0, 8), LOST)]);
    script.publish(1, vec![sent(2, sequence(0, 8), moved())]);
    script.tick(deadline - 1);
    assert_eq!(script.out.pair("publish", "t", "", ""), None);
    script.tick(deadline + 1);
    assert_eq!(script.out.pair("publish", "t", "", ""), Some((0, 7)));
    assert_eq!(script.out.unknown("publish", "connection_lost"), 3);
    script.tick(deadline * 3);
    assert_eq!(script.out.pair("publish", "t", "", ""), Some((0, 7)));
}

#[test]
fn only_what_the_broker_had_already_is_a_duplicate_of_its_producer() {
    let mut script = Script::new();
    let id = || sequence(0, 10);
    let retries = |script: &Script| {
        script
            .out
            .duplicates
            .get("producer_retry")
            .copied()
            .unwrap_or(0)
    };
    script.publish(
        0,
        vec![sent(5, id(), refused("TOPIC_AUTHORIZATION_FAILED", false))],
    );
    script.publish(
        10,
        vec![sent(5, id(), refused("TOPIC_AUTHORIZATION_FAILED", false))],
    );
    assert_eq!(script.out.published.get("t"), None);
    script.publish(20, vec![sent(5, id(), OK)]);
    assert_eq!(retries(&script), 0, "the broker had none of it");
    assert_eq!(script.out.published.get("t"), Some(&5));
    assert_eq!(script.out.pair("publish", "t", "", ""), Some((0, 5)));
    script.publish(30, vec![sent(5, id(), OK)]);
    assert_eq!(retries(&script), 5);
    assert_eq!(script.out.published.get("t"), Some(&5));
}

#[test]
fn more_waiting_batches_than_remembered_are_unknown() {
    let mut script = Script::new();
    let over = i32::try_from(MAX_PENDING).unwrap() + 2;
    for n in 0..over {
        script.publish(0, vec![sent(1, sequence(0, n), moved())]);
    }
    assert_eq!(script.out.unknown("publish", "pending_full"), 2);
}

#[test]
fn a_pair_exists_at_zero_when_the_topic_is_named_and_an_unresolved_topic_has_none() {
    let mut script = Script::new();
    script.topics(0, &["t"], false);
    assert_eq!(script.out.pair("publish", "t", "", ""), Some((0, 0)));
    let mut part = sent(5, None, OK);
    part.topic = UNRESOLVED.into();
    script.publish(1, vec![part]);
    assert_eq!(script.out.pair("publish", UNRESOLVED, "", ""), None);
    assert_eq!(script.out.published.get(UNRESOLVED), Some(&5));
}
