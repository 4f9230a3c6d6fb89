//! From events on the hot side to series and snapshots.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use regex::Regex;
use tokio::time::Instant;

use super::*;
use crate::{
    event::{
        Answer, BatchFact, BatchKind, CapturedBatch, Codec, Connection, Delivered, DeliveredPart,
        DeliveredRecord, Event, EventKind, Facts, Failure, FaultClass, Identity, LateSchemas,
        Membership, MembershipChange, Observer, Produced, ProducedPart, PublishOutcome, RecordView,
        SentRecords, SentTo, SetAside, Settled, SettledPart, Side, Stamp, Unanswered,
    },
    export,
    metrics::{Kind, Settings as MetricsSettings, proto},
};

#[derive(Debug)]
struct Opener;

impl RecordOpener for Opener {
    fn delivered(
        &mut self,
        batch: &[u8],
        examined: bool,
    ) -> Result<Vec<DeliveredRecord>, Unreadable> {
        let all: Vec<(i64, i64)> = serde_json::from_slice(batch).map_err(|_| Unreadable)?;
        let record = |(offset, published_ms): (i64, i64)| DeliveredRecord {
            offset,
            published_ms,
            identity: if examined {
                Identity::Named(offset.cast_unsigned())
            } else {
                Identity::Unasked
            },
        };
        Ok(all.into_iter().map(record).collect())
    }

    /// Every character of the batch is a dead letter of `orders`.
    fn sent(&mut self, _: &SentTo, batch: &[u8]) -> Result<SentRecords, Unreadable> {
        let letter = SetAside {
            topic: Some("orders".into()),
            group: Some("billing".into()),
            ..SetAside::default()
        };
        Ok(SentRecords {
            aside: vec![letter; batch.len()],
            schemas: Vec::new(),
        })
    }

    fn show(
        &mut self,
        batch: &[u8],
        wanted: &mut dyn FnMut(i32, i64) -> bool,
    ) -> Result<Vec<RecordView>, Unreadable> {
        let all: Vec<(i64, i64)> = serde_json::from_slice(batch).map_err(|_| Unreadable)?;
        let base = all.first().map_or(0, |(offset, _)| *offset);
        let each = all.into_iter().map(|(offset, published_ms)| RecordView {
            record: i32::try_from(offset - base).unwrap(),
            published_ms,
            ..RecordView::default()
        });
        let wanted = |shown: &RecordView| wanted(shown.record, shown.published_ms);
        Ok(each.filter(wanted).collect())
    }

    fn late(&mut self) -> Vec<LateSchemas> {
        Vec::new()
    }
}

struct Bench {
    metrics: Arc<Metrics>,
    hot: Arc<Hot>,
    worker: Worker,
}

fn bench(settings: Settings) -> Bench {
    bench_that(settings, false)
}

fn bench_that(settings: Settings, push: bool) -> Bench {
    let engine = Engine::new(Vec::new()).unwrap();
    let metrics = Arc::new(
        Metrics::new(&MetricsSettings {
            max_series: 20_000,
            latency_bounds: engine.bounds().seconds(),
            push,
        })
        .unwrap(),
    );
    let (hot, worker) = new(settings, engine, &metrics, Box::new(Opener), Instant::now());
    Bench {
        metrics,
        hot,
        worker,
    }
}

fn event(at: Stamp, kind: EventKind) -> Event {
    Event {
        at,
        connection: Arc::new(Connection {
            id: 1,
            peer: SocketAddr::from(([127, 0, 0, 1], 5)),
            broker: "1".into(),
            broker_address: "b:9092".into(),
            opened: at,
        }),
        client: "app".into(),
        kind,
    }
}

fn answered(at: Stamp, operation: &'static str, facts: Facts) -> Event {
    let answer = Answer {
        operation,
        time_limit: None,
        duration: Duration::from_millis(3),
        throttle: Duration::from_millis(500),
        error: None,
        facts,
    };
    event(at, EventKind::Answered(answer))
}

fn produced(topic: &str, outcome: PublishOutcome) -> Facts {
    Facts::Produced(Produced {
        acks: -1,
        transactional: false,
        parts: vec![ProducedPart {
            topic: topic.into(),
            partition: 0,
            batches: 1,
            records: 4,
            bytes: 100,
            codec: Codec::Zstd,
            transaction: None,
            sequence: None,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            outcome,
            captured: None,
            injection: crate::event::Injection::default(),
            traced: Vec::new(),
            unrecorded: None,
            descent: Vec::new(),
        }],
    })
}

const ACKED: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 0,
    log_append_ms: None,
};

fn assigned(group: &str, partitions: &[i32]) -> Facts {
    Facts::Membership(Membership {
        group: group.into(),
        member: "m".into(),
        change: MembershipChange::Assigned {
            generation: 1,
            partitions: vec![("t".into(), partitions.to_vec())],
            share: false,
        },
    })
}

fn settled(group: &str, offset: i64) -> Facts {
    Facts::Settled(Settled {
        group: group.into(),
        member: "m".into(),
        transaction: None,
        parts: vec![SettledPart {
            topic: "t".into(),
            partition: 0,
            offset,
            error: None,
        }],
    })
}

fn delivered(base_ms: i64, max_ms: i64, captured: Option<CapturedBatch>) -> Facts {
    Facts::Delivered(Delivered {
        acknowledged: None,
        group: None,
        read_committed: false,
        data_was_there: true,
        parts: vec![DeliveredPart {
            topic: "t".into(),
            partition: 0,
            asked: Some(0),
            error: None,
            high_watermark: 2,
            last_stable: 2,
            log_start: 0,
            traced: Vec::new(),
            unrecorded: None,
            acquired: Vec::new(),
            batches: vec![BatchFact {
                base_offset: 0,
                last_offset: 1,
                records: 2,
                delivered: 2,
                bytes: 90,
                base_timestamp_ms: base_ms,
                max_timestamp_ms: max_ms,
                log_append_time: false,
                codec: Codec::None,
                kind: BatchKind::Data,
                captured,
            }],
        }],
    })
}

fn page(metrics: &Metrics) -> String {
    String::from_utf8(export::page(metrics, None, None).body).unwrap()
}

/// The value of the series whose name and labels are exactly these (`cluster` left out).
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let (name, labels) = series.split_once('{').unwrap();
    let comma = if labels == "}" { "" } else { "," };
    let start = format!("{name}{{cluster=\"\"{comma}{labels} ");
    page(metrics)
        .lines()
        .find_map(|l| l.strip_prefix(&start).map(|v| v.parse().unwrap()))
}

impl Bench {
    fn take(&mut self, events: Vec<Event>) {
        let mut events = events;
        self.worker.work(&mut events);
    }

    fn value(&self, series: &str) -> Option<f64> {
        value(&self.metrics, series)
    }
}

#[test]
fn dead_letters_are_examined_first_and_no_more_of_them_than_there_is_time_for() {
    let mut bench = bench(Settings {
        decode_bytes_per_second: 10,
        examine_bytes_per_second: 10,
        always_examined: Always {
            named: |topic| topic.ends_with("dlq"),
            ..Always::default()
        },
        ..Settings::default()
    });
    let now = Stamp::now();
    // Eight records in eight bytes; more than either budget allows twice.
    let sent = |bench: &Bench, topic: &str| {
        let Facts::Produced(mut produced) = produced(topic, ACKED) else {
            unreachable!("made so");
        };
        for part in &mut produced.parts {
            part.codec = Codec::None;
            part.captured = Some(CapturedBatch {
                bytes: Bytes::from_static(b"12345678"),
                reservation: bench.hot.reserve(8).unwrap(),
                examined: true,
                edited: false,
            });
        }
        answered(now, "Produce", Facts::Produced(produced))
    };
    let events = vec![
        sent(&bench, "plain"),
        sent(&bench, "dlq"),
        sent(&bench, "dlq"),
        sent(&bench, "plain"),
    ];
    bench.take(events);
    let letters = |topic: &str| {
        let series = format!(
            "throughline_dead_letter_records_total{{category=\"unknown\",dlq_topic=\"{topic}\",group=\"billing\",topic=\"orders\"}}"
        );
        bench.value(&series)
    };
    assert_eq!((letters("plain"), letters("dlq")), (Some(8.0), Some(8.0)));
    let left_out =
        "throughline_telemetry_dropped_total{reason=\"examine_budget\",signal=\"records\"}";
    assert_eq!(bench.value(left_out), Some(2.0));
}

#[test]
fn a_full_queue_drops_and_counts_and_never_waits() {
    let bench = bench(Settings {
        queue_events: NonZeroUsize::new(2).unwrap(),
        ..Settings::default()
    });
    for _ in 0..5 {
        bench.hot.observe(event(Stamp::now(), EventKind::Opened));
    }
    let dropped = |reason: &str| {
        bench.value(&format!(
            "throughline_telemetry_dropped_total{{reason=\"{reason}\",signal=\"events\"}}"
        ))
    };
    assert_eq!(dropped("queue_full"), Some(3.0));
    assert_eq!(dropped("stopped"), Some(0.0));
}

#[test]
fn captured_bytes_are_reserved_refused_and_given_back() {
    let bench = bench(Settings {
        telemetry_bytes: 100,
        ..Settings::default()
    });
    let first = bench.hot.reserve(80);
    assert!(first.is_some());
    assert!(bench.hot.reserve(30).is_none());
    drop(first);
    assert!(bench.hot.reserve(100).is_some());
    let refused = "throughline_telemetry_dropped_total{reason=\"byte_budget\",signal=\"records\"}";
    assert_eq!(bench.value(refused), Some(1.0));
}

#[test]
fn records_are_wanted_only_where_the_header_leaves_the_verdict_open() {
    let bench = bench(Settings::default());
    let wants = |low: i64, high: i64| {
        bench
            .hot
            .wants_records("t", 10_000, 10_000 - high, 10_000 - low)
    };
    assert!(!wants(3, 4) && !wants(100, 200) && !wants(501, 900));
    assert!(wants(499, 501) && wants(3, 300) && wants(-1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_worker_takes_what_is_queued_before_it_stops() {
    let Bench {
        metrics,
        hot,
        worker,
    } = bench(Settings::default());
    let snapshots = worker.snapshots();
    for _ in 0..1000 {
        hot.observe(answered(Stamp::now(), "Produce", produced("t", ACKED)));
    }
    worker.run(async {}).await;
    assert_eq!(
        value(&metrics, "throughline_produced_records_total{topic=\"t\"}"),
        Some(4000.0)
    );
    assert_eq!(snapshots.latest().slis.len(), 2);
    hot.observe(event(Stamp::now(), EventKind::Opened));
    let stopped = "throughline_telemetry_dropped_total{reason=\"stopped\",signal=\"events\"}";
    assert_eq!(value(&metrics, stopped), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn the_worker_ends_with_its_last_hot_side_and_publishes_every_second_until_then() {
    let Bench { hot, worker, .. } = bench(Settings::default());
    let snapshots = worker.snapshots();
    let running = tokio::spawn(worker.run(std::future::pending()));
    hot.observe(answered(Stamp::now(), "Produce", produced("t", ACKED)));
    tokio::time::advance(TICK + PAUSE).await;
    while snapshots.latest().clients.is_empty() {
        tokio::time::advance(PAUSE).await;
        tokio::task::yield_now().await;
    }
    drop(hot);
    running.await.unwrap();
}

#[test]
fn one_publish_fills_every_family_it_speaks_of() {
    let mut bench = bench(Settings::default());
    let refused = PublishOutcome::Failed(Failure {
        name: "TOPIC_AUTHORIZATION_FAILED",
        class: FaultClass::Client,
        retriable: false,
    });
    bench.take(vec![
        answered(Stamp::now(), "Produce", produced("t", ACKED)),
        answered(Stamp::now(), "Produce", produced("t", refused)),
    ]);
    for (series, expected) in [
        ("throughline_produced_records_total{topic=\"t\"}", 4.0),
        ("throughline_produced_bytes_total{topic=\"t\"}", 100.0),
        (
            "throughline_produced_batches_total{codec=\"zstd\",topic=\"t\"}",
            2.0,
        ),
        (
            "throughline_produce_failures_total{error=\"TOPIC_AUTHORIZATION_FAILED\",topic=\"t\"}",
            1.0,
        ),
        (
            "throughline_authorization_failures_total{api=\"Produce\",resource=\"topic\"}",
            1.0,
        ),
        (
            "throughline_produce_duration_seconds_count{topic=\"t\"}",
            1.0,
        ),
        ("throughline_batch_records_sum{topic=\"t\"}", 8.0),
        (
            "throughline_broker_request_duration_seconds_count{api=\"Produce\",broker=\"1\"}",
            2.0,
        ),
        (
            "throughline_throttled_seconds_total{direction=\"client_to_broker\"}",
            1.0,
        ),
        (
            "throughline_sli_events_total{group=\"\",sli=\"publish\",stage=\"\",topic=\"t\"}",
            8.0,
        ),
        (
            "throughline_sli_good_events_total{group=\"\",sli=\"publish\",stage=\"\",topic=\"t\"}",
            4.0,
        ),
        (
            "throughline_sli_good_events_total{group=\"\",sli=\"availability\",stage=\"\",topic=\"\"}",
            2.0,
        ),
    ] {
        assert_eq!(bench.value(series), Some(expected), "{series}");
    }
}

#[test]
fn lag_gauges_appear_with_the_position_and_vanish_with_the_partition() {
    let mut bench = bench(Settings {
        partitions: true,
        ..Settings::default()
    });
    let now = Stamp::now();
    bench.take(vec![
        answered(now, "SyncGroup", assigned("g", &[0])),
        answered(now, "OffsetCommit", settled("g", 0)),
        answered(
            now,
            "Fetch",
            delivered(now.wall_ms - 2000, now.wall_ms - 2000, None),
        ),
    ]);
    bench.worker.tick(now);
    let snapshots = bench.worker.snapshots();
    let series = [
        (
            "throughline_consumer_lag_records{group=\"g\",topic=\"t\"}",
            2.0,
        ),
        (
            "throughline_consumer_lag_seconds{group=\"g\",topic=\"t\"}",
            2.0,
        ),
        (
            "throughline_consumer_lag_seconds_bound{bound=\"upper\",group=\"g\",topic=\"t\"}",
            2.0,
        ),
        (
            "throughline_consumer_partition_lag_records{group=\"g\",partition=\"0\",topic=\"t\"}",
            2.0,
        ),
        (
            "throughline_consumer_assigned_partitions{group=\"g\",topic=\"t\"}",
            1.0,
        ),
        (
            "throughline_consumer_members{group=\"g\",state=\"stable\"}",
            1.0,
        ),
    ];
    for (series, expected) in series {
        assert_eq!(bench.value(series), Some(expected), "{series}");
    }
    let group = &snapshots.latest().groups[0];
    assert_eq!((&*group.group, group.topics[0].lag_records), ("g", 2));
    let silent = "throughline_consumer_members{group=\"g\",state=\"silent\"}";
    assert_eq!(bench.value(silent), Some(0.0));
    bench.take(vec![answered(now, "SyncGroup", assigned("g", &[]))]);
    bench.worker.tick(now);
    for (series, _) in series.iter().filter(|(s, _)| s.contains("lag")) {
        assert_eq!(bench.value(series), None, "{series}");
    }
    assert!(snapshots.latest().groups[0].topics.is_empty());
}

#[test]
fn folded_groups_share_a_label_but_not_their_progress() {
    let mut bench = bench(Settings {
        names: vec![Fold {
            pattern: Regex::new(r"^console-consumer-\d+$").unwrap(),
            label: "console-consumer".into(),
        }],
        ..Settings::default()
    });
    let now = Stamp::now();
    for (client, group, committed) in [
        ("a", "console-consumer-1", 0),
        ("b", "console-consumer-2", 1),
    ] {
        let facts = [
            assigned(group, &[0]),
            settled(group, committed),
            delivered(now.wall_ms - 1000, now.wall_ms - 1000, None),
        ];
        let events = facts.into_iter().map(|facts| Event {
            client: client.into(),
            ..answered(now, "Any", facts)
        });
        bench.take(events.collect());
    }
    bench.worker.tick(now);
    let lag = "throughline_consumer_lag_records{group=\"console-consumer\",topic=\"t\"}";
    assert_eq!(bench.value(lag), Some(3.0));
    let records = "throughline_delivered_records_total{group=\"console-consumer\",topic=\"t\"}";
    assert_eq!(bench.value(records), Some(4.0));
    assert!(!page(&bench.metrics).contains("console-consumer-1"));
}

#[test]
fn batches_past_the_decode_budget_are_counted_and_judged_by_their_header() {
    let now = Stamp::now();
    let bytes = serde_json::to_vec(&[(0, now.wall_ms - 9000), (1, now.wall_ms - 10)]).unwrap();
    let mut bench = bench(Settings {
        decode_bytes_per_second: u64::try_from(bytes.len()).unwrap() + 1,
        ..Settings::default()
    });
    let fetch = |bench: &mut Bench, bytes: &[u8]| {
        let captured = CapturedBatch {
            bytes: Bytes::copy_from_slice(bytes),
            reservation: bench.hot.reserve(bytes.len()).unwrap(),
            examined: false,
            edited: false,
        };
        let facts = delivered(now.wall_ms - 9000, now.wall_ms - 10, Some(captured));
        bench.take(vec![answered(now, "Fetch", facts)]);
    };
    fetch(&mut bench, &bytes);
    fetch(&mut bench, &bytes);
    let good = "throughline_sli_good_events_total{group=\"_none\",sli=\"latency\",stage=\"fetched\",topic=\"t\"}";
    assert_eq!(bench.value(good), Some(1.0));
    let unknown = "throughline_sli_unknown_events_total{group=\"_none\",reason=\"not_examined\",sli=\"latency\",topic=\"t\"}";
    assert_eq!(bench.value(unknown), Some(2.0));
    let dropped = |bench: &Bench, reason: &str| {
        bench.value(&format!(
            "throughline_telemetry_dropped_total{{reason=\"{reason}\",signal=\"records\"}}"
        ))
    };
    assert_eq!(dropped(&bench, "cpu_budget"), Some(1.0));
    bench.worker.tick(now);
    assert_eq!(
        bench.value("throughline_coverage_ratio{topic=\"t\"}"),
        Some(0.5)
    );
    // A second later there is budget again; what cannot be read is counted apart.
    let later = Stamp {
        mono: now.mono + Duration::from_secs(1),
        ..now
    };
    bench.worker.tick(later);
    fetch(&mut bench, b"garbage");
    assert_eq!(dropped(&bench, "decode"), Some(1.0));
}

#[test]
fn a_latency_of_a_thousand_records_is_one_observation_of_a_thousand() {
    let mut bench = bench(Settings::default());
    let now = Stamp::now();
    let facts = delivered(now.wall_ms - 120, now.wall_ms - 110, None);
    bench.take(vec![answered(now, "Fetch", facts)]);
    let count = "throughline_end_to_end_latency_seconds_count{group=\"_none\",stage=\"fetched\",topic=\"t\"}";
    assert_eq!(bench.value(count), Some(2.0));
}

/// What is only pushed: counters, and the observations of histograms, by instrument and its four labels.
fn pushed_only(metrics: &Metrics) -> BTreeMap<String, u64> {
    let labels = |labels: &[proto::LabelPair]| {
        let values: Vec<&str> = ["operation", "topic", "group", "error"]
            .iter()
            .map(|wanted| {
                let found = labels.iter().find(|label| label.name() == *wanted);
                found.unwrap().value()
            })
            .collect();
        values.join(" ")
    };
    let pushed = metrics.gather_pushed();
    let mut all = BTreeMap::new();
    for (id, family) in &pushed.families {
        for series in family.get_metric() {
            if id.family().only_pushed() && id.family().kind == Kind::Counter {
                let count = series.get_counter().get_value() as u64;
                all.insert(format!("{id:?} {}", labels(series.get_label())), count);
            }
        }
    }
    for (id, series) in &pushed.exponentials {
        for one in series.iter().filter(|_| id.family().only_pushed()) {
            let count = one.histogram.count();
            all.insert(format!("{id:?} {}", labels(&one.labels)), count);
        }
    }
    all
}

#[test]
fn the_conventions_count_attempts_that_failed_by_their_error_and_what_was_taken_once() {
    let mut bench = bench_that(Settings::default(), true);
    let refused = |name| {
        PublishOutcome::Failed(Failure {
            name,
            class: FaultClass::Broker,
            retriable: true,
        })
    };
    let publish = |outcome| answered(Stamp::now(), "Produce", produced("t", outcome));
    let unresolved = Facts::Produced(Produced {
        acks: 0,
        transactional: false,
        parts: match produced("_unresolved", PublishOutcome::NotAsked) {
            Facts::Produced(produced) => produced.parts,
            _ => Vec::new(),
        },
    });
    bench.take(vec![
        publish(ACKED),
        publish(refused("NOT_ENOUGH_REPLICAS")),
        publish(refused("DUPLICATE_SEQUENCE_NUMBER")),
        answered(Stamp::now(), "Produce", unresolved),
        event(
            Stamp::now(),
            EventKind::Closed {
                side: Side::Broker,
                kind: "reset",
                unanswered: vec![Unanswered {
                    operation: "Produce",
                    waited: Duration::from_secs(1),
                    facts: produced("t", PublishOutcome::Lost),
                }],
            },
        ),
    ]);
    let seen = pushed_only(&bench.metrics);
    let wanted = [
        ("OperationDuration send t  ", 2),
        ("OperationDuration send t  NOT_ENOUGH_REPLICAS", 1),
        ("SentMessages send t  ", 4),
        ("SentMessages send t  NOT_ENOUGH_REPLICAS", 4),
        ("SentMessages send t  _LOST", 4),
        ("SentMessages send   ", 4),
    ];
    let wanted = wanted.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(seen, BTreeMap::from(wanted));
    let taken = bench.value("throughline_produced_records_total{topic=\"t\"}");
    assert_eq!(taken, Some(4.0), "as the page says");
}

#[test]
fn the_conventions_name_the_group_of_what_was_consumed_where_there_is_one() {
    let mut bench = bench_that(Settings::default(), true);
    let now = Stamp::now();
    let fetch = || answered(now, "Fetch", delivered(now.wall_ms, now.wall_ms, None));
    let refused = Failure {
        name: "NOT_COORDINATOR",
        class: FaultClass::Broker,
        retriable: true,
    };
    let mut commit = settled("g", 2);
    if let Facts::Settled(settled) = &mut commit {
        settled.parts[0].error = Some(refused);
    }
    bench.take(vec![
        fetch(),
        answered(now, "SyncGroup", assigned("g", &[0])),
        fetch(),
        answered(now, "OffsetCommit", commit),
        answered(now, "OffsetCommit", settled("g", 2)),
    ]);
    let wanted = [
        ("ConsumedMessages fetch t  ", 2),
        ("ConsumedMessages fetch t g ", 2),
        ("OperationDuration fetch t  ", 2),
        ("OperationDuration commit  g ", 1),
        ("OperationDuration commit  g NOT_COORDINATOR", 1),
        ("ProcessDuration process t g ", 2),
    ];
    let wanted = wanted.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(pushed_only(&bench.metrics), BTreeMap::from(wanted));
}

#[test]
fn without_a_push_the_conventions_count_nothing() {
    let mut bench = bench(Settings::default());
    bench.take(vec![answered(
        Stamp::now(),
        "Produce",
        produced("t", ACKED),
    )]);
    assert!(pushed_only(&bench.metrics).is_empty());
}

fn numbered(base_sequence: i32) -> Facts {
    let mut facts = produced("t", ACKED);
    if let Facts::Produced(produced) = &mut facts {
        produced.parts[0].sequence = Some(crate::event::ProducerSequence {
            producer_id: 7,
            epoch: 0,
            base_sequence,
        });
    }
    facts
}

#[test]
fn a_hole_that_a_dropped_event_may_have_made_is_not_told() {
    let gaps = |drop: bool| {
        let mut bench = bench(Settings {
            queue_events: NonZeroUsize::MIN,
            ..Settings::default()
        });
        let start = Stamp::now();
        bench.take(vec![answered(start, "Produce", numbered(0))]);
        for _ in 0..=usize::from(drop) {
            bench.hot.observe(event(start, EventKind::Opened));
        }
        // Four records each: 4 to 7 are missing.
        bench.take(vec![answered(start, "Produce", numbered(8))]);
        let late = Stamp {
            mono: start.mono + crate::sli::GAP_DEADLINE * 2,
            ..start
        };
        bench.worker.tick(late);
        bench.value("throughline_sequence_gaps_total{topic=\"t\"}")
    };
    assert_eq!((gaps(false), gaps(true)), (Some(1.0), Some(0.0)));
}

#[test]
fn what_may_be_refused_stands_at_zero_from_the_start() {
    let bench = bench(Settings {
        refusable: vec![("Produce", "topic")],
        mechanisms: vec!["PLAIN"],
        ..Settings::default()
    });
    for series in [
        "throughline_authorization_failures_total{api=\"Produce\",resource=\"topic\"}",
        "throughline_authentication_failures_total{mechanism=\"PLAIN\"}",
    ] {
        assert_eq!(bench.value(series), Some(0.0), "{series}");
    }
}

#[test]
fn a_topic_has_the_first_owner_that_matches_and_an_unowned_one_has_none() {
    let owner = |pattern: &str, team: &str| Owner {
        pattern: Regex::new(pattern).unwrap(),
        team: team.into(),
        tier: "1".into(),
        tenant: "".into(),
    };
    let mut bench = bench(Settings {
        ownership: Ownership {
            owners: vec![owner("^orders", "checkout"), owner("s$", "rest")],
            expected: vec![("ledger".into(), 900.0)],
        },
        ..Settings::default()
    });
    let sent = |topic| answered(Stamp::now(), "Produce", produced(topic, ACKED));
    bench.take(vec![sent("orders"), sent("payments"), sent("audit")]);
    bench.worker.tick(Stamp::now());
    let owned = |topic: &str, team: &str| {
        bench.value(&format!(
            "throughline_topic_owner_info{{team=\"{team}\",tenant=\"\",tier=\"1\",topic=\"{topic}\"}}"
        ))
    };
    assert_eq!(owned("orders", "checkout"), Some(1.0));
    assert_eq!(owned("orders", "rest"), None);
    assert_eq!(owned("payments", "rest"), Some(1.0));
    assert_eq!(owned("audit", "rest"), None);
    let silence = "throughline_topic_expected_traffic_seconds{topic=\"ledger\"}";
    assert_eq!(bench.value(silence), Some(900.0), "before it was ever seen");
}
