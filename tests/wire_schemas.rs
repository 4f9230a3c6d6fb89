//! Our tables against the newest `kafka-clients` jar: APIs, addresses in responses, error codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;

use support::schemas::{self, Field, Schema};
use throughline::kafka::wire::{
    api::{APIS, Api, ApiKey},
    error_code,
};

#[test]
fn the_api_table_is_that_of_the_newest_schemas() {
    let schemas = schemas::all();
    let mut expected: Vec<Api> = schemas
        .values()
        .filter(|s| s.kind == "request" && !s.valid.is_none())
        .map(|s| {
            let name = s.name.strip_suffix("Request").unwrap();
            let api = s.api_key.unwrap();
            Api {
                key: ApiKey(api),
                name: APIS
                    .iter()
                    .map(|a| a.name)
                    .find(|n| *n == name)
                    .unwrap_or_else(|| panic!("{name} ({api}) is missing")),
                newest: s.valid.last,
                first_flexible: (!s.flexible.is_none()).then_some(s.flexible.first),
            }
        })
        .collect();
    expected.sort_by_key(|api| api.key.0);
    assert_eq!(APIS.as_slice(), expected);
}

#[test]
fn responses_are_flexible_where_their_requests_are() {
    // `ApiKey::is_flexible` answers for both from the request's schema.
    let schemas = schemas::all();
    for (name, response) in &schemas {
        let Some(request) = name
            .strip_suffix("Response")
            .and_then(|name| schemas.get(&format!("{name}Request")))
        else {
            continue;
        };
        if !request.valid.is_none() {
            assert_eq!(request.flexible, response.flexible, "{name}");
            assert_eq!(request.valid.last, response.valid.last, "{name}");
        }
    }
}

/// The words of a CamelCase name, in lower case.
fn words(name: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !word.is_empty() {
            words.insert(std::mem::take(&mut word));
        }
        word.extend(c.to_lowercase());
    }
    words.insert(word);
    words
}

fn names_a(fields: &[Field], word: &str) -> bool {
    fields.iter().any(|f| {
        words(&f.name)
            .iter()
            .any(|w| w.starts_with(word) && w.len() <= word.len() + 1)
    })
}

/// Paths of the structs that hold a host and a port.
fn address_pairs(schema: &Schema) -> BTreeSet<String> {
    fn walk(fields: &[Field], path: &str, out: &mut BTreeSet<String>) {
        if names_a(fields, "host") && names_a(fields, "port") {
            out.insert(path.to_owned());
        }
        for field in fields {
            walk(&field.fields, &format!("{path}.{}", field.name), out);
        }
    }
    let mut out = BTreeSet::new();
    walk(&schema.fields, &schema.name, &mut out);
    for (name, fields) in &schema.structs {
        walk(fields, &format!("{}:{name}", schema.name), &mut out);
    }
    out
}

/// Rewritten: by a walker of `endpoints`, or by its trailer.
const HANDLED: [&str; 8] = [
    "DescribeClusterResponse.Brokers",
    "FetchResponse.NodeEndpoints",
    "FindCoordinatorResponse",
    "FindCoordinatorResponse.Coordinators",
    "MetadataResponse.Brokers",
    "ProduceResponse.NodeEndpoints",
    "ShareAcknowledgeResponse.NodeEndpoints",
    "ShareFetchResponse.NodeEndpoints",
];

/// Left alone on purpose, and why.
const EXCUSED: [(&str, &str); 8] = [
    (
        "BeginQuorumEpochResponse.NodeEndpoints",
        "raft, between controllers",
    ),
    (
        "DescribeQuorumResponse.Nodes.Listeners",
        "controllers; clients do not connect to them for data",
    ),
    (
        "EndQuorumEpochResponse.NodeEndpoints",
        "raft, between controllers",
    ),
    (
        "FetchSnapshotResponse.NodeEndpoints",
        "raft snapshots, between controllers",
    ),
    (
        "StreamsGroupDescribeResponse:Endpoint",
        "the application's own endpoint",
    ),
    (
        "StreamsGroupHeartbeatResponse:Endpoint",
        "the application's own endpoint",
    ),
    (
        "UpdateRaftVoterResponse.CurrentLeader",
        "raft, between controllers",
    ),
    ("VoteResponse.NodeEndpoints", "raft, between controllers"),
];

#[test]
fn every_address_in_a_response_is_handled_or_excused() {
    let found: BTreeSet<String> = schemas::all()
        .values()
        .filter(|s| s.kind == "response" && !s.valid.is_none())
        .flat_map(address_pairs)
        .collect();
    let known: BTreeSet<String> = HANDLED
        .into_iter()
        .chain(EXCUSED.map(|(path, _)| path))
        .map(str::to_owned)
        .collect();
    assert_eq!(found, known, "a client sent there goes past the sidecar");
}

/// Fields of responses that name a host without a port next to it, and why none of them is an address to connect to.
const HOSTS_ALONE: [(&str, &str); 6] = [
    (
        "ConsumerGroupDescribeResponse",
        "where a member connects from",
    ),
    ("DeleteAclsResponse", "ACL"),
    ("DescribeAclsResponse", "ACL"),
    ("DescribeGroupsResponse", "where a member connects from"),
    ("ShareGroupDescribeResponse", "where a member connects from"),
    (
        "StreamsGroupDescribeResponse",
        "where a member connects from",
    ),
];

#[test]
fn a_host_without_a_port_is_no_address() {
    fn alone(fields: &[Field]) -> bool {
        names_a(fields, "host") && !names_a(fields, "port")
            || fields.iter().any(|f| alone(&f.fields))
    }
    let schemas = schemas::all();
    let found: Vec<&str> = schemas
        .values()
        .filter(|s| s.kind == "response")
        .filter(|s| alone(&s.fields) || s.structs.values().any(|f| alone(f)))
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(found, HOSTS_ALONE.map(|(name, _)| name));
}

#[test]
fn error_codes_are_those_of_the_java_client() {
    let mut newest = 0;
    for line in include_str!("fixtures/kafka-4.4-errors.tsv").lines() {
        if line.starts_with('#') {
            continue;
        }
        let [code, name, retriable] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let code: i16 = code.parse().unwrap();
        let failure = error_code::failure(code);
        let expected = (name != "NONE").then_some((name, retriable == "true"));
        assert_eq!(failure.map(|f| (f.name, f.retriable)), expected);
        newest = newest.max(code);
    }
    assert_eq!(error_code::failure(newest + 1).unwrap().name, "OTHER");
}
