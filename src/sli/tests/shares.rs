//! Share groups: accepted, released, rejected, given again.

use super::script::{Script, batch, delivered, identified, part};
use crate::{
    event::{
        Acknowledged, AcknowledgedPart, Acknowledgement, Acquired, BatchFact, EventKind, Facts,
        MembershipChange, ProducedPart, PublishOutcome, Side,
    },
    sli::tests::script::{captured, sent},
};

use Acknowledgement::{Accepted, Gap, Rejected, Released};

/// A member of a share group, on connection 1.
fn member() -> Script {
    let mut script = Script::new();
    let change = MembershipChange::Assigned {
        generation: 1,
        partitions: vec![("t".into(), vec![0])],
        share: true,
    };
    script.member(0, "g", change);
    script
}

/// The member is given (first, last, deliveries) of a batch.
fn give(script: &mut Script, ms: u64, runs: &[(i64, i64, u32)], batches: Vec<BatchFact>) {
    let mut part = part(0, -1, batches);
    part.asked = None;
    part.acquired = runs
        .iter()
        .map(|&(first, last, deliveries)| Acquired {
            first,
            last,
            deliveries,
        })
        .collect();
    let mut facts = delivered(vec![part]);
    facts.group = Some("g".into());
    script.facts(ms, Facts::Delivered(facts));
}

fn said(runs: &[(i64, i64, Acknowledgement)]) -> Acknowledged {
    Acknowledged {
        group: "g".into(),
        member: "m".into(),
        leaves: false,
        parts: vec![AcknowledgedPart {
            topic: "t".into(),
            partition: 0,
            runs: runs.to_vec(),
            error: None,
        }],
    }
}

fn say(script: &mut Script, ms: u64, runs: &[(i64, i64, Acknowledgement)]) {
    script.facts(ms, Facts::Acknowledged(said(runs)));
}

fn pair(script: &Script, sli: &str) -> (u64, u64) {
    script.out.pair(sli, "t", "g", "").unwrap()
}

fn duplicates(script: &Script, class: &str) -> u64 {
    script.out.duplicates.get(class).copied().unwrap_or(0)
}

#[test]
fn all_of_a_share_group_exists_from_zero() {
    let script = member();
    for sli in ["duplicates", "processing", "dead_letter"] {
        assert_eq!(pair(&script, sli), (0, 0), "{sli}");
    }
    assert_eq!(script.out.acknowledged.get("accept"), Some(&0));
}

#[test]
fn each_record_is_settled_by_its_own_acknowledgement() {
    let mut script = member();
    give(&mut script, 10, &[(0, 9, 1)], vec![batch(0, 9, 0, 0)]);
    assert_eq!(pair(&script, "processing"), (0, 0));
    // Out of order, and offset 9 holds no record.
    say(
        &mut script,
        110,
        &[
            (5, 8, Accepted),
            (0, 2, Accepted),
            (3, 3, Released),
            (4, 4, Rejected),
            (9, 9, Gap),
        ],
    );
    assert_eq!(pair(&script, "processing"), (7, 2));
    assert_eq!(pair(&script, "dead_letter"), (7, 0));
    assert_eq!(script.out.unknown("dead_letter", "rejected"), 1);
    assert_eq!(script.out.processed, [(100, 4), (100, 3)]);
    let said = ["accept", "release", "reject"].map(|of| script.out.acknowledged[of]);
    assert_eq!(said, [7, 1, 1]);
}

#[test]
fn what_was_put_back_on_purpose_is_no_duplicate_and_what_ran_out_of_time_is() {
    let mut script = member();
    let ids = |base| vec![identified(base, &[1, 2, 3, 4, 5, 6])];
    give(&mut script, 10, &[(0, 5, 1)], ids(0));
    assert_eq!(pair(&script, "duplicates"), (6, 0));
    say(&mut script, 20, &[(0, 1, Released), (2, 3, Accepted)]);
    // 0 and 1 come again because they were put back, 4 and 5 because nobody said anything in time.
    give(&mut script, 30, &[(0, 1, 2), (4, 5, 2)], ids(0));
    assert_eq!(duplicates(&script, "replayed"), 2);
    assert_eq!(duplicates(&script, "redelivered"), 2);
    assert_eq!(pair(&script, "duplicates"), (6, 2));
    assert_eq!(
        pair(&script, "processing"),
        (2, 4),
        "two put back, two without progress"
    );
    say(&mut script, 40, &[(0, 1, Accepted), (4, 5, Accepted)]);
    assert_eq!(pair(&script, "processing"), (6, 4));
}

#[test]
fn what_a_member_held_that_went_away_is_no_failure_when_it_is_given_again() {
    let mut script = member();
    give(&mut script, 10, &[(0, 3, 1)], vec![batch(0, 3, 0, 0)]);
    let kind = EventKind::Closed {
        side: Side::Client,
        kind: "eof",
        unanswered: Vec::new(),
    };
    script.say(20, kind);
    assert_eq!(script.out.unknown("processing", "not_committed"), 4);
    give(&mut script, 30, &[(0, 3, 2)], vec![batch(0, 3, 0, 0)]);
    assert_eq!(duplicates(&script, "rebalance_redelivered"), 4);
    assert_eq!(pair(&script, "processing"), (0, 0));
    assert_eq!(pair(&script, "duplicates"), (0, 0));
    // The same by saying so: what is acknowledged on the way counts.
    let last = Acknowledged {
        leaves: true,
        ..said(&[(0, 0, Accepted)])
    };
    script.facts(40, Facts::Acknowledged(last));
    assert_eq!(pair(&script, "processing"), (1, 0));
    assert_eq!(script.out.unknown("processing", "not_committed"), 7);
}

#[test]
fn what_another_pod_did_with_a_record_is_not_known_here() {
    let mut script = member();
    give(&mut script, 10, &[(0, 3, 3)], vec![batch(0, 3, 0, 0)]);
    assert_eq!(script.out.unknown("duplicates", "refetched"), 4);
    assert_eq!(pair(&script, "duplicates"), (0, 0));
    assert_eq!(pair(&script, "processing"), (0, 0));
}

#[test]
fn only_what_was_acquired_of_a_batch_is_delivered_and_judged() {
    let mut script = member();
    let whole = || vec![identified(0, &[1, 2, 3, 4, 5, 6])];
    let given = |mut fact: Vec<BatchFact>, records| {
        fact[0].delivered = records;
        fact
    };
    give(&mut script, 10, &[(0, 1, 1)], given(whole(), 2));
    // Another member of this pod is given two more of the same batch.
    give(&mut script, 20, &[(4, 5, 1)], given(whole(), 2));
    assert_eq!(pair(&script, "duplicates"), (4, 0));
    let latencies: u64 = script.out.latencies.iter().map(|(.., count)| count).sum();
    assert_eq!(latencies, 4);
}

#[test]
fn what_is_given_is_told_by_what_was_acquired() {
    let mut given = part(0, 9, vec![batch(0, 9, 0, 0)]);
    assert!(given.gives(5), "an ordinary group is given all");
    let run = |first, last| Acquired {
        first,
        last,
        deliveries: 1,
    };
    given.acquired = vec![run(1, 2), run(5, 5), run(8, 9)];
    let all: Vec<i64> = (0..12).filter(|offset| given.gives(*offset)).collect();
    assert_eq!(all, [1, 2, 5, 8, 9]);
}

#[test]
fn a_refused_acknowledgement_settles_nothing() {
    let mut script = member();
    give(&mut script, 10, &[(0, 3, 1)], vec![batch(0, 3, 0, 0)]);
    let mut refused = said(&[(0, 3, Accepted)]);
    refused.parts[0].error = Some(super::script::failure(
        "INVALID_RECORD_STATE",
        crate::event::FaultClass::Client,
        false,
    ));
    script.facts(20, Facts::Acknowledged(refused));
    assert_eq!(pair(&script, "processing"), (0, 0));
}

#[test]
fn a_record_given_too_often_is_poison_until_somebody_settles_it() {
    let mut script = member();
    let poison = |script: &Script| {
        let all = script.engine.poison();
        all.get(&("t".into(), "g".into())).copied()
    };
    give(&mut script, 10, &[(0, 3, 4)], vec![batch(0, 3, 0, 0)]);
    assert_eq!(poison(&script), Some(0));
    say(&mut script, 20, &[(0, 1, Released), (2, 3, Accepted)]);
    give(&mut script, 30, &[(0, 1, 5)], vec![batch(0, 3, 0, 0)]);
    assert_eq!(poison(&script), Some(2));
    say(&mut script, 40, &[(0, 1, Rejected)]);
    assert_eq!(poison(&script), Some(0));
}

#[test]
fn a_dead_letter_of_a_share_group_counts_once() {
    let mut script = member();
    give(&mut script, 10, &[(0, 3, 1)], vec![batch(0, 3, 0, 0)]);
    let acked = PublishOutcome::Acknowledged {
        base_offset: 0,
        log_append_ms: None,
    };
    let letters: Vec<super::script::Letter> = vec![(None, Some((0, 2)), false)];
    let aside = ProducedPart {
        topic: "t.dlq".into(),
        captured: Some(captured(&letters)),
        ..sent(1, None, acked)
    };
    script.publish(20, vec![aside]);
    say(&mut script, 30, &[(0, 3, Accepted)]);
    assert_eq!(pair(&script, "dead_letter"), (3, 1));
    assert_eq!(pair(&script, "processing"), (3, 1));
    assert_eq!(script.out.aside.len(), 1);
    assert!(
        script.out.aside[0].0.contains('g'),
        "{:?}",
        script.out.aside
    );
}

#[test]
fn what_nobody_says_anything_of_for_an_hour_is_unknown() {
    let mut script = member();
    give(&mut script, 10, &[(0, 3, 1)], vec![batch(0, 3, 0, 0)]);
    script.tick(3_500_000);
    assert_eq!(script.out.unknown("processing", "not_committed"), 0);
    script.tick(3_700_000);
    assert_eq!(script.out.unknown("processing", "not_committed"), 4);
}
