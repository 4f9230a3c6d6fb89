//! What is delivered and what is sent, and who is the parent then.

use proptest::prelude::*;

use super::*;
use crate::propagation::IdSource;

struct Program {
    deliveries: Deliveries,
    next: i64,
}

impl Program {
    fn new(settings: Settings) -> Self {
        Self {
            deliveries: Deliveries::new(settings),
            next: 0,
        }
    }

    fn context(offset: i64) -> Traceparent {
        let number = u64::try_from(offset).unwrap();
        let (trace_id, span_id) = IdSource::of_producer("c", "t", 0, 1, 0, 0).pair(number);
        Traceparent {
            trace_id,
            span_id,
            sampled: true,
            random: true,
        }
    }

    fn is_given(&mut self, topic: &str, key: Option<&str>, correlation: Option<&str>) -> i64 {
        let offset = self.next;
        self.next += 1;
        self.is_given_again(topic, key, correlation, offset);
        offset
    }

    fn is_given_again(
        &self,
        topic: &str,
        key: Option<&str>,
        correlation: Option<&str>,
        offset: i64,
    ) {
        self.is_given_copy(topic, key, correlation, (offset, offset));
    }

    /// The record at the second offset carries the context of the one at the first.
    fn is_given_copy(
        &self,
        topic: &str,
        key: Option<&str>,
        correlation: Option<&str>,
        (original, offset): (i64, i64),
    ) {
        self.deliveries
            .batch(&topic.into(), 0, Instant::now())
            .add(&Delivered {
                offset,
                key: key.map(str::as_bytes),
                context: Self::context(original),
                threshold: None,
                decided: true,
                correlation,
                inherited: None,
                business: &[],
            });
    }

    /// Offset of the parent of what the program sends, and the evidence.
    fn sends(
        &self,
        topic: &str,
        key: Option<&str>,
        correlation: Option<&str>,
    ) -> Option<(i64, Evidence)> {
        let produced = Produced {
            key: key.map(str::as_bytes),
            correlation,
            business: &[],
        };
        let target = self.deliveries.target(&topic.into());
        let parent = self.deliveries.parent(target, produced, Instant::now())?;
        let of = (0..self.next).find(|of| parent.context == Self::context(*of));
        Some((of.unwrap(), parent.evidence))
    }
}

/// What a program is given: topic, key, correlation id; again = a position that it was given before.
#[derive(Clone, Debug)]
struct Given {
    topic: usize,
    key: Option<u8>,
    correlation: Option<u8>,
    again: bool,
}

fn given() -> impl Strategy<Value = Given> {
    let (key, correlation) = (prop::option::of(0u8..12), prop::option::of(0u8..30));
    (0usize..2, key, correlation, prop::bool::weighted(0.2)).prop_map(
        |(topic, key, correlation, again)| Given {
            topic,
            key,
            correlation,
            again,
        },
    )
}

proptest! {
    /// A program that asks for the first time finds what one finds that always did.
    #[test]
    fn what_was_delivered_before_the_first_question_is_found(all in prop::collection::vec(given(), 1..120)) {
        let settings = Settings { records_max: 40, ..Settings::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap();
        let _entered = runtime.enter();
        let (mut early, mut late) = (Program::new(settings), Program::new(settings));
        early.sends("out", Some("nobody's"), None);
        let topics = ["orders", "payments"];
        let mut before: Vec<(i64, Given)> = Vec::new();
        for (number, given) in all.iter().enumerate() {
            let known = before.get(number / 2).filter(|_| given.again).cloned();
            let (offset, given) = known.unwrap_or((early.next, given.clone()));
            for program in [&mut early, &mut late] {
                program.next = program.next.max(offset + 1);
                let (key, correlation) = (given.key.map(|k| format!("k{k}")), given.correlation.map(|c| format!("c{c}")));
                program.is_given_again(topics[given.topic], key.as_deref(), correlation.as_deref(), offset);
            }
            before.push((offset, given));
        }
        for number in 0..30u8 {
            let (key, correlation) = (format!("k{number}"), format!("c{number}"));
            let ask = |program: &Program| (
                program.sends("out", Some(&key), None),
                program.sends("out", None, Some(&correlation)),
                program.sends("out", Some(&key), Some(&correlation)),
            );
            prop_assert_eq!(ask(&early), ask(&late));
        }
    }
}

#[tokio::test]
async fn a_unique_key_names_the_parent_for_every_topic_it_is_sent_to() {
    let mut program = Program::new(Settings::default());
    let a = program.is_given("orders", Some("a"), None);
    let b = program.is_given("orders", Some("b"), None);
    let key = |offset| Some((offset, Evidence::Key));
    // Out of order, to several topics.
    assert_eq!(program.sends("payments", Some("b"), None), key(b));
    assert_eq!(program.sends("payments", Some("a"), None), key(a));
    assert_eq!(program.sends("shipments", Some("a"), None), key(a));
    assert_eq!(
        program.sends("payments", Some("a"), None),
        None,
        "a second one may be the program's own"
    );
    assert_eq!(program.sends("payments", Some("c"), None), None);
    assert_eq!(program.sends("payments", None, None), None);
}

#[tokio::test(start_paused = true)]
async fn until_it_is_known_how_many_are_made_of_each_what_is_sent_in_one_request_is() {
    let mut program = Program::new(Settings::default());
    let key = |offset| Some((offset, Evidence::Key));
    let a = program.is_given("orders", Some("a"), None);
    assert_eq!(program.sends("lines", Some("a"), None), key(a));
    assert_eq!(program.sends("lines", Some("a"), None), key(a));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(program.sends("lines", Some("a"), None), None);
}

#[tokio::test(start_paused = true)]
async fn where_the_number_differs_it_is_known_whether_all_are_sent_in_one_request() {
    let key = |offset| Some((offset, Evidence::Key));
    for at_once in [true, false] {
        let mut program = Program::new(Settings::default());
        for number in 0..60 {
            let name = format!("a-{number}");
            let a = program.is_given("orders", Some(&name), None);
            assert_eq!(program.sends("lines", Some(&name), None), key(a));
            for _ in 0..number % 3 {
                if !at_once {
                    tokio::time::advance(Duration::from_millis(1)).await;
                }
                let found = program.sends("lines", Some(&name), None);
                assert_eq!(found, key(a).filter(|_| at_once), "{number}");
            }
            tokio::time::advance(CLAIM_LASTS * 2).await;
        }
        let c = program.is_given("orders", Some("c"), None);
        assert_eq!(program.sends("lines", Some("c"), None), key(c));
        let again = program.sends("lines", Some("c"), None);
        assert_eq!(again, key(c).filter(|_| at_once));
    }
}

#[tokio::test]
async fn a_key_that_two_unclaimed_records_have_names_none() {
    let mut program = Program::new(Settings::default());
    let first = program.is_given("orders", Some("a"), None);
    assert_eq!(
        program.sends("payments", Some("a"), None),
        Some((first, Evidence::Key))
    );
    let second = program.is_given("orders", Some("a"), None);
    assert_eq!(
        program.sends("payments", Some("a"), None),
        Some((second, Evidence::Key))
    );
    program.is_given("orders", Some("a"), None);
    program.is_given("orders", Some("a"), None);
    assert_eq!(program.sends("payments", Some("a"), None), None);
}

#[tokio::test]
async fn what_may_be_the_parent_and_is_not_certain_is_a_candidate() {
    let mut program = Program::new(Settings::default());
    let candidates = |program: &Program, topic: &str, key: &str, parent| {
        let produced = Produced {
            key: Some(key.as_bytes()),
            correlation: None,
            business: &[],
        };
        let deliveries = &program.deliveries;
        let target = deliveries.target(&topic.into());
        let found = deliveries.candidates(target, produced, parent, Instant::now());
        let all = found.linked.iter();
        let offsets: Vec<_> = all.map(|c| (c.origin.offset, c.evidence)).collect();
        (offsets, found.more)
    };
    let a = program.is_given("orders", Some("a"), None);
    let b = program.is_given("stock", Some("a"), None);
    // The same record again is no other one.
    program.is_given_again("stock", Some("a"), None, b);
    assert_eq!(program.sends("joined", Some("a"), None), None);
    let key = |offset| (offset, Evidence::Key);
    let both = (vec![key(b), key(a)], 0);
    assert_eq!(candidates(&program, "joined", "a", None), both);
    let parent = Program::context(b).span_id;
    assert_eq!(
        candidates(&program, "joined", "a", Some(parent)).0,
        [key(a)]
    );
    // Where one is certain there are no others.
    let c = program.is_given("orders", Some("c"), None);
    assert_eq!(program.sends("joined", Some("c"), None), Some(key(c)));
    assert_eq!(candidates(&program, "joined", "c", None), (vec![], 0));
    let sole = Program::new(Settings::default());
    sole.is_given_again("orders", Some("x"), None, 7);
    let alone = (vec![(7, Evidence::SoleInFlight)], 0);
    assert_eq!(candidates(&sole, "joined", "y", None), alone);
    for _ in 0..20 {
        program.is_given("orders", Some("many"), None);
    }
    let (linked, more) = candidates(&program, "joined", "many", None);
    assert_eq!((linked.len(), more), (8, 12));
}

#[tokio::test]
async fn a_record_delivered_twice_is_one_candidate() {
    let mut program = Program::new(Settings::default());
    let a = program.is_given("orders", Some("a"), None);
    program.is_given_again("orders", Some("a"), None, a);
    assert_eq!(
        program.sends("payments", Some("a"), None),
        Some((a, Evidence::Key))
    );
    program.is_given_again("orders", Some("a"), None, a);
    assert_eq!(
        program.sends("payments", Some("a"), None),
        Some((a, Evidence::Key))
    );
}

#[tokio::test]
async fn a_copy_to_be_tried_again_is_what_it_was_copied_from() {
    let mut program = Program::new(Settings::default());
    let a = program.is_given("orders", Some("a"), Some("1"));
    program.is_given_copy("orders-retry", Some("a"), Some("1"), (a, 7));
    let sent = program.sends("payments", Some("a"), None);
    assert_eq!(sent, Some((a, Evidence::Key)));
    let sent = program.sends("payments", None, Some("1"));
    assert_eq!(sent, Some((a, Evidence::Header)));
}

#[tokio::test]
async fn keys_that_another_topic_has_too_tell_the_records_of_a_topic_apart() {
    let mut program = Program::new(Settings::default());
    let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for name in &names {
        let original = program.is_given("orders", Some(name), None);
        program.is_given_copy("orders-retry", Some(name), None, (original, original));
    }
    for (name, original) in names.iter().zip(0..) {
        let sent = program.sends("payments", Some(name), None);
        assert_eq!(sent, Some((original, Evidence::Key)));
    }
}

/// The program reads inputs of keys of their own, and for each sends so many records with its key, one by one; gives how many of
/// the last input's had a parent.
async fn reads_and_sends(program: &mut Program, each: impl Fn(usize) -> usize) -> usize {
    let mut named = 0;
    for n in 0..60 {
        let name = format!("{n} of {}", program.next);
        let input = program.is_given("orders", Some(&name), None);
        named = 0;
        for _ in 0..each(n) {
            let sent = program.sends("items", Some(&name), None);
            named += usize::from(sent == Some((input, Evidence::Key)));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        tokio::time::advance(CLAIM_LASTS * 2).await;
    }
    named
}

#[tokio::test(start_paused = true)]
async fn where_as_many_come_from_each_a_key_names_the_parent_of_all_of_them() {
    let mut program = Program::new(Settings {
        window: Duration::from_secs(3_600),
        ..Settings::default()
    });
    assert_eq!(reads_and_sends(&mut program, |_| 3).await, 3);
    // One more than of the others is the program's own.
    let last = program.is_given("orders", Some("a"), None);
    let key = Some((last, Evidence::Key));
    let sent = [(); 4].map(|()| program.sends("items", Some("a"), None));
    assert_eq!(sent, [key, key, key, None]);
    // To another topic one goes for each, as far as is known.
    assert_eq!(program.sends("payments", Some("a"), None), key);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(program.sends("payments", Some("a"), None), None);
    // What waits for more is a candidate like the next of its key.
    program.is_given("orders", Some("b"), None);
    assert!(program.sends("items", Some("b"), None).is_some());
    program.is_given("orders", Some("b"), None);
    assert_eq!(program.sends("items", Some("b"), None), None);
}

#[tokio::test(start_paused = true)]
async fn where_now_one_and_now_more_have_the_key_only_the_first_has_a_parent() {
    let mut program = Program::new(Settings::default());
    assert_eq!(reads_and_sends(&mut program, |n| 1 + n % 3).await, 1);
    assert_eq!(reads_and_sends(&mut program, |_| 1).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_long_after_its_record_was_sent_for_names_nothing() {
    let mut program = Program::new(Settings::default());
    reads_and_sends(&mut program, |_| 2).await;
    let key = |offset| Some((offset, Evidence::Key));
    let a = program.is_given("orders", Some("device"), None);
    assert_eq!(program.sends("items", Some("device"), None), key(a));
    tokio::time::advance(CLAIM_LASTS + Duration::from_millis(1)).await;
    assert_eq!(program.sends("items", Some("device"), None), None);
    let b = program.is_given("orders", Some("device"), None);
    assert_eq!(program.sends("items", Some("device"), None), key(b));
}

#[tokio::test]
async fn a_constant_key_names_nothing() {
    let mut program = Program::new(Settings::default());
    for _ in 0..40 {
        program.is_given("ticks", Some("constant"), None);
        program.sends("out", Some("constant"), None);
    }
    program.is_given("ticks", Some("constant"), None);
    assert_eq!(program.sends("out", Some("constant"), None), None);
}

#[tokio::test]
async fn a_correlation_id_weighs_more_than_a_key_and_needs_to_be_unique_too() {
    let mut program = Program::new(Settings::default());
    let a = program.is_given("orders", Some("a"), Some("1"));
    let b = program.is_given("orders", Some("b"), Some("2"));
    let header = |offset| Some((offset, Evidence::Header));
    assert_eq!(program.sends("payments", Some("b"), Some("1")), header(a));
    // Two records of one correlation: the key decides.
    program.is_given("stock", Some("c"), Some("2"));
    assert_eq!(program.sends("payments", Some("b"), Some("2")), header(b));
    program.is_given("stock", Some("b"), Some("3"));
    program.is_given("stock", Some("b"), Some("3"));
    assert_eq!(program.sends("shipments", Some("b"), Some("3")), None);
    // No other evidence names a record of another correlation.
    program.is_given("stock", Some("d"), Some("4"));
    assert_eq!(program.sends("shipments", Some("d"), Some("3")), None);
}

#[tokio::test]
async fn a_correlation_id_names_none_of_two_even_when_one_was_sent_for() {
    let mut program = Program::new(Settings::default());
    let a = program.is_given("items", None, Some("1"));
    let header = Some((a, Evidence::Header));
    assert_eq!(program.sends("out", None, Some("1")), header);
    assert_eq!(program.sends("out", None, Some("1")), header);
    program.is_given("items", None, Some("1"));
    assert_eq!(program.sends("out", None, Some("1")), None);
}

#[tokio::test]
async fn the_only_record_in_work_is_named_where_that_is_enough() {
    let sure = Settings {
        parent_confidence: 0.5,
        ..Settings::default()
    };
    for (settings, named) in [(Settings::default(), false), (sure, true)] {
        let mut program = Program::new(settings);
        let a = program.is_given("orders", None, None);
        let only = named.then_some((a, Evidence::SoleInFlight));
        assert_eq!(program.sends("payments", None, None), only);
        program.is_given("orders", None, None);
        assert_eq!(
            program.sends("payments", None, None),
            None,
            "two are in work"
        );
        program.deliveries.settled(&"orders".into(), 0, a + 1);
        let only = named.then_some((a + 1, Evidence::SoleInFlight));
        assert_eq!(program.sends("payments", None, None), only);
        program.deliveries.settled(&"orders".into(), 0, a + 2);
        assert_eq!(program.sends("payments", None, None), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_correlation_id_names_nothing_while_something_delivered_is_not_known() {
    let mut program = Program::new(Settings::default());
    let known = program.deliveries.settings.window;
    program.deliveries.missed(&"items".into(), Instant::now());
    tokio::time::advance(known).await;
    let first = program.is_given("items", None, Some("1"));
    assert_eq!(program.sends("out", None, Some("1")), None);
    let other = program.is_given("orders", None, Some("2"));
    let header = |offset| Some((offset, Evidence::Header));
    assert_eq!(program.sends("out", None, Some("2")), header(other));
    // The key is no worse for it.
    let keyed = program.is_given("items", Some("a"), Some("3"));
    let key = Some((keyed, Evidence::Key));
    assert_eq!(program.sends("out", Some("a"), Some("3")), key);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(program.sends("out", None, Some("1")), header(first));
}

#[tokio::test(start_paused = true)]
async fn what_is_old_or_too_much_is_forgotten() {
    let mut program = Program::new(Settings {
        records_max: 3,
        ..Settings::default()
    });
    for key in ["a", "b", "c", "d"] {
        program.is_given("orders", Some(key), Some(key));
    }
    assert_eq!(program.deliveries.len(), 3);
    assert_eq!(program.sends("payments", Some("a"), None), None);
    assert!(program.sends("payments", Some("b"), None).is_some());
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(program.sends("payments", Some("d"), None), None);
    assert!(program.deliveries.is_empty());
    let index = program.deliveries.index.lock().unwrap();
    assert!(index.by_key.is_empty() && index.by_correlation.is_empty());
    assert!(index.unsettled.is_empty() && index.unsettled_records == 0);
}

proptest! {
    /// Batches of several partitions, settled in part, more than are remembered: against a list of every record.
    #[test]
    fn what_is_in_work_is_known_whatever_comes_in_between(
        steps in prop::collection::vec((0..2_i32, 0..5_i64, 0..6_i64), 1..60),
        records_max in 1..12_usize,
    ) {
        let deliveries = Deliveries::new(Settings {
            records_max,
            parent_confidence: 0.5,
            ..Settings::default()
        });
        // Partition, offset, whether it is in work.
        let mut all: Vec<(i32, i64, bool)> = Vec::new();
        for (partition, records, settled) in steps {
            let next = all.iter().filter(|(of, ..)| *of == partition).count();
            let next = i64::try_from(next).unwrap();
            let topic: Name = "orders".into();
            let mut batch = deliveries.batch(&topic, partition, Instant::now());
            for offset in next..next + records {
                batch.add(&Delivered {
                    offset,
                    key: None,
                    context: Program::context(offset),
                    threshold: None,
                    decided: true,
                    correlation: None,
                    inherited: None,
                    business: &[],
                });
                all.push((partition, offset, true));
            }
            drop(batch);
            let settled = next - settled;
            deliveries.settled(&topic, partition, settled);
            for (of, offset, in_work) in &mut all {
                *in_work &= *of != partition || *offset >= settled;
            }
            let kept = &all[all.len().saturating_sub(records_max)..];
            prop_assert_eq!(deliveries.len(), kept.len());
            let mut in_work = kept.iter().filter(|(.., in_work)| *in_work);
            let only = in_work.next().filter(|_| in_work.next().is_none());
            let sent = Produced { key: None, correlation: None, business: &[] };
            let named = deliveries.parent(deliveries.target(&"payments".into()), sent, Instant::now());
            let named = named.map(|parent| (parent.partition, parent.offset, true));
            prop_assert_eq!(named, only.copied());
        }
    }
}
