//! The few requests this program sends itself, as whole frames with their length prefix.
//!
//! Must stay small: what passes through is never written from scratch.

use super::super::{
    api::ApiKey,
    splice::{put_string, put_uvarint},
};

/// Client id and software name of our own requests.
pub const SOFTWARE_NAME: &str = "throughline";

/// Newest Metadata version [`metadata_request`] writes.
pub const METADATA_NEWEST: i16 = 13;

/// Which topics a Metadata request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataTopics<'a> {
    /// Brokers only.
    None,
    /// All that the principal may describe.
    All,
    /// These names.
    Names(&'a [&'a str]),
    /// These ids; from version 12.
    Ids(&'a [[u8; 16]]),
}

pub(super) fn frame(key: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    rest.extend_from_slice(&key.0.to_be_bytes());
    rest.extend_from_slice(&version.to_be_bytes());
    rest.extend_from_slice(&correlation_id.to_be_bytes());
    put_string(&mut rest, SOFTWARE_NAME, false);
    if key.is_flexible(version) {
        rest.push(0);
    }
    rest.extend_from_slice(body);
    let length = i32::try_from(rest.len()).unwrap_or(i32::MAX);
    let mut frame = Vec::from(length.to_be_bytes());
    frame.append(&mut rest);
    frame
}

/// An ApiVersionsRequest of version 3, which every broker since 2.4 answers, and older ones answer with version 0.
#[must_use]
pub fn api_versions_request(correlation_id: i32) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, SOFTWARE_NAME, true);
    put_string(&mut body, env!("CARGO_PKG_VERSION"), true);
    body.push(0);
    frame(ApiKey::API_VERSIONS, 3, correlation_id, &body)
}

/// An ApiVersionsRequest of version 0, for brokers that refuse newer ones.
#[must_use]
pub fn oldest_api_versions_request(correlation_id: i32) -> Vec<u8> {
    frame(ApiKey::API_VERSIONS, 0, correlation_id, &[])
}

/// A MetadataRequest that never creates a topic; `None` where `version` cannot say it: outside 1-13, or ids before 12.
/// Versions under 4 have no such switch: there a name may create the topic, so names need 4 too.
#[must_use]
pub fn metadata_request(
    correlation_id: i32,
    version: i16,
    topics: MetadataTopics<'_>,
) -> Option<Vec<u8>> {
    metadata(correlation_id, version, topics, false)
}

/// A MetadataRequest for all topics that also asks, where the version can say it (8 and later), what we may do with each; a
/// broker logs no refusal for the answer.
#[must_use]
pub fn topic_rights_request(correlation_id: i32, version: i16) -> Option<Vec<u8>> {
    metadata(correlation_id, version, MetadataTopics::All, true)
}

/// A MetadataRequest for one topic that never creates it and also asks, where the version can say it, what we may do with
/// it; `None` under version 4, where a name may create the topic.
#[must_use]
pub fn topic_request(correlation_id: i32, version: i16, topic: &str) -> Option<Vec<u8>> {
    metadata(
        correlation_id,
        version,
        MetadataTopics::Names(&[topic]),
        true,
    )
}

fn metadata(
    correlation_id: i32,
    version: i16,
    topics: MetadataTopics<'_>,
    topic_rights: bool,
) -> Option<Vec<u8>> {
    let oldest = match topics {
        MetadataTopics::None | MetadataTopics::All => 1,
        MetadataTopics::Names(_) => 4,
        MetadataTopics::Ids(_) => 12,
    };
    if !(oldest..=METADATA_NEWEST).contains(&version) {
        return None;
    }
    let flexible = ApiKey::METADATA.is_flexible(version);
    let mut body = Vec::new();
    match topics {
        MetadataTopics::None => put_count(&mut body, Some(0), flexible),
        MetadataTopics::All => put_count(&mut body, None, flexible),
        MetadataTopics::Names(names) => {
            put_count(&mut body, Some(names.len()), flexible);
            for name in names {
                if version >= 10 {
                    body.extend_from_slice(&[0; 16]);
                }
                put_string(&mut body, name, flexible);
                if flexible {
                    body.push(0);
                }
            }
        }
        MetadataTopics::Ids(ids) => {
            put_count(&mut body, Some(ids.len()), flexible);
            for id in ids {
                body.extend_from_slice(id);
                // Null name, no tagged fields.
                body.extend_from_slice(&[0, 0]);
            }
        }
    }
    if version >= 4 {
        body.push(0);
    }
    if (8..=10).contains(&version) {
        body.push(0);
    }
    if version >= 8 {
        body.push(u8::from(topic_rights));
    }
    if flexible {
        body.push(0);
    }
    Some(frame(ApiKey::METADATA, version, correlation_id, &body))
}

pub(super) fn put_count(out: &mut Vec<u8>, count: Option<usize>, flexible: bool) {
    let count = count.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    if flexible {
        put_uvarint(out, count.map_or(0, |n| n.unsigned_abs().saturating_add(1)));
    } else {
        out.extend_from_slice(&count.unwrap_or(-1).to_be_bytes());
    }
}
