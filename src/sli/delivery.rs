//! Records on their way to a consumer: counted at the fetch, judged there or at the commit.
//!
//! The stage the latency SLI judges at is chosen per batch when it is fetched, so no record is judged twice. Must not open
//! batches itself.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    again::{Pass, Standing},
    coverage::Coverage,
    duplicates::Handed,
    engine::{
        Engine, Examiner, MAX_FETCHERS, MAX_KEPT_TIMES, MAX_SEEN_BATCHES, ReadingKey, reader_known,
    },
    measure::{Measure, Reason, Sink, Sli, Stage},
    seen::{FEW_BATCHES, MAX_BATCHES, Passed, is_data},
    spread::Times,
    verdicts::{AMBIGUOUS, NO_GROUP, Out, latency},
};
use crate::event::{
    BatchFact, Delivered, DeliveredPart, DeliveredRecord, Direction, Event, Example, Identity,
    Name, Stamp, Traced, UNRESOLVED,
};

/// How long a clock that ran ahead is shown after it was last seen to.
const SKEW_SHOWN: Duration = Duration::from_secs(600);
/// How well the latencies of one topic are known.
#[derive(Debug)]
pub(super) struct Health {
    coverage: Coverage,
    skew: Option<(i64, Instant)>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            coverage: Coverage::new(now),
            skew: None,
        }
    }

    fn skewed(&mut self, ms: i64, now: Instant) {
        if ms > 0 {
            let worst = self.skew.map_or(ms, |(old, _)| old.max(ms));
            self.skew = Some((worst, now));
        }
    }

    /// False when the topic is idle.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        self.skew = self
            .skew
            .filter(|(_, at)| now.saturating_duration_since(*at) < SKEW_SHOWN);
        self.coverage.tick(now)
    }

    /// Share of records whose latency is certain; 1 where nothing was delivered lately.
    pub(super) fn coverage(&self) -> f64 {
        self.coverage.share()
    }

    /// How far publish times were seen in the future, ms.
    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.skew.map(|(ms, _)| ms)
    }
}

impl Engine {
    pub(super) fn delivered(
        &mut self,
        delivered: &Delivered,
        event: &Event,
        examiner: &mut dyn Examiner,
        sink: &mut dyn Sink,
    ) {
        let now = event.at.mono;
        let connection = event.connection.id;
        if self.by_connection.len() < MAX_FETCHERS || self.by_connection.contains_key(&connection) {
            self.by_connection.insert(connection, now);
        }
        if self.by_client.len() < MAX_FETCHERS || self.by_client.contains_key(&event.client) {
            self.by_client.insert(Arc::clone(&event.client), now);
        }
        if let Some(said) = &delivered.acknowledged {
            self.acknowledged(said, connection, event.at, sink);
        }
        for part in &delivered.parts {
            let group = delivered.group.clone().unwrap_or_else(|| {
                self.members
                    .group_of(&event.client, &part.topic, part.partition)
            });
            self.part(delivered, part, group, event, examiner, sink);
        }
    }

    fn part(
        &mut self,
        delivered: &Delivered,
        part: &DeliveredPart,
        group: Name,
        event: &Event,
        examiner: &mut dyn Examiner,
        sink: &mut dyn Sink,
    ) {
        let key: ReadingKey = (group, Arc::clone(&part.topic), part.partition);
        // Lag needs a position, and only an ordinary group has one.
        let followed = delivered.group.is_none()
            && ![NO_GROUP, AMBIGUOUS].contains(&&*key.0)
            && &*key.1 != UNRESOLVED;
        if followed {
            self.group_known(&key.0, event.at, sink);
        }
        let missed = self.doubt;
        let first_sight = !self.readings.contains_key(&key);
        if let Some(reading) = followed.then(|| self.reading(&key)).flatten() {
            reading.answered(part, delivered.read_committed, event.at);
            reading.connection = event.connection.id;
            let handed = part.batches.iter().filter(|batch| is_data(batch));
            reading.delivered = handed.fold(reading.delivered, |sum, batch| {
                sum.saturating_add(u64::from(batch.delivered))
            });
            if part.error.is_none() {
                reading.seen.fetched(part.asked, &part.batches);
            }
            let committed = reading.position_since(missed);
            reading
                .headroom
                .answered(part.log_start, committed, event.at.mono);
            self.lost(&key, part, committed, event.at, sink);
        }
        if first_sight && followed {
            reader_known(&key.1, &key.0, &mut self.out(event.at, sink));
        }
        let pass = followed
            .then(|| self.given_to(&key, part, event.at))
            .flatten();
        let out = (delivered.group.is_some() && &*key.1 != UNRESOLVED)
            .then(|| self.handed_out(&key, part, event.connection.id, event.at, sink));
        for fact in &part.batches {
            if is_data(fact) && fact.delivered > 0 {
                let handed = Handed {
                    key: &key,
                    fact,
                    asked: part.asked,
                    pass,
                    out: out.as_deref(),
                };
                self.batch(handed, followed, event.at, examiner, sink);
                let within = fact.base_offset..=fact.last_offset;
                let mut traced = part.traced.iter();
                let traced = traced.find(|record| within.contains(&record.offset));
                if let Some(example) = traced.and_then(Traced::example) {
                    record_example(&key, Stage::Fetched, &example, event.at, sink);
                    if let Some(reading) = followed.then(|| self.readings.get_mut(&key)).flatten() {
                        reading.seen.exemplify(&example);
                    }
                }
            }
        }
    }

    /// What of it the group was given before.
    fn given_to(&mut self, key: &ReadingKey, part: &DeliveredPart, at: Stamp) -> Option<Pass> {
        let standing = Standing {
            committed: self.readings.get(key).and_then(|r| r.committed),
            changes: self.groups.changes(&key.0),
        };
        let pass = self.given.take(key, part, standing, at.mono)?;
        if let (Some(offset), Some(reading)) = (pass.stuck_at, self.readings.get_mut(key)) {
            reading.failed.add(offset, false);
        }
        Some(pass)
    }

    fn batch(
        &mut self,
        handed: Handed<'_>,
        followed: bool,
        at: Stamp,
        examiner: &mut dyn Examiner,
        sink: &mut dyn Sink,
    ) {
        let Handed {
            key, fact, asked, ..
        } = handed;
        let (group, topic, _) = key;
        sink.record(Measure::Delivered {
            topic,
            group,
            records: u64::from(fact.delivered),
            bytes: u64::from(fact.bytes),
        });
        self.groups.delivered(group, at.mono);
        let opened = fact
            .captured
            .as_ref()
            .and_then(|captured| examiner.delivered(captured, fact.codec));
        let opened = opened.map(|records| handed.within(records));
        self.examine(handed, followed, opened.as_deref(), at, sink);
        let opened: Option<Vec<(i64, i64)>> =
            opened.map(|records| records.iter().map(|r| (r.offset, r.published_ms)).collect());
        let times = times_of(fact, asked, opened.as_deref());
        let stage = if followed {
            self.stage(group, topic)
        } else {
            Stage::Fetched
        };
        self.observe(
            key,
            Stage::Fetched,
            &times,
            stage == Stage::Fetched,
            at,
            sink,
        );
        let room = self.kept_times < MAX_KEPT_TIMES;
        let kept = opened.as_deref().filter(|_| room);
        let batches = if self.seen_batches < MAX_SEEN_BATCHES {
            MAX_BATCHES
        } else {
            FEW_BATCHES
        };
        if let Some(reading) = followed.then(|| self.readings.get_mut(key)).flatten() {
            reading
                .seen
                .push(fact, asked, at, stage == Stage::Committed, kept, batches);
            self.seen_batches = self.seen_batches.saturating_add(1);
            self.kept_times = self
                .kept_times
                .saturating_add(kept.map_or(0, <[(i64, i64)]>::len));
        }
    }

    fn examine(
        &mut self,
        handed: Handed<'_>,
        followed: bool,
        records: Option<&[DeliveredRecord]>,
        at: Stamp,
        sink: &mut dyn Sink,
    ) {
        let (_, topic, _) = handed.key;
        let all = u64::from(handed.fact.delivered);
        let first = records.and_then(<[_]>::first);
        let yes = first.is_some_and(|record| record.identity != Identity::Unasked);
        self.examined
            .add(topic, Direction::BrokerToClient, all, yes, at.mono);
        if followed || handed.out.is_some() {
            let mut out = Out {
                verdicts: &mut self.verdicts,
                sink,
                now: at,
            };
            self.duplicates.take(handed, records, &mut out);
        }
    }

    /// As configured, else `committed` only where the group is known to commit often enough for the threshold.
    fn stage(&mut self, group: &Name, topic: &Name) -> Stage {
        let goal = self.objectives.goal(Sli::Latency, topic, group);
        if let Some(stage) = goal.stage {
            return stage;
        }
        let Some(interval) = self.groups.get(group).and_then(|g| g.commit_interval()) else {
            return Stage::Fetched;
        };
        if goal.threshold.is_some_and(|t| interval <= t / 2) {
            Stage::Committed
        } else {
            Stage::Fetched
        }
    }

    /// Histogram, verdict and health of records that reached a stage.
    fn observe(
        &mut self,
        key: &ReadingKey,
        stage: Stage,
        times: &[Times],
        judge: bool,
        at: Stamp,
        sink: &mut dyn Sink,
    ) {
        let (group, topic, _) = key;
        let series = latency(topic, group, stage);
        let threshold = self.objectives.goal(Sli::Latency, topic, group).threshold;
        let limit_ms = threshold.map_or(i64::MAX, |t| {
            i64::try_from(t.as_millis()).unwrap_or(i64::MAX)
        });
        let mut verdict = (0_u64, 0_u64);
        for times in times {
            let spread = times.spread(at.wall_ms, &self.bounds);
            for (latency_ms, count) in spread.into_iter().flatten().filter(|(_, n)| *n > 0) {
                sink.record(Measure::EndToEnd {
                    topic,
                    group,
                    stage,
                    latency_ms,
                    count,
                });
            }
            let judged = times.judge(at.wall_ms, limit_ms);
            if stage == Stage::Fetched {
                let open = matches!(judged.unknown, Some((Reason::NotExamined, _)))
                    || (spread.is_none() && judged.unknown.is_none());
                self.health_of(topic, !open, *times, at);
            }
            if judge {
                verdict.0 = verdict.0.saturating_add(judged.good);
                verdict.1 = verdict.1.saturating_add(judged.bad);
                if let Some((reason, count)) = judged.unknown {
                    self.out(at, sink).unknown(&series, reason, count);
                }
            }
        }
        if verdict != (0, 0) {
            self.out(at, sink).judge(&series, verdict.0, verdict.1);
        }
    }

    fn health_of(&mut self, topic: &Name, certain: bool, times: Times, at: Stamp) {
        if !self.health.contains_key(topic) {
            if self.health.len() >= MAX_FETCHERS {
                return;
            }
            self.health.insert(Arc::clone(topic), Health::new(at.mono));
        }
        if let Some(health) = self.health.get_mut(topic) {
            health.coverage.add(certain, times.count, at.mono);
            health.skewed(times.skew_ms(at.wall_ms), at.mono);
        }
    }

    /// The group committed up to `offset`.
    pub(super) fn commit(
        &mut self,
        key: &ReadingKey,
        offset: i64,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        let Some(reading) = self.reading(key) else {
            return;
        };
        reading.position(offset, now.mono);
        let passed = reading.seen.settle(offset);
        let records = passed.iter().map(|p| p.count).sum();
        let failed = reading.failed.settle(offset, records);
        for passed in passed {
            self.passed(key, &passed, now, sink);
        }
        self.processed(key, records, failed, now, sink);
        self.given.committed(key, offset);
    }

    fn passed(&mut self, key: &ReadingKey, passed: &Passed, now: Stamp, sink: &mut dyn Sink) {
        let (group, topic, _) = key;
        sink.record(Measure::Processed {
            topic,
            group,
            took: now.mono.saturating_duration_since(passed.fetched.mono),
            count: passed.count,
            example: passed.example.as_deref(),
            at_ms: now.wall_ms,
        });
        self.observe(
            key,
            Stage::Committed,
            &passed.times,
            passed.judged_at_commit,
            now,
            sink,
        );
        if let Some(example) = &passed.example {
            record_example(key, Stage::Committed, example, now, sink);
        }
    }
}

/// What the trace of one record says of those of its latency; behind them, for only then there is a series.
fn record_example(
    (group, topic, _): &ReadingKey,
    stage: Stage,
    record: &Example,
    at: Stamp,
    sink: &mut dyn Sink,
) {
    let latency_ms = at.wall_ms.saturating_sub(record.published_ms);
    if latency_ms >= 0 {
        sink.record(Measure::Example {
            topic,
            group,
            stage,
            latency_ms,
            record,
            at_ms: at.wall_ms,
        });
    }
}

/// Publish times of the records of a batch that the application will see.
fn times_of(fact: &BatchFact, asked: Option<i64>, opened: Option<&[(i64, i64)]>) -> Vec<Times> {
    let from = asked.unwrap_or(fact.base_offset);
    if let Some(opened) = opened {
        return runs(
            opened
                .iter()
                .filter(|(at, _)| *at >= from)
                .map(|(_, ms)| *ms),
        );
    }
    let single = fact.log_append_time || fact.records == 1;
    let low = if single {
        fact.max_timestamp_ms
    } else {
        fact.base_timestamp_ms.min(fact.max_timestamp_ms)
    };
    vec![Times {
        low_ms: low,
        high_ms: fact.max_timestamp_ms,
        count: u64::from(fact.delivered),
    }]
}

/// Equal neighbours become one.
fn runs(times: impl Iterator<Item = i64>) -> Vec<Times> {
    let mut out: Vec<Times> = Vec::new();
    for ms in times {
        match out.last_mut() {
            Some(last) if last.low_ms == ms => last.count = last.count.saturating_add(1),
            _ => out.push(Times {
                low_ms: ms,
                high_ms: ms,
                count: 1,
            }),
        }
    }
    out
}
