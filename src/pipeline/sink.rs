//! Verdicts of the engine into families: the one place where both are known.
//!
//! Must not decide anything.

use std::time::Duration;

use super::{conventions, names::Names, notes::Notes, snapshot::seconds};
use crate::{
    event::{Acknowledgement, Category, Name, SpanIds},
    metrics::{Exemplar, Id, Recorder},
    sli::{DuplicateClass, Loss, LossReason, Measure, Reason, Series, Sink, Stage},
};

/// Writes measures into the registry.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    pub(super) recorder: &'a mut Recorder,
    pub(super) names: &'a mut Names,
    /// Where somebody wants to know of single records.
    pub(super) notes: Option<&'a mut Notes>,
}

impl Sink for Recording<'_> {
    fn record(&mut self, measure: Measure<'_>) {
        if let Some(notes) = &mut self.notes {
            notes.take(&measure);
        }
        match measure {
            Measure::Judged { series, good, bad } => self.judged(series, good, bad),
            Measure::Unknown {
                series,
                reason,
                count,
            } => self.unknown(series, reason, count),
            Measure::Published {
                topic,
                records,
                bytes,
            } => self.published(topic, records, bytes),
            Measure::Delivered {
                topic,
                group,
                records,
                bytes,
            } => self.delivered(topic, group, records, bytes),
            Measure::EndToEnd {
                topic,
                group,
                stage,
                latency_ms,
                count,
            } => self.end_to_end(topic, group, stage, latency_ms, count),
            Measure::Example {
                topic,
                group,
                stage,
                latency_ms,
                record,
                at_ms,
            } => {
                let exemplar = exemplar(record.ids(), seconds(latency_ms), at_ms);
                self.example((topic, group), stage, exemplar);
            }
            Measure::Processed {
                topic,
                group,
                took,
                count,
                example,
                at_ms,
            } => {
                let seconds = took.as_secs_f64();
                let exemplar = example.map(|record| exemplar(record.ids(), seconds, at_ms));
                self.processed((topic, group), took, count, exemplar);
            }
            Measure::Rebalanced {
                group,
                reason,
                count,
            } => self.rebalanced(group, reason, count),
            other @ (Measure::Duplicates { .. }
            | Measure::SetAside { .. }
            | Measure::Acknowledged { .. }
            | Measure::Framed { .. }
            | Measure::SchemaFailed { .. }) => self.failure(&other),
            Measure::Lost(loss) => self.lost(&loss),
            Measure::TopicKnown { topic } => self.topic_known(topic),
            Measure::ReaderKnown { topic, group } => self.reader_known(topic, group),
        }
    }
}

/// Makes what an alert reads of a topic and group exist before it moves.
pub(super) fn stand_at_zero(topic: &str, group: &str, recorder: &mut Recorder) {
    for reason in LossReason::ALL {
        recorder.touch(Id::LostRecords, &[topic, group, reason.as_str()]);
    }
    // Where a dead letter will go is not known before.
    for category in Category::ALL {
        recorder.touch(
            Id::DeadLetterRecords,
            &[topic, group, "", category.as_str()],
        );
    }
}

impl Recording<'_> {
    fn lost(&mut self, loss: &Loss<'_>) {
        match loss {
            Loss::Gaps { topic, count } => {
                let topic = self.names.label(topic);
                self.recorder.add(Id::SequenceGaps, &[&*topic], *count);
            }
            Loss::Records {
                topic,
                group,
                reason,
                count,
            } => {
                let (topic, group) = self.pair(topic, group);
                let labels = [&*topic, &*group, reason.as_str()];
                self.recorder.add(Id::LostRecords, &labels, *count);
            }
        }
    }

    fn topic_known(&mut self, topic: &Name) {
        let topic = self.names.label(topic);
        for id in [Id::ProducedRecords, Id::ProducedBytes, Id::SequenceGaps] {
            self.recorder.touch(id, &[&*topic]);
        }
    }

    fn reader_known(&mut self, topic: &Name, group: &Name) {
        let (topic, group) = self.pair(topic, group);
        let labels = [&*topic, &*group];
        self.recorder.touch(Id::DeliveredRecords, &labels);
        self.recorder.touch(Id::DeliveredBytes, &labels);
        self.recorder.touch(Id::Commits, &[&*group]);
        stand_at_zero(&topic, &group, self.recorder);
        for class in DuplicateClass::DELIVERED {
            let labels = [&*topic, &*group, class.as_str()];
            self.recorder.touch(Id::DuplicateRecords, &labels);
        }
    }

    fn pair(&mut self, topic: &Name, group: &Name) -> (Name, Name) {
        (self.names.label(topic), self.names.label(group))
    }

    fn unknown(&mut self, series: &Series, reason: Reason, count: u64) {
        let (topic, group) = self.pair(&series.topic, &series.group);
        let labels = [series.sli.as_str(), &*topic, &*group, reason.as_str()];
        self.recorder.add(Id::SliUnknownEvents, &labels, count);
    }

    /// What went wrong with single records.
    fn failure(&mut self, measure: &Measure<'_>) {
        match *measure {
            Measure::Duplicates {
                topic,
                group,
                class,
                count,
                ..
            } => self.duplicates(topic, group, class, count),
            Measure::SetAside {
                topic,
                group,
                letter,
                to,
            } => self.set_aside((topic, group), &to.topic, letter.category, letter.retry),
            Measure::Acknowledged {
                topic,
                group,
                became,
                records,
            } => self.acknowledged((topic, group), became, records),
            Measure::Framed {
                topic,
                framing,
                records,
            } => {
                let topic = self.names.label(topic);
                let labels = [&*topic, framing];
                self.recorder.add(Id::SchemaRecords, &labels, records);
            }
            Measure::SchemaFailed {
                topic,
                failure,
                records,
                ..
            } => {
                let topic = self.names.label(topic);
                let labels = [&*topic, failure.as_str()];
                self.recorder.add(Id::SchemaFailures, &labels, records);
            }
            _ => {}
        }
    }

    fn rebalanced(&mut self, group: &Name, reason: &'static str, count: u64) {
        let group = self.names.label(group);
        self.recorder.add(Id::Rebalances, &[&*group, reason], count);
    }

    fn duplicates(&mut self, topic: &Name, group: &Name, class: DuplicateClass, count: u64) {
        let (topic, group) = self.pair(topic, group);
        let labels = [&*topic, &*group, class.as_str()];
        self.recorder.add(Id::DuplicateRecords, &labels, count);
    }

    /// All of its kinds exist with the first of them.
    fn acknowledged(&mut self, pair: (&Name, &Name), became: Acknowledgement, records: u64) {
        let (topic, group) = self.pair(pair.0, pair.1);
        for each in Acknowledgement::OF_RECORDS {
            let labels = [&*topic, &*group, each.as_str()];
            let count = if each == became { records } else { 0 };
            self.recorder.add(Id::AcknowledgedRecords, &labels, count);
        }
    }

    /// All kinds of failure exist with the first of them.
    fn set_aside(&mut self, from: (&Name, &Name), into: &Name, category: Category, retry: bool) {
        let id = if retry {
            Id::RetriedRecords
        } else {
            Id::DeadLetterRecords
        };
        let (topic, group) = self.pair(from.0, from.1);
        let into = self.names.label(into);
        for each in Category::ALL {
            let labels = [&*topic, &*group, &*into, each.as_str()];
            self.recorder.add(id, &labels, u64::from(each == category));
        }
    }

    fn published(&mut self, topic: &Name, records: u64, bytes: u64) {
        conventions::published(topic, records, self.recorder, self.names);
        let topic = self.names.label(topic);
        // Exists as long as the topic is written to.
        self.recorder.touch(Id::SequenceGaps, &[&*topic]);
        self.recorder.add(Id::ProducedRecords, &[&*topic], records);
        self.recorder.add(Id::ProducedBytes, &[&*topic], bytes);
    }

    fn delivered(&mut self, topic: &Name, group: &Name, records: u64, bytes: u64) {
        conventions::delivered((topic, group), records, self.recorder, self.names);
        let (topic, group) = self.pair(topic, group);
        let labels = [&*topic, &*group];
        self.recorder.add(Id::DeliveredRecords, &labels, records);
        self.recorder.add(Id::DeliveredBytes, &labels, bytes);
    }

    fn example(&mut self, (topic, group): (&Name, &Name), stage: Stage, exemplar: Exemplar) {
        let (topic, group) = self.pair(topic, group);
        let labels = [&*topic, &*group, stage.as_str()];
        self.recorder
            .exemplify(Id::EndToEndLatency, &labels, exemplar);
    }

    fn processed(
        &mut self,
        pair: (&Name, &Name),
        took: Duration,
        count: u64,
        exemplar: Option<Exemplar>,
    ) {
        conventions::processed(pair, took, count, self.recorder, self.names);
        let (topic, group) = self.pair(pair.0, pair.1);
        let labels = [&*topic, &*group];
        let seconds = took.as_secs_f64();
        self.recorder
            .observe(Id::ProcessingDuration, &labels, seconds, count);
        if let Some(exemplar) = exemplar {
            self.recorder
                .exemplify(Id::ProcessingDuration, &labels, exemplar);
        }
    }

    fn judged(&mut self, series: &Series, good: u64, bad: u64) {
        let (topic, group) = self.pair(&series.topic, &series.group);
        let stage = series.stage.map_or("", Stage::as_str);
        let labels = [series.sli.as_str(), &*topic, &*group, stage];
        self.recorder
            .add_pair(&labels, good.saturating_add(bad), good);
    }

    fn end_to_end(&mut self, topic: &Name, group: &Name, stage: Stage, ms: i64, count: u64) {
        let (topic, group) = self.pair(topic, group);
        self.recorder.observe(
            Id::EndToEndLatency,
            &[&*topic, &*group, stage.as_str()],
            seconds(ms),
            count,
        );
    }
}

/// An observation of one record, to be looked up by the span that created it.
pub(super) fn exemplar((trace_id, span_id): SpanIds, value: f64, at_ms: i64) -> Exemplar {
    Exemplar {
        trace_id,
        span_id,
        value,
        at_ms,
    }
}
