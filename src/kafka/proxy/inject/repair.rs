//! Answers to edited requests: what they teach, and how a refusal that the edit may have caused is undone.
//!
//! A guarded request is sent again as the client wrote it, under a correlation id of our own and with the refused partitions
//! only; the two answers are merged. Nothing was sent behind it, so order and sequence hold. Where others are already behind
//! it, the client is told to try again itself, with an error every client retries. Must not let a refusal through that the
//! client would not have had without us.

use std::ops::Range;

use super::{Edit, EditedPart, Original};
use crate::{
    event::Name,
    kafka::{
        proxy::{
            connection::Context,
            edits::reframe,
            facts::RequestFacts,
            inflight::{After, Pending, Resend},
        },
        wire::{
            edit::produce::ProduceRequest,
            endpoints::{PartitionResult, produce_results},
            error::Result,
            error_code,
            splice::{self, Splice},
        },
    },
};

/// Tells the client to refresh its metadata and to send again: `NOT_LEADER_OR_FOLLOWER`.
const TRY_AGAIN: i16 = 6;
/// Where the error code stands in a partition's result, behind the partition number.
const ERROR_CODE_AT: usize = 4;
/// Where the correlation id stands in a frame.
const CORRELATION_ID_AT: usize = 8;

/// What the client is sent for an answer.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The answer as it came, to this request.
    AsIs(Pending),
    /// This frame instead, with so many bytes of frame length and header, to this request.
    Instead(Pending, Vec<u8>, usize),
    /// Nothing yet: the request goes out again.
    Again,
}

/// A guarded request that was refused and is sent again.
#[derive(Debug)]
pub(crate) struct Repair {
    /// The request as the client knows it.
    pub(crate) client: Pending,
    edit: Edit,
    /// Index into the edit's parts.
    refused: Vec<Refusal>,
    /// The first answer, whole.
    frame: Vec<u8>,
    /// Bytes of its frame length and header.
    header: usize,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    part: usize,
    code: i16,
}

type Results<'a> = Vec<(Name, PartitionResult, Range<usize>)>;

fn results(context: &Context, body: &[u8], version: i16) -> Result<Results<'static>> {
    let mut all = Vec::new();
    for topic in produce_results(body, version)? {
        let name = context.shared.topics.resolve(topic.topic);
        let named = topic.partitions.into_iter();
        all.extend(named.map(|(result, at)| (Name::clone(&name), result, at)));
    }
    Ok(all)
}

/// Judges the answer to a Produce request that was held.
pub(crate) fn judge(
    context: &Context,
    mut pending: Pending,
    frame: &[u8],
    header: usize,
) -> Verdict {
    match std::mem::take(&mut pending.after) {
        After::Nothing => Verdict::AsIs(pending),
        After::Edited(edit) => first_answer(context, pending, *edit, frame, header),
        After::Again(repair) => second_answer(context, *repair, frame, header),
    }
}

fn first_answer(
    context: &Context,
    mut pending: Pending,
    edit: Edit,
    frame: &[u8],
    header: usize,
) -> Verdict {
    let body = frame.get(header..).unwrap_or_default();
    let Ok(results) = results(context, body, pending.version) else {
        return Verdict::AsIs(pending);
    };
    let mut refused = Vec::new();
    let mut splices = Vec::new();
    for (name, result, at) in results {
        let Some(part) = edit.find(&name, result.partition) else {
            continue;
        };
        if !edit.learn(context, part, result.error_code) {
            continue;
        }
        let code = result.error_code;
        note(context, &mut pending, &name, result.partition, code);
        refused.push(Refusal { part, code });
        let start = at.start.saturating_add(ERROR_CODE_AT);
        splices.push(Splice {
            at: start..start.saturating_add(2),
            with: TRY_AGAIN.to_be_bytes().to_vec().into(),
        });
    }
    if refused.is_empty() {
        return Verdict::AsIs(pending);
    }
    let request = edit
        .original
        .as_ref()
        .and_then(|original| resend(context, &edit, original, &refused, &pending));
    let Some(request) = request else {
        return match splice::apply(body, &splices) {
            Some(body) => {
                let instead = reframe(frame, header, &body);
                Verdict::Instead(pending, instead, header)
            }
            None => Verdict::AsIs(pending),
        };
    };
    let again = Pending {
        correlation_id: request.correlation_id,
        client: Name::clone(&pending.client),
        facts: RequestFacts::None,
        after: After::Nothing,
        ..pending
    };
    let repair = Repair {
        client: pending,
        edit,
        refused,
        frame: frame.to_vec(),
        header,
    };
    context.in_flight.resend(Resend {
        frame: request.frame,
        pending: Box::new(Pending {
            after: After::Again(Box::new(repair)),
            ..again
        }),
    });
    Verdict::Again
}

fn second_answer(context: &Context, repair: Repair, frame: &[u8], header: usize) -> Verdict {
    let version = repair.client.version;
    let body = frame.get(header..).unwrap_or_default();
    let mut splices = Vec::new();
    if let (Ok(first), Ok(second)) = (
        results(context, repair.body(), version),
        results(context, body, version),
    ) {
        for (name, result, at) in second {
            repair.learn(context, &name, &result);
            let known = first
                .iter()
                .find(|(n, r, _)| *n == name && r.partition == result.partition);
            if let (Some((_, _, place)), Some(with)) = (known, body.get(at)) {
                splices.push(Splice {
                    at: place.clone(),
                    with: with.into(),
                });
            }
        }
    }
    // The broker may answer in another order.
    splices.sort_by_key(|splice| splice.at.start);
    let merged = splice::apply(repair.body(), &splices);
    let body = merged.as_deref().unwrap_or(repair.body());
    let instead = reframe(&repair.frame, repair.header, body);
    Verdict::Instead(repair.client, instead, repair.header)
}

impl Repair {
    fn body(&self) -> &[u8] {
        self.frame.get(self.header..).unwrap_or_default()
    }

    /// The original was taken, or refused like the edited batch.
    fn learn(&self, context: &Context, name: &Name, result: &PartitionResult) {
        let is = |refusal: &&Refusal| {
            self.edit
                .parts
                .get(refusal.part)
                .is_some_and(|p| p.partition == result.partition && p.name == *name)
        };
        let Some((part, refusal)) = self
            .refused
            .iter()
            .find(is)
            .and_then(|r| Some((self.edit.parts.get(r.part)?, r)))
        else {
            return;
        };
        if result.error_code == 0 {
            if is_size(refusal.code) {
                // The size alone was to blame: what is smaller may go on.
                part.topic.refused(part.bytes);
                part.topic.switch_on();
            }
            context.shared.inject.acknowledged(part);
        } else if may_be_ours(result.error_code) {
            part.topic.switch_on();
        }
    }
}

impl Edit {
    fn find(&self, name: &Name, partition: i32) -> Option<usize> {
        self.parts
            .iter()
            .position(|part| part.partition == partition && part.name == *name)
    }

    /// Takes in a partition's result. True where the edit may be to blame for it.
    fn learn(&self, context: &Context, part: usize, code: i16) -> bool {
        let Some(part) = self.parts.get(part) else {
            return false;
        };
        if code == 0 {
            part.topic.accepted(part.bytes, part.edited);
        }
        if code == 0 || is_duplicate(code) {
            context.shared.inject.acknowledged(part);
        }
        part.edited && may_be_ours(code)
    }
}

/// Switches the topic off, and says so.
fn note(context: &Context, pending: &mut Pending, topic: &Name, partition: i32, code: i16) {
    let error = error_code::failure(code).map_or("NONE", |f| f.name);
    if let RequestFacts::Produce { parts, .. } = &mut pending.facts {
        let mut same = parts
            .iter_mut()
            .filter(|p| p.partition == partition && p.topic == *topic);
        if let Some(part) = same.next() {
            part.injection.refused = Some(error);
            // What was written is not in the log: see where the answer is taken in.
            part.descent.clear();
        }
    }
    if context.shared.inject.switch_off(topic) {
        tracing::warn!(topic = %topic, partition, error, "the broker refused a batch with added headers; it is sent again as the client wrote it, and records of this topic stay unedited where that helps (see injection_skipped_total)");
    }
}

struct Request {
    frame: Vec<u8>,
    correlation_id: i32,
}

/// The request as the client wrote it, with the refused partitions only.
fn resend(
    context: &Context,
    edit: &Edit,
    original: &Original,
    refused: &[Refusal],
    pending: &Pending,
) -> Option<Request> {
    let body = original.frame.get(original.header..)?;
    let request = ProduceRequest::read(body, pending.version).ok()?;
    let splices = request.only(|topic, partition| {
        let name = context.shared.topics.resolve(topic);
        refused
            .iter()
            .filter_map(|refusal| edit.parts.get(refusal.part))
            .any(|part| part.partition == partition && part.name == name)
    })?;
    let body = splice::apply(body, &splices)?;
    let mut frame = reframe(&original.frame, original.header, &body);
    let correlation_id = !pending.correlation_id;
    frame
        .get_mut(CORRELATION_ID_AT..)?
        .first_chunk_mut()
        .map(|room| *room = correlation_id.to_be_bytes())?;
    Some(Request {
        frame,
        correlation_id,
    })
}

/// Errors that the added headers may have caused.
fn may_be_ours(code: i16) -> bool {
    // UNKNOWN_SERVER_ERROR is what a broker says that converts to a format without headers; the rest are refusals of a
    // batch's size, bytes, format or content.
    is_size(code) || matches!(code, -1 | 2 | 43 | 87)
}

/// `MESSAGE_TOO_LARGE`, `RECORD_LIST_TOO_LARGE`.
fn is_size(code: i16) -> bool {
    matches!(code, 10 | 18)
}

/// `DUPLICATE_SEQUENCE_NUMBER`: an earlier attempt was kept.
fn is_duplicate(code: i16) -> bool {
    code == 46
}

impl super::Injector {
    fn acknowledged(&self, part: &EditedPart) {
        if let Some(sequence) = part.sequence {
            self.attempts
                .acknowledged(&part.name, part.partition, sequence);
        }
    }

    fn switch_off(&self, topic: &Name) -> bool {
        self.topic(topic).is_some_and(|state| state.switch_off())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_the_edit_may_have_caused_are_known_by_name() {
        let named = |code| error_code::failure(code).map(|f: crate::event::Failure| f.name);
        let ours: Vec<_> = (-1..200).filter(|c| may_be_ours(*c)).map(named).collect();
        let expected = [
            "UNKNOWN_SERVER_ERROR",
            "CORRUPT_MESSAGE",
            "MESSAGE_TOO_LARGE",
            "RECORD_LIST_TOO_LARGE",
            "UNSUPPORTED_FOR_MESSAGE_FORMAT",
            "INVALID_RECORD",
        ];
        assert_eq!(ours, expected.map(Some));
        assert_eq!(named(46), Some("DUPLICATE_SEQUENCE_NUMBER"));
        let again = error_code::failure(TRY_AGAIN).unwrap();
        assert_eq!(again.name, "NOT_LEADER_OR_FOLLOWER");
        assert!(again.retriable && again.class == crate::event::FaultClass::Broker);
    }
}
