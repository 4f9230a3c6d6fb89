//! Addresses in responses: found, and replaced byte for byte as the schemas would write the message with the new ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod oracle;
mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Message},
};
use oracle::{SCHEMAS, every, known, list, n, num, partition_error, raw, text, topics};
use serde_json::Value;
use throughline::kafka::wire::{
    endpoints::{self, Endpoints, TrailerKind, TrailerOutcome},
    splice,
};

/// Replaces every (Host, Port) below `value` and gives how many there were.
fn readdress(value: &mut Value, host: &str) -> usize {
    match value {
        Value::Array(all) => all.iter_mut().map(|v| readdress(v, host)).sum(),
        Value::Object(map) => {
            let mut count = map.values_mut().map(|v| readdress(v, host)).sum();
            let node = map
                .get("NodeId")
                .or(map.get("BrokerId"))
                .and_then(Value::as_i64);
            if map.contains_key("Host") && node != Some(-1) {
                map.insert("Host".to_owned(), host.into());
                map.insert("Port".to_owned(), 40_000.into());
                count += 1;
            }
            count
        }
        _ => 0,
    }
}

/// Rewrites the addresses of `body` to hosts of several lengths: the bytes must be those the schema writes for them.
fn check_edit(name: &str, body: &[u8], version: i16, v: &Value, endpoints: &Endpoints<'_>) {
    for host in ["", "127.0.0.1", &"long-".repeat(50)] {
        let mut expected = v.clone();
        let count = readdress(&mut expected, host);
        let mut seen = 0;
        let splices = endpoints.splices(&mut |_, _, _| {
            seen += 1;
            Some((host.to_owned(), 40_000))
        });
        assert_eq!(seen, count, "{name} v{version} {v}");
        let edited = splice::apply(body, &splices).unwrap();
        assert_eq!(
            edited,
            SCHEMAS[name].encode(version, &expected),
            "{name} v{version}"
        );
    }
    assert_eq!(endpoints.splices(&mut |_, _, _| None), vec![]);
}

/// (node id, host, port) of each struct below `field`.
fn addresses<'v>(v: &'v Value, field: &str, id: &str) -> Vec<(i32, &'v str, i32)> {
    list(v, field)
        .iter()
        .map(|e| (n(e, id), text(e, "Host").unwrap(), n(e, "Port")))
        .collect()
}

fn seen_addresses<'a>(endpoints: &Endpoints<'a>) -> Vec<(i32, &'a str, i32)> {
    endpoints
        .all
        .iter()
        .map(|e| (e.node_id, e.host, e.port))
        .collect()
}

#[test]
fn metadata_is_read_and_readdressed() {
    let name = "MetadataResponse";
    every(
        name,
        known::<theirs::MetadataResponse>(),
        |body, version, v| {
            let seen = endpoints::metadata(body, version).unwrap();
            assert_eq!(seen.throttle_ms, num(v, "ThrottleTimeMs"));
            assert_eq!(seen.cluster_id, text(v, "ClusterId"));
            assert_eq!(seen.error_code, num(v, "ErrorCode").unwrap_or(0));
            check_topics(&seen.topics, v);
            if list(v, "Brokers")
                .iter()
                .all(|b| num(b, "NodeId") != Some(-1))
            {
                assert_eq!(
                    seen_addresses(&seen.endpoints),
                    addresses(v, "Brokers", "NodeId")
                );
                check_edit(name, body, version, v, &seen.endpoints);
            }
        },
    );
}

fn check_topics(seen: &[endpoints::TopicMetadata<'_>], v: &Value) {
    assert_eq!(seen.len(), list(v, "Topics").len());
    for (seen, t) in seen.iter().zip(list(v, "Topics")) {
        assert_eq!(seen.error_code, n::<i16>(t, "ErrorCode"));
        assert_eq!(seen.name, text(t, "Name"));
        assert_eq!(seen.partitions as usize, list(t, "Partitions").len());
        let id: Option<[u8; 16]> = raw(t, "TopicId").try_into().ok();
        assert_eq!(seen.id, id.filter(|id| *id != [0; 16]));
    }
}

#[test]
fn described_topics_are_read() {
    every(
        "DescribeTopicPartitionsResponse",
        known::<theirs::DescribeTopicPartitionsResponse>(),
        |body, version, v| {
            let seen = endpoints::describe_topic_partitions(body, version).unwrap();
            assert_eq!(seen.throttle_ms, num(v, "ThrottleTimeMs"));
            check_topics(&seen.topics, v);
        },
    );
}

#[test]
fn coordinators_are_read_and_readdressed() {
    let name = "FindCoordinatorResponse";
    every(
        name,
        known::<theirs::FindCoordinatorResponse>(),
        |body, version, v| {
            let seen = endpoints::find_coordinator(body, version).unwrap();
            assert_eq!(seen.throttle_ms, num(v, "ThrottleTimeMs"));
            let all = if version <= 3 {
                std::slice::from_ref(v)
            } else {
                list(v, "Coordinators")
            };
            assert_eq!(seen.coordinators.len(), all.len());
            for (seen, v) in seen.coordinators.iter().zip(all) {
                assert_eq!(seen.key, text(v, "Key"));
                assert_eq!(seen.node_id, n::<i32>(v, "NodeId"));
                assert_eq!(seen.error_code, n::<i16>(v, "ErrorCode"));
            }
            if all.iter().all(|c| n::<i32>(c, "NodeId") >= -1) {
                check_edit(name, body, version, v, &seen.endpoints);
            }
        },
    );
}

#[test]
fn clusters_are_read_and_readdressed() {
    let name = "DescribeClusterResponse";
    every(
        name,
        known::<theirs::DescribeClusterResponse>(),
        |body, version, v| {
            let seen = endpoints::describe_cluster(body, version).unwrap();
            assert_eq!(seen.throttle_ms, n::<i32>(v, "ThrottleTimeMs"));
            assert_eq!(seen.error_code, n::<i16>(v, "ErrorCode"));
            assert_eq!(seen.endpoint_type, num(v, "EndpointType").unwrap_or(1));
            assert_eq!(Some(seen.cluster_id), text(v, "ClusterId"));
            assert_eq!(
                seen_addresses(&seen.endpoints),
                addresses(v, "Brokers", "BrokerId")
            );
            if list(v, "Brokers")
                .iter()
                .all(|b| num(b, "BrokerId") != Some(-1))
            {
                check_edit(name, body, version, v, &seen.endpoints);
            }
        },
    );
}

#[test]
fn produce_responses_are_read_and_readdressed() {
    let name = "ProduceResponse";
    every(
        name,
        known::<theirs::ProduceResponse>(),
        |body, version, v| {
            let seen = endpoints::produce_response(body, version).unwrap();
            assert_eq!(seen.throttle_ms, n::<i32>(v, "ThrottleTimeMs"));
            let expected = topics(v, "Responses", "PartitionResponses", |p| {
                endpoints::PartitionResult {
                    partition: n(p, "Index"),
                    error_code: n(p, "ErrorCode"),
                    base_offset: n(p, "BaseOffset"),
                    log_append_time_ms: Some(n(p, "LogAppendTimeMs")).filter(|t| *t != -1),
                }
            });
            assert_eq!(seen.topics, expected);
            assert_eq!(
                seen_addresses(&seen.endpoints),
                addresses(v, "NodeEndpoints", "NodeId")
            );
            if list(v, "NodeEndpoints")
                .iter()
                .all(|b| num(b, "NodeId") != Some(-1))
            {
                check_edit(name, body, version, v, &seen.endpoints);
            }
        },
    );
}

#[test]
fn share_acknowledgements_are_read_and_readdressed() {
    let name = "ShareAcknowledgeResponse";
    every(
        name,
        known::<theirs::ShareAcknowledgeResponse>(),
        |body, version, v| {
            let seen = endpoints::share_acknowledge(body, version).unwrap();
            assert_eq!(seen.throttle_ms, n::<i32>(v, "ThrottleTimeMs"));
            assert_eq!(seen.error_code, n::<i16>(v, "ErrorCode"));
            assert_eq!(
                seen.topics,
                topics(v, "Responses", "Partitions", partition_error)
            );
            assert_eq!(
                seen_addresses(&seen.endpoints),
                addresses(v, "NodeEndpoints", "NodeId")
            );
            if list(v, "NodeEndpoints")
                .iter()
                .all(|b| num(b, "NodeId") != Some(-1))
            {
                check_edit(name, body, version, v, &seen.endpoints);
            }
        },
    );
}

#[test]
fn trailers_keep_their_length_and_the_crate_reads_the_new_addresses() {
    let mut outcomes = BTreeMap::new();
    let mut check = |kind, name: &str, body: &[u8], version, v: &Value| {
        let split = SCHEMAS[name].trailer_at(version, v);
        let (records, trailer) = body.split_at(split);
        for host in [
            "h",
            "127.0.0.1",
            "a-much-longer-name-than-before.example.org",
        ] {
            let mut rewrite = |_: i32, _: &str, _: i32| Some((host.to_owned(), 9_193));
            let out = endpoints::rewrite_trailer(kind, trailer, &mut rewrite).unwrap();
            assert_eq!(out.bytes.len(), trailer.len());
            let given = list(v, "NodeEndpoints").len();
            let hosts = crate_hosts(kind, &[records, &out.bytes].concat(), version);
            match out.outcome {
                TrailerOutcome::Untouched => {
                    assert_eq!((given, out.bytes.as_slice()), (0, trailer))
                }
                TrailerOutcome::Neutralised => assert_eq!(hosts.unwrap_or_default().len(), 0),
                _ => assert!(hosts.is_none_or(|hosts| hosts == vec![host.to_owned(); given])),
            }
            *outcomes
                .entry(format!("{kind:?} {:?}", out.outcome))
                .or_insert(0) += 1;
        }
    };
    every(
        "FetchResponse",
        known::<theirs::FetchResponse>(),
        |body, version, v| {
            if version >= 16 {
                check(TrailerKind::Fetch, "FetchResponse", body, version, v);
            }
        },
    );
    every(
        "ShareFetchResponse",
        known::<theirs::ShareFetchResponse>(),
        |body, version, v| {
            check(
                TrailerKind::ShareFetch,
                "ShareFetchResponse",
                body,
                version,
                v,
            )
        },
    );
    assert_eq!(outcomes.len(), 8, "every outcome is met: {outcomes:?}");
}

/// The hosts the crate reads; `None` for a version it does not know.
fn crate_hosts(kind: TrailerKind, body: &[u8], version: i16) -> Option<Vec<String>> {
    let input = &mut Bytes::copy_from_slice(body);
    let hosts = match kind {
        TrailerKind::Fetch if version <= theirs::FetchResponse::VERSIONS.max => {
            let response = theirs::FetchResponse::decode(input, version).unwrap();
            response
                .node_endpoints
                .iter()
                .map(|e| e.host.to_string())
                .collect()
        }
        TrailerKind::ShareFetch if version <= theirs::ShareFetchResponse::VERSIONS.max => {
            let response = theirs::ShareFetchResponse::decode(input, version).unwrap();
            response
                .node_endpoints
                .iter()
                .map(|e| e.host.to_string())
                .collect()
        }
        _ => return None,
    };
    assert!(input.is_empty());
    Some(hosts)
}
