//! Responses with addresses that are held whole: Metadata, FindCoordinator, DescribeCluster, Produce, ShareAcknowledge.
//!
//! Each walker gives the addresses and what else the response tells, in one pass. DescribeTopicPartitions names nodes by id
//! only and is here because it describes topics as Metadata does.

use std::ops::Range;

use super::{
    super::{
        api::ApiKey,
        body::{PartitionError, Topic, open, throttle, topics},
        error::{DecodeErrorKind, Result},
        reader::Reader,
    },
    Endpoint, Endpoints, TagSize, address, node_address,
};

/// A MetadataResponse, versions 0-13.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataSeen<'a> {
    /// Throttle time, ms. Added in version 3.
    pub throttle_ms: Option<i32>,
    /// Brokers.
    pub endpoints: Endpoints<'a>,
    /// Cluster id. Added in version 2.
    pub cluster_id: Option<&'a str>,
    /// Topics described.
    pub topics: Vec<TopicMetadata<'a>>,
    /// Error for the whole request (129 asks the client to bootstrap again). Added in version 13.
    pub error_code: i16,
}

/// A topic as Metadata and DescribeTopicPartitions describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicMetadata<'a> {
    /// 0 = described.
    pub error_code: i16,
    /// Name; null where an unknown id was asked for.
    pub name: Option<&'a str>,
    /// Topic id; `None` where the version has none or the broker gave the zero id. Added in version 10.
    pub id: Option<[u8; 16]>,
    /// Partitions described.
    pub partitions: u32,
}

/// Walks the body of a MetadataResponse.
///
/// # Errors
/// `Version` outside 0-13, else what the fields give.
pub fn metadata(body: &[u8], version: i16) -> Result<MetadataSeen<'_>> {
    let r = &mut open(body, ApiKey::METADATA, version, 0)?;
    let throttle_ms = throttle(r, version >= 3)?;
    let mut endpoints = Endpoints::new(r.flexible());
    r.array("brokers", |r| {
        endpoints.all.push(node_address(r)?);
        if version >= 1 {
            r.nullable_string_bytes("rack")?;
        }
        r.skip_tagged()
    })?;
    let cluster_id = if version >= 2 {
        r.nullable_string("cluster id")?
    } else {
        None
    };
    if version >= 1 {
        r.i32("controller id")?;
    }
    let mut topics = Vec::new();
    r.array("topics", |r| {
        topics.push(metadata_topic(r, version)?);
        Ok(())
    })?;
    if (8..=10).contains(&version) {
        r.i32("cluster authorized operations")?;
    }
    let error_code = if version >= 13 {
        r.i16("error code")?
    } else {
        0
    };
    Ok(MetadataSeen {
        throttle_ms,
        endpoints,
        cluster_id,
        topics,
        error_code,
    })
}

fn metadata_topic<'a>(r: &mut Reader<'a>, version: i16) -> Result<TopicMetadata<'a>> {
    let error_code = r.i16("error code")?;
    let name = r.nullable_string("topic name")?;
    let id = if version >= 10 {
        known_id(r.uuid("topic id")?)
    } else {
        None
    };
    if version >= 1 {
        r.bool("is internal")?;
    }
    let mut partitions = 0u32;
    r.array("partitions", |r| {
        r.i16("error code")?;
        r.i32("partition")?;
        r.i32("leader id")?;
        if version >= 7 {
            r.i32("leader epoch")?;
        }
        skip_ids(r, "replicas")?;
        skip_ids(r, "in-sync replicas")?;
        if version >= 5 {
            skip_ids(r, "offline replicas")?;
        }
        partitions = partitions.saturating_add(1);
        r.skip_tagged()
    })?;
    if version >= 8 {
        r.i32("topic authorized operations")?;
    }
    r.skip_tagged()?;
    Ok(TopicMetadata {
        error_code,
        name,
        id,
        partitions,
    })
}

fn known_id(id: [u8; 16]) -> Option<[u8; 16]> {
    (id != [0; 16]).then_some(id)
}

fn skip_ids(r: &mut Reader<'_>, field: &'static str) -> Result<()> {
    r.array(field, |r| r.i32(field).map(drop))
}

/// A DescribeTopicPartitionsResponse, version 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicsSeen<'a> {
    /// Throttle time, ms.
    pub throttle_ms: Option<i32>,
    /// Topics described; a topic cut off by the response limit shows only some of its partitions.
    pub topics: Vec<TopicMetadata<'a>>,
}

/// Walks the body of a DescribeTopicPartitionsResponse.
///
/// # Errors
/// `Version` above 0, else what the fields give.
pub fn describe_topic_partitions(body: &[u8], version: i16) -> Result<TopicsSeen<'_>> {
    let r = &mut open(body, ApiKey::DESCRIBE_TOPIC_PARTITIONS, version, 0)?;
    let throttle_ms = throttle(r, true)?;
    let mut topics = Vec::new();
    r.array("topics", |r| {
        let error_code = r.i16("error code")?;
        let name = r.nullable_string("topic name")?;
        let id = known_id(r.uuid("topic id")?);
        r.bool("is internal")?;
        let mut partitions = 0u32;
        r.array("partitions", |r| {
            r.i16("error code")?;
            for field in ["partition", "leader id", "leader epoch"] {
                r.i32(field)?;
            }
            for field in ["replicas", "isr", "eligible", "last known", "offline"] {
                skip_ids(r, field)?;
            }
            partitions = partitions.saturating_add(1);
            r.skip_tagged()
        })?;
        r.i32("topic authorized operations")?;
        topics.push(TopicMetadata {
            error_code,
            name,
            id,
            partitions,
        });
        r.skip_tagged()
    })?;
    Ok(TopicsSeen {
        throttle_ms,
        topics,
    })
}

/// A FindCoordinatorResponse, versions 0-6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindCoordinatorSeen<'a> {
    /// Throttle time, ms. Added in version 1.
    pub throttle_ms: Option<i32>,
    /// Coordinators found; the ones not found (node -1) are left out.
    pub endpoints: Endpoints<'a>,
    /// One up to version 3, one per key from version 4.
    pub coordinators: Vec<CoordinatorSeen<'a>>,
}

/// The answer for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoordinatorSeen<'a> {
    /// Group, transactional id or share key. Added in version 4.
    pub key: Option<&'a str>,
    /// Node id, -1 = none.
    pub node_id: i32,
    /// 0 = found.
    pub error_code: i16,
}

/// Walks the body of a FindCoordinatorResponse.
///
/// # Errors
/// `Version` outside 0-6, else what the fields give.
pub fn find_coordinator<'a>(body: &'a [u8], version: i16) -> Result<FindCoordinatorSeen<'a>> {
    let r = &mut open(body, ApiKey::FIND_COORDINATOR, version, 0)?;
    let throttle_ms = throttle(r, version >= 1)?;
    let mut endpoints = Endpoints::new(r.flexible());
    let mut coordinators = Vec::new();
    let mut keep = |endpoint: Endpoint<'a>, key, error_code| {
        coordinators.push(CoordinatorSeen {
            key,
            node_id: endpoint.node_id,
            error_code,
        });
        (endpoint.node_id >= 0).then_some(endpoint)
    };
    if version <= 3 {
        let error_code = r.i16("error code")?;
        if version >= 1 {
            r.nullable_string_bytes("error message")?;
        }
        endpoints
            .all
            .extend(keep(node_address(r)?, None, error_code));
    } else {
        r.array("coordinators", |r| {
            let key = r.string("key")?;
            let endpoint = node_address(r)?;
            let error_code = r.i16("error code")?;
            r.nullable_string_bytes("error message")?;
            endpoints.all.extend(keep(endpoint, Some(key), error_code));
            r.skip_tagged()
        })?;
    }
    Ok(FindCoordinatorSeen {
        throttle_ms,
        endpoints,
        coordinators,
    })
}

/// A DescribeClusterResponse, versions 0-2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeClusterSeen<'a> {
    /// Throttle time, ms.
    pub throttle_ms: i32,
    /// 0 = described.
    pub error_code: i16,
    /// 1 = brokers, 2 = controllers. Added in version 1.
    pub endpoint_type: i8,
    /// Cluster id.
    pub cluster_id: &'a str,
    /// Brokers or controllers.
    pub endpoints: Endpoints<'a>,
}

/// Walks the body of a DescribeClusterResponse.
///
/// # Errors
/// `Version` outside 0-2, else what the fields give.
pub fn describe_cluster(body: &[u8], version: i16) -> Result<DescribeClusterSeen<'_>> {
    let r = &mut open(body, ApiKey::DESCRIBE_CLUSTER, version, 0)?;
    let throttle_ms = r.i32("throttle time")?;
    let error_code = r.i16("error code")?;
    r.nullable_string_bytes("error message")?;
    let endpoint_type = if version >= 1 {
        r.i8("endpoint type")?
    } else {
        1
    };
    let cluster_id = r.string("cluster id")?;
    r.i32("controller id")?;
    let mut endpoints = Endpoints::new(r.flexible());
    r.array("brokers", |r| {
        endpoints.all.push(node_address(r)?);
        r.nullable_string_bytes("rack")?;
        if version >= 2 {
            r.bool("is fenced")?;
        }
        r.skip_tagged()
    })?;
    Ok(DescribeClusterSeen {
        throttle_ms,
        error_code,
        endpoint_type,
        cluster_id,
        endpoints,
    })
}

/// A ProduceResponse, versions 3-13.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceSeen<'a> {
    /// Result per partition. By topic id from version 13.
    pub topics: Vec<Topic<'a, PartitionResult>>,
    /// Throttle time, ms.
    pub throttle_ms: i32,
    /// New leaders, after errors only. Added in version 10.
    pub endpoints: Endpoints<'a>,
}

/// How a publish ended for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionResult {
    /// Partition number.
    pub partition: i32,
    /// 0 = stored.
    pub error_code: i16,
    /// Offset of the first record, -1 unknown.
    pub base_offset: i64,
    /// Set where the topic uses LogAppendTime (-1 on the wire otherwise), ms.
    pub log_append_time_ms: Option<i64>,
}

/// Walks the body of a ProduceResponse.
///
/// # Errors
/// `Version` outside 3-13, else what the fields give.
pub fn produce_response(body: &[u8], version: i16) -> Result<ProduceSeen<'_>> {
    let r = &mut open(body, ApiKey::PRODUCE, version, 3)?;
    let mut endpoints = Endpoints::new(r.flexible());
    let topics = topics(r, version >= 13, |r| produce_partition(r, version))?;
    let throttle_ms = r.i32("throttle time")?;
    if version >= 10 {
        produce_endpoints(r, &mut endpoints)?;
    }
    Ok(ProduceSeen {
        topics,
        throttle_ms,
        endpoints,
    })
}

fn produce_partition(r: &mut Reader<'_>, version: i16) -> Result<PartitionResult> {
    let partition = r.i32("partition")?;
    let error_code = r.i16("error code")?;
    let base_offset = r.i64("base offset")?;
    let append = r.i64("log append time")?;
    if version >= 5 {
        r.i64("log start offset")?;
    }
    if version >= 8 {
        r.array("record errors", |r| {
            r.i32("batch index")?;
            r.nullable_string_bytes("batch index error message")?;
            r.skip_tagged()
        })?;
        r.nullable_string_bytes("error message")?;
    }
    r.skip_tagged()?;
    Ok(PartitionResult {
        partition,
        error_code,
        base_offset,
        log_append_time_ms: (append != -1).then_some(append),
    })
}

/// A partition's result and where it stands in the body.
type ResultAt = (PartitionResult, Range<usize>);

/// Where the result of each partition stands in the body of a ProduceResponse.
///
/// # Errors
/// As [`produce_response`].
pub fn produce_results(body: &[u8], version: i16) -> Result<Vec<Topic<'_, ResultAt>>> {
    let r = &mut open(body, ApiKey::PRODUCE, version, 3)?;
    topics(r, version >= 13, |r| {
        let start = r.position();
        let result = produce_partition(r, version)?;
        Ok((result, start..r.position()))
    })
}

/// The tagged section at the end; not `Reader::tagged`, because an edit needs to know where the size stands.
fn produce_endpoints<'a>(r: &mut Reader<'a>, endpoints: &mut Endpoints<'a>) -> Result<()> {
    for _ in 0..r.uvarint("tagged fields")? {
        let tag = r.uvarint("tag")?;
        let size_start = r.position();
        let raw = r.uvarint("tag size")?;
        let size = usize::try_from(raw).map_err(|_| r.fault(DecodeErrorKind::Limit, "tag size"))?;
        let start = r.position();
        if tag != 0 {
            r.take(size, "tag body")?;
            continue;
        }
        r.array("node endpoints", |r| node_endpoint(r, endpoints))?;
        if r.position() != start.saturating_add(size) {
            return Err(r.fault(DecodeErrorKind::Value, "node endpoints"));
        }
        endpoints.tag = Some(TagSize {
            at: size_start..start,
            size,
        });
    }
    Ok(())
}

fn node_endpoint<'a>(r: &mut Reader<'a>, endpoints: &mut Endpoints<'a>) -> Result<()> {
    let node_id = r.i32("node id")?;
    endpoints.all.push(address(r, node_id)?);
    r.nullable_string_bytes("rack")?;
    r.skip_tagged()
}

/// A ShareAcknowledgeResponse, versions 0-2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareAcknowledgeSeen<'a> {
    /// Throttle time, ms.
    pub throttle_ms: i32,
    /// Error for the whole request, 0 = done.
    pub error_code: i16,
    /// Result per partition.
    pub topics: Vec<Topic<'a, PartitionError>>,
    /// New leaders, after errors only.
    pub endpoints: Endpoints<'a>,
}

/// Walks the body of a ShareAcknowledgeResponse.
///
/// # Errors
/// `Version` outside 0-2, else what the fields give.
pub fn share_acknowledge(body: &[u8], version: i16) -> Result<ShareAcknowledgeSeen<'_>> {
    let r = &mut open(body, ApiKey::SHARE_ACKNOWLEDGE, version, 0)?;
    let throttle_ms = r.i32("throttle time")?;
    let error_code = r.i16("error code")?;
    r.nullable_string_bytes("error message")?;
    if version >= 2 {
        r.i32("acquisition lock timeout")?;
    }
    let topics = topics(r, true, |r| {
        let partition = r.i32("partition")?;
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        r.i32("leader id")?;
        r.i32("leader epoch")?;
        // CurrentLeader is a struct with tagged fields of its own.
        r.skip_tagged()?;
        r.skip_tagged()?;
        Ok(PartitionError {
            partition,
            error_code,
        })
    })?;
    let mut endpoints = Endpoints::new(r.flexible());
    r.array("node endpoints", |r| node_endpoint(r, &mut endpoints))?;
    Ok(ShareAcknowledgeSeen {
        throttle_ms,
        error_code,
        topics,
        endpoints,
    })
}
