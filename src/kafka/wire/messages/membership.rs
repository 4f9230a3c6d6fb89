//! What our own observer asks and is told about consumer groups: which there are, who is in them, how far they got.
//!
//! Requests are whole frames with their length prefix. Members are counted, never kept: their ids, hosts and assignments
//! are nobody's business here. Must not be used for what passes through; `group` and `offsets` read that.
//!
//! Reference: `ListGroupsRequest.json` (KIP-518 states, KIP-848 types), `DescribeGroupsRequest.json`,
//! `ConsumerGroupDescribeRequest.json` (KIP-848), `ShareGroupDescribeRequest.json` and `DescribeShareGroupOffsetsRequest.json`
//! (KIP-932, KIP-1226), `OffsetFetchRequest.json` (KIP-709), `FindCoordinatorRequest.json`
//! (KIP-699) and their responses.

use super::{
    super::{
        api::ApiKey,
        body::{Topic, throttle},
        error::Result,
        reader::{Reader, TopicRef},
        splice::put_string,
    },
    reading::within,
    requests::{frame, put_count},
};

/// ListGroups versions that are written and read.
pub const LIST_GROUPS_VERSIONS: (i16, i16) = (0, 5);
/// DescribeGroups versions that are written and read.
pub const DESCRIBE_GROUPS_VERSIONS: (i16, i16) = (0, 6);
/// ConsumerGroupDescribe versions that are written and read.
pub const CONSUMER_GROUP_DESCRIBE_VERSIONS: (i16, i16) = (0, 1);
/// ShareGroupDescribe versions that are written and read.
pub const SHARE_GROUP_DESCRIBE_VERSIONS: (i16, i16) = (1, 1);
/// DescribeShareGroupOffsets versions that are written and read.
pub const SHARE_GROUP_OFFSETS_VERSIONS: (i16, i16) = (0, 1);
/// OffsetFetch versions that are written: from 2 on all partitions can be asked for, to 9 topics have names.
pub const OFFSET_FETCH_VERSIONS: (i16, i16) = (2, 9);
/// From this OffsetFetch version on one request asks for several groups.
pub const OFFSET_FETCH_BATCHED: i16 = 8;
/// FindCoordinator versions that are written: those that ask for several groups at once.
pub const FIND_COORDINATOR_VERSIONS: (i16, i16) = (4, 6);

const TAGS_NONE: u8 = 0;

fn offered(version: i16, allowed: (i16, i16)) -> Option<()> {
    (allowed.0..=allowed.1).contains(&version).then_some(())
}

fn put_names(body: &mut Vec<u8>, names: &[&str], flexible: bool) {
    put_count(body, Some(names.len()), flexible);
    for name in names {
        put_string(body, name, flexible);
    }
}

/// A ListGroupsRequest for all groups this broker coordinates; `None` outside 0-5.
#[must_use]
pub fn list_groups_request(correlation_id: i32, version: i16) -> Option<Vec<u8>> {
    offered(version, LIST_GROUPS_VERSIONS)?;
    let mut body = Vec::new();
    let filters = match version {
        ..=3 => 0,
        4 => 1,
        _ => 2,
    };
    for _ in 0..filters {
        put_count(&mut body, Some(0), true);
    }
    if ApiKey::LIST_GROUPS.is_flexible(version) {
        body.push(TAGS_NONE);
    }
    Some(frame(ApiKey::LIST_GROUPS, version, correlation_id, &body))
}

/// A ListGroupsResponse, versions 0-5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGroupsResponse<'a> {
    /// 0 = listed.
    pub error_code: i16,
    /// Groups this principal may describe.
    pub groups: Vec<ListedGroup<'a>>,
}

/// One group of a ListGroupsResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedGroup<'a> {
    /// Group.
    pub group: &'a str,
    /// `consumer`, `connect`, ...; empty where nobody ever joined and only offsets are kept.
    pub protocol_type: &'a str,
    /// `Stable`, `Empty`, ... Added in version 4.
    pub state: Option<&'a str>,
    /// `classic`, `consumer`, `share`, `streams`. Added in version 5.
    pub kind: Option<&'a str>,
}

impl<'a> ListGroupsResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut within(body, ApiKey::LIST_GROUPS, version, LIST_GROUPS_VERSIONS)?;
        throttle(r, version >= 1)?;
        let error_code = r.i16("error code")?;
        let mut groups = Vec::new();
        r.array("groups", |r| {
            groups.push(ListedGroup {
                group: r.string("group id")?,
                protocol_type: r.string("protocol type")?,
                state: since(r, version >= 4, "group state")?,
                kind: since(r, version >= 5, "group type")?,
            });
            r.skip_tagged()
        })?;
        Ok(Self { error_code, groups })
    }
}

fn since<'a>(r: &mut Reader<'a>, present: bool, field: &'static str) -> Result<Option<&'a str>> {
    if present {
        r.string(field).map(Some)
    } else {
        Ok(None)
    }
}

/// A DescribeGroupsRequest; `None` outside 0-6.
#[must_use]
pub fn describe_groups_request(
    correlation_id: i32,
    version: i16,
    groups: &[&str],
) -> Option<Vec<u8>> {
    offered(version, DESCRIBE_GROUPS_VERSIONS)?;
    let flexible = ApiKey::DESCRIBE_GROUPS.is_flexible(version);
    let mut body = Vec::new();
    put_names(&mut body, groups, flexible);
    if version >= 3 {
        // No authorized operations.
        body.push(0);
    }
    if flexible {
        body.push(TAGS_NONE);
    }
    Some(frame(
        ApiKey::DESCRIBE_GROUPS,
        version,
        correlation_id,
        &body,
    ))
}

/// A ConsumerGroupDescribeRequest; `None` outside 0-1.
#[must_use]
pub fn consumer_group_describe_request(
    correlation_id: i32,
    version: i16,
    groups: &[&str],
) -> Option<Vec<u8>> {
    offered(version, CONSUMER_GROUP_DESCRIBE_VERSIONS)?;
    let key = ApiKey::CONSUMER_GROUP_DESCRIBE;
    Some(described_by_name(key, correlation_id, version, groups))
}

/// A ShareGroupDescribeRequest; `None` outside 1.
#[must_use]
pub fn share_group_describe_request(
    correlation_id: i32,
    version: i16,
    groups: &[&str],
) -> Option<Vec<u8>> {
    offered(version, SHARE_GROUP_DESCRIBE_VERSIONS)?;
    let key = ApiKey::SHARE_GROUP_DESCRIBE;
    Some(described_by_name(key, correlation_id, version, groups))
}

fn described_by_name(key: ApiKey, correlation_id: i32, version: i16, groups: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    put_names(&mut body, groups, true);
    // No authorized operations.
    body.extend_from_slice(&[0, TAGS_NONE]);
    frame(key, version, correlation_id, &body)
}

/// What a broker says of the members of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedGroup<'a> {
    /// 0 = described.
    pub error_code: i16,
    /// Group.
    pub group: &'a str,
    /// `Stable`, `Empty`, `Dead`, ...
    pub state: &'a str,
    /// Members now.
    pub members: u32,
}

/// Reads the body of a DescribeGroupsResponse.
///
/// # Errors
/// `Version` outside 0-6, else what the fields give.
pub fn describe_groups_response(body: &[u8], version: i16) -> Result<Vec<DescribedGroup<'_>>> {
    let allowed = DESCRIBE_GROUPS_VERSIONS;
    let r = &mut within(body, ApiKey::DESCRIBE_GROUPS, version, allowed)?;
    throttle(r, version >= 1)?;
    let mut groups = Vec::new();
    r.array("groups", |r| {
        let error_code = r.i16("error code")?;
        if version >= 6 {
            r.nullable_string_bytes("error message")?;
        }
        let (group, state) = (r.string("group id")?, r.string("group state")?);
        r.nullable_string_bytes("protocol type")?;
        r.nullable_string_bytes("protocol data")?;
        let mut members = 0u32;
        r.array("members", |r| {
            members = members.saturating_add(1);
            classic_member(r, version)
        })?;
        if version >= 3 {
            r.i32("authorized operations")?;
        }
        r.skip_tagged()?;
        groups.push(DescribedGroup {
            error_code,
            group,
            state,
            members,
        });
        Ok(())
    })?;
    Ok(groups)
}

fn classic_member(r: &mut Reader<'_>, version: i16) -> Result<()> {
    r.nullable_string_bytes("member id")?;
    if version >= 4 {
        r.nullable_string_bytes("group instance id")?;
    }
    r.nullable_string_bytes("client id")?;
    r.nullable_string_bytes("client host")?;
    r.nullable_bytes("member metadata")?;
    r.nullable_bytes("member assignment")?;
    r.skip_tagged()
}

/// Reads the body of a ConsumerGroupDescribeResponse.
///
/// # Errors
/// `Version` outside 0-1, else what the fields give.
pub fn consumer_group_describe_response(
    body: &[u8],
    version: i16,
) -> Result<Vec<DescribedGroup<'_>>> {
    let (key, allowed) = (
        ApiKey::CONSUMER_GROUP_DESCRIBE,
        CONSUMER_GROUP_DESCRIBE_VERSIONS,
    );
    let r = &mut within(body, key, version, allowed)?;
    described(r, |r| consumer_member(r, version))
}

/// Reads the body of a ShareGroupDescribeResponse.
///
/// # Errors
/// `Version` outside 1, else what the fields give.
pub fn share_group_describe_response(body: &[u8], version: i16) -> Result<Vec<DescribedGroup<'_>>> {
    let (key, allowed) = (ApiKey::SHARE_GROUP_DESCRIBE, SHARE_GROUP_DESCRIBE_VERSIONS);
    let r = &mut within(body, key, version, allowed)?;
    described(r, share_member)
}

fn described<'a>(
    r: &mut Reader<'a>,
    mut member: impl FnMut(&mut Reader<'a>) -> Result<()>,
) -> Result<Vec<DescribedGroup<'a>>> {
    throttle(r, true)?;
    let mut groups = Vec::new();
    r.array("groups", |r| {
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        let (group, state) = (r.string("group id")?, r.string("group state")?);
        r.i32("group epoch")?;
        r.i32("assignment epoch")?;
        r.nullable_string_bytes("assignor name")?;
        let mut members = 0u32;
        r.array("members", |r| {
            members = members.saturating_add(1);
            member(r)
        })?;
        r.i32("authorized operations")?;
        r.skip_tagged()?;
        groups.push(DescribedGroup {
            error_code,
            group,
            state,
            members,
        });
        Ok(())
    })?;
    Ok(groups)
}

fn consumer_member(r: &mut Reader<'_>, version: i16) -> Result<()> {
    for field in ["member id", "instance id", "rack id"] {
        r.nullable_string_bytes(field)?;
    }
    r.i32("member epoch")?;
    r.nullable_string_bytes("client id")?;
    r.nullable_string_bytes("client host")?;
    r.array("subscribed topic names", |r| {
        r.nullable_string_bytes("topic name").map(drop)
    })?;
    r.nullable_string_bytes("subscribed topic regex")?;
    for field in ["assignment", "target assignment"] {
        assignment(r, field)?;
    }
    if version >= 1 {
        r.i8("member type")?;
    }
    r.skip_tagged()
}

fn share_member(r: &mut Reader<'_>) -> Result<()> {
    for field in ["member id", "rack id"] {
        r.nullable_string_bytes(field)?;
    }
    r.i32("member epoch")?;
    r.nullable_string_bytes("client id")?;
    r.nullable_string_bytes("client host")?;
    r.array("subscribed topic names", |r| {
        r.nullable_string_bytes("topic name").map(drop)
    })?;
    assignment(r, "assignment")?;
    r.skip_tagged()
}

fn assignment(r: &mut Reader<'_>, field: &'static str) -> Result<()> {
    r.array(field, |r| {
        r.uuid("topic id")?;
        r.nullable_string_bytes("topic name")?;
        r.array("partitions", |r| r.i32("partition").map(drop))?;
        r.skip_tagged()
    })?;
    r.skip_tagged()
}

/// A DescribeShareGroupOffsetsRequest; `None` outside 0-1.
#[must_use]
pub fn share_group_offsets_request(
    correlation_id: i32,
    version: i16,
    groups: &[AskedPositions<'_>],
) -> Option<Vec<u8>> {
    offered(version, SHARE_GROUP_OFFSETS_VERSIONS)?;
    let mut body = Vec::new();
    put_count(&mut body, Some(groups.len()), true);
    for asked in groups {
        put_string(&mut body, asked.group, true);
        put_asked(&mut body, asked, true);
        body.push(TAGS_NONE);
    }
    body.push(TAGS_NONE);
    let key = ApiKey::DESCRIBE_SHARE_GROUP_OFFSETS;
    Some(frame(key, version, correlation_id, &body))
}

/// How far a share group is in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharePosition {
    /// Partition number.
    pub partition: i32,
    /// First offset that is not settled; `None` = nobody has read yet.
    pub start: Option<i64>,
    /// Records from there on that are not settled, where the broker tells. Added in version 1.
    pub lag: Option<u64>,
    /// 0 = told.
    pub error_code: i16,
}

/// How far one share group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharePositions<'a> {
    /// Group.
    pub group: &'a str,
    /// 0 = told.
    pub error_code: i16,
    /// By topic.
    pub topics: Vec<Topic<'a, SharePosition>>,
}

/// Reads the body of a DescribeShareGroupOffsetsResponse.
///
/// # Errors
/// `Version` outside 0-1, else what the fields give.
pub fn share_group_offsets_response(body: &[u8], version: i16) -> Result<Vec<SharePositions<'_>>> {
    let key = ApiKey::DESCRIBE_SHARE_GROUP_OFFSETS;
    let r = &mut within(body, key, version, SHARE_GROUP_OFFSETS_VERSIONS)?;
    throttle(r, true)?;
    let mut groups = Vec::new();
    r.array("groups", |r| {
        let group = r.string("group id")?;
        let mut topics = Vec::new();
        r.array("topics", |r| {
            let name = r.string("topic name")?;
            r.uuid("topic id")?;
            let mut partitions = Vec::new();
            r.array("partitions", |r| {
                partitions.push(share_position(r, version)?);
                Ok(())
            })?;
            topics.push(Topic {
                topic: TopicRef::Name(name),
                partitions,
            });
            r.skip_tagged()
        })?;
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        groups.push(SharePositions {
            group,
            error_code,
            topics,
        });
        r.skip_tagged()
    })?;
    Ok(groups)
}

fn share_position(r: &mut Reader<'_>, version: i16) -> Result<SharePosition> {
    let partition = r.i32("partition")?;
    let start = r.i64("start offset")?;
    r.i32("leader epoch")?;
    let lag = if version >= 1 { r.i64("lag")? } else { -1 };
    let error_code = r.i16("error code")?;
    r.nullable_string_bytes("error message")?;
    r.skip_tagged()?;
    Ok(SharePosition {
        partition,
        start: (start >= 0).then_some(start),
        lag: u64::try_from(lag).ok(),
        error_code,
    })
}

/// Positions that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPositions<'a> {
    /// Group.
    pub group: &'a str,
    /// Topics with their partitions; `None` = all there are.
    pub topics: Option<Vec<(&'a str, Vec<i32>)>>,
}

fn put_asked(body: &mut Vec<u8>, asked: &AskedPositions<'_>, flexible: bool) {
    let Some(topics) = &asked.topics else {
        put_count(body, None, flexible);
        return;
    };
    put_count(body, Some(topics.len()), flexible);
    for (topic, partitions) in topics {
        put_string(body, topic, flexible);
        put_count(body, Some(partitions.len()), flexible);
        for partition in partitions {
            body.extend_from_slice(&partition.to_be_bytes());
        }
        if flexible {
            body.push(TAGS_NONE);
        }
    }
}

/// An OffsetFetchRequest; `None` outside 2-9, and where a version under [`OFFSET_FETCH_BATCHED`] is given other than one group.
#[must_use]
pub fn offset_fetch_request(
    correlation_id: i32,
    version: i16,
    groups: &[AskedPositions<'_>],
) -> Option<Vec<u8>> {
    offered(version, OFFSET_FETCH_VERSIONS)?;
    let flexible = ApiKey::OFFSET_FETCH.is_flexible(version);
    let mut body = Vec::new();
    if version < OFFSET_FETCH_BATCHED {
        let [asked] = groups else {
            return None;
        };
        put_string(&mut body, asked.group, flexible);
        put_asked(&mut body, asked, flexible);
    } else {
        put_count(&mut body, Some(groups.len()), true);
        for asked in groups {
            put_string(&mut body, asked.group, true);
            if version >= 9 {
                // Not a member: null id, epoch -1.
                body.push(0);
                body.extend_from_slice(&(-1i32).to_be_bytes());
            }
            put_asked(&mut body, asked, true);
            body.push(TAGS_NONE);
        }
    }
    if version >= 7 {
        // Offsets of open transactions are no reason to refuse.
        body.push(0);
    }
    if flexible {
        body.push(TAGS_NONE);
    }
    Some(frame(ApiKey::OFFSET_FETCH, version, correlation_id, &body))
}

/// A FindCoordinatorRequest for these groups; `None` outside 4-6.
#[must_use]
pub fn find_coordinators_request(
    correlation_id: i32,
    version: i16,
    groups: &[&str],
) -> Option<Vec<u8>> {
    offered(version, FIND_COORDINATOR_VERSIONS)?;
    // Key type 0 = group.
    let mut body = vec![0];
    put_names(&mut body, groups, true);
    body.push(TAGS_NONE);
    Some(frame(
        ApiKey::FIND_COORDINATOR,
        version,
        correlation_id,
        &body,
    ))
}
