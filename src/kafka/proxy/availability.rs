//! How long an answer may take to count as available. The one table; README prints it.
//!
//! Long polls and group joins wait by design and have no limit here.

use std::time::Duration;

use crate::kafka::wire::api::ApiKey;

/// Limit for ordinary requests: the clients' default `request.timeout.ms`.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Limit for requests that a broker answers from memory.
pub const FAST_LIMIT: Duration = Duration::from_secs(10);

/// Time limit of an API; `None` where waiting is the purpose.
#[must_use]
pub const fn time_limit(api: ApiKey) -> Option<Duration> {
    match api {
        ApiKey::FETCH | ApiKey::SHARE_FETCH | ApiKey::JOIN_GROUP | ApiKey::SYNC_GROUP => None,
        ApiKey::API_VERSIONS
        | ApiKey::METADATA
        | ApiKey::FIND_COORDINATOR
        | ApiKey::HEARTBEAT
        | ApiKey::CONSUMER_GROUP_HEARTBEAT
        | ApiKey::SHARE_GROUP_HEARTBEAT
        | ApiKey::STREAMS_GROUP_HEARTBEAT
        | ApiKey::SASL_HANDSHAKE
        | ApiKey::SASL_AUTHENTICATE => Some(FAST_LIMIT),
        _ => Some(REQUEST_LIMIT),
    }
}
