//! What the four instruments of OpenTelemetry's messaging conventions count, in families that are only pushed.
//!
//! Beside the families of the page, because the conventions cut what happened differently: by operation, and errors with the
//! rest. Touches nothing where nothing is pushed. Must not decide anything that `traffic` or the engine decides.

use std::time::Duration;

use super::names::Names;
use crate::{
    event::{Answer, Delivered, Facts, Name, Produced, PublishOutcome, Settled, UNRESOLVED},
    metrics::{Id, Recorder},
    sli::{AMBIGUOUS, NO_GROUP},
    span::semconv,
};

/// The broker already has the batch: an answer to a retry, not an error.
const ALREADY_THERE: &str = "DUPLICATE_SEQUENCE_NUMBER";

/// Durations, and the records of attempts that failed.
pub(super) fn answered(answer: &Answer, recorder: &mut Recorder, names: &mut Names) {
    if !recorder.pushes() {
        return;
    }
    match &answer.facts {
        Facts::Produced(produced) => {
            failed(produced, recorder, names);
            sent(produced, answer.duration, recorder, names);
        }
        Facts::Delivered(delivered) => fetched(delivered, answer.duration, recorder, names),
        Facts::Settled(settled) => committed(settled, answer.duration, recorder, names),
        _ => {}
    }
}

/// Records of attempts the broker refused, or whose end nobody knows. What it took is [`published`].
pub(super) fn failed(produced: &Produced, recorder: &mut Recorder, names: &mut Names) {
    if !recorder.pushes() {
        return;
    }
    for part in &produced.parts {
        let error = match part.outcome {
            PublishOutcome::Failed(failure) if failure.name != ALREADY_THERE => failure.name,
            PublishOutcome::Lost => semconv::LOST,
            _ => continue,
        };
        let topic = destination(&part.topic, names);
        let labels = [semconv::SEND, &*topic, "", error];
        recorder.add(Id::SentMessages, &labels, part.records);
    }
}

/// Records the broker has, retries counted once.
pub(super) fn published(topic: &Name, records: u64, recorder: &mut Recorder, names: &mut Names) {
    if recorder.pushes() {
        let topic = destination(topic, names);
        recorder.add(Id::SentMessages, &[semconv::SEND, &*topic, "", ""], records);
    }
}

/// Records handed to a consumer.
pub(super) fn delivered(
    (topic, group): (&Name, &Name),
    records: u64,
    recorder: &mut Recorder,
    names: &mut Names,
) {
    if recorder.pushes() {
        let (topic, group) = (destination(topic, names), member_of(group, names));
        let labels = [semconv::FETCH, &*topic, &*group, ""];
        recorder.add(Id::ConsumedMessages, &labels, records);
    }
}

/// Records from delivery to commit.
pub(super) fn processed(
    (topic, group): (&Name, &Name),
    took: Duration,
    count: u64,
    recorder: &mut Recorder,
    names: &mut Names,
) {
    if recorder.pushes() {
        let (topic, group) = (destination(topic, names), member_of(group, names));
        let labels = [semconv::PROCESS, &*topic, &*group, ""];
        recorder.observe(Id::ProcessDuration, &labels, took.as_secs_f64(), count);
    }
}

/// One observation per topic in a request, and one more per error of it.
fn sent(produced: &Produced, took: Duration, recorder: &mut Recorder, names: &mut Names) {
    let parts = produced.parts.iter().filter_map(|part| {
        let error = match part.outcome {
            PublishOutcome::Acknowledged { .. } => "",
            PublishOutcome::Failed(failure) if failure.name == ALREADY_THERE => "",
            PublishOutcome::Failed(failure) => failure.name,
            // Nobody asked, or nobody knows when it ended.
            PublishOutcome::NotAsked | PublishOutcome::Lost => return None,
        };
        Some((&part.topic, error))
    });
    for (topic, error) in apart(parts) {
        let topic = destination(topic, names);
        let labels = [semconv::SEND, &*topic, "", error];
        recorder.observe(Id::OperationDuration, &labels, took.as_secs_f64(), 1);
    }
}

/// One observation per topic that had records, where they were there when asked, and one per error.
fn fetched(delivered: &Delivered, took: Duration, recorder: &mut Recorder, names: &mut Names) {
    let parts = delivered.parts.iter().filter_map(|part| {
        let had = delivered.data_was_there && !part.batches.is_empty();
        let error = part.error.map(|failure| failure.name);
        Some((&part.topic, error.or(had.then_some(""))?))
    });
    let group = delivered.group.as_ref();
    let group = group.map(|group| member_of(group, names));
    for (topic, error) in apart(parts) {
        let topic = destination(topic, names);
        let labels = [
            semconv::FETCH,
            &*topic,
            group.as_deref().unwrap_or(""),
            error,
        ];
        recorder.observe(Id::OperationDuration, &labels, took.as_secs_f64(), 1);
    }
}

/// One observation per request, or one per error in its answer.
fn committed(settled: &Settled, took: Duration, recorder: &mut Recorder, names: &mut Names) {
    let group = member_of(&settled.group, names);
    let mut errors: Vec<&'static str> = Vec::new();
    for failure in settled.parts.iter().filter_map(|part| part.error.as_ref()) {
        if !errors.contains(&failure.name) {
            errors.push(failure.name);
        }
    }
    if errors.is_empty() {
        errors.push("");
    }
    for error in errors {
        let labels = [semconv::COMMIT, "", &*group, error];
        recorder.observe(Id::OperationDuration, &labels, took.as_secs_f64(), 1);
    }
}

/// Each topic with each of its errors once; partitions of one topic stand together in a request.
fn apart<'e>(
    parts: impl Iterator<Item = (&'e Name, &'static str)>,
) -> impl Iterator<Item = (&'e Name, &'static str)> {
    let mut seen: (Option<&Name>, Vec<&'static str>) = (None, Vec::new());
    parts.filter(move |(topic, error)| {
        if seen.0 != Some(*topic) {
            seen = (Some(*topic), Vec::new());
        }
        let new = !seen.1.contains(error);
        if new {
            seen.1.push(error);
        }
        new
    })
}

/// The label of a topic; empty where its name is not known.
fn destination(topic: &Name, names: &mut Names) -> Name {
    if &**topic == UNRESOLVED {
        return Name::default();
    }
    names.label(topic)
}

/// The label of a group; empty where it is none, or not known which.
fn member_of(group: &Name, names: &mut Names) -> Name {
    if [NO_GROUP, AMBIGUOUS].contains(&&**group) {
        return Name::default();
    }
    names.label(group)
}
