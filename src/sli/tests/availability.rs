//! The availability SLI and its traps.

use std::time::Duration;

use super::script::{Script, answer, failure, produced, sent};
use crate::event::{Answer, EventKind, Facts, FaultClass, PublishOutcome, Side, Unanswered};

fn pair(script: &Script) -> (u64, u64) {
    script.out.pair("availability", "", "", "").unwrap()
}

#[test]
fn the_pair_exists_at_zero_from_the_start() {
    let mut script = Script::new();
    script.tick(0);
    assert_eq!(pair(&script), (0, 0));
}

#[test]
fn an_answer_is_judged_by_whose_fault_its_error_is_and_by_its_time() {
    use FaultClass::{Broker, Client, Unknown};
    // (class of the error, duration ms, limit ms) -> (good, bad, unknown)
    for (class, took, limit, expected) in [
        (None, 5, Some(10), (1, 0, 0)),
        (None, 10, Some(10), (1, 0, 0)),
        (None, 11, Some(10), (0, 1, 0)),
        (None, 60_000, None, (1, 0, 0)),
        (Some(Broker), 5, Some(10), (0, 1, 0)),
        (Some(Client), 5, Some(10), (1, 0, 0)),
        (Some(Client), 11, Some(10), (0, 1, 0)),
        (Some(Unknown), 5, Some(10), (0, 0, 1)),
    ] {
        let mut script = Script::new();
        let answer = Answer {
            time_limit: limit.map(Duration::from_millis),
            duration: Duration::from_millis(took),
            error: class.map(|class| failure("X", class, false)),
            ..answer(Facts::None)
        };
        script.say(0, EventKind::Answered(answer));
        let (good, bad) = pair(&script);
        let unknown = script.out.unknown("availability", "unknown_error");
        assert_eq!((good, bad, unknown), expected, "{class:?} {took} {limit:?}");
    }
}

#[test]
fn an_election_is_unknown_at_first_and_the_brokers_fault_where_it_lasts() {
    let mut script = Script::new();
    let told = |script: &mut Script, at, class: Option<FaultClass>| {
        let error = class.map(|class| failure("COORDINATOR_NOT_AVAILABLE", class, true));
        let answer = Answer {
            error,
            ..answer(Facts::None)
        };
        script.say(at, EventKind::Answered(answer));
        script.tick(at);
        let unknown = script.out.unknown("availability", "settling");
        let (good, bad) = pair(script);
        (good, bad, unknown)
    };
    let settling = Some(FaultClass::Settling);
    assert_eq!(told(&mut script, 0, settling), (0, 0, 1));
    assert_eq!(told(&mut script, 9_000, settling), (0, 0, 2));
    assert_eq!(told(&mut script, 11_000, settling), (0, 1, 2), "too long");
    assert_eq!(told(&mut script, 12_000, None), (1, 1, 2));
    assert_eq!(
        told(&mut script, 13_000, settling),
        (1, 1, 3),
        "another one"
    );
    // Asked no more for a while: what comes later is a new beginning.
    script.tick(39_000);
    assert_eq!(told(&mut script, 40_000, settling), (1, 1, 4));
}

#[test]
fn a_publish_without_acknowledgement_is_no_request() {
    let mut script = Script::new();
    script.publish(0, vec![sent(1, None, PublishOutcome::NotAsked)]);
    assert_eq!(pair(&script), (0, 0));
}

#[test]
fn an_unreachable_broker_is_bad() {
    let mut script = Script::new();
    script.say(0, EventKind::ConnectFailed { kind: "refused" });
    assert_eq!(pair(&script), (0, 1));
}

#[test]
fn an_unanswered_request_is_bad_unless_the_client_or_the_sidecar_hung_up() {
    // (side, waited ms) -> (good, bad, client closed, proxy closed); the limit is 100 ms.
    for (side, waited, expected) in [
        (Side::Broker, 5, (0, 1, 0, 0)),
        (Side::Client, 5, (0, 0, 1, 0)),
        (Side::Client, 101, (0, 1, 0, 0)),
        (Side::Proxy, 101, (0, 0, 0, 1)),
    ] {
        let mut script = Script::new();
        let known = Answer {
            time_limit: Some(Duration::from_millis(100)),
            ..answer(Facts::None)
        };
        script.say(0, EventKind::Answered(known));
        let unanswered = |operation, facts| Unanswered {
            operation,
            waited: Duration::from_millis(waited),
            facts,
        };
        let quiet = sent(1, None, PublishOutcome::NotAsked);
        script.say(
            1,
            EventKind::Closed {
                side,
                kind: "reset",
                unanswered: vec![
                    unanswered("Any", Facts::None),
                    unanswered("Produce", Facts::Produced(produced(0, vec![quiet]))),
                ],
            },
        );
        let (good, bad) = pair(&script);
        let unknown = |reason| script.out.unknown("availability", reason);
        assert_eq!(
            (
                good - 1,
                bad,
                unknown("client_closed"),
                unknown("proxy_closed")
            ),
            expected,
            "{side} {waited}"
        );
    }
}
