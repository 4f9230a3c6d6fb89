//! What a consumer asks for: Fetch requests.
//!
//! Their responses carry records, so `scan` reads those as they stream. Reference: `FetchRequest.json` (KIP-227 sessions,
//! KIP-516 topic ids).

use super::super::{
    api::ApiKey,
    body::{Topic, TopicPartitions, open, topics},
    error::Result,
};

/// A FetchRequest, versions 4-18.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// How long the broker may wait for `min_bytes`, ms.
    pub max_wait_ms: i32,
    /// Bytes the broker waits for.
    pub min_bytes: i32,
    /// 0 = read uncommitted, 1 = read committed. Added in version 4.
    pub isolation_level: i8,
    /// Fetch session, 0 = none. Added in version 7.
    pub session_id: i32,
    /// -1 = no session, 0 = a new one: all partitions are named; else only the changed ones. Added in version 7.
    pub session_epoch: i32,
    /// Partitions to fetch, or that changed in the session.
    pub topics: Vec<Topic<'a, FetchPartition>>,
    /// Partitions to take out of the session. Added in version 7.
    pub forgotten: TopicPartitions<'a>,
}

/// One partition of a FetchRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// Partition number.
    pub partition: i32,
    /// First offset asked for.
    pub fetch_offset: i64,
}

impl<'a> FetchRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 4-18, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::FETCH, version, 4)?;
        if version <= 14 {
            r.i32("replica id")?;
        }
        let max_wait_ms = r.i32("max wait")?;
        let min_bytes = r.i32("min bytes")?;
        r.i32("max bytes")?;
        let isolation_level = r.i8("isolation level")?;
        let (session_id, session_epoch) = if version >= 7 {
            (r.i32("session id")?, r.i32("session epoch")?)
        } else {
            (0, -1)
        };
        let topics_asked = topics(r, version >= 13, |r| {
            let partition = r.i32("partition")?;
            if version >= 9 {
                r.i32("current leader epoch")?;
            }
            let fetch_offset = r.i64("fetch offset")?;
            if version >= 12 {
                r.i32("last fetched epoch")?;
            }
            if version >= 5 {
                r.i64("log start offset")?;
            }
            r.i32("partition max bytes")?;
            r.skip_tagged()?;
            Ok(FetchPartition {
                partition,
                fetch_offset,
            })
        })?;
        let forgotten = if version >= 7 {
            topics(r, version >= 13, |r| r.i32("partition"))?
        } else {
            Vec::new()
        };
        Ok(Self {
            max_wait_ms,
            min_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics: topics_asked,
            forgotten,
        })
    }

    /// Records of open and aborted transactions are left out.
    #[must_use]
    pub fn is_read_committed(&self) -> bool {
        self.isolation_level == 1
    }
}
