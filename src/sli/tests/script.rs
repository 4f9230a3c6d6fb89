//! A scripted engine: says events at times, keeps what comes out.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    event::{
        Answer, BatchFact, BatchKind, CapturedBatch, Category, Codec, Connection, Delivered,
        DeliveredPart, DeliveredRecord, Event, EventKind, Facts, Failure, FaultClass, Identity,
        Membership, MembershipChange, Name, Positions, Produced, ProducedPart, ProducerSequence,
        PublishOutcome, Reservation, SchemaCount, SchemaSeen, SchemaVerdict, SchemaVersion,
        SentRecords, SetAside, Settled, SettledPart, Side, Stamp, TopicSeen, Unanswered,
    },
    sli::{Engine, Examiner, Loss, Measure, Objective, Sink, Stage},
};

/// Wall clock at the start of every script, ms.
pub(super) const T0: i64 = 1_700_000_000_000;

/// Everything that came out, summed.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// (sli, topic, group, stage) -> (good, bad)
    pub(super) judged: BTreeMap<(String, String, String, String), (u64, u64)>,
    /// (sli, reason) -> events
    pub(super) unknown: BTreeMap<(String, String), u64>,
    /// topic -> records
    pub(super) published: BTreeMap<String, u64>,
    /// (topic, group) -> (records, bytes)
    pub(super) delivered: BTreeMap<(String, String), (u64, u64)>,
    /// (stage, latency ms, records), in order
    pub(super) latencies: Vec<(&'static str, i64, u64)>,
    /// (ms, records), in order
    pub(super) processed: Vec<(u128, u64)>,
    /// (stage or `processed`, latency ms, offset), in order
    pub(super) examples: Vec<(&'static str, i64, i64)>,
    /// (group, reason) -> rounds
    pub(super) rebalances: BTreeMap<(String, String), u64>,
    pub(super) readers: Vec<(String, String)>,
    /// class -> records
    pub(super) duplicates: BTreeMap<&'static str, u64>,
    /// what became of records of share groups -> records
    pub(super) acknowledged: BTreeMap<&'static str, u64>,
    /// framing or failure -> records
    pub(super) schemas: BTreeMap<&'static str, u64>,
    /// (topic, group and where it went; retry or dead), in order
    pub(super) aside: Vec<(String, &'static str)>,
    /// topic -> holes in sequences
    pub(super) gaps: BTreeMap<String, u64>,
    /// (group, reason) -> offsets
    pub(super) lost: BTreeMap<(String, &'static str), u64>,
}

impl Sink for Totals {
    #[allow(clippy::too_many_lines, reason = "one arm per measure")]
    fn record(&mut self, measure: Measure<'_>) {
        match measure {
            Measure::Judged { series, good, bad } => {
                let key = (
                    series.sli.as_str().to_owned(),
                    series.topic.to_string(),
                    series.group.to_string(),
                    series.stage.map_or("", Stage::as_str).to_owned(),
                );
                let sums = self.judged.entry(key).or_default();
                *sums = (sums.0 + good, sums.1 + bad);
            }
            Measure::Unknown {
                series,
                reason,
                count,
            } => {
                let key = (series.sli.as_str().to_owned(), reason.as_str().to_owned());
                *self.unknown.entry(key).or_default() += count;
            }
            Measure::Published { topic, records, .. } => {
                *self.published.entry(topic.to_string()).or_default() += records;
            }
            Measure::Delivered {
                topic,
                group,
                records,
                bytes,
            } => {
                let key = (topic.to_string(), group.to_string());
                let sums = self.delivered.entry(key).or_default();
                *sums = (sums.0 + records, sums.1 + bytes);
            }
            Measure::EndToEnd {
                stage,
                latency_ms,
                count,
                ..
            } => self.latencies.push((stage.as_str(), latency_ms, count)),
            Measure::Example {
                stage,
                latency_ms,
                record,
                ..
            } => self
                .examples
                .push((stage.as_str(), latency_ms, record.offset)),
            Measure::Processed {
                took,
                count,
                example,
                ..
            } => {
                self.processed.push((took.as_millis(), count));
                let ms = i64::try_from(took.as_millis()).unwrap();
                let example = example.map(|e| ("processed", ms, e.offset));
                self.examples.extend(example);
            }
            Measure::Rebalanced {
                group,
                reason,
                count,
            } => {
                let key = (group.to_string(), reason.to_owned());
                *self.rebalances.entry(key).or_default() += count;
            }
            Measure::Lost(loss) => self.lost(&loss),
            Measure::ReaderKnown { topic, group } => {
                self.readers.push((topic.to_string(), group.to_string()));
            }
            other => self.failure(&other),
        }
    }
}

impl Totals {
    fn failure(&mut self, measure: &Measure<'_>) {
        match measure {
            Measure::Acknowledged {
                became, records, ..
            } => *self.acknowledged.entry(became.as_str()).or_default() += records,
            Measure::Duplicates { class, count, .. } => {
                *self.duplicates.entry(class.as_str()).or_default() += count;
            }
            Measure::SetAside {
                topic,
                group,
                into,
                retry,
                ..
            } => self.aside.push((
                format!("{topic} {group} {into}"),
                if *retry { "retry" } else { "dead" },
            )),
            Measure::SchemaFailed {
                failure, records, ..
            } => *self.schemas.entry(failure.as_str()).or_default() += records,
            Measure::Framed {
                framing, records, ..
            } => *self.schemas.entry(framing).or_default() += records,
            _ => {}
        }
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        match loss {
            Loss::Gaps { topic, count } => {
                *self.gaps.entry(topic.to_string()).or_default() += count;
            }
            Loss::Records {
                group,
                reason,
                count,
                ..
            } => {
                let key = (group.to_string(), reason.as_str());
                *self.lost.entry(key).or_default() += count;
            }
        }
    }

    /// (good, bad) of one pair; `None` where it does not exist.
    pub(super) fn pair(
        &self,
        sli: &str,
        topic: &str,
        group: &str,
        stage: &str,
    ) -> Option<(u64, u64)> {
        let key = (sli.into(), topic.into(), group.into(), stage.into());
        self.judged.get(&key).copied()
    }

    pub(super) fn unknown(&self, sli: &str, reason: &str) -> u64 {
        let key = (sli.to_owned(), reason.to_owned());
        self.unknown.get(&key).copied().unwrap_or(0)
    }
}

/// Group and position that the headers tell, and whether it is to be tried again.
pub(super) type Letter = (Option<String>, Option<(i32, i64)>, bool);

/// From here on an id is no id but a hash of the content.
pub(super) const UNNAMED: u64 = 1 << 32;

/// What values say: (letter, version, records) with `b` for bare, else the first letter of the verdict.
fn said(text: &[u8]) -> Vec<SchemaCount> {
    let all: Vec<(char, i32, u64)> = serde_json::from_slice(text).unwrap();
    let seen = |what: char, version: i32| SchemaSeen::Framed {
        framing: "confluent",
        verdict: match what {
            'g' => SchemaVerdict::Good,
            'u' => SchemaVerdict::UnknownId,
            'w' => SchemaVerdict::WrongSubject,
            'd' => SchemaVerdict::Undecodable,
            'n' => SchemaVerdict::NoRegistry,
            other => panic!("{other}"),
        },
        version: (version > 0).then(|| SchemaVersion {
            subject: "t-value".into(),
            version,
            language: "avro",
        }),
    };
    let count = |(what, version, records): (char, i32, u64)| SchemaCount {
        seen: match what {
            'b' => SchemaSeen::Bare,
            what => seen(what, version),
        },
        records,
    };
    all.into_iter().map(count).collect()
}

/// Gives captured batches what the script wrote into them.
struct ScriptedExaminer;

impl Examiner for ScriptedExaminer {
    fn delivered(&mut self, batch: &CapturedBatch, _: Codec) -> Option<Vec<DeliveredRecord>> {
        let all: Vec<(i64, i64, Option<u64>)> = serde_json::from_slice(&batch.bytes).ok()?;
        let record = |(offset, published_ms, id): (i64, i64, Option<u64>)| DeliveredRecord {
            offset,
            published_ms,
            identity: match id {
                Some(id) if id >= UNNAMED => Identity::Content(id),
                Some(id) => Identity::Named(id),
                None => Identity::Unasked,
            },
        };
        Some(all.into_iter().map(record).collect())
    }

    /// (group, partition, offset, retry) of records of `t`.
    fn sent(&mut self, _: &Name, batch: &CapturedBatch, _: Codec) -> Option<SentRecords> {
        if let Some(text) = batch.bytes.strip_prefix(b"schemas:") {
            return Some(SentRecords {
                aside: Vec::new(),
                schemas: said(text),
            });
        }
        let all: Vec<Letter> = serde_json::from_slice(&batch.bytes).ok()?;
        let letter = |(group, position, retry): Letter| SetAside {
            retry,
            topic: Some("t".into()),
            position,
            group: group.map(Into::into),
            category: Category::Transient,
        };
        Some(SentRecords {
            aside: all.into_iter().map(letter).collect(),
            schemas: Vec::new(),
        })
    }

    fn late(&mut self) -> Vec<(Name, Vec<SchemaCount>)> {
        Vec::new()
    }
}

pub(super) struct Script {
    pub(super) engine: Engine,
    pub(super) out: Totals,
    start: Instant,
    connection: u64,
    client: Name,
}

impl Script {
    pub(super) fn new() -> Self {
        Self::with(Vec::new())
    }

    pub(super) fn with(objectives: Vec<Objective>) -> Self {
        Self {
            engine: Engine::new(objectives).unwrap(),
            out: Totals::default(),
            start: Instant::now(),
            connection: 1,
            client: "app".into(),
        }
    }

    pub(super) fn client(&mut self, client: &str, connection: u64) {
        self.client = client.into();
        self.connection = connection;
    }

    pub(super) fn at(&self, ms: u64) -> Stamp {
        Stamp {
            mono: self.start + Duration::from_millis(ms),
            wall_ms: T0 + i64::try_from(ms).unwrap(),
        }
    }

    pub(super) fn say(&mut self, ms: u64, kind: EventKind) {
        let at = self.at(ms);
        let event = Event {
            at,
            connection: Arc::new(Connection {
                id: self.connection,
                peer: SocketAddr::from(([127, 0, 0, 1], 5)),
                broker: "1".into(),
                broker_address: "b:9092".into(),
                opened: at,
            }),
            client: Arc::clone(&self.client),
            kind,
        };
        self.engine
            .take(&event, &mut ScriptedExaminer, &mut self.out);
    }

    pub(super) fn tick(&mut self, ms: u64) {
        let at = self.at(ms);
        self.engine.tick(at, &mut ScriptedExaminer, &mut self.out);
    }

    pub(super) fn facts(&mut self, ms: u64, facts: Facts) {
        self.say(ms, EventKind::Answered(answer(facts)));
    }

    pub(super) fn publish(&mut self, ms: u64, parts: Vec<ProducedPart>) {
        let acks = match parts[0].outcome {
            PublishOutcome::NotAsked => 0,
            _ => -1,
        };
        self.facts(ms, Facts::Produced(produced(acks, parts)));
    }

    pub(super) fn lose(&mut self, ms: u64, parts: Vec<ProducedPart>) {
        let unanswered = vec![Unanswered {
            operation: "Produce",
            waited: Duration::from_millis(5),
            facts: Facts::Produced(produced(-1, parts)),
        }];
        self.say(
            ms,
            EventKind::Closed {
                side: Side::Client,
                kind: "eof",
                unanswered,
            },
        );
    }

    pub(super) fn assign(&mut self, ms: u64, group: &str, generation: i32, partitions: &[i32]) {
        let partitions = if partitions.is_empty() {
            Vec::new()
        } else {
            vec![("t".into(), partitions.to_vec())]
        };
        self.member(
            ms,
            group,
            MembershipChange::Assigned {
                generation,
                partitions,
                share: false,
            },
        );
    }

    pub(super) fn member(&mut self, ms: u64, group: &str, change: MembershipChange) {
        self.facts(
            ms,
            Facts::Membership(Membership {
                group: group.into(),
                member: "m".into(),
                change,
            }),
        );
    }

    /// Offsets of `t` that a transaction will commit.
    pub(super) fn promise(&mut self, ms: u64, group: &str, producer: i64, offset: i64) {
        self.settle(ms, group, 0, offset, Some(producer));
    }

    pub(super) fn commit(&mut self, ms: u64, group: &str, partition: i32, offset: i64) {
        self.settle(ms, group, partition, offset, None);
    }

    fn settle(&mut self, ms: u64, group: &str, partition: i32, offset: i64, of: Option<i64>) {
        self.facts(
            ms,
            Facts::Settled(Settled {
                group: group.into(),
                member: "m".into(),
                transaction: of,
                parts: vec![SettledPart {
                    topic: "t".into(),
                    partition,
                    offset,
                    error: None,
                }],
            }),
        );
    }

    pub(super) fn position(&mut self, ms: u64, group: &str, offset: Option<i64>) {
        self.facts(
            ms,
            Facts::Positions(Positions {
                group: group.into(),
                parts: vec![("t".into(), 0, offset)],
            }),
        );
    }

    pub(super) fn topics(&mut self, ms: u64, names: &[&str], gone: bool) {
        let seen = |name: &&str| TopicSeen {
            name: Name::from(*name),
            partitions: 1,
            gone,
        };
        self.facts(ms, Facts::Topics(names.iter().map(seen).collect()));
    }

    /// A fetch of partition 0 that asked for `asked` while the log ended at `end`.
    pub(super) fn fetch(&mut self, ms: u64, asked: i64, end: i64, batches: Vec<BatchFact>) {
        self.fetch_part(ms, part(asked, end, batches));
    }

    pub(super) fn fetch_part(&mut self, ms: u64, part: DeliveredPart) {
        self.facts(ms, Facts::Delivered(delivered(vec![part])));
    }

    pub(super) fn lags(&self, ms: u64) -> Vec<(u64, i64, Option<i64>)> {
        self.engine
            .lags(self.at(ms))
            .into_iter()
            .map(|l| (l.lag.records, l.lag.lower_ms, l.lag.upper_ms))
            .collect()
    }
}

pub(super) fn answer(facts: Facts) -> Answer {
    Answer {
        operation: "Any",
        time_limit: None,
        duration: Duration::from_millis(1),
        throttle: Duration::ZERO,
        error: None,
        facts,
    }
}

pub(in crate::sli) fn produced(acks: i16, parts: Vec<ProducedPart>) -> Produced {
    Produced {
        acks,
        transactional: false,
        parts,
    }
}

pub(super) fn delivered(parts: Vec<DeliveredPart>) -> Delivered {
    Delivered {
        acknowledged: None,
        group: None,
        read_committed: false,
        data_was_there: true,
        parts,
    }
}

pub(super) fn part(asked: i64, end: i64, batches: Vec<BatchFact>) -> DeliveredPart {
    DeliveredPart {
        topic: "t".into(),
        partition: 0,
        asked: Some(asked),
        error: None,
        high_watermark: end,
        last_stable: end,
        log_start: 0,
        traced: Vec::new(),
        unrecorded: None,
        acquired: Vec::new(),
        batches,
    }
}

/// A dense batch `base..=last` whose publish times lie between these, ms after [`T0`].
pub(super) fn batch(base: i64, last: i64, low: i64, high: i64) -> BatchFact {
    let records = u32::try_from(last - base + 1).unwrap();
    BatchFact {
        base_offset: base,
        last_offset: last,
        records,
        delivered: records,
        bytes: 100,
        base_timestamp_ms: T0 + low,
        max_timestamp_ms: T0 + high,
        log_append_time: false,
        codec: Codec::None,
        kind: BatchKind::Data,
        captured: None,
    }
}

/// The same, with its records' publish times at hand.
pub(super) fn opened(base: i64, times: &[i64]) -> BatchFact {
    let last = base + i64::try_from(times.len()).unwrap() - 1;
    let records: Vec<(i64, i64, Option<u64>)> = times
        .iter()
        .zip(base..)
        .map(|(ms, at)| (at, T0 + ms, None))
        .collect();
    let low = *times.first().unwrap();
    let high = *times.iter().max().unwrap();
    BatchFact {
        captured: Some(captured(&records)),
        ..batch(base, last, low, high)
    }
}

/// A dense batch from `base` on whose records have these ids.
pub(super) fn identified(base: i64, ids: &[u64]) -> BatchFact {
    let last = base + i64::try_from(ids.len()).unwrap() - 1;
    let records = ids.iter().zip(base..).map(|(id, at)| (at, T0, Some(*id)));
    let records: Vec<(i64, i64, Option<u64>)> = records.collect();
    BatchFact {
        captured: Some(captured(&records)),
        ..batch(base, last, 0, 0)
    }
}

/// A batch that the script's examiner reads.
pub(super) fn captured(content: &impl serde::Serialize) -> CapturedBatch {
    let bytes = serde_json::to_vec(content).unwrap();
    let pool = Arc::new(AtomicUsize::new(bytes.len()));
    CapturedBatch {
        reservation: Reservation::take(&pool, bytes.len()).unwrap(),
        bytes: Bytes::from(bytes),
        examined: true,
    }
}

pub(super) fn failure(name: &'static str, class: FaultClass, retriable: bool) -> Failure {
    Failure {
        name,
        class,
        retriable,
    }
}

pub(super) fn sequence(epoch: i16, base_sequence: i32) -> Option<ProducerSequence> {
    Some(ProducerSequence {
        producer_id: 7,
        epoch,
        base_sequence,
    })
}

pub(in crate::sli) fn sent(
    records: u64,
    sequence: Option<ProducerSequence>,
    outcome: PublishOutcome,
) -> ProducedPart {
    ProducedPart {
        topic: "t".into(),
        partition: 0,
        batches: 1,
        records,
        bytes: 100,
        codec: Codec::None,
        transaction: None,
        sequence,
        base_timestamp_ms: T0,
        max_timestamp_ms: T0,
        outcome,
        captured: None,
        injection: crate::event::Injection::default(),
        traced: Vec::new(),
        unrecorded: None,
        descent: Vec::new(),
    }
}
