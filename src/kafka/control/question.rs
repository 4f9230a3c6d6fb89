//! Single questions to one broker, each with the versions it is asked in and the facts its answer gives.
//!
//! Owned facts, so that an answer's bytes are gone before the next is read. Must not route, repeat or wait longer than told:
//! `watch` does.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use super::{
    super::wire::{
        api::ApiKey,
        body::Topic,
        endpoints,
        error::DecodeError,
        frame::response_header_length,
        messages::{
            inventory::{
                ClusterRights, DESCRIBE_CLUSTER_VERSIONS, DESCRIBE_CONFIGS_VERSIONS,
                LOG_DIRS_VERSIONS, LogDirs, describe_cluster_request, log_dirs_request,
                topic_configs_request, topic_configs_response,
            },
            membership::{
                AskedPositions, CONSUMER_GROUP_DESCRIBE_VERSIONS, DESCRIBE_GROUPS_VERSIONS,
                DescribedGroup, FIND_COORDINATOR_VERSIONS, LIST_GROUPS_VERSIONS,
                ListGroupsResponse, OFFSET_FETCH_BATCHED, OFFSET_FETCH_VERSIONS,
                SHARE_GROUP_DESCRIBE_VERSIONS, SHARE_GROUP_OFFSETS_VERSIONS, SharePosition,
                consumer_group_describe_request, consumer_group_describe_response,
                describe_groups_request, describe_groups_response, find_coordinators_request,
                list_groups_request, offset_fetch_request, share_group_describe_request,
                share_group_describe_response, share_group_offsets_request,
                share_group_offsets_response,
            },
            offsets::{CommittedPartition, OffsetFetchResponse},
            reading::{
                EARLIEST, Isolation, LATEST, LIST_OFFSETS_VERSIONS, Start,
                isolated_offsets_request, list_offsets_response,
            },
            requests::oldest_api_versions_request,
        },
        reader::TopicRef,
    },
    ProbeError,
    connection::Connection,
};

/// Groups in one request about members or coordinators.
const GROUPS_PER_REQUEST: usize = 50;
/// Groups in one request for positions: ten thousand of each still fit into an answer.
const POSITIONS_PER_REQUEST: usize = 10;
/// Topics in one DescribeConfigs request.
const TOPICS_PER_REQUEST: usize = 200;
/// Partitions in one ListOffsets request.
const PARTITIONS_PER_REQUEST: usize = 10_000;

/// (topic, partition).
pub type PartitionName = (Arc<str>, i32);

/// Sends a request and reads its answer within `timeout`; gives the body's bytes.
pub(super) async fn exchange(
    connection: &mut Connection,
    timeout: Duration,
    key: ApiKey,
    version: i16,
    request: Option<Vec<u8>>,
) -> Result<Vec<u8>, ProbeError> {
    let request = request.ok_or(unspoken(key))?;
    let answer = tokio::time::timeout(timeout, connection.exchange(&request))
        .await
        .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())))?;
    let header = response_header_length(&answer, key, version)?;
    let mut body = answer;
    body.drain(..header.min(body.len()));
    Ok(body)
}

/// The version to ask in.
pub(super) fn version(
    connection: &Connection,
    key: ApiKey,
    ours: (i16, i16),
) -> Result<i16, ProbeError> {
    connection.version(key, ours).ok_or(unspoken(key))
}

fn unspoken(key: ApiKey) -> ProbeError {
    ProbeError::Unspoken(key.name())
}

/// Whether it answers at all.
pub(super) async fn alive(
    connection: &mut Connection,
    timeout: Duration,
) -> Result<(), ProbeError> {
    let request = oldest_api_versions_request(connection.next_id());
    exchange(connection, timeout, ApiKey::API_VERSIONS, 0, Some(request)).await?;
    Ok(())
}

/// What we may do with the cluster, and the addresses of its brokers, those that are down among them where the version tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Whether we may describe the cluster; `None` = the broker did not say.
    pub may_describe_cluster: Option<bool>,
    /// (node id, host, port).
    pub brokers: Vec<(i32, String, i32)>,
}

pub(super) async fn rights(
    connection: &mut Connection,
    timeout: Duration,
) -> Result<Rights, ProbeError> {
    let key = ApiKey::DESCRIBE_CLUSTER;
    let version = version(connection, key, DESCRIBE_CLUSTER_VERSIONS)?;
    let request = describe_cluster_request(connection.next_id(), version);
    let body = exchange(connection, timeout, key, version, request).await?;
    let told = ClusterRights::read(&body, version)?;
    let brokers = told.brokers.iter();
    Ok(Rights {
        may_describe_cluster: told.may_describe(),
        brokers: brokers
            .map(|(node, host, port)| (*node, (*host).to_owned(), *port))
            .collect(),
    })
}

/// A group as its coordinator lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListed {
    /// Group.
    pub group: Arc<str>,
    /// What it is.
    pub kind: GroupKind,
    /// Nobody ever joined it: its consumers assign themselves and only keep offsets here.
    pub simple: bool,
}

/// How a group is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// By DescribeGroups.
    Classic,
    /// By ConsumerGroupDescribe (KIP-848).
    Consumer,
    /// By ShareGroupDescribe; has offsets of its own (KIP-932).
    Share,
    /// Has members that none of our questions counts (KIP-1071).
    Streams,
}

pub(super) async fn groups(
    connection: &mut Connection,
    timeout: Duration,
) -> Result<Coded<Vec<GroupListed>>, ProbeError> {
    let key = ApiKey::LIST_GROUPS;
    let version = version(connection, key, LIST_GROUPS_VERSIONS)?;
    let request = list_groups_request(connection.next_id(), version);
    let body = exchange(connection, timeout, key, version, request).await?;
    let listed = ListGroupsResponse::read(&body, version)?;
    let groups = listed.groups.iter().map(|group| GroupListed {
        group: group.group.into(),
        kind: match group.kind {
            Some(kind) if kind.eq_ignore_ascii_case("consumer") => GroupKind::Consumer,
            Some(kind) if kind.eq_ignore_ascii_case("share") => GroupKind::Share,
            Some(kind) if kind.eq_ignore_ascii_case("streams") => GroupKind::Streams,
            _ => GroupKind::Classic,
        },
        simple: group.protocol_type.is_empty(),
    });
    Ok(Coded {
        error_code: listed.error_code,
        value: groups.collect(),
    })
}

/// A value, and the error code beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coded<T> {
    /// 0 = none.
    pub error_code: i16,
    /// What was told.
    pub value: T,
}

/// Members of each group asked for, or the error code instead.
pub(super) type MemberCounts = Vec<(Arc<str>, Result<u32, i16>)>;

pub(super) async fn members(
    connection: &mut Connection,
    timeout: Duration,
    groups: &[(Arc<str>, GroupKind)],
) -> Result<MemberCounts, ProbeError> {
    let mut counts = Vec::new();
    for kind in [GroupKind::Classic, GroupKind::Consumer, GroupKind::Share] {
        let of_kind: Vec<&Arc<str>> = groups
            .iter()
            .filter(|(_, k)| *k == kind)
            .map(|(g, _)| g)
            .collect();
        for chunk in of_kind.chunks(GROUPS_PER_REQUEST) {
            let names: Vec<&str> = chunk.iter().map(|name| &***name).collect();
            let Describing {
                key,
                versions,
                request,
                response,
            } = describing(kind);
            let version = version(connection, key, versions)?;
            let request = request(connection.next_id(), version, &names);
            let body = exchange(connection, timeout, key, version, request).await?;
            let told = response(&body, version)?;
            counts.extend(chunk.iter().filter_map(|name| count(name, &told)));
        }
    }
    Ok(counts)
}

/// How groups of a kind are described.
struct Describing {
    key: ApiKey,
    versions: (i16, i16),
    request: fn(i32, i16, &[&str]) -> Option<Vec<u8>>,
    response: fn(&[u8], i16) -> Result<Vec<DescribedGroup<'_>>, DecodeError>,
}

fn describing(kind: GroupKind) -> Describing {
    match kind {
        GroupKind::Classic | GroupKind::Streams => Describing {
            key: ApiKey::DESCRIBE_GROUPS,
            versions: DESCRIBE_GROUPS_VERSIONS,
            request: describe_groups_request,
            response: describe_groups_response,
        },
        GroupKind::Consumer => Describing {
            key: ApiKey::CONSUMER_GROUP_DESCRIBE,
            versions: CONSUMER_GROUP_DESCRIBE_VERSIONS,
            request: consumer_group_describe_request,
            response: consumer_group_describe_response,
        },
        GroupKind::Share => Describing {
            key: ApiKey::SHARE_GROUP_DESCRIBE,
            versions: SHARE_GROUP_DESCRIBE_VERSIONS,
            request: share_group_describe_request,
            response: share_group_describe_response,
        },
    }
}

fn count(name: &Arc<str>, told: &[DescribedGroup<'_>]) -> Option<(Arc<str>, Result<u32, i16>)> {
    let found = told.iter().find(|group| group.group == &**name)?;
    let members = match found.error_code {
        0 => Ok(found.members),
        // GROUP_ID_NOT_FOUND (KIP-1043): gone, or without a member that this API knows.
        69 => Ok(0),
        code => Err(code),
    };
    Some((Arc::clone(name), members))
}

/// Positions of one group, or the error code instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPositions {
    /// Group.
    pub group: Arc<str>,
    /// Partitions with a committed offset; of share groups, with the first offset that is not settled.
    pub positions: Result<Vec<(PartitionName, i64)>, i16>,
    /// Share groups: of each position, how many records from there on are not settled, [`u64::MAX`] = not told. Others: empty.
    pub unsettled: Vec<u64>,
}

/// Topics and their number of partitions, shared by all groups that are asked for them.
pub type TopicList = Arc<Vec<(Arc<str>, i32)>>;

/// A group whose positions are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedGroup {
    /// Group.
    pub group: Arc<str>,
    /// A share group.
    pub share: bool,
    /// Topics and their number of partitions; `None` = all there are, which a broker's audit log calls a denial of each that
    /// may not be described.
    pub topics: Option<TopicList>,
}

impl AskedGroup {
    /// What the request will hold.
    fn entries(&self) -> usize {
        let topics = self.topics.iter().flat_map(|topics| topics.iter());
        let partitions = topics.map(|(_, count)| usize::try_from(*count).unwrap_or(0));
        partitions.sum::<usize>().saturating_add(1)
    }
}

/// As many groups as fit into one request, at least one.
fn fitting(groups: &[&AskedGroup], batched: bool) -> usize {
    let mut entries = 0usize;
    let fits = groups.iter().take_while(|group| {
        entries = entries.saturating_add(group.entries());
        entries <= PARTITIONS_PER_REQUEST
    });
    let count = fits.count().min(POSITIONS_PER_REQUEST);
    if batched { count.max(1) } else { 1 }
}

/// `names` are the topics there are, so that each name is held once.
pub(super) async fn positions(
    connection: &mut Connection,
    timeout: Duration,
    groups: &[AskedGroup],
    names: &HashMap<Arc<str>, ()>,
) -> Result<Vec<GroupPositions>, ProbeError> {
    let (shares, others): (Vec<&AskedGroup>, Vec<&AskedGroup>) =
        groups.iter().partition(|group| group.share);
    let mut all = Vec::new();
    if !others.is_empty() {
        all = committed_positions(connection, timeout, &others, names).await?;
    }
    if !shares.is_empty() {
        all.extend(share_positions(connection, timeout, &shares, names).await?);
    }
    Ok(all)
}

async fn committed_positions(
    connection: &mut Connection,
    timeout: Duration,
    groups: &[&AskedGroup],
    names: &HashMap<Arc<str>, ()>,
) -> Result<Vec<GroupPositions>, ProbeError> {
    let key = ApiKey::OFFSET_FETCH;
    let version = version(connection, key, OFFSET_FETCH_VERSIONS)?;
    let batched = version >= OFFSET_FETCH_BATCHED;
    let mut all = Vec::new();
    let mut rest = groups;
    while let Some((chunk, behind)) = rest.split_at_checked(fitting(rest, batched)) {
        if chunk.is_empty() {
            break;
        }
        rest = behind;
        let asked: Vec<AskedPositions<'_>> =
            chunk.iter().map(|group| asked_positions(group)).collect();
        let request = offset_fetch_request(connection.next_id(), version, &asked);
        let body = exchange(connection, timeout, key, version, request).await?;
        let told = OffsetFetchResponse::read(&body, version)?;
        for group in &told.groups {
            let of = chunk
                .iter()
                .find(|asked| group.group.is_none_or(|told| told == &*asked.group));
            let Some(of) = of else { continue };
            let positions = if group.error_code == 0 {
                Ok(known_positions(&group.topics, names))
            } else {
                Err(group.error_code)
            };
            all.push(GroupPositions {
                group: Arc::clone(&of.group),
                positions,
                unsettled: Vec::new(),
            });
        }
    }
    Ok(all)
}

async fn share_positions(
    connection: &mut Connection,
    timeout: Duration,
    groups: &[&AskedGroup],
    names: &HashMap<Arc<str>, ()>,
) -> Result<Vec<GroupPositions>, ProbeError> {
    let key = ApiKey::DESCRIBE_SHARE_GROUP_OFFSETS;
    let version = version(connection, key, SHARE_GROUP_OFFSETS_VERSIONS)?;
    let mut all = Vec::new();
    let mut rest = groups;
    while let Some((chunk, behind)) = rest.split_at_checked(fitting(rest, true).min(rest.len())) {
        if chunk.is_empty() {
            break;
        }
        rest = behind;
        let asked: Vec<AskedPositions<'_>> =
            chunk.iter().map(|group| asked_positions(group)).collect();
        let request = share_group_offsets_request(connection.next_id(), version, &asked);
        let body = exchange(connection, timeout, key, version, request).await?;
        for group in share_group_offsets_response(&body, version)? {
            let Some(of) = chunk.iter().find(|asked| group.group == &*asked.group) else {
                continue;
            };
            let (positions, unsettled) = known_share_positions(&group.topics, names);
            all.push(GroupPositions {
                group: Arc::clone(&of.group),
                positions: match group.error_code {
                    0 => Ok(positions),
                    code => Err(code),
                },
                unsettled,
            });
        }
    }
    Ok(all)
}

/// What is told of each partition of a topic there is, (topic, what).
fn known<'t, P>(
    topics: &'t [Topic<'_, P>],
    names: &'t HashMap<Arc<str>, ()>,
) -> impl Iterator<Item = (&'t Arc<str>, &'t P)> {
    topics.iter().flat_map(|topic| {
        let name = match topic.topic {
            TopicRef::Name(name) => names.get_key_value(name),
            TopicRef::Id(_) => None,
        };
        let all = name.map(|(name, ())| topic.partitions.iter().map(move |told| (name, told)));
        all.into_iter().flatten()
    })
}

/// Where a share group is, and what is unsettled behind each position.
fn known_share_positions(
    topics: &[Topic<'_, SharePosition>],
    names: &HashMap<Arc<str>, ()>,
) -> (Vec<(PartitionName, i64)>, Vec<u64>) {
    let all = known(topics, names).filter(|(_, told)| told.error_code == 0);
    all.filter_map(|(name, told)| {
        let position = ((Arc::clone(name), told.partition), told.start?);
        Some((position, told.lag.unwrap_or(u64::MAX)))
    })
    .unzip()
}

fn asked_positions(asked: &AskedGroup) -> AskedPositions<'_> {
    let topics = asked.topics.as_ref().map(|topics| {
        let all = topics.iter();
        all.map(|(topic, count)| (&**topic, (0..*count).collect()))
            .collect()
    });
    AskedPositions {
        group: &asked.group,
        topics,
    }
}

fn known_positions(
    topics: &[Topic<'_, CommittedPartition>],
    names: &HashMap<Arc<str>, ()>,
) -> Vec<(PartitionName, i64)> {
    let all = known(topics, names).filter(|(_, told)| told.error_code == 0);
    all.filter_map(|(name, told)| Some(((Arc::clone(name), told.partition), told.offset?)))
        .collect()
}

/// Coordinators of groups: (group, node id or error code).
pub(super) async fn coordinators(
    connection: &mut Connection,
    timeout: Duration,
    groups: &[Arc<str>],
) -> Result<Vec<(Arc<str>, Result<i32, i16>)>, ProbeError> {
    let key = ApiKey::FIND_COORDINATOR;
    let version = version(connection, key, FIND_COORDINATOR_VERSIONS)?;
    let mut all = Vec::new();
    for chunk in groups.chunks(GROUPS_PER_REQUEST) {
        let asked: Vec<&str> = chunk.iter().map(|name| &**name).collect();
        let request = find_coordinators_request(connection.next_id(), version, &asked);
        let body = exchange(connection, timeout, key, version, request).await?;
        let told = endpoints::find_coordinator(&body, version)?;
        for found in &told.coordinators {
            let name = chunk.iter().find(|name| Some(&***name) == found.key);
            let at = match found.error_code {
                0 => Ok(found.node_id),
                code => Err(code),
            };
            all.extend(name.map(|name| (Arc::clone(name), at)));
        }
    }
    Ok(all)
}

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// The first there is.
    Start,
    /// The first open transaction, else the end.
    Stable,
    /// The high watermark.
    End,
}

/// Offsets or error codes.
pub(super) type Edges = Vec<(PartitionName, Result<i64, i16>)>;

pub(super) async fn edges(
    connection: &mut Connection,
    timeout: Duration,
    edge: Edge,
    partitions: &[PartitionName],
) -> Result<Edges, ProbeError> {
    let key = ApiKey::LIST_OFFSETS;
    let version = version(connection, key, LIST_OFFSETS_VERSIONS)?;
    let (at, isolation) = match edge {
        Edge::Start => (EARLIEST, Isolation::Uncommitted),
        Edge::Stable => (LATEST, Isolation::Committed),
        Edge::End => (LATEST, Isolation::Uncommitted),
    };
    let mut all = Vec::new();
    for chunk in partitions.chunks(PARTITIONS_PER_REQUEST) {
        let mut names: HashMap<&str, &Arc<str>> = HashMap::new();
        let mut asked: Vec<(&str, Vec<Start>)> = Vec::new();
        for (topic, partition) in chunk {
            let start = Start {
                partition: *partition,
                at,
            };
            match asked.last_mut() {
                Some((last, starts)) if *last == &**topic => starts.push(start),
                _ => asked.push((topic, vec![start])),
            }
            names.insert(topic, topic);
        }
        let request = isolated_offsets_request(connection.next_id(), version, isolation, &asked);
        let body = exchange(connection, timeout, key, version, request).await?;
        for topic in list_offsets_response(&body, version)? {
            let TopicRef::Name(name) = topic.topic else {
                continue;
            };
            let Some(name) = names.get(name) else {
                continue;
            };
            all.extend(topic.partitions.iter().map(|found| {
                let offset = match found.error_code {
                    0 => Ok(found.offset),
                    code => Err(code),
                };
                ((Arc::clone(name), found.partition), offset)
            }));
        }
    }
    Ok(all)
}

/// Every topic that has a partition on one broker, those among them that we may not describe.
pub(super) async fn stored_topics(
    connection: &mut Connection,
    timeout: Duration,
) -> Result<Coded<BTreeSet<String>>, ProbeError> {
    let key = ApiKey::DESCRIBE_LOG_DIRS;
    let version = version(connection, key, LOG_DIRS_VERSIONS)?;
    let request = log_dirs_request(connection.next_id(), version, true);
    let body = exchange(connection, timeout, key, version, request).await?;
    let told = LogDirs::read(&body, version)?;
    Ok(Coded {
        error_code: told.error_code,
        value: told.topics.iter().map(|name| (*name).to_owned()).collect(),
    })
}

/// A disk of a broker that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Size and free bytes of its volume, from Kafka 3.3 on.
    pub volume: Option<(i64, i64)>,
    /// Bytes of the partitions on it, where they were asked for.
    pub held_bytes: i64,
}

/// Disks of one broker, with what is on them or without.
pub(super) async fn log_dirs(
    connection: &mut Connection,
    timeout: Duration,
    held: bool,
) -> Result<Coded<Vec<Disk>>, ProbeError> {
    let key = ApiKey::DESCRIBE_LOG_DIRS;
    let version = version(connection, key, LOG_DIRS_VERSIONS)?;
    let request = log_dirs_request(connection.next_id(), version, held);
    let body = exchange(connection, timeout, key, version, request).await?;
    let told = LogDirs::read(&body, version)?;
    let dirs = told.dirs.iter().filter(|dir| dir.error_code == 0);
    Ok(Coded {
        error_code: told.error_code,
        value: dirs
            .map(|dir| Disk {
                volume: (dir.total_bytes > 0 && dir.usable_bytes >= 0)
                    .then_some((dir.total_bytes, dir.usable_bytes)),
                held_bytes: dir.held_bytes,
            })
            .collect(),
    })
}

/// How a topic forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Old segments are deleted; `false` = only compacted.
    pub deletes: bool,
    /// Age at which they are, ms; `None` = no limit.
    pub age_ms: Option<i64>,
    /// Whether they are where a partition grows too large.
    pub by_size: bool,
}

impl Retention {
    /// Whether anything is deleted that nobody may have read.
    #[must_use]
    pub const fn trims(&self) -> bool {
        self.deletes && (self.by_size || self.age_ms.is_some())
    }
}

/// Retention of topics, or error codes.
pub(super) async fn retentions(
    connection: &mut Connection,
    timeout: Duration,
    topics: &[Arc<str>],
) -> Result<Vec<(Arc<str>, Result<Retention, i16>)>, ProbeError> {
    let key = ApiKey::DESCRIBE_CONFIGS;
    let version = version(connection, key, DESCRIBE_CONFIGS_VERSIONS)?;
    let mut all = Vec::new();
    for chunk in topics.chunks(TOPICS_PER_REQUEST) {
        let asked: Vec<&str> = chunk.iter().map(|name| &**name).collect();
        let keys = ["cleanup.policy", "retention.ms", "retention.bytes"];
        let request = topic_configs_request(connection.next_id(), version, &asked, &keys);
        let body = exchange(connection, timeout, key, version, request).await?;
        for told in topic_configs_response(&body, version)? {
            let Some(name) = chunk.iter().find(|name| &***name == told.topic) else {
                continue;
            };
            let retention = match told.error_code {
                0 => Ok(retention(&told.values)),
                code => Err(code),
            };
            all.push((Arc::clone(name), retention));
        }
    }
    Ok(all)
}

fn retention(values: &[(&str, Option<&str>)]) -> Retention {
    let value = |key: &str| {
        let found = values.iter().find(|(name, _)| *name == key);
        found.and_then(|(_, value)| *value)
    };
    let number = |key: &str| value(key).and_then(|text| text.parse::<i64>().ok());
    Retention {
        deletes: value("cleanup.policy").is_some_and(|policy| policy.contains("delete")),
        age_ms: number("retention.ms").filter(|ms| *ms >= 0),
        by_size: number("retention.bytes").is_some_and(|bytes| bytes >= 0),
    }
}
