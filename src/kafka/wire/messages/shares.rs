//! What a member of a share group (KIP-932) says of the records it was given.
//!
//! ShareFetch asks for more and acknowledges on the way, ShareAcknowledge only acknowledges. Must not know what an
//! acknowledgement means for an indicator.
//!
//! Reference: `ShareFetchRequest.json`, `ShareAcknowledgeRequest.json`.

use crate::kafka::wire::{
    api::ApiKey,
    body::{Topic, open, topics},
    error::{DecodeErrorKind, Result},
    reader::Reader,
};

/// Most runs of offsets acknowledged alike that are read of one request; more are a `Limit` fault.
pub const RUNS_MAX: usize = 100_000;

/// What becomes of a record that was given to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcknowledgeType {
    /// There is no record at that offset.
    Gap,
    /// Processed.
    Accept,
    /// To be given to a member again.
    Release,
    /// Never to be given again.
    Reject,
    /// Kept for longer (KIP-1222).
    Renew,
    /// Of a later version.
    Other,
}

impl AcknowledgeType {
    const fn of(code: i8) -> Self {
        match code {
            0 => Self::Gap,
            1 => Self::Accept,
            2 => Self::Release,
            3 => Self::Reject,
            4 => Self::Renew,
            _ => Self::Other,
        }
    }
}

/// Offsets that are acknowledged alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcknowledgedRun {
    /// First offset.
    pub first: i64,
    /// Last offset, inclusive.
    pub last: i64,
    /// How.
    pub kind: AcknowledgeType,
}

/// What is acknowledged in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharePartition {
    /// Partition number.
    pub partition: i32,
    /// In the order of the request.
    pub acknowledged: Vec<AcknowledgedRun>,
}

/// A ShareFetchRequest or a ShareAcknowledgeRequest, versions 0-2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest<'a> {
    /// Share group.
    pub group: Option<&'a str>,
    /// Member id.
    pub member: Option<&'a str>,
    /// 0 opens a share session, -1 closes it.
    pub session_epoch: i32,
    /// The partitions named.
    pub topics: Vec<Topic<'a, SharePartition>>,
}

impl<'a> ShareRequest<'a> {
    /// Reads a body up to its topics; `key` is ShareFetch or ShareAcknowledge.
    ///
    /// # Errors
    /// `Version` outside 0-2, `Limit` past [`RUNS_MAX`], else what the fields give.
    pub fn read(key: ApiKey, body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, key, version, 0)?;
        let group = r.nullable_string("group id")?;
        let member = r.nullable_string("member id")?;
        let session_epoch = r.i32("share session epoch")?;
        let fetch = key == ApiKey::SHARE_FETCH;
        if fetch {
            for field in ["max wait", "min bytes", "max bytes"] {
                r.i32(field)?;
            }
            if version >= 1 {
                r.i32("max records")?;
                r.i32("batch size")?;
            }
            if version >= 2 {
                r.i8("share acquire mode")?;
            }
        }
        if version >= 2 {
            r.bool("is renew ack")?;
        }
        let mut room = RUNS_MAX;
        let topics = topics(r, true, |r| {
            let partition = r.i32("partition")?;
            if fetch && version == 0 {
                r.i32("partition max bytes")?;
            }
            let mut acknowledged = Vec::new();
            r.array("acknowledgement batches", |r| {
                batch(r, &mut acknowledged, &mut room)
            })?;
            r.skip_tagged()?;
            Ok(SharePartition {
                partition,
                acknowledged,
            })
        })?;
        Ok(Self {
            group,
            member,
            session_epoch,
            topics,
        })
    }
}

/// One type for all its offsets, or one for each.
fn batch(r: &mut Reader<'_>, out: &mut Vec<AcknowledgedRun>, room: &mut usize) -> Result<()> {
    let first = r.i64("first offset")?;
    let last = r.i64("last offset")?;
    let count = r.count("acknowledge types")?;
    let mut run: Option<AcknowledgedRun> = None;
    let mut at = first;
    for _ in 0..count {
        let kind = AcknowledgeType::of(r.i8("acknowledge type")?);
        let end = if count == 1 { last } else { at };
        if at > last {
            continue;
        }
        if let Some(open) = run.as_mut().filter(|open| open.kind == kind) {
            open.last = end;
        } else {
            *room = room
                .checked_sub(1)
                .ok_or_else(|| r.fault(DecodeErrorKind::Limit, "acknowledge types"))?;
            out.extend(run.replace(AcknowledgedRun {
                first: at,
                last: end,
                kind,
            }));
        }
        at = at.saturating_add(1);
    }
    out.extend(run);
    r.skip_tagged()
}
