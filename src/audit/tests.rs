//! Events in, entries out.

use super::*;
use crate::event::{
    BatchFact, BatchKind, Codec, Connection, DeliveredPart, Failure, FaultClass, Injection,
    Membership, MembershipChange, ProducedPart, Settled, SettledPart, Side,
};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Kept(Vec<Entry>);

impl Sink for Kept {
    fn entry(&mut self, entry: Entry) {
        self.0.push(entry);
    }
}

struct Script {
    trail: Trail,
    kept: Kept,
    start: Instant,
}

impl Script {
    fn new() -> Self {
        Self {
            trail: Trail::new(HOUR),
            kept: Kept::default(),
            start: Instant::now(),
        }
    }

    fn say(&mut self, second: u32, connection: u64, kind: EventKind) {
        let at = Stamp {
            mono: self.start + Duration::from_secs(u64::from(second)),
            wall_ms: i64::from(second) * 1_000,
        };
        let event = Event {
            at,
            connection: Arc::new(Connection {
                id: connection,
                peer: ([127, 0, 0, 1], 4_000).into(),
                broker: "1".into(),
                broker_address: "b:9092".into(),
                opened: at,
            }),
            client: "checkout".into(),
            kind,
        };
        self.trail.take(&event, &mut self.kept);
    }

    fn answer(&mut self, second: u32, connection: u64, facts: Facts) {
        self.say(second, connection, EventKind::Answered(answer(facts, None)));
    }

    /// (action, principal, what, count) of the entries so far, which are forgotten.
    fn told(&mut self) -> Vec<(Action, String, What, u64)> {
        let all = std::mem::take(&mut self.kept.0).into_iter();
        all.map(|e| (e.action, e.who.principal.to_string(), e.what, e.count))
            .collect()
    }
}

fn answer(facts: Facts, error: Option<&'static str>) -> Answer {
    Answer {
        operation: "Any",
        time_limit: None,
        duration: Duration::ZERO,
        throttle: Duration::ZERO,
        error: error.map(failure),
        facts,
    }
}

fn failure(name: &'static str) -> Failure {
    Failure {
        name,
        class: FaultClass::Client,
        retriable: false,
    }
}

const OK: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 0,
    log_append_ms: None,
};

fn produced(parts: &[(&str, PublishOutcome)]) -> Facts {
    let part = |(topic, outcome): &(&str, PublishOutcome)| ProducedPart {
        topic: Name::from(*topic),
        partition: 0,
        batches: 1,
        records: 10,
        bytes: 100,
        codec: Codec::None,
        transaction: None,
        sequence: None,
        base_timestamp_ms: 0,
        max_timestamp_ms: 0,
        outcome: *outcome,
        captured: None,
        injection: Injection::default(),
        traced: Vec::new(),
        unrecorded: None,
        descent: Vec::new(),
    };
    Facts::Produced(Produced {
        acks: -1,
        transactional: false,
        parts: parts.iter().map(part).collect(),
    })
}

fn delivered(topic: &str, records: u32) -> Facts {
    let batch = BatchFact {
        base_offset: 0,
        last_offset: 9,
        records,
        delivered: records,
        bytes: 100,
        base_timestamp_ms: 0,
        max_timestamp_ms: 0,
        log_append_time: false,
        codec: Codec::None,
        kind: BatchKind::Data,
        captured: None,
    };
    Facts::Delivered(Delivered {
        acknowledged: None,
        group: None,
        read_committed: false,
        data_was_there: true,
        parts: vec![DeliveredPart {
            topic: topic.into(),
            partition: 0,
            asked: Some(0),
            error: None,
            high_watermark: 10,
            last_stable: 10,
            log_start: 0,
            acquired: Vec::new(),
            batches: vec![batch],
            traced: Vec::new(),
            unrecorded: None,
        }],
    })
}

fn authenticated(accepted: bool, principal: &str) -> Facts {
    Facts::Authenticated {
        mechanism: "PLAIN",
        accepted,
        principal: Some(principal.into()),
    }
}

fn topic(name: &str) -> What {
    What {
        topic: Some(name.into()),
        ..What::default()
    }
}

#[test]
fn who_did_what_is_told_at_once_and_then_once_an_interval_with_a_count() {
    let mut script = Script::new();
    let software = EventKind::Identified {
        software: "apache-kafka-java".into(),
        version: "4.4.0".into(),
    };
    script.say(0, 1, software);
    script.answer(1, 1, authenticated(true, "alice"));
    let nothing = What::default;
    assert_eq!(
        script.told(),
        [(Action::Authenticated, "alice".to_owned(), nothing(), 1)]
    );
    for second in 2..5 {
        script.answer(
            second,
            1,
            produced(&[("orders", OK), ("orders", OK), ("audit", OK)]),
        );
    }
    let alice = || "alice".to_owned();
    assert_eq!(
        script.told(),
        [
            (Action::Connected, alice(), nothing(), 1),
            (Action::Produced, alice(), topic("orders"), 20),
            (Action::Produced, alice(), topic("audit"), 10),
        ]
    );
    script.trail.tick(script.start + HOUR, &mut script.kept);
    assert_eq!(script.told(), [], "an hour after it was told");
    script.trail.tick(
        script.start + HOUR + Duration::from_secs(2),
        &mut script.kept,
    );
    let mut later = script.told();
    later.sort_by_key(|(_, _, what, _)| what.topic.clone());
    assert_eq!(
        later,
        [
            (Action::Produced, alice(), topic("audit"), 20),
            (Action::Produced, alice(), topic("orders"), 40),
        ]
    );
    script.answer(4_000, 1, delivered("orders", 3));
    script.answer(4_001, 1, delivered("orders", 4));
    assert_eq!(
        script.told(),
        [(Action::Consumed, alice(), topic("orders"), 3)]
    );
    script.trail.finish(&mut script.kept);
    assert_eq!(
        script.told(),
        [(Action::Consumed, alice(), topic("orders"), 4)]
    );
}

#[test]
fn a_name_that_was_refused_is_told_and_does_not_stay_with_the_connection() {
    let mut script = Script::new();
    script.answer(0, 1, authenticated(true, "alice"));
    script.answer(1, 1, authenticated(false, "root"));
    script.answer(2, 1, produced(&[("orders", OK)]));
    let told: Vec<_> = script
        .told()
        .into_iter()
        .map(|(a, who, ..)| (a, who))
        .collect();
    assert_eq!(
        told,
        [
            (Action::Authenticated, "alice".to_owned()),
            (Action::AuthenticationFailed, "root".to_owned()),
            (Action::Connected, "alice".to_owned()),
            (Action::Produced, "alice".to_owned()),
        ]
    );
}

#[test]
fn refusals_name_the_resource_where_the_answer_does() {
    let mut script = Script::new();
    let denied = PublishOutcome::Failed(failure("TOPIC_AUTHORIZATION_FAILED"));
    script.answer(0, 1, produced(&[("payroll", denied), ("orders", OK)]));
    let whole = answer(Facts::None, Some("GROUP_AUTHORIZATION_FAILED"));
    script.say(1, 1, EventKind::Answered(whole));
    let refused = |resource, name: Option<&str>| What {
        api: Some("Any"),
        resource: Some(resource),
        name: name.map(Name::from),
        ..What::default()
    };
    let told: Vec<_> = script
        .told()
        .into_iter()
        .map(|(a, _, w, n)| (a, w, n))
        .collect();
    assert_eq!(
        told,
        [
            (Action::Connected, What::default(), 1),
            (Action::Refused, refused("topic", Some("payroll")), 1),
            (Action::Produced, topic("orders"), 10),
            (Action::Refused, refused("group", None), 1),
        ]
    );
}

#[test]
fn members_and_commits_use_a_group_and_fetches_of_nothing_use_nothing() {
    let mut script = Script::new();
    let joined = Membership {
        group: "billing".into(),
        member: "m".into(),
        change: MembershipChange::Left,
    };
    script.answer(0, 1, Facts::Membership(joined));
    let committed = |error| {
        Facts::Settled(Settled {
            group: "other".into(),
            member: "m".into(),
            transaction: None,
            parts: vec![SettledPart {
                topic: "t".into(),
                partition: 0,
                offset: 1,
                error,
            }],
        })
    };
    script.answer(1, 1, committed(Some(failure("ILLEGAL_GENERATION"))));
    script.answer(2, 1, delivered("orders", 0));
    script.answer(3, 1, delivered(UNRESOLVED, 5));
    script.answer(4, 1, committed(None));
    let groups: Vec<_> = script
        .told()
        .into_iter()
        .skip(1)
        .map(|(a, _, w, _)| (a, w.group))
        .collect();
    let used = |group: &str| (Action::UsedGroup, Some(Name::from(group)));
    assert_eq!(groups, [used("billing"), used("other")]);
}

#[test]
fn uses_and_connections_are_bounded_and_what_is_too_much_is_counted() {
    let mut script = Script::new();
    for n in 0..=MAX_USES {
        script.answer(0, 1, produced(&[(&format!("t{n}"), OK)]));
    }
    // One of them is `connected`.
    assert_eq!((script.kept.0.len(), script.trail.dropped()), (MAX_USES, 2));
    script.trail.tick(script.start + HOUR * 2, &mut script.kept);
    assert!(script.trail.uses.is_empty(), "forgotten");
    let mut script = Script::new();
    for id in 0..=u64::try_from(MAX_CONNECTIONS).unwrap() {
        script.answer(0, id, Facts::Topics(Vec::new()));
    }
    assert_eq!(script.trail.dropped(), 1);
    let closed = EventKind::Closed {
        side: Side::Client,
        kind: "eof",
        unanswered: Vec::new(),
    };
    script.say(1, 0, closed);
    script.answer(2, u64::MAX, Facts::None);
    assert_eq!(script.trail.dropped(), 1);
}

#[test]
fn a_line_has_only_what_applies() {
    let mut script = Script::new();
    script.answer(7, 1, produced(&[("orders", OK)]));
    let line = serde_json::to_value(&script.kept.0[1]).unwrap();
    let wanted = serde_json::json!({
        "at_ms": 7_000, "since_ms": 7_000, "action": "produced", "client": "checkout", "software": "", "version": "",
        "mechanism": "", "principal": "", "peer": "127.0.0.1", "topic": "orders", "count": 10,
    });
    assert_eq!(line, wanted);
}
