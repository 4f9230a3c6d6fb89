//! Duplicates, dead letters, failed processing, poison.

use super::script::{Letter, Script, UNNAMED, batch, captured, identified, sent};
use crate::{
    event::{DeliveredPart, Facts, MembershipChange, ProducedPart, PublishOutcome},
    sli::{NO_GROUP, Settings},
};

const ACKED: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 0,
    log_append_ms: None,
};

fn pair(script: &Script, sli: &str) -> (u64, u64) {
    script.out.pair(sli, "t", "g", "").unwrap()
}

fn duplicates(script: &Script, class: &str) -> u64 {
    script.out.duplicates.get(class).copied().unwrap_or(0)
}

/// A group with one member that has partition 0 and has committed nothing.
fn group() -> Script {
    let mut script = Script::new();
    script.assign(0, "g", 1, &[0]);
    script
}

/// A record of `t` set aside into `t.dlq`.
fn aside(letters: &[Letter]) -> ProducedPart {
    ProducedPart {
        topic: "t.dlq".into(),
        captured: Some(captured(&letters)),
        ..sent(u64::try_from(letters.len()).unwrap(), None, ACKED)
    }
}

fn letter(offset: i64) -> Letter {
    (None, Some((0, offset)), false)
}

#[test]
fn all_pairs_of_a_reader_exist_from_zero() {
    let script = group();
    for sli in ["duplicates", "processing", "dead_letter"] {
        assert_eq!(pair(&script, sli), (0, 0), "{sli}");
    }
}

#[test]
fn an_event_is_a_duplicate_at_its_second_offset_and_only_for_the_same_group() {
    let mut script = group();
    script.fetch(10, 0, 4, vec![identified(0, &[1, 2, 3, 2])]);
    assert_eq!(pair(&script, "duplicates"), (3, 1));
    assert_eq!(duplicates(&script, "appended_twice"), 1);
    script.fetch(20, 4, 6, vec![identified(4, &[1, 4])]);
    assert_eq!(pair(&script, "duplicates"), (4, 2));
    // Another group is given them for the first time.
    script.client("other", 2);
    script.assign(30, "h", 1, &[0]);
    script.fetch(31, 0, 6, vec![identified(0, &[1, 2, 3])]);
    assert_eq!(script.out.pair("duplicates", "t", "h", ""), Some((3, 0)));
}

#[test]
fn what_carries_no_id_or_was_not_looked_at_is_unknown_and_never_good() {
    let mut script = group();
    let content = [UNNAMED, UNNAMED + 1, UNNAMED];
    script.fetch(10, 0, 3, vec![identified(0, &content)]);
    assert_eq!(pair(&script, "duplicates"), (0, 0));
    assert_eq!(script.out.unknown("duplicates", "no_identity"), 3);
    assert_eq!(duplicates(&script, "same_content"), 1);
    script.fetch(20, 3, 8, vec![batch(3, 7, 0, 0)]);
    assert_eq!(script.out.unknown("duplicates", "not_examined"), 5);
    assert_eq!(pair(&script, "duplicates"), (0, 0));
    let shares = script.engine.examined();
    let shares: Vec<f64> = shares.into_values().collect();
    assert_eq!(shares, [3.0 / 8.0]);
}

#[test]
fn what_a_change_of_members_or_an_intention_brings_again_is_no_duplicate() {
    let mut script = group();
    script.fetch(10, 0, 4, vec![identified(0, &[1, 2, 3, 4])]);
    script.commit(20, "g", 0, 2);
    script.assign(30, "g", 2, &[0]);
    // It goes on at its commit, in two answers.
    script.fetch(40, 2, 6, vec![identified(2, &[3])]);
    script.fetch(41, 3, 6, vec![identified(3, &[4, 5])]);
    assert_eq!(duplicates(&script, "rebalance_redelivered"), 2);
    assert_eq!(pair(&script, "duplicates"), (5, 0));
    script.commit(50, "g", 0, 5);
    script.fetch(60, 0, 6, vec![identified(0, &[1, 2])]);
    assert_eq!(duplicates(&script, "replayed"), 2);
    assert_eq!(pair(&script, "duplicates"), (5, 0));
    assert_eq!(script.out.unknown("duplicates", "refetched"), 0);
}

#[test]
fn a_record_given_for_the_third_time_without_a_commit_is_redelivered_and_then_poison() {
    let mut script = group();
    script.engine = script.engine.with(Settings {
        poison_deliveries: 4,
        ..Settings::default()
    });
    script.assign(0, "g", 1, &[0]);
    script.commit(5, "g", 0, 0);
    let poison = |script: &Script| script.engine.poison().into_values().sum::<u64>();
    for at in 1..=4 {
        script.fetch(at * 10, 0, 2, vec![identified(0, &[1, 2])]);
    }
    // The second time may be a client's own doing.
    assert_eq!(script.out.unknown("duplicates", "refetched"), 2);
    assert_eq!(pair(&script, "duplicates"), (2, 4));
    assert_eq!(duplicates(&script, "redelivered"), 4);
    assert_eq!(poison(&script), 1);
    script.commit(60, "g", 0, 2);
    assert_eq!(poison(&script), 0);
    // One record was the cause; the one behind it is good.
    assert_eq!(pair(&script, "processing"), (1, 1));
}

#[test]
fn a_topic_that_is_created_anew_begins_anew() {
    let mut script = group();
    script.fetch(10, 0, 3, vec![identified(0, &[1, 2, 3])]);
    script.fetch(20, 0, 2, vec![identified(0, &[7, 8])]);
    assert_eq!(pair(&script, "duplicates"), (5, 0));
    assert!(script.out.duplicates.is_empty());
}

#[test]
fn a_dead_letter_counts_once_at_its_publish_and_not_again_at_the_commit() {
    let mut script = group();
    script.fetch(10, 0, 5, vec![batch(0, 4, 0, 0)]);
    script.publish(20, vec![aside(&[letter(1)])]);
    assert_eq!(script.out.aside, [("t g t.dlq".to_owned(), "dead")]);
    assert_eq!(pair(&script, "dead_letter"), (0, 1));
    assert_eq!(pair(&script, "processing"), (0, 0), "not settled yet");
    script.commit(30, "g", 0, 3);
    assert_eq!(pair(&script, "dead_letter"), (2, 1));
    assert_eq!(pair(&script, "processing"), (2, 1));
    script.commit(40, "g", 0, 5);
    assert_eq!(pair(&script, "dead_letter"), (4, 1));
    assert_eq!(pair(&script, "processing"), (4, 1));
}

#[test]
fn a_retry_fails_the_processing_and_is_no_dead_letter() {
    let mut script = group();
    script.fetch(10, 0, 2, vec![batch(0, 1, 0, 0)]);
    script.publish(20, vec![aside(&[(Some("g".into()), Some((0, 0)), true)])]);
    script.commit(30, "g", 0, 2);
    assert_eq!(pair(&script, "processing"), (1, 1));
    assert_eq!(pair(&script, "dead_letter"), (2, 0));
}

#[test]
fn a_dead_letter_without_a_position_is_one_of_the_next_that_are_settled() {
    let mut script = group();
    script.fetch(10, 0, 3, vec![batch(0, 2, 0, 0)]);
    script.publish(20, vec![aside(&[(None, None, false)])]);
    assert_eq!(pair(&script, "dead_letter"), (0, 1));
    script.commit(30, "g", 0, 3);
    assert_eq!(pair(&script, "dead_letter"), (2, 1));
    assert_eq!(pair(&script, "processing"), (2, 1));
}

#[test]
fn a_dead_letter_of_nobody_known_still_counts_and_a_refused_one_does_not() {
    let mut script = Script::new();
    script.publish(10, vec![aside(&[letter(7)])]);
    let nobody = script.out.pair("dead_letter", "t", NO_GROUP, "");
    assert_eq!(nobody, Some((0, 1)));
    let refused = ProducedPart {
        outcome: PublishOutcome::Lost,
        ..aside(&[letter(8)])
    };
    script.lose(20, vec![refused]);
    let unasked = ProducedPart {
        outcome: PublishOutcome::NotAsked,
        ..aside(&[letter(9)])
    };
    script.publish(30, vec![unasked]);
    assert_eq!(script.out.aside.len(), 1);
    assert_eq!(script.out.unknown("dead_letter", "acks_0"), 1);
}

#[test]
fn a_record_dead_lettered_again_after_it_was_given_back_is_poison() {
    let mut script = group();
    script.publish(10, vec![aside(&[letter(1), letter(2)])]);
    assert_eq!(script.engine.poison().into_values().sum::<u64>(), 0);
    script.publish(20, vec![aside(&[letter(2)])]);
    assert_eq!(script.engine.poison().into_values().sum::<u64>(), 1);
}

#[test]
fn a_transaction_that_is_rolled_back_fails_its_records_once_and_settles_none() {
    let mut script = group();
    script.commit(1, "g", 0, 0);
    script.fetch(10, 0, 4, vec![batch(0, 3, 0, 0)]);
    for at in [20, 30] {
        script.promise(at, "g", 7, 2);
        script.facts(at + 1, ended(7, false));
    }
    assert_eq!(pair(&script, "processing"), (0, 0));
    script.promise(40, "g", 7, 4);
    assert_eq!(pair(&script, "processing"), (0, 0), "not before it ends");
    assert_eq!(script.lags(41)[0].0, 4);
    script.facts(42, ended(7, true));
    assert_eq!(pair(&script, "processing"), (2, 2));
    assert_eq!(script.lags(43)[0].0, 0);
}

fn ended(producer_id: i64, committed: bool) -> Facts {
    Facts::TransactionEnded {
        producer_id,
        committed,
    }
}

#[test]
fn what_is_taken_away_unsettled_is_unknown() {
    let mut script = group();
    script.fetch(10, 0, 5, vec![batch(0, 4, 0, 0)]);
    script.commit(20, "g", 0, 2);
    script.member(30, "g", MembershipChange::Left);
    assert_eq!(pair(&script, "processing"), (2, 0));
    assert_eq!(script.out.unknown("processing", "not_committed"), 3);
}

#[test]
fn offsets_before_the_one_asked_for_are_not_given_again() {
    let mut script = group();
    script.fetch(10, 0, 4, vec![identified(0, &[1, 2, 3, 4])]);
    script.commit(15, "g", 0, 4);
    // The broker answers with whole batches.
    let resent = DeliveredPart {
        ..super::script::part(4, 6, vec![identified(4, &[5, 6])])
    };
    script.fetch_part(20, resent);
    assert_eq!(pair(&script, "duplicates"), (6, 0));
}
