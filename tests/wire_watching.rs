//! What our own observer asks and is told, against Kafka's schemas and the `kafka-protocol` crate.
//!
//! Requests must be the bytes the schema writes, and must decode in the crate; answers are drawn at random, as in `wire_oracle`,
//! and cut off at every byte: a fault, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod oracle;
mod support;

use kafka_protocol::messages as theirs;
use oracle::{Crate, SCHEMAS, every, ints, known, list, n, num, raw, text};
use serde_json::{Value, json};
use throughline::kafka::wire::{
    api::ApiKey,
    error::Result,
    frame::request_header,
    messages::{
        inventory::{
            ClusterRights, DESCRIBE_CLUSTER_VERSIONS, DESCRIBE_CONFIGS_VERSIONS, LAYOUT_VERSIONS,
            LOG_DIRS_VERSIONS, Layout, LogDirs, allows, describe_cluster_request, log_dirs_request,
            topic_configs_request, topic_configs_response,
        },
        login::{
            LoginStep, SASL_AUTHENTICATE_VERSIONS, sasl_authenticate_request,
            sasl_handshake_request,
        },
        membership::{
            AskedPositions, CONSUMER_GROUP_DESCRIBE_VERSIONS, DESCRIBE_GROUPS_VERSIONS,
            DescribedGroup, FIND_COORDINATOR_VERSIONS, LIST_GROUPS_VERSIONS, ListGroupsResponse,
            ListedGroup, OFFSET_FETCH_VERSIONS, SHARE_GROUP_DESCRIBE_VERSIONS,
            SHARE_GROUP_OFFSETS_VERSIONS, SharePosition, consumer_group_describe_request,
            consumer_group_describe_response, describe_groups_request, describe_groups_response,
            find_coordinators_request, list_groups_request, offset_fetch_request,
            share_group_describe_request, share_group_describe_response,
            share_group_offsets_request, share_group_offsets_response,
        },
        reading::{Isolation, LATEST, LIST_OFFSETS_VERSIONS, Start, isolated_offsets_request},
        requests::topic_rights_request,
    },
    reader::TopicRef,
};

/// Holds a request of every version against the schema and the crate; one version further is none.
fn asks(
    name: &str,
    key: ApiKey,
    versions: (i16, i16),
    crate_type: Option<Crate>,
    value: impl Fn(i16) -> Value,
    write: impl Fn(i16) -> Option<Vec<u8>>,
) {
    for version in versions.0..=versions.1 {
        let frame = write(version).unwrap();
        let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), frame.len() - 4);
        let header = request_header(&frame[4..]).unwrap();
        assert_eq!((header.api, header.version), (key, version), "{name}");
        assert_eq!(header.correlation_id, 9);
        let body = &frame[4 + header.length..];
        let schema = &SCHEMAS[&format!("{name}Request")];
        assert_eq!(
            body,
            schema.encode(version, &value(version)),
            "{name} v{version}"
        );
        if let Some((first, last, again)) = crate_type
            && (first..=last).contains(&version)
        {
            assert_eq!(again(body, version), body, "{name} v{version}");
        }
    }
    for version in [versions.0 - 1, versions.1 + 1] {
        assert_eq!(write(version), None, "{name} v{version}");
    }
}

/// Draws answers of these versions; what is cut off is a fault.
fn told(
    name: &str,
    versions: (i16, i16),
    crate_type: Option<Crate>,
    check: impl Fn(&[u8], i16, &Value),
    read: impl Fn(&[u8], i16) -> Result<()>,
) {
    every(name, crate_type, |body, version, v| {
        let known = (versions.0..=versions.1).contains(&version);
        assert_eq!(read(body, version).is_ok(), known, "{name} v{version} {v}");
        if known {
            check(body, version, v);
            for end in 0..body.len().min(200) {
                let faulty = read(&body[..end], version).is_err();
                assert!(faulty || end > 0, "nothing read as v{version}");
            }
        }
    });
}

#[test]
fn requests_about_groups_are_what_the_schema_writes() {
    let names = ["payments", "a.b_c"];
    asks(
        "ListGroups",
        ApiKey::LIST_GROUPS,
        LIST_GROUPS_VERSIONS,
        known::<theirs::ListGroupsRequest>(),
        |_| json!({"StatesFilter": [], "TypesFilter": []}),
        |version| list_groups_request(9, version),
    );
    asks(
        "DescribeGroups",
        ApiKey::DESCRIBE_GROUPS,
        DESCRIBE_GROUPS_VERSIONS,
        known::<theirs::DescribeGroupsRequest>(),
        |_| json!({"Groups": names, "IncludeAuthorizedOperations": false}),
        |version| describe_groups_request(9, version, &names),
    );
    asks(
        "ConsumerGroupDescribe",
        ApiKey::CONSUMER_GROUP_DESCRIBE,
        CONSUMER_GROUP_DESCRIBE_VERSIONS,
        known::<theirs::ConsumerGroupDescribeRequest>(),
        |_| json!({"GroupIds": names, "IncludeAuthorizedOperations": false}),
        |version| consumer_group_describe_request(9, version, &names),
    );
    asks(
        "ShareGroupDescribe",
        ApiKey::SHARE_GROUP_DESCRIBE,
        SHARE_GROUP_DESCRIBE_VERSIONS,
        known::<theirs::ShareGroupDescribeRequest>(),
        |_| json!({"GroupIds": names, "IncludeAuthorizedOperations": false}),
        |version| share_group_describe_request(9, version, &names),
    );
    asks(
        "FindCoordinator",
        ApiKey::FIND_COORDINATOR,
        FIND_COORDINATOR_VERSIONS,
        known::<theirs::FindCoordinatorRequest>(),
        |_| json!({"KeyType": 0, "CoordinatorKeys": names}),
        |version| find_coordinators_request(9, version, &names),
    );
}

#[test]
fn requests_for_positions_are_what_the_schema_writes() {
    let names = ["payments", "a.b_c"];
    let all = |groups: &[&'static str]| -> Vec<AskedPositions<'static>> {
        let asked = groups.iter();
        asked
            .map(|group| AskedPositions {
                group,
                topics: None,
            })
            .collect()
    };
    let one = |version: i16| if version < 8 { &names[..1] } else { &names[..] };
    let group =
        |name: &&str| json!({"GroupId": name, "MemberId": null, "MemberEpoch": -1, "Topics": null});
    asks(
        "OffsetFetch",
        ApiKey::OFFSET_FETCH,
        OFFSET_FETCH_VERSIONS,
        known::<theirs::OffsetFetchRequest>(),
        |version| {
            let groups: Vec<Value> = one(version).iter().map(group).collect();
            json!({"GroupId": names[0], "Topics": null, "Groups": groups, "RequireStable": false})
        },
        |version| offset_fetch_request(9, version, &all(one(version))),
    );
    assert_eq!(offset_fetch_request(9, 7, &all(&names)), None);
    let topic = json!({"Name": "orders", "PartitionIndexes": [0, 1, 2]});
    asks(
        "OffsetFetch",
        ApiKey::OFFSET_FETCH,
        OFFSET_FETCH_VERSIONS,
        known::<theirs::OffsetFetchRequest>(),
        |_| {
            let group =
                json!({"GroupId": "g", "MemberId": null, "MemberEpoch": -1, "Topics": [topic]});
            json!({"GroupId": "g", "Topics": [topic], "Groups": [group], "RequireStable": false})
        },
        |version| {
            let topics = Some(vec![("orders", vec![0, 1, 2])]);
            offset_fetch_request(9, version, &[AskedPositions { group: "g", topics }])
        },
    );
    let topic = json!({"TopicName": "orders", "Partitions": [0, 1, 2]});
    asks(
        "DescribeShareGroupOffsets",
        ApiKey::DESCRIBE_SHARE_GROUP_OFFSETS,
        SHARE_GROUP_OFFSETS_VERSIONS,
        known::<theirs::DescribeShareGroupOffsetsRequest>(),
        |_| {
            let all = json!({"GroupId": "payments", "Topics": null});
            json!({"Groups": [all, {"GroupId": "g", "Topics": [topic]}]})
        },
        |version| {
            let asked = |group, topics| AskedPositions { group, topics };
            let of = vec![("orders", vec![0, 1, 2])];
            let groups = [asked("payments", None), asked("g", Some(of))];
            share_group_offsets_request(9, version, &groups)
        },
    );
}

#[test]
fn requests_about_the_cluster_are_what_the_schema_writes() {
    asks(
        "DescribeCluster",
        ApiKey::DESCRIBE_CLUSTER,
        DESCRIBE_CLUSTER_VERSIONS,
        known::<theirs::DescribeClusterRequest>(),
        |_| {
            json!({
                "IncludeClusterAuthorizedOperations": true, "EndpointType": 1, "IncludeFencedBrokers": true,
            })
        },
        |version| describe_cluster_request(9, version),
    );
    asks(
        "DescribeLogDirs",
        ApiKey::DESCRIBE_LOG_DIRS,
        LOG_DIRS_VERSIONS,
        known::<theirs::DescribeLogDirsRequest>(),
        |_| json!({"Topics": []}),
        |version| log_dirs_request(9, version, false),
    );
    asks(
        "DescribeLogDirs",
        ApiKey::DESCRIBE_LOG_DIRS,
        LOG_DIRS_VERSIONS,
        known::<theirs::DescribeLogDirsRequest>(),
        |_| json!({"Topics": null}),
        |version| log_dirs_request(9, version, true),
    );
    let keys = ["retention.ms", "cleanup.policy"];
    let topic =
        |name: &str| json!({"ResourceType": 2, "ResourceName": name, "ConfigurationKeys": keys});
    asks(
        "DescribeConfigs",
        ApiKey::DESCRIBE_CONFIGS,
        DESCRIBE_CONFIGS_VERSIONS,
        known::<theirs::DescribeConfigsRequest>(),
        |_| {
            json!({
                "Resources": [topic("a"), topic("b")],
                "IncludeSynonyms": false, "IncludeDocumentation": false,
            })
        },
        |version| topic_configs_request(9, version, &["a", "b"], &keys),
    );
    asks(
        "Metadata",
        ApiKey::METADATA,
        (4, 13),
        known::<theirs::MetadataRequest>(),
        |_| {
            json!({
                "Topics": null, "AllowAutoTopicCreation": false,
                "IncludeClusterAuthorizedOperations": false, "IncludeTopicAuthorizedOperations": true,
            })
        },
        |version| topic_rights_request(9, version).filter(|_| version >= 4),
    );
}

#[test]
fn requests_to_log_in_are_what_the_schema_writes() {
    asks(
        "SaslHandshake",
        ApiKey::SASL_HANDSHAKE,
        (1, 1),
        known::<theirs::SaslHandshakeRequest>(),
        |_| json!({"Mechanism": "SCRAM-SHA-512"}),
        |version| (version == 1).then(|| sasl_handshake_request(9, "SCRAM-SHA-512")),
    );
    asks(
        "SaslAuthenticate",
        ApiKey::SASL_AUTHENTICATE,
        SASL_AUTHENTICATE_VERSIONS,
        known::<theirs::SaslAuthenticateRequest>(),
        |_| json!({"AuthBytes": b"n,,n=a,r=b"}),
        |version| sasl_authenticate_request(9, version, b"n,,n=a,r=b"),
    );
    told(
        "SaslAuthenticateResponse",
        SASL_AUTHENTICATE_VERSIONS,
        known::<theirs::SaslAuthenticateResponse>(),
        |body, version, v| {
            let read = LoginStep::read(body, version).unwrap();
            assert_eq!(read.error_code, n::<i16>(v, "ErrorCode"));
            assert_eq!(read.token, raw(v, "AuthBytes"));
        },
        |body, version| LoginStep::read(body, version).map(drop),
    );
}

#[test]
fn the_end_of_a_partition_is_asked_for_in_both_isolation_levels() {
    let start = Start {
        partition: 3,
        at: LATEST,
    };
    let asked = [("orders", vec![start])];
    for (isolation, level) in [(Isolation::Uncommitted, 0), (Isolation::Committed, 1)] {
        asks(
            "ListOffsets",
            ApiKey::LIST_OFFSETS,
            LIST_OFFSETS_VERSIONS,
            known::<theirs::ListOffsetsRequest>(),
            |_| {
                let partition =
                    json!({"PartitionIndex": 3, "CurrentLeaderEpoch": -1, "Timestamp": -1});
                let topic = json!({"Name": "orders", "Partitions": [partition]});
                json!({"ReplicaId": -1, "IsolationLevel": level, "Topics": [topic]})
            },
            |version| isolated_offsets_request(9, version, isolation, &asked),
        );
    }
}

#[test]
fn answers_about_groups_read_as_the_schema_writes_them() {
    told(
        "ListGroupsResponse",
        LIST_GROUPS_VERSIONS,
        known::<theirs::ListGroupsResponse>(),
        |body, version, v| {
            let read = ListGroupsResponse::read(body, version).unwrap();
            let groups = list(v, "Groups").iter().map(|g| ListedGroup {
                group: text(g, "GroupId").unwrap(),
                protocol_type: text(g, "ProtocolType").unwrap(),
                state: text(g, "GroupState"),
                kind: text(g, "GroupType"),
            });
            let groups: Vec<_> = groups.collect();
            assert_eq!(read.error_code, n::<i16>(v, "ErrorCode"));
            assert_eq!(read.groups, groups);
        },
        |body, version| ListGroupsResponse::read(body, version).map(drop),
    );
    let described = |v: &Value, read: Vec<DescribedGroup<'_>>| {
        let groups = list(v, "Groups").iter().map(|g| DescribedGroup {
            error_code: n(g, "ErrorCode"),
            group: text(g, "GroupId").unwrap(),
            state: text(g, "GroupState").unwrap(),
            members: u32::try_from(list(g, "Members").len()).unwrap(),
        });
        assert_eq!(read, groups.collect::<Vec<_>>());
    };
    told(
        "DescribeGroupsResponse",
        DESCRIBE_GROUPS_VERSIONS,
        known::<theirs::DescribeGroupsResponse>(),
        |body, version, v| described(v, describe_groups_response(body, version).unwrap()),
        |body, version| describe_groups_response(body, version).map(drop),
    );
    told(
        "ConsumerGroupDescribeResponse",
        CONSUMER_GROUP_DESCRIBE_VERSIONS,
        known::<theirs::ConsumerGroupDescribeResponse>(),
        |body, version, v| {
            described(v, consumer_group_describe_response(body, version).unwrap());
        },
        |body, version| consumer_group_describe_response(body, version).map(drop),
    );
    told(
        "ShareGroupDescribeResponse",
        SHARE_GROUP_DESCRIBE_VERSIONS,
        known::<theirs::ShareGroupDescribeResponse>(),
        |body, version, v| {
            described(v, share_group_describe_response(body, version).unwrap());
        },
        |body, version| share_group_describe_response(body, version).map(drop),
    );
    told(
        "DescribeShareGroupOffsetsResponse",
        SHARE_GROUP_OFFSETS_VERSIONS,
        known::<theirs::DescribeShareGroupOffsetsResponse>(),
        |body, version, v| {
            let position = |p: &Value| SharePosition {
                partition: n(p, "PartitionIndex"),
                start: num::<i64>(p, "StartOffset").filter(|at| *at >= 0),
                lag: num::<i64>(p, "Lag").and_then(|lag| u64::try_from(lag).ok()),
                error_code: n(p, "ErrorCode"),
            };
            let topic = |t: &'_ Value| -> Vec<SharePosition> {
                list(t, "Partitions").iter().map(position).collect()
            };
            let read = share_group_offsets_response(body, version).unwrap();
            let groups = list(v, "Groups");
            assert_eq!(read.len(), groups.len());
            for (read, group) in read.iter().zip(groups) {
                assert_eq!(Some(read.group), text(group, "GroupId"));
                assert_eq!(read.error_code, n::<i16>(group, "ErrorCode"));
                let topics = list(group, "Topics");
                assert_eq!(read.topics.len(), topics.len());
                for (read, of) in read.topics.iter().zip(topics) {
                    assert_eq!(read.topic, TopicRef::Name(text(of, "TopicName").unwrap()));
                    assert_eq!(read.partitions, topic(of));
                }
            }
        },
        |body, version| share_group_offsets_response(body, version).map(drop),
    );
}

#[test]
fn layouts_read_as_the_schema_writes_them() {
    every(
        "MetadataResponse",
        known::<theirs::MetadataResponse>(),
        |body, version, v| {
            if version < LAYOUT_VERSIONS.0 {
                return;
            }
            let read = Layout::read(body, version).unwrap();
            let brokers: Vec<_> = list(v, "Brokers")
                .iter()
                .map(|b| (n(b, "NodeId"), text(b, "Host").unwrap(), n(b, "Port")))
                .collect();
            assert_eq!(read.brokers, brokers);
            assert_eq!(read.cluster_id, text(v, "ClusterId"));
            let topics = list(v, "Topics");
            assert_eq!(read.topics.len(), topics.len());
            for (read, v) in read.topics.iter().zip(topics) {
                assert_eq!(read.name, text(v, "Name"));
                let id = raw(v, "TopicId");
                let id: [u8; 16] = id.try_into().unwrap_or_default();
                assert_eq!(read.id, id);
                let operations = num(v, "TopicAuthorizedOperations").unwrap_or(i32::MIN);
                assert_eq!(read.operations, operations);
                let partitions = list(v, "Partitions");
                assert_eq!(read.partitions.len(), partitions.len());
                for (read, v) in read.partitions.iter().zip(partitions) {
                    assert_eq!(read.partition, n::<i32>(v, "PartitionIndex"));
                    assert_eq!(read.leader, n::<i32>(v, "LeaderId"));
                    assert_eq!(read.replicas, ints(v, "ReplicaNodes"));
                    let in_sync = u32::try_from(list(v, "IsrNodes").len()).unwrap();
                    assert_eq!(read.in_sync, in_sync);
                }
            }
        },
    );
}

#[test]
fn answers_about_the_cluster_read_as_the_schema_writes_them() {
    told(
        "DescribeClusterResponse",
        DESCRIBE_CLUSTER_VERSIONS,
        known::<theirs::DescribeClusterResponse>(),
        |body, version, v| {
            let read = ClusterRights::read(body, version).unwrap();
            assert_eq!(read.brokers.len(), list(v, "Brokers").len());
            assert_eq!(read.operations, n::<i32>(v, "ClusterAuthorizedOperations"));
        },
        |body, version| ClusterRights::read(body, version).map(drop),
    );
    assert_eq!(allows(1 << 8, 8), Some(true));
    assert_eq!(allows(1 << 8, 3), Some(false));
    assert_eq!(allows(i32::MIN, 8), None);
    told(
        "DescribeLogDirsResponse",
        LOG_DIRS_VERSIONS,
        known::<theirs::DescribeLogDirsResponse>(),
        |body, version, v| {
            let read = LogDirs::read(body, version).unwrap();
            let dirs: Vec<(i64, i64)> = list(v, "Results")
                .iter()
                .map(|d| {
                    let volume = |name| num::<i64>(d, name).unwrap_or(-1);
                    (volume("TotalBytes"), volume("UsableBytes"))
                })
                .collect();
            let topics: Vec<&str> = list(v, "Results")
                .iter()
                .flat_map(|d| list(d, "Topics"))
                .map(|t| text(t, "Name").unwrap())
                .collect();
            assert_eq!(read.topics, topics);
            let held = list(v, "Results").iter().map(|d| {
                let partitions = list(d, "Topics").iter().flat_map(|t| list(t, "Partitions"));
                let sizes = partitions.map(|p| n::<i64>(p, "PartitionSize").max(0));
                sizes.fold(0_i64, i64::saturating_add)
            });
            let told = read.dirs.iter().map(|d| d.held_bytes);
            assert_eq!(told.collect::<Vec<_>>(), held.collect::<Vec<_>>());
            let seen = read.dirs.iter().map(|d| (d.total_bytes, d.usable_bytes));
            assert_eq!(seen.collect::<Vec<_>>(), dirs);
        },
        |body, version| LogDirs::read(body, version).map(drop),
    );
    told(
        "DescribeConfigsResponse",
        DESCRIBE_CONFIGS_VERSIONS,
        known::<theirs::DescribeConfigsResponse>(),
        |body, version, v| {
            let read = topic_configs_response(body, version).unwrap();
            assert_eq!(read.len(), list(v, "Results").len());
            for (read, v) in read.iter().zip(list(v, "Results")) {
                assert_eq!(read.error_code, n::<i16>(v, "ErrorCode"));
                assert_eq!(Some(read.topic), text(v, "ResourceName"));
                let values: Vec<_> = list(v, "Configs")
                    .iter()
                    .map(|c| (text(c, "Name").unwrap(), text(c, "Value")))
                    .collect();
                assert_eq!(read.values, values);
            }
        },
        |body, version| topic_configs_response(body, version).map(drop),
    );
}
