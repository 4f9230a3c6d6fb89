//! Random messages of every version, checked against the `kafka-protocol` crate, and what the schemas wrote into them.
//!
//! Must not read a message with the library under test; only its types are used, to say what is expected.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use serde_json::Value;
use throughline::kafka::wire::{
    body::{PartitionError, Topic},
    reader::TopicRef,
};

use crate::support::schemas::{self, Random, Schema};

pub(crate) static SCHEMAS: LazyLock<BTreeMap<String, Schema>> = LazyLock::new(schemas::all);

/// Random messages per message and version.
pub(crate) const ROUNDS: u64 = 40;

/// The crate's type of a message, as a check of bytes: (versions, decode and encode again).
pub(crate) type Crate = (i16, i16, fn(&[u8], i16) -> Vec<u8>);

pub(crate) fn again<T: Decodable + Encodable>(bytes: &[u8], version: i16) -> Vec<u8> {
    let mut input = Bytes::copy_from_slice(bytes);
    let message = T::decode(&mut input, version).unwrap();
    assert!(input.is_empty(), "the crate left {} bytes", input.len());
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.to_vec()
}

pub(crate) fn known<T: Message + Decodable + Encodable>() -> Option<Crate> {
    Some((T::VERSIONS.min, T::VERSIONS.max, again::<T>))
}

/// Draws messages of every version from `oldest` to the schema's newest and shows (body, version, value) to `check`.
pub(crate) fn every(
    name: &str,
    crate_type: Option<Crate>,
    mut check: impl FnMut(&[u8], i16, &Value),
) {
    let schema = &SCHEMAS[name];
    for version in schema.valid.first..=schema.valid.last {
        for round in 0..ROUNDS {
            let seed = round * 1_000 + u64::from(version.unsigned_abs());
            let value = schema.random(version, &mut Random::new(seed));
            let body = schema.encode(version, &value);
            if let Some((first, last, again)) = crate_type
                && (first..=last).contains(&version)
            {
                assert_eq!(again(&body, version), body, "{name} v{version} {value}");
            }
            check(&body, version, &value);
        }
    }
}

pub(crate) fn num<T: TryFrom<i64>>(v: &Value, field: &str) -> Option<T> {
    let n = v.get(field)?.as_i64()?;
    T::try_from(n).ok()
}

pub(crate) fn n<T: TryFrom<i64>>(v: &Value, field: &str) -> T {
    num(v, field).unwrap_or_else(|| panic!("{field} in {v}"))
}

pub(crate) fn text<'v>(v: &'v Value, field: &str) -> Option<&'v str> {
    v.get(field)?.as_str()
}

pub(crate) fn list<'v>(v: &'v Value, field: &str) -> &'v [Value] {
    v.get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(crate) fn raw(v: &Value, field: &str) -> Vec<u8> {
    let bytes = list(v, field).iter();
    bytes
        .map(|b| u8::try_from(b.as_u64().unwrap()).unwrap())
        .collect()
}

pub(crate) fn ints(v: &Value, field: &str) -> Vec<i32> {
    let all = list(v, field).iter();
    all.map(|p| i32::try_from(p.as_i64().unwrap()).unwrap())
        .collect()
}

pub(crate) fn topic(v: &Value) -> TopicRef<'_> {
    text(v, "Name").or(text(v, "Topic")).map_or_else(
        || TopicRef::Id(raw(v, "TopicId").try_into().unwrap()),
        TopicRef::Name,
    )
}

pub(crate) fn topics<'v, P>(
    v: &'v Value,
    field: &str,
    partitions: &str,
    each: impl Fn(&Value) -> P,
) -> Vec<Topic<'v, P>> {
    list(v, field)
        .iter()
        .map(|t| Topic {
            topic: topic(t),
            partitions: list(t, partitions).iter().map(&each).collect(),
        })
        .collect()
}

pub(crate) fn plain_topics<'v>(v: &'v Value, field: &str, partitions: &str) -> Vec<Topic<'v, i32>> {
    topics(v, field, partitions, |p| {
        i32::try_from(p.as_i64().unwrap()).unwrap()
    })
}

pub(crate) fn partition_error(p: &Value) -> PartitionError {
    PartitionError {
        partition: n(p, "PartitionIndex"),
        error_code: n(p, "ErrorCode"),
    }
}
