//! What most message bodies share: the version check, topics with partitions, throttle time.
//!
//! Apart from `messages` and `endpoints` so that both may use it. Must know no single message.

use super::{
    api::ApiKey,
    error::{DecodeErrorKind, Result},
    reader::{Reader, TopicRef},
};

/// A topic and what a message says of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic<'a, P> {
    /// By name, or by id from the version on that uses ids.
    pub topic: TopicRef<'a>,
    /// One entry per partition.
    pub partitions: Vec<P>,
}

/// Result for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionError {
    /// Partition number.
    pub partition: i32,
    /// 0 = done.
    pub error_code: i16,
}

/// Topics with plain partition numbers.
pub type TopicPartitions<'a> = Vec<Topic<'a, i32>>;

/// A reader over `body`, or a `Version` fault where this build does not know the layout.
pub(super) fn open(body: &[u8], key: ApiKey, version: i16, oldest: i16) -> Result<Reader<'_>> {
    let reader = Reader::new(body, key.is_flexible(version));
    if key
        .api()
        .is_some_and(|api| (oldest..=api.newest).contains(&version))
    {
        Ok(reader)
    } else {
        Err(reader.fault(DecodeErrorKind::Version, "version"))
    }
}

/// An array of topics. `partition` reads one whole element of the inner array, its tagged fields included.
pub(super) fn topics<'a, P>(
    r: &mut Reader<'a>,
    by_id: bool,
    partition: impl FnMut(&mut Reader<'a>) -> Result<P>,
) -> Result<Vec<Topic<'a, P>>> {
    Ok(nullable_topics(r, by_id, partition)?.unwrap_or_default())
}

/// As [`topics`]; `None` = null.
pub(super) fn nullable_topics<'a, P>(
    r: &mut Reader<'a>,
    by_id: bool,
    mut partition: impl FnMut(&mut Reader<'a>) -> Result<P>,
) -> Result<Option<Vec<Topic<'a, P>>>> {
    let Some(count) = r.nullable_count("topics")? else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for _ in 0..count {
        let topic = r.topic_ref(by_id, "topic")?;
        let mut partitions = Vec::new();
        r.array("partitions", |r| {
            partitions.push(partition(r)?);
            Ok(())
        })?;
        r.skip_tagged()?;
        all.push(Topic { topic, partitions });
    }
    Ok(Some(all))
}

/// The throttle time where this version carries it.
pub(super) fn throttle(r: &mut Reader<'_>, present: bool) -> Result<Option<i32>> {
    if present {
        r.i32("throttle time").map(Some)
    } else {
        Ok(None)
    }
}
