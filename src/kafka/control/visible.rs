//! Fetches the first record at given offsets that a reader of committed records would get: its offset and time, nothing else.
//!
//! One batch of each partition is asked for at a time and looked at only as far as needed. Keys and values are never read.
//! Must not dial, and must not go on for ever: what is behind too many markers stays unknown.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    super::wire::{
        api::ApiKey,
        frame::response_header_length,
        messages::reading::{FETCH_VERSIONS, FetchBytes, FetchResponse, Start, fetch_request},
        reader::TopicRef,
        search::{FirstVisible, first_visible},
    },
    ProbeError,
    connection::Connection,
    question::{PartitionName, version},
};

/// Bytes asked for where several partitions are asked at once: a whole batch of most producers.
const SMALL: FetchBytes = FetchBytes {
    answer: 2 * 1024 * 1024,
    partition: 32 * 1024,
};
/// Bytes asked for where one is asked alone; its first batch comes whole, however large.
const LARGE: FetchBytes = FetchBytes {
    answer: 1024 * 1024,
    partition: 1024 * 1024,
};
/// Partitions in one request.
const PARTITIONS_PER_FETCH: usize = 50;
/// An answer beyond this is not taken.
const ANSWER_BYTES_MAX: usize = 160 * 1024 * 1024;
/// A batch that opens to more stays unknown.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers about one partition: behind more markers and aborted records than these hold its first record stays unknown.
const ANSWERS_MAX: u32 = 32;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// Partition.
    pub of: PartitionName,
    /// First offset.
    pub from: i64,
    /// Offset behind the last.
    pub until: i64,
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visible {
    /// A record.
    Record {
        /// Its offset.
        offset: i64,
        /// Its time, ms since the Unix epoch.
        timestamp_ms: i64,
    },
    /// Only markers, aborted records and holes.
    Nothing,
    /// It could not be told: damaged, too large, or behind too many markers.
    Unknown,
    /// The broker refused with this code.
    Refused(i16),
}

#[derive(Debug, Clone)]
struct Pending {
    index: usize,
    from: i64,
    answers: u32,
    alone: bool,
}

/// Answers in the order of `sought`. All of it must be led by the broker at the other end.
pub(super) async fn visible(
    connection: &mut Connection,
    timeout: Duration,
    sought: &[Sought],
) -> Result<Vec<Visible>, ProbeError> {
    let version = version(connection, ApiKey::FETCH, FETCH_VERSIONS)?;
    let mut found = vec![Visible::Unknown; sought.len()];
    let all = sought.iter().enumerate();
    let mut pending: Vec<Pending> = all
        .map(|(index, one)| Pending {
            index,
            from: one.from,
            answers: 0,
            alone: false,
        })
        .collect();
    let mut answer = Vec::new();
    while let Some(asked) = next(&mut pending, sought) {
        let bytes = if asked.len() == 1 { LARGE } else { SMALL };
        let request = request(connection.next_id(), version, bytes, &asked, sought);
        let request = request.ok_or(ProbeError::Unspoken("Fetch"))?;
        let limits = (timeout, ANSWER_BYTES_MAX);
        connection
            .exchange_into(&request, &mut answer, limits)
            .await?;
        let header = response_header_length(&answer, ApiKey::FETCH, version)?;
        let body = answer.get(header..).unwrap_or_default();
        let told = FetchResponse::read(body, version)?;
        for mut one in asked {
            let Some(wanted) = sought.get(one.index) else {
                continue;
            };
            one.answers = one.answers.saturating_add(1);
            let seen = look(&told, wanted, one.from);
            let done = match seen {
                Step::Done(visible) => Some(visible),
                Step::On(from) if from >= wanted.until => Some(Visible::Nothing),
                _ if one.answers >= ANSWERS_MAX => Some(Visible::Unknown),
                Step::On(from) => {
                    one.from = from;
                    None
                }
                // Alone it would have come whole.
                Step::CutOff if one.alone => Some(Visible::Unknown),
                Step::CutOff => {
                    one.alone = true;
                    None
                }
            };
            match (done, found.get_mut(one.index)) {
                (Some(visible), Some(place)) => *place = visible,
                _ => pending.push(one),
            }
        }
    }
    Ok(found)
}

enum Step {
    Done(Visible),
    On(i64),
    CutOff,
}

fn look(told: &FetchResponse<'_>, wanted: &Sought, from: i64) -> Step {
    if told.error_code != 0 {
        return Step::Done(Visible::Refused(told.error_code));
    }
    let (topic, partition) = &wanted.of;
    let of_topic = told.topics.iter();
    let fetched = of_topic
        .filter(|t| t.topic == TopicRef::Name(topic))
        .flat_map(|t| &t.partitions)
        .find(|p| p.partition == *partition);
    let Some(fetched) = fetched else {
        return Step::Done(Visible::Unknown);
    };
    if fetched.error_code != 0 {
        return Step::Done(Visible::Refused(fetched.error_code));
    }
    match first_visible(fetched.records, &fetched.aborted, from, BATCH_BYTES_MAX) {
        FirstVisible::Found { offset, .. } if offset >= wanted.until => {
            Step::Done(Visible::Nothing)
        }
        FirstVisible::Found {
            offset,
            timestamp_ms,
        } => Step::Done(Visible::Record {
            offset,
            timestamp_ms,
        }),
        FirstVisible::Passed(behind) => Step::On(behind),
        FirstVisible::CutOff => Step::CutOff,
        FirstVisible::Unreadable => Step::Done(Visible::Unknown),
    }
}

/// What is asked next: one that must be alone, else as many as fit, each partition once.
fn next(pending: &mut Vec<Pending>, sought: &[Sought]) -> Option<Vec<Pending>> {
    if pending.is_empty() {
        return None;
    }
    if let Some(at) = pending.iter().position(|one| one.alone) {
        return Some(vec![pending.swap_remove(at)]);
    }
    let mut asked: Vec<Pending> = Vec::new();
    let mut names: HashSet<&PartitionName> = HashSet::new();
    let mut rest = Vec::new();
    for one in pending.drain(..) {
        let name = sought.get(one.index).map(|wanted| &wanted.of);
        match name {
            Some(name) if asked.len() < PARTITIONS_PER_FETCH && names.insert(name) => {
                asked.push(one);
            }
            _ => rest.push(one),
        }
    }
    *pending = rest;
    Some(asked)
}

fn request(
    id: i32,
    version: i16,
    bytes: FetchBytes,
    asked: &[Pending],
    sought: &[Sought],
) -> Option<Vec<u8>> {
    let mut topics: BTreeMap<&Arc<str>, Vec<Start>> = BTreeMap::new();
    for one in asked {
        let (topic, partition) = &sought.get(one.index)?.of;
        topics.entry(topic).or_default().push(Start {
            partition: *partition,
            at: one.from,
        });
    }
    let topics: Vec<(&str, Vec<Start>)> = topics
        .into_iter()
        .map(|(topic, starts)| (&**topic, starts))
        .collect();
    fetch_request(id, version, 0, bytes, &topics)
}
