//! Schemas: what is an event of the SLI, what is only told, which versions are in use.

use bytes::Bytes;

use super::script::{Script, captured, sent};
use crate::event::{CapturedBatch, ProducedPart, PublishOutcome};

const ACKED: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 0,
    log_append_ms: None,
};

/// A publish whose values say this: (letter, version, records).
fn publish(script: &mut Script, ms: u64, said: &[(char, i32, u64)]) {
    let records = said.iter().map(|(_, _, n)| n).sum();
    let batch = captured(&said);
    let bytes = [b"schemas:", &batch.bytes[..]].concat();
    let batch = CapturedBatch {
        bytes: Bytes::from(bytes),
        ..batch
    };
    let part = ProducedPart {
        captured: Some(batch),
        ..sent(records, None, ACKED)
    };
    script.publish(ms, vec![part]);
}

fn failed(script: &Script, why: &str) -> Option<u64> {
    script.out.schemas.get(why).copied()
}

fn pair(script: &Script) -> Option<(u64, u64)> {
    script.out.pair("schema", "t", "", "")
}

#[test]
fn a_topic_without_framing_has_no_schema_sli() {
    let mut script = Script::new();
    publish(&mut script, 10, &[('b', 0, 100)]);
    assert_eq!(pair(&script), None);
    assert!(script.out.schemas.is_empty());
}

#[test]
fn every_failure_exists_from_zero_and_counts_once() {
    let mut script = Script::new();
    publish(&mut script, 10, &[('g', 1, 30)]);
    assert_eq!(pair(&script), Some((30, 0)));
    assert_eq!(failed(&script, "unknown_id"), Some(0));
    publish(
        &mut script,
        20,
        &[('u', 0, 1), ('w', 0, 2), ('d', 1, 3), ('g', 1, 4)],
    );
    assert_eq!(pair(&script), Some((34, 6)));
    let of = |why| failed(&script, why).unwrap();
    assert_eq!(
        (of("unknown_id"), of("wrong_subject"), of("undecodable")),
        (1, 2, 3)
    );
    assert_eq!(of("confluent"), 40);
}

#[test]
fn a_value_without_framing_fails_only_where_nearly_all_others_have_it() {
    let mut script = Script::new();
    publish(&mut script, 10, &[('g', 1, 10), ('b', 0, 1)]);
    assert_eq!(
        failed(&script, "missing_framing"),
        Some(0),
        "too few to tell"
    );
    publish(&mut script, 20, &[('g', 1, 90)]);
    publish(&mut script, 30, &[('b', 0, 2)]);
    assert_eq!(failed(&script, "missing_framing"), Some(2));
    assert_eq!(pair(&script), Some((100, 2)));
    // A topic of both kinds.
    publish(&mut script, 40, &[('b', 0, 500)]);
    let failures = failed(&script, "missing_framing");
    publish(&mut script, 50, &[('b', 0, 5)]);
    assert_eq!(failed(&script, "missing_framing"), failures);
}

#[test]
fn without_a_registry_nothing_is_an_event_and_missing_framing_is_told() {
    let mut script = Script::new();
    publish(&mut script, 10, &[('n', 0, 50)]);
    publish(&mut script, 20, &[('b', 0, 2)]);
    assert_eq!(pair(&script), None);
    assert_eq!(script.out.unknown("schema", "no_registry"), 52);
    assert_eq!(failed(&script, "missing_framing"), Some(2));
}

#[test]
fn versions_are_in_use_for_an_hour() {
    let mut script = Script::new();
    publish(&mut script, 0, &[('g', 1, 1)]);
    publish(&mut script, 1_800_000, &[('g', 2, 1)]);
    let mut in_use = |ms: u64| {
        let at = script.at(ms);
        let topics = script.engine.schemas(at);
        let all = topics.iter().flat_map(|t| &t.versions);
        all.map(|v| v.version).collect::<Vec<_>>()
    };
    assert_eq!(in_use(1_800_001), [1, 2]);
    assert_eq!(in_use(3_600_001), [2]);
    assert!(in_use(7_200_001).is_empty());
}
