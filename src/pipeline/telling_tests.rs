//! Events in, entries of the event log out.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use super::{
    RecordOpener, Settings, Telling, Unreadable, Worker, new,
    notes::{NOTES_MAX, Notes},
};
use crate::{
    event::{
        BatchFact, BatchKind, CapturedBatch, Codec, Delivered, DeliveredPart, DeliveredRecord,
        Event, EventKind, Facts, Failure, FaultClass, Identity, Injection, LateSchemas, Membership,
        MembershipChange, Produced, ProducedPart, PublishOutcome, RecordView, Reservation,
        SchemaCount, SchemaSeen, SchemaVerdict, SentRecords, SentTo, SetAside, Side, Traced,
        Unanswered,
    },
    eventlog::{Entry, Kind, Log, Settings as LogSettings, Sink},
    metrics::{Metrics, Settings as MetricsSettings},
    propagation::Traceparent,
    redaction::Redaction,
    sli::{DuplicateClass, Engine, Measure},
    span::SlowAfter,
};

/// A batch is text: each character one record; `d` a dead letter, `r` one to be tried again, `u` a value with an unknown schema, `l` one
/// whose schema is told later. Delivered, a character is the record's id, and its publish time the position in the text.
#[derive(Debug, Default)]
struct Scripted {
    late: Vec<LateSchemas>,
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap()
}

fn failing(named: Vec<i32>) -> Vec<SchemaCount> {
    if named.is_empty() {
        return Vec::new();
    }
    vec![SchemaCount {
        seen: SchemaSeen::Framed {
            framing: "confluent",
            verdict: SchemaVerdict::UnknownId,
            version: None,
        },
        records: u64::try_from(named.len()).unwrap(),
        named,
    }]
}

impl RecordOpener for Scripted {
    fn delivered(&mut self, batch: &[u8], _: bool) -> Result<Vec<DeliveredRecord>, Unreadable> {
        let each = batch.iter().enumerate().map(|(index, id)| DeliveredRecord {
            offset: 10 + i64::from(number(index)),
            published_ms: i64::from(number(index)) * 1_000,
            identity: Identity::Named(u64::from(*id)),
        });
        Ok(each.collect())
    }

    fn sent(&mut self, to: &SentTo, batch: &[u8]) -> Result<SentRecords, Unreadable> {
        let at = |wanted: u8| {
            let each = batch.iter().enumerate().filter(move |(_, c)| **c == wanted);
            each.map(|(index, _)| number(index)).collect::<Vec<_>>()
        };
        let aside = |record: i32, retry| SetAside {
            record,
            retry,
            topic: Some("orders".into()),
            group: Some("billing".into()),
            ..SetAside::default()
        };
        let dead = at(b'd').into_iter().map(|record| aside(record, false));
        let again = at(b'r').into_iter().map(|record| aside(record, true));
        if !at(b'l').is_empty() {
            self.late.push(LateSchemas {
                to: to.clone(),
                schemas: failing(at(b'l')),
                batch: Bytes::copy_from_slice(batch),
            });
        }
        Ok(SentRecords {
            aside: dead.chain(again).collect(),
            schemas: failing(at(b'u')),
        })
    }

    /// The context of each record names its place.
    fn show(
        &mut self,
        batch: &[u8],
        wanted: &mut dyn FnMut(i32, i64) -> bool,
    ) -> Result<Vec<RecordView>, Unreadable> {
        let each = (0..batch.len()).map(number).map(|record| RecordView {
            record,
            published_ms: i64::from(record) * 1_000,
            context: context(i64::from(record)),
            ..RecordView::default()
        });
        Ok(each
            .filter(|view| wanted(view.record, view.published_ms))
            .collect())
    }

    fn late(&mut self) -> Vec<LateSchemas> {
        std::mem::take(&mut self.late)
    }
}

fn context(number: i64) -> Option<Traceparent> {
    let number = number + 1;
    Traceparent::parse(format!("00-{number:032x}-{number:016x}-00").as_bytes()).ok()
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Value>>>);

impl Sink for Kept {
    fn entry(&mut self, entry: &Entry) {
        self.0
            .lock()
            .unwrap()
            .push(serde_json::to_value(entry).unwrap());
    }
}

struct Bench {
    worker: Worker,
    metrics: Arc<Metrics>,
    kept: Kept,
    room: Arc<std::sync::atomic::AtomicUsize>,
}

impl Bench {
    fn new(kinds: &[Kind], per_second: u32) -> Self {
        let engine = Engine::new(Vec::new()).unwrap();
        let metrics = MetricsSettings {
            max_series: 20_000,
            latency_bounds: engine.bounds().seconds(),
            push: false,
        };
        let metrics = Arc::new(Metrics::new(&metrics).unwrap());
        let opener = Box::new(Scripted::default());
        let (_, mut worker) = new(
            Settings::default(),
            engine,
            &metrics,
            opener,
            Instant::now(),
        );
        let kept = Kept::default();
        worker.tell(Telling {
            log: Log::new(LogSettings {
                kinds: kinds.to_vec(),
                per_second,
                slow_after: Box::new(|_| SlowAfter {
                    delivered: Duration::from_secs(1),
                    committed: None,
                }),
                cluster_name: None,
                redaction: Arc::new(ArcSwap::from_pointee(Redaction::default())),
            }),
            sinks: vec![Box::new(kept.clone())],
            cluster: watch::channel(None).1,
            left_out: metrics.dropped("event_log", "rate"),
        });
        Self {
            worker,
            metrics,
            kept,
            room: Arc::new(1_000_000.into()),
        }
    }

    fn captured(&self, text: &'static str, edited: bool) -> Option<CapturedBatch> {
        Some(CapturedBatch {
            bytes: Bytes::from_static(text.as_bytes()),
            reservation: Reservation::take(&self.room, text.len()).unwrap(),
            examined: true,
            edited,
        })
    }

    fn sent(&self, text: &'static str, outcome: PublishOutcome) -> ProducedPart {
        ProducedPart {
            topic: "t".into(),
            partition: 2,
            batches: 1,
            records: u64::try_from(text.len()).unwrap(),
            bytes: 100,
            codec: Codec::None,
            transaction: None,
            sequence: None,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            outcome,
            captured: self.captured(text, false),
            injection: Injection::default(),
            traced: Vec::new(),
            unrecorded: None,
            descent: Vec::new(),
        }
    }

    /// Offsets from 10 on.
    fn given(&self, text: &'static str) -> Facts {
        let last = i64::from(number(text.len())) - 1;
        Facts::Delivered(Delivered {
            acknowledged: None,
            group: None,
            read_committed: false,
            data_was_there: true,
            parts: vec![DeliveredPart {
                acquired: Vec::new(),
                topic: "t".into(),
                partition: 2,
                asked: Some(10),
                error: None,
                high_watermark: 99,
                last_stable: 99,
                log_start: 0,
                traced: Vec::new(),
                unrecorded: None,
                batches: vec![BatchFact {
                    base_offset: 10,
                    last_offset: 10 + last,
                    records: u32::try_from(text.len()).unwrap(),
                    delivered: u32::try_from(text.len()).unwrap(),
                    bytes: 90,
                    base_timestamp_ms: 0,
                    max_timestamp_ms: last * 1_000,
                    log_append_time: false,
                    codec: Codec::None,
                    kind: BatchKind::Data,
                    captured: self.captured(text, false),
                }],
            }],
        })
    }

    fn take(&mut self, wall_ms: i64, facts: Facts) {
        self.worker.work(&mut vec![Event::answered(wall_ms, facts)]);
    }

    /// `event offset trace` of each entry since the last call; the trace by its last two digits.
    fn told(&self) -> Vec<String> {
        let entries = std::mem::take(&mut *self.kept.0.lock().unwrap());
        let each = entries.iter().map(|entry| {
            let offset = &entry["messaging.kafka.offset"];
            let trace = entry["trace_id"]
                .as_str()
                .and_then(|id| id.get(30..))
                .unwrap_or("--");
            format!("{} {offset} {trace}", entry["event"].as_str().unwrap())
        });
        each.collect()
    }

    fn left_out(&self) -> u64 {
        self.metrics.dropped("event_log", "rate").count()
    }
}

fn member() -> Facts {
    Facts::Membership(Membership {
        group: "g".into(),
        member: "m".into(),
        change: MembershipChange::Assigned {
            generation: 1,
            partitions: vec![("t".into(), vec![2])],
            share: false,
        },
    })
}

fn produced(part: ProducedPart) -> Facts {
    Facts::Produced(Produced {
        acks: -1,
        transactional: false,
        parts: vec![part],
    })
}

const ACKED: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 70,
    log_append_ms: None,
};
const REFUSED: PublishOutcome = PublishOutcome::Failed(Failure {
    name: "MESSAGE_TOO_LARGE",
    class: FaultClass::Client,
    retriable: false,
});

#[tokio::test]
async fn what_the_engine_finds_in_a_batch_is_told_with_the_place_of_each_record() {
    let mut bench = Bench::new(&Kind::ALL, 100);
    let part = bench.sent("d.ru", ACKED);
    bench.take(5, produced(part));
    assert_eq!(
        bench.told(),
        ["schema 73 04", "dead_letter 70 01", "retry 72 03"]
    );
    bench.take(5, member());
    let facts = bench.given("abab");
    bench.take(5, facts);
    let doubled = bench.told();
    assert!(
        doubled.contains(&"duplicate 12 03".to_owned()),
        "{doubled:?}"
    );
    assert!(
        doubled.contains(&"duplicate 13 04".to_owned()),
        "{doubled:?}"
    );
}

#[tokio::test]
async fn ids_are_left_out_where_what_was_added_is_not_what_was_looked_at() {
    let mut bench = Bench::new(&[Kind::DeadLetter], 100);
    let injected = |refused| Injection {
        records: 1,
        refused,
        ..Injection::default()
    };
    for (edited, injection, expected) in [
        (false, Injection::default(), "01"),
        (false, injected(None), "--"),
        (true, injected(None), "01"),
        (true, injected(Some("INVALID_RECORD")), "--"),
        (true, Injection::default(), "--"),
    ] {
        let captured = bench.captured("d", edited);
        let part = ProducedPart {
            captured,
            injection,
            ..bench.sent("d", ACKED)
        };
        bench.take(5, produced(part));
        assert_eq!(
            bench.told(),
            [format!("dead_letter 70 {expected}")],
            "{edited} {injection:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_and_an_unanswered_publish_are_told_by_their_first_record() {
    let mut bench = Bench::new(&[Kind::Error], 100);
    let part = bench.sent("..", REFUSED);
    bench.take(5, produced(part));
    assert_eq!(bench.told(), ["error null 01"]);
    let mut closed = Event::answered(5, Facts::None);
    closed.kind = EventKind::Closed {
        side: Side::Broker,
        kind: "reset",
        unanswered: vec![Unanswered {
            operation: "Produce",
            waited: Duration::ZERO,
            facts: produced(bench.sent(".", PublishOutcome::Lost)),
        }],
    };
    bench.worker.work(&mut vec![closed]);
    assert_eq!(bench.told(), ["error null 01"]);
}

#[tokio::test]
async fn late_records_of_a_batch_are_told_and_those_before_the_threshold_are_not() {
    let mut bench = Bench::new(&[Kind::Slow], 3);
    // Published at 0, 1, .. 5 s; at 5 s those before 4 s are late.
    let facts = bench.given("abcdef");
    bench.take(5_000, facts);
    assert_eq!(bench.told(), ["slow 10 01", "slow 11 02", "slow 12 03"]);
    let facts = bench.given("ghijkl");
    bench.take(5_000, facts);
    assert_eq!(bench.told(), [""; 0]);
    bench.worker.tick(crate::event::Stamp::now());
    assert_eq!(
        bench.left_out(),
        2,
        "the fourth, and at least one of the second batch"
    );
    let facts = bench.given("x");
    bench.take(900, facts);
    assert_eq!(bench.told(), [""; 0], "in time");
}

#[tokio::test]
async fn what_the_dataplane_told_needs_no_batch() {
    let mut bench = Bench::new(&[Kind::Sampled, Kind::Slow], 100);
    let mut record = Traced::numbered(1, 0);
    record.context.sampled = true;
    let part = ProducedPart {
        captured: None,
        traced: vec![record],
        ..bench.sent("..", ACKED)
    };
    bench.take(5, produced(part));
    assert_eq!(bench.told(), ["sampled 71 e9"]);
}

#[tokio::test]
async fn what_a_registry_tells_late_is_told_of_the_record_it_belongs_to() {
    let mut bench = Bench::new(&[Kind::Schema], 100);
    let part = bench.sent(".l", ACKED);
    bench.take(5, produced(part));
    assert_eq!(bench.told(), [""; 0]);
    bench.worker.tick(crate::event::Stamp::now());
    assert_eq!(bench.told(), ["schema 71 02"]);
    bench.worker.tick(crate::event::Stamp::now());
    assert_eq!(bench.told(), [""; 0], "once");
}

#[test]
fn notes_are_bounded_and_what_does_not_fit_is_counted() {
    let (topic, group) = ("t".into(), "g".into());
    let offsets: Vec<i64> = (0..16).collect();
    let mut notes = Notes::default();
    let duplicates = |class, count| Measure::Duplicates {
        topic: &topic,
        group: &group,
        class,
        count,
        partition: 0,
        offsets: &offsets,
    };
    notes.take(&duplicates(DuplicateClass::Replayed, 20));
    assert_eq!((notes.all.len(), notes.more), (0, 0), "on purpose");
    notes.take(&duplicates(DuplicateClass::Redelivered, 20));
    assert_eq!((notes.all.len(), notes.more), (16, 4));
    for _ in 0..100 {
        notes.take(&duplicates(DuplicateClass::Redelivered, 16));
    }
    assert_eq!(notes.all.len(), NOTES_MAX);
    assert_eq!(notes.more, 4 + 1_616 - 1_024);
}
