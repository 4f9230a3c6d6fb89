//! How far groups got: OffsetCommit, TxnOffsetCommit and OffsetFetch.
//!
//! Reference: `OffsetCommitRequest.json`, `TxnOffsetCommitRequest.json` (KIP-98, KIP-447), `OffsetFetchRequest.json`
//! (KIP-709 several groups, KIP-848 member epochs) and their responses. Topic ids: KIP-848, KIP-1319.

use super::super::{
    api::ApiKey,
    body::{PartitionError, Topic, TopicPartitions, nullable_topics, open, throttle, topics},
    error::Result,
    reader::{Reader, TopicRef},
};

/// A position to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPartition {
    /// Partition number.
    pub partition: i32,
    /// Next offset the group will read.
    pub offset: i64,
}

/// An OffsetCommitRequest, versions 2-10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitRequest<'a> {
    /// Group.
    pub group: &'a str,
    /// Generation, or member epoch (KIP-848); -1 outside the membership protocol.
    pub generation: i32,
    /// Member id; empty outside the membership protocol.
    pub member: &'a str,
    /// Positions. By topic id from version 10.
    pub topics: Vec<Topic<'a, CommitPartition>>,
}

impl<'a> OffsetCommitRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 2-10, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::OFFSET_COMMIT, version, 2)?;
        let group = r.string("group id")?;
        let generation = r.i32("generation")?;
        let member = r.string("member id")?;
        if version >= 7 {
            r.nullable_string_bytes("group instance id")?;
        }
        if version <= 4 {
            r.i64("retention time")?;
        }
        let topics = topics(r, version >= 10, |r| commit_partition(r, version >= 6))?;
        Ok(Self {
            group,
            generation,
            member,
            topics,
        })
    }
}

fn commit_partition(r: &mut Reader<'_>, has_epoch: bool) -> Result<CommitPartition> {
    let partition = r.i32("partition")?;
    let offset = r.i64("committed offset")?;
    if has_epoch {
        r.i32("committed leader epoch")?;
    }
    r.nullable_string_bytes("committed metadata")?;
    r.skip_tagged()?;
    Ok(CommitPartition { partition, offset })
}

/// A TxnOffsetCommitRequest, versions 0-6: it counts only once the transaction commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnOffsetCommitRequest<'a> {
    /// Transactional id.
    pub transactional_id: &'a str,
    /// Group.
    pub group: &'a str,
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Generation or member epoch, -1 where not given. Added in version 3.
    pub generation: i32,
    /// Member id, empty where not given. Added in version 3.
    pub member: &'a str,
    /// Positions. By topic id from version 6.
    pub topics: Vec<Topic<'a, CommitPartition>>,
}

impl<'a> TxnOffsetCommitRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-6, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::TXN_OFFSET_COMMIT, version, 0)?;
        let transactional_id = r.string("transactional id")?;
        let group = r.string("group id")?;
        let producer_id = r.i64("producer id")?;
        let producer_epoch = r.i16("producer epoch")?;
        let (generation, member) = if version >= 3 {
            let pair = (r.i32("generation")?, r.string("member id")?);
            r.nullable_string_bytes("group instance id")?;
            pair
        } else {
            (-1, "")
        };
        let topics = topics(r, version >= 6, |r| commit_partition(r, version >= 2))?;
        Ok(Self {
            transactional_id,
            group,
            producer_id,
            producer_epoch,
            generation,
            member,
            topics,
        })
    }
}

/// An OffsetCommitResponse (versions 2-10) or a TxnOffsetCommitResponse (versions 0-6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitResponse<'a> {
    /// Throttle time, ms.
    pub throttle_ms: Option<i32>,
    /// Result per partition.
    pub topics: Vec<Topic<'a, PartitionError>>,
}

impl<'a> OffsetCommitResponse<'a> {
    /// Reads the body of an OffsetCommitResponse.
    ///
    /// # Errors
    /// `Version` outside 2-10, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let mut r = open(body, ApiKey::OFFSET_COMMIT, version, 2)?;
        Self::rest(&mut r, version >= 3, version >= 10)
    }

    /// Reads the body of a TxnOffsetCommitResponse.
    ///
    /// # Errors
    /// `Version` outside 0-6, else what the fields give.
    pub fn read_txn(body: &'a [u8], version: i16) -> Result<Self> {
        let mut r = open(body, ApiKey::TXN_OFFSET_COMMIT, version, 0)?;
        Self::rest(&mut r, true, version >= 6)
    }

    fn rest(r: &mut Reader<'a>, has_throttle: bool, by_id: bool) -> Result<Self> {
        Ok(Self {
            throttle_ms: throttle(r, has_throttle)?,
            topics: topics(r, by_id, |r| {
                let partition = r.i32("partition")?;
                let error_code = r.i16("error code")?;
                r.skip_tagged()?;
                Ok(PartitionError {
                    partition,
                    error_code,
                })
            })?,
        })
    }
}

/// What an OffsetFetchRequest asks for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchGroup<'a> {
    /// Group.
    pub group: &'a str,
    /// Partitions asked for; `None` = all of the group.
    pub topics: Option<TopicPartitions<'a>>,
}

/// An OffsetFetchRequest, versions 1-10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchRequest<'a> {
    /// One group up to version 7, any number from version 8.
    pub groups: Vec<OffsetFetchGroup<'a>>,
}

impl<'a> OffsetFetchRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 1-10, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::OFFSET_FETCH, version, 1)?;
        let mut groups = Vec::new();
        if version <= 7 {
            let group = r.string("group id")?;
            let topics = nullable_topics(r, false, |r| r.i32("partition"))?;
            groups.push(OffsetFetchGroup { group, topics });
            return Ok(Self { groups });
        }
        r.array("groups", |r| {
            let group = r.string("group id")?;
            if version >= 9 {
                r.nullable_string_bytes("member id")?;
                r.i32("member epoch")?;
            }
            let topics = nullable_topics(r, version >= 10, |r| r.i32("partition"))?;
            r.skip_tagged()?;
            groups.push(OffsetFetchGroup { group, topics });
            Ok(())
        })?;
        Ok(Self { groups })
    }
}

/// Where a group stands in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedPartition {
    /// Partition number.
    pub partition: i32,
    /// Next offset the group will read; `None` (-1 on the wire) = it has no position there.
    pub offset: Option<i64>,
    /// 0 = done.
    pub error_code: i16,
}

/// What an OffsetFetchResponse says of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedGroup<'a> {
    /// Group. Added in version 8; before, the one of the request.
    pub group: Option<&'a str>,
    /// Positions. By topic id from version 10.
    pub topics: Vec<Topic<'a, CommittedPartition>>,
    /// Error for the whole group, 0 = done. Added in version 2.
    pub error_code: i16,
}

/// An OffsetFetchResponse, versions 1-10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchResponse<'a> {
    /// Throttle time, ms. Added in version 3.
    pub throttle_ms: Option<i32>,
    /// One group up to version 7, any number from version 8.
    pub groups: Vec<CommittedGroup<'a>>,
}

impl<'a> OffsetFetchResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 1-10, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::OFFSET_FETCH, version, 1)?;
        let throttle_ms = throttle(r, version >= 3)?;
        let mut groups = Vec::new();
        if version <= 7 {
            let topics = committed(r, false, version >= 5)?;
            let error_code = if version >= 2 {
                r.i16("error code")?
            } else {
                0
            };
            groups.push(CommittedGroup {
                group: None,
                topics,
                error_code,
            });
        } else {
            r.array("groups", |r| {
                let group = Some(r.string("group id")?);
                let topics = committed(r, version >= 10, true)?;
                let error_code = r.i16("error code")?;
                r.skip_tagged()?;
                groups.push(CommittedGroup {
                    group,
                    topics,
                    error_code,
                });
                Ok(())
            })?;
        }
        Ok(Self {
            throttle_ms,
            groups,
        })
    }

    /// Every (group, topic, partition) of the answer.
    pub fn partitions(
        &self,
    ) -> impl Iterator<Item = (Option<&'a str>, TopicRef<'a>, CommittedPartition)> + '_ {
        self.groups.iter().flat_map(|g| {
            g.topics
                .iter()
                .flat_map(move |t| t.partitions.iter().map(move |p| (g.group, t.topic, *p)))
        })
    }
}

fn committed<'a>(
    r: &mut Reader<'a>,
    by_id: bool,
    has_epoch: bool,
) -> Result<Vec<Topic<'a, CommittedPartition>>> {
    topics(r, by_id, |r| {
        let partition = r.i32("partition")?;
        let offset = r.i64("committed offset")?;
        if has_epoch {
            r.i32("committed leader epoch")?;
        }
        r.nullable_string_bytes("metadata")?;
        let error_code = r.i16("error code")?;
        r.skip_tagged()?;
        Ok(CommittedPartition {
            partition,
            offset: (offset != -1).then_some(offset),
            error_code,
        })
    })
}
