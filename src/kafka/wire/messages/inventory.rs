//! What our own observer asks and is told about brokers, partitions, disks and how long topics keep records.
//!
//! Requests are whole frames with their length prefix. Must not be used for what passes through.
//!
//! Reference: `MetadataResponse.json`, `DescribeClusterRequest.json` (KIP-700, KIP-1073 fenced brokers),
//! `DescribeLogDirsRequest.json` (KIP-827 sizes), `DescribeConfigsRequest.json` and their responses.

use super::{
    super::{api::ApiKey, body::throttle, error::Result, reader::Reader, splice::put_string},
    reading::within,
    requests::{frame, put_count},
};

/// Metadata versions whose layout is read.
pub const LAYOUT_VERSIONS: (i16, i16) = (1, 13);
/// DescribeCluster versions that are written and read.
pub const DESCRIBE_CLUSTER_VERSIONS: (i16, i16) = (0, 2);
/// DescribeLogDirs versions that are written and read; from 4 on they tell the size of a disk.
pub const LOG_DIRS_VERSIONS: (i16, i16) = (1, 5);
/// DescribeConfigs versions that are written and read.
pub const DESCRIBE_CONFIGS_VERSIONS: (i16, i16) = (1, 4);

/// A broker as an answer names it: node id, host, port.
pub type Broker<'a> = (i32, &'a str, i32);

/// A whole MetadataResponse: who leads what, and which replicas follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout<'a> {
    /// Brokers that are in the cluster now.
    pub brokers: Vec<Broker<'a>>,
    /// Cluster id. Added in version 2.
    pub cluster_id: Option<&'a str>,
    /// Topics.
    pub topics: Vec<LaidTopic<'a>>,
}

/// A topic of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaidTopic<'a> {
    /// 0 = described.
    pub error_code: i16,
    /// Name; null where an unknown id was asked for.
    pub name: Option<&'a str>,
    /// Topic id; zeros before version 10.
    pub id: [u8; 16],
    /// One of the broker's own.
    pub internal: bool,
    /// Partitions.
    pub partitions: Vec<LaidPartition>,
    /// Bit n = operation n of `AclOperation` is allowed; `i32::MIN` = not told. Added in version 8.
    pub operations: i32,
}

/// A partition of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaidPartition {
    /// Partition number.
    pub partition: i32,
    /// Node id of its leader; -1 = none now.
    pub leader: i32,
    /// Node ids that hold it, dead ones too.
    pub replicas: Vec<i32>,
    /// How many of them follow.
    pub in_sync: u32,
}

impl<'a> Layout<'a> {
    /// Reads the body of a MetadataResponse.
    ///
    /// # Errors
    /// `Version` outside 1-13, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut within(body, ApiKey::METADATA, version, LAYOUT_VERSIONS)?;
        throttle(r, version >= 3)?;
        let mut brokers = Vec::new();
        r.array("brokers", |r| {
            brokers.push((r.i32("node id")?, r.string("host")?, r.i32("port")?));
            r.nullable_string_bytes("rack")?;
            r.skip_tagged()
        })?;
        let cluster_id = if version >= 2 {
            r.nullable_string("cluster id")?
        } else {
            None
        };
        r.i32("controller id")?;
        let mut topics = Vec::new();
        r.array("topics", |r| {
            topics.push(laid_topic(r, version)?);
            Ok(())
        })?;
        Ok(Self {
            brokers,
            cluster_id,
            topics,
        })
    }
}

fn laid_topic<'a>(r: &mut Reader<'a>, version: i16) -> Result<LaidTopic<'a>> {
    let error_code = r.i16("error code")?;
    let name = r.nullable_string("topic name")?;
    let id = if version >= 10 {
        r.uuid("topic id")?
    } else {
        [0; 16]
    };
    let internal = r.bool("is internal")?;
    let mut partitions = Vec::new();
    r.array("partitions", |r| {
        r.i16("error code")?;
        let (partition, leader) = (r.i32("partition")?, r.i32("leader id")?);
        if version >= 7 {
            r.i32("leader epoch")?;
        }
        let replicas = r.i32_array("replicas")?;
        let mut in_sync = 0u32;
        r.array("in-sync replicas", |r| {
            in_sync = in_sync.saturating_add(1);
            r.i32("replica").map(drop)
        })?;
        if version >= 5 {
            r.array("offline replicas", |r| r.i32("replica").map(drop))?;
        }
        r.skip_tagged()?;
        partitions.push(LaidPartition {
            partition,
            leader,
            replicas,
            in_sync,
        });
        Ok(())
    })?;
    let operations = if version >= 8 {
        r.i32("topic authorized operations")?
    } else {
        i32::MIN
    };
    r.skip_tagged()?;
    Ok(LaidTopic {
        operations,
        error_code,
        name,
        id,
        internal,
        partitions,
    })
}

/// A DescribeClusterRequest that asks what we may do with the cluster, and for fenced brokers where the version can say it;
/// `None` outside 0-2. A broker answers it whatever our rights are, and logs no refusal.
#[must_use]
pub fn describe_cluster_request(correlation_id: i32, version: i16) -> Option<Vec<u8>> {
    if !(DESCRIBE_CLUSTER_VERSIONS.0..=DESCRIBE_CLUSTER_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = vec![1];
    if version >= 1 {
        // Endpoint type 1 = brokers.
        body.push(1);
    }
    if version >= 2 {
        body.push(1);
    }
    body.push(0);
    let key = ApiKey::DESCRIBE_CLUSTER;
    Some(frame(key, version, correlation_id, &body))
}

/// What we may do with the cluster, and which brokers belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRights<'a> {
    /// 0 = described.
    pub error_code: i16,
    /// Brokers of the cluster; those that are down too, from version 2 on.
    pub brokers: Vec<Broker<'a>>,
    /// Bit n = operation n of `AclOperation` is allowed; `i32::MIN` = not told.
    pub operations: i32,
}

/// `AclOperation.READ`.
pub const OPERATION_READ: u32 = 3;
/// `AclOperation.WRITE`.
pub const OPERATION_WRITE: u32 = 4;
/// `AclOperation.DESCRIBE`.
pub const OPERATION_DESCRIBE: u32 = 8;
/// `AclOperation.DESCRIBE_CONFIGS`.
pub const OPERATION_DESCRIBE_CONFIGS: u32 = 10;

/// Whether a bit field of authorized operations holds one; `None` = it was not told.
#[must_use]
pub const fn allows(operations: i32, operation: u32) -> Option<bool> {
    if operations == i32::MIN || operation > 30 {
        return None;
    }
    Some(operations & (1 << operation) != 0)
}

impl<'a> ClusterRights<'a> {
    /// Reads the body of a DescribeClusterResponse.
    ///
    /// # Errors
    /// `Version` outside 0-2, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let key = ApiKey::DESCRIBE_CLUSTER;
        let r = &mut within(body, key, version, DESCRIBE_CLUSTER_VERSIONS)?;
        throttle(r, true)?;
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        if version >= 1 {
            r.i8("endpoint type")?;
        }
        r.nullable_string_bytes("cluster id")?;
        r.i32("controller id")?;
        let mut brokers = Vec::new();
        r.array("brokers", |r| {
            brokers.push((r.i32("node id")?, r.string("host")?, r.i32("port")?));
            r.nullable_string_bytes("rack")?;
            if version >= 2 {
                r.bool("is fenced")?;
            }
            r.skip_tagged()
        })?;
        Ok(Self {
            error_code,
            brokers,
            operations: r.i32("cluster authorized operations")?,
        })
    }

    /// Whether we may describe the cluster; `None` = the broker did not say.
    #[must_use]
    pub fn may_describe(&self) -> Option<bool> {
        if self.error_code == 0 {
            allows(self.operations, OPERATION_DESCRIBE)
        } else {
            None
        }
    }
}

/// A DescribeLogDirsRequest for the disks, with the topics on them or without; `None` outside 1-5.
#[must_use]
pub fn log_dirs_request(correlation_id: i32, version: i16, topics: bool) -> Option<Vec<u8>> {
    if !(LOG_DIRS_VERSIONS.0..=LOG_DIRS_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = Vec::new();
    let key = ApiKey::DESCRIBE_LOG_DIRS;
    let flexible = key.is_flexible(version);
    put_count(&mut body, if topics { None } else { Some(0) }, flexible);
    if flexible {
        body.push(0);
    }
    Some(frame(key, version, correlation_id, &body))
}

/// A DescribeLogDirsResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirs<'a> {
    /// 0 = described. Added in version 3.
    pub error_code: i16,
    /// Disks of this broker.
    pub dirs: Vec<LogDir>,
    /// Topics on them, those among them that we may not describe; once per disk.
    pub topics: Vec<&'a str>,
}

/// One disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDir {
    /// 0 = described, else the disk is offline.
    pub error_code: i16,
    /// Size of its volume, bytes; -1 = unknown. Added in version 4.
    pub total_bytes: i64,
    /// Free bytes of its volume; -1 = unknown. Added in version 4.
    pub usable_bytes: i64,
    /// Bytes of the partitions asked for.
    pub held_bytes: i64,
}

impl<'a> LogDirs<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 1-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let key = ApiKey::DESCRIBE_LOG_DIRS;
        let r = &mut within(body, key, version, LOG_DIRS_VERSIONS)?;
        throttle(r, true)?;
        let error_code = if version >= 3 {
            r.i16("error code")?
        } else {
            0
        };
        let (mut dirs, mut topics) = (Vec::new(), Vec::new());
        r.array("results", |r| {
            let error_code = r.i16("error code")?;
            r.nullable_string_bytes("log dir")?;
            let mut held_bytes = 0_i64;
            r.array("topics", |r| {
                topics.push(r.string("name")?);
                r.array("partitions", |r| {
                    r.i32("partition")?;
                    held_bytes = held_bytes.saturating_add(r.i64("partition size")?.max(0));
                    r.i64("offset lag")?;
                    r.bool("is future key")?;
                    r.skip_tagged()
                })?;
                r.skip_tagged()
            })?;
            let (total_bytes, usable_bytes) = if version >= 4 {
                (r.i64("total bytes")?, r.i64("usable bytes")?)
            } else {
                (-1, -1)
            };
            if version >= 5 {
                r.bool("is cordoned")?;
            }
            r.skip_tagged()?;
            dirs.push(LogDir {
                error_code,
                total_bytes,
                usable_bytes,
                held_bytes,
            });
            Ok(())
        })?;
        Ok(Self {
            error_code,
            dirs,
            topics,
        })
    }
}

/// A DescribeConfigsRequest for these keys of these topics; `None` outside 1-4.
#[must_use]
pub fn topic_configs_request(
    correlation_id: i32,
    version: i16,
    topics: &[&str],
    keys: &[&str],
) -> Option<Vec<u8>> {
    if !(DESCRIBE_CONFIGS_VERSIONS.0..=DESCRIBE_CONFIGS_VERSIONS.1).contains(&version) {
        return None;
    }
    let flexible = ApiKey::DESCRIBE_CONFIGS.is_flexible(version);
    let mut body = Vec::new();
    put_count(&mut body, Some(topics.len()), flexible);
    for topic in topics {
        // Resource type 2 = topic.
        body.push(2);
        put_string(&mut body, topic, flexible);
        put_count(&mut body, Some(keys.len()), flexible);
        for key in keys {
            put_string(&mut body, key, flexible);
        }
        if flexible {
            body.push(0);
        }
    }
    // No synonyms, and from version 3 on no documentation.
    body.push(0);
    if version >= 3 {
        body.push(0);
    }
    if flexible {
        body.push(0);
    }
    let key = ApiKey::DESCRIBE_CONFIGS;
    Some(frame(key, version, correlation_id, &body))
}

/// What a broker says of one topic's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfigs<'a> {
    /// 0 = described.
    pub error_code: i16,
    /// Topic.
    pub topic: &'a str,
    /// (key, value); null where the value is secret or not set.
    pub values: Vec<(&'a str, Option<&'a str>)>,
}

/// Reads the body of a DescribeConfigsResponse.
///
/// # Errors
/// `Version` outside 1-4, else what the fields give.
pub fn topic_configs_response(body: &[u8], version: i16) -> Result<Vec<TopicConfigs<'_>>> {
    let key = ApiKey::DESCRIBE_CONFIGS;
    let r = &mut within(body, key, version, DESCRIBE_CONFIGS_VERSIONS)?;
    throttle(r, true)?;
    let mut topics = Vec::new();
    r.array("results", |r| {
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        r.i8("resource type")?;
        let topic = r.string("resource name")?;
        let mut values = Vec::new();
        r.array("configs", |r| {
            values.push(config(r, version)?);
            Ok(())
        })?;
        r.skip_tagged()?;
        topics.push(TopicConfigs {
            error_code,
            topic,
            values,
        });
        Ok(())
    })?;
    Ok(topics)
}

fn config<'a>(r: &mut Reader<'a>, version: i16) -> Result<(&'a str, Option<&'a str>)> {
    let pair = (r.string("name")?, r.nullable_string("value")?);
    r.bool("read only")?;
    r.i8("config source")?;
    r.bool("is sensitive")?;
    r.array("synonyms", |r| {
        r.nullable_string_bytes("name")?;
        r.nullable_string_bytes("value")?;
        r.i8("source")?;
        r.skip_tagged()
    })?;
    if version >= 3 {
        r.i8("config type")?;
        r.nullable_string_bytes("documentation")?;
    }
    r.skip_tagged()?;
    Ok(pair)
}
