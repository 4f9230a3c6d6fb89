//! A whole Produce request, with its records replaced or with only some of its partitions.
//!
//! Both are splices: what no schema names (tagged fields of later versions) stays where it was. Reference: `ProduceRequest.json`
//! (KIP-98 versions 3 and up, KIP-516 topic ids from 13). Must not look into records; that is `append_headers`' part.

use std::{borrow::Cow, ops::Range};

use crate::kafka::wire::{
    api::ApiKey,
    body,
    error::{DecodeErrorKind, Result},
    reader::{Reader, TopicRef},
    splice::{Splice, put_uvarint},
};

/// Oldest version whose records are format v2.
const OLDEST: i16 = 3;

/// A ProduceRequest, versions 3-13, over its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// Set where the records belong to a transaction.
    pub transactional_id: Option<&'a str>,
    /// Acknowledgements asked for: 0, 1, or -1 for all.
    pub acks: i16,
    /// How long the broker may wait for them, ms.
    pub timeout_ms: i32,
    /// In the order of the request.
    pub topics: Vec<ProduceTopic<'a>>,
    flexible: bool,
    count_at: Range<usize>,
}

/// One topic of a ProduceRequest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceTopic<'a> {
    /// By name, by id from version 13.
    pub topic: TopicRef<'a>,
    /// In the order of the request.
    pub partitions: Vec<ProducePartition<'a>>,
    at: Range<usize>,
    count_at: Range<usize>,
}

/// One partition of a ProduceRequest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition<'a> {
    /// Partition number.
    pub partition: i32,
    /// Its batches; every client of today sends one.
    pub records: Option<&'a [u8]>,
    at: Range<usize>,
    /// The records with the length before them.
    records_at: Range<usize>,
}

impl<'a> ProduceRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 3-13, `Value` for bytes behind the last field, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut body::open(body, ApiKey::PRODUCE, version, OLDEST)?;
        let transactional_id = r.nullable_string("transactional id")?;
        let acks = r.i16("acks")?;
        let timeout_ms = r.i32("timeout")?;
        let start = r.position();
        let count = r.count("topics")?;
        let count_at = start..r.position();
        let mut topics = Vec::new();
        for _ in 0..count {
            topics.push(ProduceTopic::read(r, version >= 13)?);
        }
        r.skip_tagged()?;
        if r.remaining() > 0 {
            return Err(r.fault(DecodeErrorKind::Value, "bytes behind the request"));
        }
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
            flexible: r.flexible(),
            count_at,
        })
    }

    /// Other records for a partition of this request: their length, and they themselves, which are not copied. `None` where they
    /// are too long for the field.
    #[must_use]
    pub fn with_records<'w>(
        &self,
        partition: &ProducePartition<'_>,
        records: impl Into<Cow<'w, [u8]>>,
    ) -> Option<[Splice<'w>; 2]> {
        let records = records.into();
        let Range { start, end } = partition.records_at;
        let from = end.checked_sub(partition.records.map_or(0, <[u8]>::len))?;
        Some([
            Splice {
                at: start..from,
                with: self.length(records.len())?.into(),
            },
            Splice {
                at: from..end,
                with: records,
            },
        ])
    }

    /// Leaves out the partitions that `wanted` does not name, and topics that have none left. `None` where nothing would
    /// be left.
    #[must_use]
    pub fn only(
        &self,
        mut wanted: impl FnMut(TopicRef<'a>, i32) -> bool,
    ) -> Option<Vec<Splice<'static>>> {
        let mut splices = Vec::new();
        let mut topics_left = 0usize;
        for topic in &self.topics {
            let mut within = Vec::new();
            let mut left = 0usize;
            for partition in &topic.partitions {
                if wanted(topic.topic, partition.partition) {
                    left = left.saturating_add(1);
                } else {
                    within.push(removed(&partition.at));
                }
            }
            if left == 0 {
                splices.push(removed(&topic.at));
                continue;
            }
            topics_left = topics_left.saturating_add(1);
            splices.push(self.count(&topic.count_at, left)?);
            splices.append(&mut within);
        }
        if topics_left == 0 {
            return None;
        }
        splices.insert(0, self.count(&self.count_at, topics_left)?);
        Some(splices)
    }

    fn count(&self, at: &Range<usize>, count: usize) -> Option<Splice<'static>> {
        Some(Splice {
            at: at.clone(),
            with: self.length(count)?.into(),
        })
    }

    /// The length of a (COMPACT_)RECORDS, or the count of a (COMPACT_)ARRAY.
    fn length(&self, n: usize) -> Option<Vec<u8>> {
        let length = i32::try_from(n).ok()?;
        if !self.flexible {
            return Some(length.to_be_bytes().to_vec());
        }
        let mut out = Vec::new();
        put_uvarint(&mut out, length.cast_unsigned().checked_add(1)?);
        Some(out)
    }
}

fn removed(at: &Range<usize>) -> Splice<'static> {
    Splice {
        at: at.clone(),
        with: Cow::Borrowed(&[]),
    }
}

impl<'a> ProduceTopic<'a> {
    fn read(r: &mut Reader<'a>, by_id: bool) -> Result<Self> {
        let start = r.position();
        let topic = r.topic_ref(by_id, "topic")?;
        let count_start = r.position();
        let count = r.count("partitions")?;
        let count_at = count_start..r.position();
        let mut partitions = Vec::new();
        for _ in 0..count {
            partitions.push(ProducePartition::read(r)?);
        }
        r.skip_tagged()?;
        Ok(Self {
            topic,
            partitions,
            at: start..r.position(),
            count_at,
        })
    }
}

impl<'a> ProducePartition<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self> {
        let start = r.position();
        let partition = r.i32("partition")?;
        let records_start = r.position();
        let records = r.nullable_bytes("records")?;
        let records_at = records_start..r.position();
        r.skip_tagged()?;
        Ok(Self {
            partition,
            records,
            at: start..r.position(),
            records_at,
        })
    }
}
