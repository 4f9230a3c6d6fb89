//! Where the log of a leader epoch ends: what a consumer asks after a change of leader, to find out whether records it has read are gone.
//!
//! Reference: `OffsetForLeaderEpochResponse.json` (KIP-101, KIP-320). The request adds nothing: the answer names its partitions.

use super::super::{
    api::ApiKey,
    body::{Topic, open, throttle, topics},
    error::Result,
};

/// An OffsetForLeaderEpochResponse, versions 0-4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// Throttle time, ms. Added in version 2.
    pub throttle_ms: Option<i32>,
    /// The partitions asked for.
    pub topics: Vec<Topic<'a, EpochEnd>>,
}

/// Where an epoch ends in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// Partition number.
    pub partition: i32,
    /// 0 = done.
    pub error_code: i16,
    /// Offset behind the last record of the epoch asked for, or of the newest before it; -1 where none is known.
    pub end_offset: i64,
}

impl<'a> OffsetForLeaderEpochResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-4, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::OFFSET_FOR_LEADER_EPOCH, version, 0)?;
        let throttle_ms = throttle(r, version >= 2)?;
        let topics = topics(r, false, |r| {
            let error_code = r.i16("error code")?;
            let partition = r.i32("partition")?;
            if version >= 1 {
                r.i32("leader epoch")?;
            }
            let end_offset = r.i64("end offset")?;
            r.skip_tagged()?;
            Ok(EpochEnd {
                partition,
                error_code,
                end_offset,
            })
        })?;
        Ok(Self {
            throttle_ms,
            topics,
        })
    }
}
