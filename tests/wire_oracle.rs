//! What the readers read, against Kafka's schemas and the `kafka-protocol` crate.
//!
//! Random messages of every version are drawn and written by the schemas (`support::schemas`). In the crate's range the
//! bytes must also decode and encode there to the same bytes, so the writer is not the only witness. Addresses: `wire_addresses`.
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
use oracle::{
    SCHEMAS, every, ints, known, list, n, num, partition_error, plain_topics, raw, text, topics,
};
use serde_json::Value;
use throughline::kafka::wire::{
    api::ApiKey,
    body::Topic,
    edit::produce::ProduceRequest,
    error_code,
    messages::{
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        epochs::{EpochEnd, OffsetForLeaderEpochResponse},
        fetch::{FetchPartition, FetchRequest},
        group::{
            GroupHeartbeatRequest, GroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
            JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
            SyncGroupRequest, SyncGroupResponse, consumer_assignment,
        },
        offsets::{
            CommitPartition, CommittedPartition, OffsetCommitRequest, OffsetCommitResponse,
            OffsetFetchRequest, OffsetFetchResponse, TxnOffsetCommitRequest,
        },
        outcome,
        requests::{MetadataTopics, api_versions_request, metadata_request},
        sasl::{
            SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, claimed_name,
        },
        shares::{AcknowledgeType, AcknowledgedRun, SharePartition, ShareRequest},
        transactions::{
            AddOffsetsToTxnRequest, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
            InitProducerIdResponse,
        },
    },
    splice,
};

/// Records replaced and partitions left out give what the schema writes for such a request, tagged fields included.
#[test]
fn edited_produce_requests_are_what_the_schema_writes() {
    every(
        "ProduceRequest",
        known::<theirs::ProduceRequest>(),
        |body, version, v| {
            let read = ProduceRequest::read(body, version).unwrap();
            assert_eq!(read.transactional_id, text(v, "TransactionalId"));
            assert_eq!(
                (read.acks, read.timeout_ms),
                (n(v, "Acks"), n(v, "TimeoutMs"))
            );
            let mut value = v.clone();
            let mut splices = Vec::new();
            let written = value["TopicData"].as_array_mut().unwrap();
            assert_eq!(read.topics.len(), written.len());
            for (topic, written) in read.topics.iter().zip(written) {
                assert_eq!(topic.topic, oracle::topic(&written.clone()));
                let written = written["PartitionData"].as_array_mut().unwrap();
                assert_eq!(topic.partitions.len(), written.len());
                for (at, (partition, written)) in topic.partitions.iter().zip(written).enumerate() {
                    assert_eq!(partition.partition, n::<i32>(written, "Index"));
                    let was = partition.records.map(<[u8]>::to_vec);
                    assert_eq!(
                        was,
                        written["Records"]
                            .as_array()
                            .map(|_| raw(written, "Records"))
                    );
                    // Lengths on both sides of where the compact form grows by a byte.
                    let records = vec![7u8; [0, 126, 127, 16_383][at % 4]];
                    written["Records"] = serde_json::json!(records);
                    splices.extend(read.with_records(partition, records).unwrap());
                }
            }
            let schema = &SCHEMAS["ProduceRequest"];
            let edited = splice::apply(body, &splices).unwrap();
            assert_eq!(edited, schema.encode(version, &value), "v{version} {v}");
            for seed in 0..4 {
                some_partitions(v, version, body, &read, seed);
            }
        },
    );
}

fn some_partitions(v: &Value, version: i16, body: &[u8], read: &ProduceRequest<'_>, seed: i32) {
    let wanted = |partition: i32| seed < 3 && (partition ^ seed) & 1 == 0;
    let mut value = v.clone();
    let topics = value["TopicData"].as_array_mut().unwrap();
    for topic in topics.iter_mut() {
        let partitions = topic["PartitionData"].as_array_mut().unwrap();
        partitions.retain(|p| wanted(n(p, "Index")));
    }
    topics.retain(|t| !list(t, "PartitionData").is_empty());
    let left = topics.len();
    let edited = read
        .only(|_, partition| wanted(partition))
        .map(|splices| splice::apply(body, &splices).unwrap());
    let expected = (left > 0).then(|| SCHEMAS["ProduceRequest"].encode(version, &value));
    assert_eq!(edited, expected, "v{version} {v}");
}

#[test]
fn fetch_requests_read_as_the_schema_writes_them() {
    every(
        "FetchRequest",
        known::<theirs::FetchRequest>(),
        |body, version, v| {
            let read = FetchRequest::read(body, version).unwrap();
            let expected = FetchRequest {
                max_wait_ms: n(v, "MaxWaitMs"),
                min_bytes: n(v, "MinBytes"),
                isolation_level: n(v, "IsolationLevel"),
                session_id: num(v, "SessionId").unwrap_or(0),
                session_epoch: num(v, "SessionEpoch").unwrap_or(-1),
                topics: topics(v, "Topics", "Partitions", |p| FetchPartition {
                    partition: n(p, "Partition"),
                    fetch_offset: n(p, "FetchOffset"),
                }),
                forgotten: plain_topics(v, "ForgottenTopicsData", "Partitions"),
            };
            assert_eq!(read, expected, "v{version}");
        },
    );
}

#[test]
fn share_requests_read_as_the_schema_writes_them() {
    let check = |key| {
        move |body: &[u8], version, v: &Value| {
            let read = ShareRequest::read(key, body, version).unwrap();
            let expected = ShareRequest {
                group: text(v, "GroupId"),
                member: text(v, "MemberId"),
                session_epoch: n(v, "ShareSessionEpoch"),
                topics: topics(v, "Topics", "Partitions", |p| SharePartition {
                    partition: n(p, "PartitionIndex"),
                    acknowledged: acknowledged(p),
                }),
            };
            assert_eq!(read, expected);
        }
    };
    every(
        "ShareFetchRequest",
        known::<theirs::ShareFetchRequest>(),
        check(ApiKey::SHARE_FETCH),
    );
    every(
        "ShareAcknowledgeRequest",
        known::<theirs::ShareAcknowledgeRequest>(),
        check(ApiKey::SHARE_ACKNOWLEDGE),
    );
}

/// Every offset by itself, then neighbours alike together.
fn acknowledged(partition: &Value) -> Vec<AcknowledgedRun> {
    let mut all: Vec<AcknowledgedRun> = Vec::new();
    for batch in partition["AcknowledgementBatches"].as_array().unwrap() {
        let (first, last): (i64, i64) = (n(batch, "FirstOffset"), n(batch, "LastOffset"));
        let types = batch["AcknowledgeTypes"].as_array().unwrap();
        let begin = all.len();
        for (behind, kind) in types.iter().enumerate() {
            let at = first.saturating_add(i64::try_from(behind).unwrap());
            if at > last {
                break;
            }
            let kind = match kind.as_i64().unwrap() {
                0 => AcknowledgeType::Gap,
                1 => AcknowledgeType::Accept,
                2 => AcknowledgeType::Release,
                3 => AcknowledgeType::Reject,
                4 => AcknowledgeType::Renew,
                _ => AcknowledgeType::Other,
            };
            let end = if types.len() == 1 { last } else { at };
            match all[begin..].last_mut() {
                Some(run) if run.kind == kind => run.last = end,
                _ => all.push(AcknowledgedRun {
                    first: at,
                    last: end,
                    kind,
                }),
            }
        }
    }
    all
}

fn commit_topics(v: &Value) -> Vec<Topic<'_, CommitPartition>> {
    topics(v, "Topics", "Partitions", |p| CommitPartition {
        partition: n(p, "PartitionIndex"),
        offset: n(p, "CommittedOffset"),
    })
}

#[test]
fn offset_commits_read_as_the_schema_writes_them() {
    every(
        "OffsetCommitRequest",
        known::<theirs::OffsetCommitRequest>(),
        |body, version, v| {
            let read = OffsetCommitRequest::read(body, version).unwrap();
            let expected = OffsetCommitRequest {
                group: text(v, "GroupId").unwrap(),
                generation: n(v, "GenerationIdOrMemberEpoch"),
                member: text(v, "MemberId").unwrap(),
                topics: commit_topics(v),
            };
            assert_eq!(read, expected, "v{version}");
        },
    );
    every(
        "TxnOffsetCommitRequest",
        known::<theirs::TxnOffsetCommitRequest>(),
        |body, version, v| {
            let read = TxnOffsetCommitRequest::read(body, version).unwrap();
            let expected = TxnOffsetCommitRequest {
                transactional_id: text(v, "TransactionalId").unwrap(),
                group: text(v, "GroupId").unwrap(),
                producer_id: n(v, "ProducerId"),
                producer_epoch: n(v, "ProducerEpoch"),
                generation: num(v, "GenerationIdOrMemberEpoch").unwrap_or(-1),
                member: text(v, "MemberId").unwrap_or(""),
                topics: commit_topics(v),
            };
            assert_eq!(read, expected, "v{version}");
        },
    );
}

#[test]
fn offset_commit_responses_read_as_the_schema_writes_them() {
    fn expected(v: &Value) -> OffsetCommitResponse<'_> {
        OffsetCommitResponse {
            throttle_ms: num(v, "ThrottleTimeMs"),
            topics: topics(v, "Topics", "Partitions", partition_error),
        }
    }
    every(
        "OffsetCommitResponse",
        known::<theirs::OffsetCommitResponse>(),
        |body, version, v| {
            let read = OffsetCommitResponse::read(body, version).unwrap();
            assert_eq!(read, expected(v), "v{version}");
        },
    );
    every(
        "TxnOffsetCommitResponse",
        known::<theirs::TxnOffsetCommitResponse>(),
        |body, version, v| {
            let read = OffsetCommitResponse::read_txn(body, version).unwrap();
            assert_eq!(read, expected(v), "v{version}");
        },
    );
}

#[test]
fn offset_fetches_read_as_the_schema_writes_them() {
    every(
        "OffsetFetchRequest",
        known::<theirs::OffsetFetchRequest>(),
        |body, version, v| {
            let read = OffsetFetchRequest::read(body, version).unwrap();
            let groups = if version <= 7 {
                std::slice::from_ref(v)
            } else {
                list(v, "Groups")
            };
            assert_eq!(read.groups.len(), groups.len());
            for (read, group) in read.groups.iter().zip(groups) {
                assert_eq!(Some(read.group), text(group, "GroupId"));
                let topics = plain_topics(group, "Topics", "PartitionIndexes");
                assert_eq!(read.topics, (!group["Topics"].is_null()).then_some(topics));
            }
        },
    );
    every(
        "OffsetFetchResponse",
        known::<theirs::OffsetFetchResponse>(),
        |body, version, v| {
            let read = OffsetFetchResponse::read(body, version).unwrap();
            assert_eq!(read.throttle_ms, num(v, "ThrottleTimeMs"));
            let groups = if version <= 7 {
                std::slice::from_ref(v)
            } else {
                list(v, "Groups")
            };
            assert_eq!(read.groups.len(), groups.len());
            for (read, group) in read.groups.iter().zip(groups) {
                assert_eq!(read.group, text(group, "GroupId"));
                assert_eq!(read.error_code, num(group, "ErrorCode").unwrap_or(0));
                let expected = topics(group, "Topics", "Partitions", |p| CommittedPartition {
                    partition: n(p, "PartitionIndex"),
                    offset: Some(n(p, "CommittedOffset")).filter(|offset| *offset != -1),
                    error_code: n(p, "ErrorCode"),
                });
                assert_eq!(read.topics, expected);
            }
        },
    );
}

#[test]
fn joins_read_as_the_schema_writes_them() {
    every(
        "JoinGroupRequest",
        known::<theirs::JoinGroupRequest>(),
        |body, version, v| {
            let expected = JoinGroupRequest {
                group: text(v, "GroupId").unwrap(),
                session_timeout_ms: n(v, "SessionTimeoutMs"),
                member: text(v, "MemberId").unwrap(),
                instance: text(v, "GroupInstanceId"),
                protocol_type: text(v, "ProtocolType").unwrap(),
            };
            assert_eq!(JoinGroupRequest::read(body, version), Ok(expected));
        },
    );
    every(
        "JoinGroupResponse",
        known::<theirs::JoinGroupResponse>(),
        |body, version, v| {
            let expected = JoinGroupResponse {
                throttle_ms: num(v, "ThrottleTimeMs"),
                error_code: n(v, "ErrorCode"),
                generation: n(v, "GenerationId"),
                protocol_type: text(v, "ProtocolType"),
                leader: text(v, "Leader").unwrap(),
                member: text(v, "MemberId").unwrap(),
            };
            assert_eq!(JoinGroupResponse::read(body, version), Ok(expected));
        },
    );
}

#[test]
fn syncs_and_assignments_read_as_the_schema_writes_them() {
    every(
        "SyncGroupRequest",
        known::<theirs::SyncGroupRequest>(),
        |body, version, v| {
            let expected = SyncGroupRequest {
                group: text(v, "GroupId").unwrap(),
                generation: n(v, "GenerationId"),
                member: text(v, "MemberId").unwrap(),
                instance: text(v, "GroupInstanceId"),
                protocol_type: text(v, "ProtocolType"),
            };
            assert_eq!(SyncGroupRequest::read(body, version), Ok(expected));
        },
    );
    every(
        "SyncGroupResponse",
        known::<theirs::SyncGroupResponse>(),
        |body, version, v| {
            let assignment = raw(v, "Assignment");
            let expected = SyncGroupResponse {
                throttle_ms: num(v, "ThrottleTimeMs"),
                error_code: n(v, "ErrorCode"),
                protocol_type: text(v, "ProtocolType"),
                assignment: &assignment,
            };
            assert_eq!(SyncGroupResponse::read(body, version), Ok(expected));
        },
    );
    every(
        "ConsumerProtocolAssignment",
        known::<theirs::ConsumerProtocolAssignment>(),
        |body, version, v| {
            let bytes = [&version.to_be_bytes()[..], body].concat();
            let expected: Vec<_> = list(v, "AssignedPartitions")
                .iter()
                .map(|t| (text(t, "Topic").unwrap(), ints(t, "Partitions")))
                .collect();
            assert_eq!(consumer_assignment(&bytes).as_ref(), Ok(&expected));
            let response = |protocol_type| SyncGroupResponse {
                throttle_ms: None,
                error_code: 0,
                protocol_type,
                assignment: &bytes,
            };
            assert_eq!(
                response(Some("consumer")).partitions(None),
                Some(expected.clone())
            );
            assert_eq!(response(None).partitions(Some("consumer")), Some(expected));
            assert_eq!(response(Some("connect")).partitions(None), None);
            assert_eq!(response(None).partitions(Some("connect")), None);
        },
    );
}

#[test]
fn heartbeats_and_leaves_read_as_the_schema_writes_them() {
    every(
        "HeartbeatRequest",
        known::<theirs::HeartbeatRequest>(),
        |body, version, v| {
            let expected = HeartbeatRequest {
                group: text(v, "GroupId").unwrap(),
                generation: n(v, "GenerationId"),
                member: text(v, "MemberId").unwrap(),
            };
            assert_eq!(HeartbeatRequest::read(body, version), Ok(expected));
        },
    );
    every(
        "HeartbeatResponse",
        known::<theirs::HeartbeatResponse>(),
        |body, version, v| {
            let expected = HeartbeatResponse {
                throttle_ms: num(v, "ThrottleTimeMs"),
                error_code: n(v, "ErrorCode"),
            };
            assert_eq!(HeartbeatResponse::read(body, version), Ok(expected));
        },
    );
    every(
        "LeaveGroupRequest",
        known::<theirs::LeaveGroupRequest>(),
        |body, version, v| {
            let read = LeaveGroupRequest::read(body, version).unwrap();
            assert_eq!(Some(read.group), text(v, "GroupId"));
            let members = if version <= 2 {
                std::slice::from_ref(v)
            } else {
                list(v, "Members")
            };
            assert_eq!(read.members.len(), members.len());
            for (read, member) in read.members.iter().zip(members) {
                assert_eq!(Some(read.member), text(member, "MemberId"));
                assert_eq!(read.instance, text(member, "GroupInstanceId"));
            }
        },
    );
    every(
        "LeaveGroupResponse",
        known::<theirs::LeaveGroupResponse>(),
        |body, version, v| {
            let expected = LeaveGroupResponse {
                throttle_ms: num(v, "ThrottleTimeMs"),
                error_code: n(v, "ErrorCode"),
                members: list(v, "Members")
                    .iter()
                    .map(|m| (text(m, "MemberId").unwrap(), n(m, "ErrorCode")))
                    .collect(),
            };
            assert_eq!(LeaveGroupResponse::read(body, version), Ok(expected));
        },
    );
}

#[test]
fn newer_group_heartbeats_read_as_the_schema_writes_them() {
    fn request(key: ApiKey) -> impl FnMut(&[u8], i16, &Value) {
        move |body, version, v| {
            let expected = GroupHeartbeatRequest {
                group: text(v, "GroupId").unwrap(),
                member: text(v, "MemberId").unwrap(),
                member_epoch: n(v, "MemberEpoch"),
            };
            assert_eq!(
                GroupHeartbeatRequest::read(key, body, version),
                Ok(expected)
            );
        }
    }
    fn response(key: ApiKey) -> impl FnMut(&[u8], i16, &Value) {
        move |body, version, v| {
            let assignment = &v["Assignment"];
            let expected = GroupHeartbeatResponse {
                throttle_ms: n(v, "ThrottleTimeMs"),
                error_code: n(v, "ErrorCode"),
                member: text(v, "MemberId"),
                member_epoch: n(v, "MemberEpoch"),
                heartbeat_interval_ms: n(v, "HeartbeatIntervalMs"),
                assignment: (!assignment.is_null())
                    .then(|| plain_topics(assignment, "TopicPartitions", "Partitions")),
            };
            assert_eq!(
                GroupHeartbeatResponse::read(key, body, version),
                Ok(expected)
            );
        }
    }
    let (consumer, share) = (
        ApiKey::CONSUMER_GROUP_HEARTBEAT,
        ApiKey::SHARE_GROUP_HEARTBEAT,
    );
    every(
        "ConsumerGroupHeartbeatRequest",
        known::<theirs::ConsumerGroupHeartbeatRequest>(),
        request(consumer),
    );
    every(
        "ConsumerGroupHeartbeatResponse",
        known::<theirs::ConsumerGroupHeartbeatResponse>(),
        response(consumer),
    );
    every(
        "ShareGroupHeartbeatRequest",
        known::<theirs::ShareGroupHeartbeatRequest>(),
        request(share),
    );
    every(
        "ShareGroupHeartbeatResponse",
        known::<theirs::ShareGroupHeartbeatResponse>(),
        response(share),
    );
}

#[test]
fn ends_of_epochs_read_as_the_schema_writes_them() {
    every(
        "OffsetForLeaderEpochResponse",
        known::<theirs::OffsetForLeaderEpochResponse>(),
        |body, version, v| {
            let read = OffsetForLeaderEpochResponse::read(body, version).unwrap();
            assert_eq!(read.throttle_ms, num(v, "ThrottleTimeMs"));
            assert_eq!(read.topics.len(), list(v, "Topics").len());
            for (read, v) in read.topics.iter().zip(list(v, "Topics")) {
                assert_eq!(read.partitions.len(), list(v, "Partitions").len());
                for (read, v) in read.partitions.iter().zip(list(v, "Partitions")) {
                    let expected = EpochEnd {
                        partition: n(v, "Partition"),
                        error_code: n(v, "ErrorCode"),
                        end_offset: n(v, "EndOffset"),
                    };
                    assert_eq!(*read, expected);
                }
            }
        },
    );
}

#[test]
fn authentication_reads_as_the_schema_writes_it() {
    every(
        "SaslHandshakeRequest",
        known::<theirs::SaslHandshakeRequest>(),
        |body, version, v| {
            let read = SaslHandshakeRequest::read(body, version).unwrap();
            assert_eq!(Some(read.mechanism), text(v, "Mechanism"));
        },
    );
    every(
        "SaslAuthenticateRequest",
        known::<theirs::SaslAuthenticateRequest>(),
        |body, version, _| {
            // Random bytes hold no name; that they are read at all is what is asked here.
            assert_eq!(claimed_name(body, version, "GSSAPI"), Ok(None));
        },
    );
    every(
        "SaslHandshakeResponse",
        known::<theirs::SaslHandshakeResponse>(),
        |body, version, v| {
            let read = SaslHandshakeResponse::read(body, version).unwrap();
            assert_eq!(read.error_code, n::<i16>(v, "ErrorCode"));
            let mechanisms = list(v, "Mechanisms").iter();
            assert_eq!(
                read.mechanisms,
                mechanisms.map(|m| m.as_str().unwrap()).collect::<Vec<_>>()
            );
        },
    );
    every(
        "SaslAuthenticateResponse",
        known::<theirs::SaslAuthenticateResponse>(),
        |body, version, v| {
            let read = SaslAuthenticateResponse::read(body, version);
            let expected = SaslAuthenticateResponse {
                error_code: n(v, "ErrorCode"),
                is_last: read.is_ok_and(|read| read.is_last),
                session_lifetime_ms: num(v, "SessionLifetimeMs").unwrap_or(0),
            };
            assert_eq!(read, Ok(expected));
        },
    );
}

#[test]
fn api_versions_read_as_the_schema_writes_them() {
    every(
        "ApiVersionsRequest",
        known::<theirs::ApiVersionsRequest>(),
        |body, version, v| {
            let read = ApiVersionsRequest::read(body, version).unwrap();
            assert_eq!(read.software_name, text(v, "ClientSoftwareName"));
            assert_eq!(read.software_version, text(v, "ClientSoftwareVersion"));
        },
    );
    every(
        "ApiVersionsResponse",
        known::<theirs::ApiVersionsResponse>(),
        |body, version, v| {
            // The broker writes version 0 with this error.
            if num(v, "ErrorCode") == Some(35) {
                return;
            }
            let read = ApiVersionsResponse::read(body, version).unwrap();
            assert_eq!(read.error_code, n::<i16>(v, "ErrorCode"));
            assert_eq!(read.throttle_ms, num(v, "ThrottleTimeMs"));
            assert_eq!(read.apis.len(), list(v, "ApiKeys").len());
            for (read, v) in read.apis.iter().zip(list(v, "ApiKeys")) {
                let expected: (i16, i16, i16) =
                    (n(v, "ApiKey"), n(v, "MinVersion"), n(v, "MaxVersion"));
                assert_eq!((read.key.0, read.min, read.max), expected);
                assert_eq!(body[read.max_at..read.max_at + 2], read.max.to_be_bytes());
            }
        },
    );
}

#[test]
fn transactions_read_as_the_schema_writes_them() {
    every(
        "InitProducerIdRequest",
        known::<theirs::InitProducerIdRequest>(),
        |body, version, v| {
            let read = InitProducerIdRequest::read(body, version).unwrap();
            assert_eq!(read.transactional_id, text(v, "TransactionalId"));
        },
    );
    every(
        "InitProducerIdResponse",
        known::<theirs::InitProducerIdResponse>(),
        |body, version, v| {
            let read = InitProducerIdResponse::read(body, version).unwrap();
            assert_eq!(
                (read.throttle_ms, read.error_code),
                (n(v, "ThrottleTimeMs"), n(v, "ErrorCode"))
            );
            let producer: (i64, i16) = (n(v, "ProducerId"), n(v, "ProducerEpoch"));
            assert_eq!((read.producer.id, read.producer.epoch), producer);
        },
    );
    every(
        "EndTxnRequest",
        known::<theirs::EndTxnRequest>(),
        |body, version, v| {
            let read = EndTxnRequest::read(body, version).unwrap();
            assert_eq!(Some(read.transactional_id), text(v, "TransactionalId"));
            let producer: (i64, i16) = (n(v, "ProducerId"), n(v, "ProducerEpoch"));
            assert_eq!((read.producer.id, read.producer.epoch), producer);
            assert_eq!(Some(read.committed), v["Committed"].as_bool());
        },
    );
    every(
        "EndTxnResponse",
        known::<theirs::EndTxnResponse>(),
        |body, version, v| {
            let read = EndTxnResponse::read(body, version).unwrap();
            assert_eq!(
                (read.throttle_ms, read.error_code),
                (n(v, "ThrottleTimeMs"), n(v, "ErrorCode"))
            );
            assert_eq!(read.next.map(|p| p.id), num(v, "ProducerId"));
            assert_eq!(read.next.map(|p| p.epoch), num(v, "ProducerEpoch"));
        },
    );
    every(
        "AddOffsetsToTxnRequest",
        known::<theirs::AddOffsetsToTxnRequest>(),
        |body, version, v| {
            let read = AddOffsetsToTxnRequest::read(body, version).unwrap();
            assert_eq!(Some(read.transactional_id), text(v, "TransactionalId"));
            assert_eq!(Some(read.group), text(v, "GroupId"));
            let producer: (i64, i16) = (n(v, "ProducerId"), n(v, "ProducerEpoch"));
            assert_eq!((read.producer.id, read.producer.epoch), producer);
        },
    );
}

/// Every error code below `value`.
fn error_codes(value: &Value, out: &mut Vec<i16>) {
    match value {
        Value::Array(all) => all.iter().for_each(|v| error_codes(v, out)),
        Value::Object(map) => {
            for (name, inner) in map {
                // That one tells why the topic's configuration is not shown; the topic was created.
                if name.ends_with("ErrorCode") && name != "TopicConfigErrorCode" {
                    out.push(i16::try_from(inner.as_i64().unwrap()).unwrap());
                }
                error_codes(inner, out);
            }
        }
        _ => {}
    }
}

#[test]
fn outcomes_are_the_worst_error_of_the_whole_response() {
    for (name, key) in [
        ("ProduceResponse", ApiKey::PRODUCE),
        ("FindCoordinatorResponse", ApiKey::FIND_COORDINATOR),
        ("DescribeClusterResponse", ApiKey::DESCRIBE_CLUSTER),
        ("OffsetCommitResponse", ApiKey::OFFSET_COMMIT),
        ("TxnOffsetCommitResponse", ApiKey::TXN_OFFSET_COMMIT),
        ("OffsetFetchResponse", ApiKey::OFFSET_FETCH),
        ("ListOffsetsResponse", ApiKey::LIST_OFFSETS),
        ("JoinGroupResponse", ApiKey::JOIN_GROUP),
        ("SyncGroupResponse", ApiKey::SYNC_GROUP),
        ("HeartbeatResponse", ApiKey::HEARTBEAT),
        ("LeaveGroupResponse", ApiKey::LEAVE_GROUP),
        (
            "ConsumerGroupHeartbeatResponse",
            ApiKey::CONSUMER_GROUP_HEARTBEAT,
        ),
        ("ShareGroupHeartbeatResponse", ApiKey::SHARE_GROUP_HEARTBEAT),
        (
            "StreamsGroupHeartbeatResponse",
            ApiKey::STREAMS_GROUP_HEARTBEAT,
        ),
        (
            "OffsetForLeaderEpochResponse",
            ApiKey::OFFSET_FOR_LEADER_EPOCH,
        ),
        ("SaslHandshakeResponse", ApiKey::SASL_HANDSHAKE),
        ("SaslAuthenticateResponse", ApiKey::SASL_AUTHENTICATE),
        ("InitProducerIdResponse", ApiKey::INIT_PRODUCER_ID),
        ("EndTxnResponse", ApiKey::END_TXN),
        ("AddPartitionsToTxnResponse", ApiKey::ADD_PARTITIONS_TO_TXN),
        ("AddOffsetsToTxnResponse", ApiKey::ADD_OFFSETS_TO_TXN),
        ("ShareAcknowledgeResponse", ApiKey::SHARE_ACKNOWLEDGE),
        ("CreateTopicsResponse", ApiKey::CREATE_TOPICS),
        ("DeleteTopicsResponse", ApiKey::DELETE_TOPICS),
        ("DeleteRecordsResponse", ApiKey::DELETE_RECORDS),
        ("CreatePartitionsResponse", ApiKey::CREATE_PARTITIONS),
        ("DescribeConfigsResponse", ApiKey::DESCRIBE_CONFIGS),
        ("AlterConfigsResponse", ApiKey::ALTER_CONFIGS),
        (
            "IncrementalAlterConfigsResponse",
            ApiKey::INCREMENTAL_ALTER_CONFIGS,
        ),
        ("DescribeAclsResponse", ApiKey::DESCRIBE_ACLS),
        ("CreateAclsResponse", ApiKey::CREATE_ACLS),
        ("DeleteAclsResponse", ApiKey::DELETE_ACLS),
        ("DescribeGroupsResponse", ApiKey::DESCRIBE_GROUPS),
        ("DeleteGroupsResponse", ApiKey::DELETE_GROUPS),
        ("OffsetDeleteResponse", ApiKey::OFFSET_DELETE),
    ] {
        every(name, None, |body, version, v| {
            let read = outcome::top_level(key, version, body).unwrap();
            assert_eq!(
                read.throttle_ms,
                num(v, "ThrottleTimeMs"),
                "{name} v{version}"
            );
            let mut codes = Vec::new();
            error_codes(v, &mut codes);
            let worst = codes.into_iter().fold(0, error_code::worse);
            let class = |code| error_code::failure(code).map(|f| f.class);
            assert_eq!(
                class(read.error_code),
                class(worst),
                "{name} v{version} {v}"
            );
        });
    }
}

#[test]
fn outcomes_without_their_partitions() {
    for (name, key) in [
        ("FetchResponse", ApiKey::FETCH),
        ("ShareFetchResponse", ApiKey::SHARE_FETCH),
    ] {
        every(name, None, |body, version, v| {
            let read = outcome::top_level(key, version, body).unwrap();
            assert_eq!(read.throttle_ms, num(v, "ThrottleTimeMs"));
            assert_eq!(read.error_code, num(v, "ErrorCode").unwrap_or(0));
        });
    }
    for (name, key) in [
        ("MetadataResponse", ApiKey::METADATA),
        (
            "DescribeTopicPartitionsResponse",
            ApiKey::DESCRIBE_TOPIC_PARTITIONS,
        ),
    ] {
        every(name, None, |body, version, v| {
            let read = outcome::top_level(key, version, body).unwrap();
            let codes = list(v, "Topics").iter().map(|t| n(t, "ErrorCode"));
            let worst = codes.chain(num(v, "ErrorCode")).fold(0, error_code::worse);
            let class = |code| error_code::failure(code).map(|f| f.class);
            assert_eq!(class(read.error_code), class(worst), "{name} v{version}");
        });
    }
}

#[test]
fn a_version_above_the_newest_is_a_version_fault() {
    use throughline::kafka::wire::error::DecodeErrorKind::Version;
    for api in throughline::kafka::wire::api::APIS {
        let fault = outcome::top_level(api.key, api.newest + 1, &[0; 64]).unwrap_err();
        assert_eq!(fault.kind, Version, "{}", api.name);
    }
}

/// Our own request as the schemas write it: header, then body.
fn expected_frame(name: &str, version: i16, correlation_id: i32, value: &Value) -> Vec<u8> {
    let schema = &SCHEMAS[name];
    let mut rest = Vec::new();
    rest.extend(schema.api_key.unwrap().to_be_bytes());
    rest.extend(version.to_be_bytes());
    rest.extend(correlation_id.to_be_bytes());
    rest.extend([0, 11]);
    rest.extend(b"throughline");
    if schema.flexible.contains(version) {
        rest.push(0);
    }
    rest.extend(schema.encode(version, value));
    let mut frame = i32::try_from(rest.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(rest);
    frame
}

#[test]
fn our_own_requests_are_what_the_schema_writes() {
    let value = serde_json::json!({
        "ClientSoftwareName": "throughline",
        "ClientSoftwareVersion": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(
        api_versions_request(77),
        expected_frame("ApiVersionsRequest", 3, 77, &value)
    );
    let zero = serde_json::json!(vec![0; 16]);
    let id = serde_json::json!(vec![7; 16]);
    for version in 1..=13 {
        for (asked, written, oldest) in [
            (MetadataTopics::None, serde_json::json!([]), 1),
            (MetadataTopics::All, Value::Null, 1),
            (
                MetadataTopics::Names(&["a", "b.c"]),
                serde_json::json!([{"Name": "a", "TopicId": zero}, {"Name": "b.c", "TopicId": zero}]),
                4,
            ),
            (
                MetadataTopics::Ids(&[[7; 16]]),
                serde_json::json!([{"Name": null, "TopicId": id}]),
                12,
            ),
        ] {
            let value = serde_json::json!({
                "Topics": written,
                "AllowAutoTopicCreation": false,
                "IncludeClusterAuthorizedOperations": false,
                "IncludeTopicAuthorizedOperations": false,
            });
            let expected =
                (version >= oldest).then(|| expected_frame("MetadataRequest", version, 5, &value));
            assert_eq!(
                metadata_request(5, version, asked),
                expected,
                "v{version} {asked:?}"
            );
        }
    }
    assert_eq!(metadata_request(5, 14, MetadataTopics::None), None);
}
