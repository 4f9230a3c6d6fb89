//! What one event says by itself: durations, errors, batch shapes, throttling.
//!
//! Everything that needs more than one event is the engine's. Must not keep state beyond the registry's.

use std::time::Duration;

use super::{conventions, names::Names, sink::exemplar};
use crate::{
    event::{
        Answer, CONNECT_FAULTS, Delivered, Direction, EDITS_REFUSED, Event, EventKind, Facts,
        Injection, Name, Produced, ProducedPart, PublishOutcome, Settled, Stamp,
    },
    metrics::{Id, Recorder},
};

/// The broker already has the batch: an answer to a retry, not a failure.
const ALREADY_THERE: &str = "DUPLICATE_SEQUENCE_NUMBER";

/// Writes what the event says into the registry.
pub(super) fn observe(event: &Event, recorder: &mut Recorder, names: &mut Names) {
    let broker = &*event.connection.broker;
    match &event.kind {
        EventKind::Opened => {
            for kind in CONNECT_FAULTS {
                recorder.touch(Id::ConnectFailures, &[broker, kind]);
            }
        }
        EventKind::Identified { .. } => {}
        EventKind::ConnectFailed { kind } => recorder.add(Id::ConnectFailures, &[broker, kind], 1),
        EventKind::Closed {
            side,
            kind,
            unanswered,
        } => {
            recorder.add(Id::ConnectionsClosed, &[side.as_str(), kind], 1);
            for request in unanswered {
                if let Facts::Produced(produced) = &request.facts {
                    batches(produced, recorder, names);
                    conventions::failed(produced, recorder, names);
                }
            }
        }
        EventKind::Answered(answer) => answered(answer, event.at, broker, recorder, names),
    }
}

fn answered(answer: &Answer, at: Stamp, broker: &str, recorder: &mut Recorder, names: &mut Names) {
    let api = answer.operation;
    let asked = !matches!(&answer.facts, Facts::Produced(p) if p.acks == 0);
    if asked {
        let seconds = answer.duration.as_secs_f64();
        recorder.observe(Id::BrokerRequestDuration, &[broker, api], seconds, 1);
    }
    if !answer.throttle.is_zero() {
        // A broker holds back what comes from a consumer by delaying its answers, everything else by delaying its requests.
        let direction = if matches!(answer.facts, Facts::Delivered(_)) {
            Direction::BrokerToClient
        } else {
            Direction::ClientToBroker
        };
        recorder.add_seconds(Id::ThrottledSeconds, &[direction.as_str()], answer.throttle);
    }
    if let Some(failure) = &answer.error {
        recorder.add(Id::RequestFailures, &[api, failure.name], 1);
    }
    not_allowed(answer, recorder);
    conventions::answered(answer, recorder, names);
    match &answer.facts {
        Facts::Produced(produced) => {
            batches(produced, recorder, names);
            published(produced, answer.duration, at, recorder, names);
        }
        Facts::Delivered(delivered) => fetched(delivered, answer.duration, recorder, names),
        Facts::Settled(settled) => committed(settled, answer.duration, recorder, names),
        Facts::Authenticated {
            mechanism,
            accepted,
            ..
        } => recorder.add(
            Id::AuthenticationFailures,
            &[mechanism],
            u64::from(!accepted),
        ),
        _ => {}
    }
}

fn batches(produced: &Produced, recorder: &mut Recorder, names: &mut Names) {
    for part in &produced.parts {
        let topic = names.label(&part.topic);
        let count = u64::from(part.batches);
        recorder.add(Id::ProducedBatches, &[&*topic, part.codec.as_str()], count);
        injection(part, &topic, recorder);
        if part.records > 0 && count > 0 {
            #[allow(clippy::cast_precision_loss, reason = "records of one request")]
            let mean = part.records as f64 / count as f64;
            recorder.observe(Id::BatchRecords, &[&*topic], mean, count);
        }
    }
}

fn injection(part: &ProducedPart, topic: &str, recorder: &mut Recorder) {
    let Injection {
        records,
        skipped,
        refused,
    } = part.injection;
    if records > 0 {
        recorder.add(Id::InjectedRecords, &[topic], records);
        // An alert reads it: it exists before it moves.
        recorder.touch(Id::InjectionSkipped, &[topic, EDITS_REFUSED]);
    }
    for descent in &part.descent {
        let evidence = descent.evidence.as_str();
        recorder.add(Id::LineageRecords, &[topic, evidence], descent.records);
    }
    if let Some(reason) = skipped {
        // Formats before v2 do not tell how many.
        recorder.add(Id::InjectionSkipped, &[topic, reason], part.records.max(1));
    }
    if let Some(error) = refused {
        recorder.add(Id::InjectionRefused, &[topic, error], 1);
    }
}

fn published(
    produced: &Produced,
    took: Duration,
    at: Stamp,
    recorder: &mut Recorder,
    names: &mut Names,
) {
    let mut timed: Option<&Name> = None;
    for part in &produced.parts {
        match part.outcome {
            PublishOutcome::Acknowledged { .. } if timed != Some(&part.topic) => {
                timed = Some(&part.topic);
                let topic = names.label(&part.topic);
                let seconds = took.as_secs_f64();
                recorder.observe(Id::ProduceDuration, &[&*topic], seconds, 1);
                if let Some(record) = part.traced.first() {
                    let exemplar = exemplar(record.ids(), seconds, at.wall_ms);
                    recorder.exemplify(Id::ProduceDuration, &[&*topic], exemplar);
                }
            }
            PublishOutcome::Failed(failure) if failure.name != ALREADY_THERE => {
                let topic = names.label(&part.topic);
                recorder.add(Id::ProduceFailures, &[&*topic, failure.name], 1);
            }
            _ => {}
        }
    }
}

fn fetched(delivered: &Delivered, took: Duration, recorder: &mut Recorder, names: &mut Names) {
    let mut timed: Option<&Name> = None;
    for part in &delivered.parts {
        if let Some(failure) = &part.error {
            let topic = names.label(&part.topic);
            recorder.add(Id::FetchFailures, &[&*topic, failure.name], 1);
        }
        if delivered.data_was_there && !part.batches.is_empty() && timed != Some(&part.topic) {
            timed = Some(&part.topic);
            let topic = names.label(&part.topic);
            recorder.observe(Id::FetchDuration, &[&*topic], took.as_secs_f64(), 1);
        }
    }
}

fn committed(settled: &Settled, took: Duration, recorder: &mut Recorder, names: &mut Names) {
    let group = names.label(&settled.group);
    recorder.observe(Id::CommitDuration, &[&*group], took.as_secs_f64(), 1);
    let failures = settled.parts.iter().filter_map(|p| p.error.as_ref());
    let mut accepted = true;
    for failure in failures {
        accepted = false;
        recorder.add(Id::CommitFailures, &[&*group, failure.name], 1);
    }
    recorder.add(Id::Commits, &[&*group], u64::from(accepted));
}

/// Counts each kind of resource that an answer refused for want of rights once.
fn not_allowed(answer: &Answer, recorder: &mut Recorder) {
    let mut counted: Vec<&'static str> = Vec::new();
    for refusal in answer.refusals() {
        if !counted.contains(&refusal.resource) {
            counted.push(refusal.resource);
            let labels = [answer.operation, refusal.resource];
            recorder.add(Id::AuthorizationFailures, &labels, 1);
        }
    }
}
