//! Answers to administrative requests, as far as they say what was refused: the errors of topics, partitions, groups, resources
//! and access rules.
//!
//! Must not look at what was administered. Reference: `CreateTopicsResponse.json`, `DeleteTopicsResponse.json`,
//! `DeleteRecordsResponse.json`, `CreatePartitionsResponse.json`, `DescribeConfigsResponse.json`, `AlterConfigsResponse.json`,
//! `IncrementalAlterConfigsResponse.json`, `DescribeAclsResponse.json`, `CreateAclsResponse.json`,
//! `DeleteAclsResponse.json`, `DeleteGroupsResponse.json`, `OffsetDeleteResponse.json`.

use crate::kafka::wire::{
    api::ApiKey,
    body::{open, throttle},
    error::Result,
    error_code::worse,
    reader::Reader,
};

/// Reads one element of an array of results: its error code, and whatever stands behind it.
type Element = fn(&mut Reader<'_>, i16) -> Result<i16>;

/// What is read here: API, oldest version, first version with a throttle time, element of the array of results.
const READ: [(ApiKey, i16, i16, Element); 10] = [
    (ApiKey::CREATE_TOPICS, 0, 2, created_topic),
    (ApiKey::DELETE_TOPICS, 0, 1, deleted_topic),
    (ApiKey::DELETE_RECORDS, 0, 0, deleted_records),
    (ApiKey::CREATE_PARTITIONS, 0, 0, named),
    (ApiKey::DESCRIBE_CONFIGS, 0, 0, described_configs),
    (ApiKey::ALTER_CONFIGS, 0, 0, altered_configs),
    (ApiKey::INCREMENTAL_ALTER_CONFIGS, 0, 0, altered_configs),
    (ApiKey::CREATE_ACLS, 0, 0, coded),
    (ApiKey::DELETE_ACLS, 0, 0, deleted_acls),
    (ApiKey::DELETE_GROUPS, 0, 0, deleted_group),
];

/// Reads a body: throttle time, ms, where this version has one; every error code goes to `each`. `None` for an API that is none
/// of these.
///
/// # Errors
/// `Version` for a version that is not read, else what the fields give.
pub fn errors(
    key: ApiKey,
    version: i16,
    body: &[u8],
    mut each: impl FnMut(i16),
) -> Result<Option<Option<i32>>> {
    match key {
        ApiKey::DESCRIBE_ACLS => {
            let r = &mut open(body, key, version, 0)?;
            let throttle_ms = throttle(r, true)?;
            each(r.i16("error code")?);
            return Ok(Some(throttle_ms));
        }
        ApiKey::OFFSET_DELETE => {
            let r = &mut open(body, key, version, 0)?;
            each(r.i16("error code")?);
            let throttle_ms = throttle(r, true)?;
            r.array("topics", |r| {
                r.nullable_string_bytes("topic")?;
                r.array("partitions", |r| {
                    r.i32("partition")?;
                    each(r.i16("error code")?);
                    Ok(())
                })
            })?;
            return Ok(Some(throttle_ms));
        }
        _ => {}
    }
    let Some((_, oldest, throttled, element)) = READ.iter().find(|(api, ..)| *api == key) else {
        return Ok(None);
    };
    let r = &mut open(body, key, version, *oldest)?;
    let throttle_ms = throttle(r, version >= *throttled)?;
    r.array("results", |r| {
        each(element(r, version)?);
        r.skip_tagged()
    })?;
    Ok(Some(throttle_ms))
}

fn created_topic(r: &mut Reader<'_>, version: i16) -> Result<i16> {
    r.nullable_string_bytes("topic")?;
    if version >= 7 {
        r.uuid("topic id")?;
    }
    let code = r.i16("error code")?;
    if version >= 1 {
        r.nullable_string_bytes("error message")?;
    }
    if version >= 5 {
        r.i32("partitions")?;
        r.i16("replication factor")?;
        r.array("configs", |r| {
            r.nullable_string_bytes("name")?;
            r.nullable_string_bytes("value")?;
            r.bool("read only")?;
            r.i8("config source")?;
            r.bool("is sensitive")?;
            r.skip_tagged()
        })?;
    }
    Ok(code)
}

fn deleted_topic(r: &mut Reader<'_>, version: i16) -> Result<i16> {
    r.nullable_string_bytes("topic")?;
    if version >= 6 {
        r.uuid("topic id")?;
    }
    let code = r.i16("error code")?;
    if version >= 5 {
        r.nullable_string_bytes("error message")?;
    }
    Ok(code)
}

/// The worst of its partitions.
fn deleted_records(r: &mut Reader<'_>, _: i16) -> Result<i16> {
    let mut worst = 0;
    r.nullable_string_bytes("topic")?;
    r.array("partitions", |r| {
        r.i32("partition")?;
        r.i64("low watermark")?;
        worst = worse(worst, r.i16("error code")?);
        r.skip_tagged()
    })?;
    Ok(worst)
}

fn named(r: &mut Reader<'_>, _: i16) -> Result<i16> {
    r.nullable_string_bytes("name")?;
    coded(r, 0)
}

fn coded(r: &mut Reader<'_>, _: i16) -> Result<i16> {
    let code = r.i16("error code")?;
    r.nullable_string_bytes("error message")?;
    Ok(code)
}

fn altered_configs(r: &mut Reader<'_>, _: i16) -> Result<i16> {
    let code = coded(r, 0)?;
    r.i8("resource type")?;
    r.nullable_string_bytes("resource name")?;
    Ok(code)
}

fn described_configs(r: &mut Reader<'_>, version: i16) -> Result<i16> {
    let code = altered_configs(r, version)?;
    r.array("configs", |r| {
        r.nullable_string_bytes("name")?;
        r.nullable_string_bytes("value")?;
        r.bool("read only")?;
        // A source since version 1, whether it is a default before.
        r.i8("config source")?;
        r.bool("is sensitive")?;
        if version >= 1 {
            r.array("synonyms", |r| {
                r.nullable_string_bytes("name")?;
                r.nullable_string_bytes("value")?;
                r.i8("source")?;
                r.skip_tagged()
            })?;
        }
        if version >= 3 {
            r.i8("config type")?;
            r.nullable_string_bytes("documentation")?;
        }
        r.skip_tagged()
    })?;
    Ok(code)
}

/// Its own, or the worst of the rules it matches.
fn deleted_acls(r: &mut Reader<'_>, version: i16) -> Result<i16> {
    let mut worst = coded(r, version)?;
    r.array("matching acls", |r| {
        worst = worse(worst, coded(r, version)?);
        r.i8("resource type")?;
        r.nullable_string_bytes("resource name")?;
        if version >= 1 {
            r.i8("pattern type")?;
        }
        r.nullable_string_bytes("principal")?;
        r.nullable_string_bytes("host")?;
        r.i8("operation")?;
        r.i8("permission type")?;
        r.skip_tagged()
    })?;
    Ok(worst)
}

fn deleted_group(r: &mut Reader<'_>, version: i16) -> Result<i16> {
    r.nullable_string_bytes("group")?;
    let code = r.i16("error code")?;
    if version >= 3 {
        r.nullable_string_bytes("error message")?;
    }
    Ok(code)
}
