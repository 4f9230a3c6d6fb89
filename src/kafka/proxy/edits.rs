//! The only changes ever made to a response: broker addresses and offered versions.
//!
//! Works on whole frames (or whole trailers). Whatever cannot be read is sent as it came and counted. Must not touch records.

use super::{
    answers::{self, Report},
    connection::Context,
    inflight::Pending,
};
use crate::{
    event::BypassReason,
    kafka::wire::{
        api::ApiKey,
        endpoints::{self, Endpoints, TrailerKind, TrailerOutcome},
        error::Result,
        frame::LENGTH_BYTES,
        messages::api_versions,
        policy,
        splice::{self, Splice},
    },
};

/// DescribeCluster's endpoint type for controllers, which clients reach by a listener of their own.
const CONTROLLER_ENDPOINTS: i8 = 2;

/// The edited frame (`None` = send it as it is) and what the answer says. `header` counts frame length and header.
pub(crate) fn edit(
    context: &Context,
    pending: &Pending,
    frame: &[u8],
    header: usize,
) -> (Option<Vec<u8>>, Report) {
    let body = frame.get(header..).unwrap_or_default();
    match edited_body(context, pending, body) {
        Ok((None, report)) => (None, report),
        Ok((Some(edited), report)) => (Some(reframe(frame, header, &edited)), report),
        Err(error) => {
            context.decode_fault(pending.api, error);
            if pending.policy.names_brokers {
                context.address_bypass(BypassReason::Address, pending.api);
            }
            (None, Report::default())
        }
    }
}

/// The frame with another body. `header` counts frame length and header.
pub(crate) fn reframe(frame: &[u8], header: usize, body: &[u8]) -> Vec<u8> {
    let length = header
        .saturating_sub(LENGTH_BYTES)
        .saturating_add(body.len());
    let mut out = Vec::with_capacity(LENGTH_BYTES.saturating_add(length));
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(frame.get(LENGTH_BYTES..header).unwrap_or_default());
    out.extend_from_slice(body);
    out
}

/// The replacements in a frame for those in its body; `None` where they do not fit. `header` counts frame length and header.
pub(crate) fn in_frame<'w>(
    frame: &[u8],
    header: usize,
    in_body: Vec<Splice<'w>>,
) -> Option<Vec<Splice<'w>>> {
    let mut length = frame.len().checked_sub(LENGTH_BYTES)?;
    let mut splices = Vec::with_capacity(in_body.len().saturating_add(1));
    splices.push(Splice {
        at: 0..LENGTH_BYTES,
        with: [][..].into(),
    });
    for Splice { at, with } in in_body {
        length = length.checked_sub(at.len())?.checked_add(with.len())?;
        let at = at.start.checked_add(header)?..at.end.checked_add(header)?;
        splices.push(Splice { at, with });
    }
    if let Some(first) = splices.first_mut() {
        first.with = i32::try_from(length).ok()?.to_be_bytes().to_vec().into();
    }
    splice::pieces(frame, &splices)?;
    Some(splices)
}

fn edited_body(
    context: &Context,
    pending: &Pending,
    body: &[u8],
) -> Result<(Option<Vec<u8>>, Report)> {
    let version = pending.version;
    Ok(match pending.api {
        ApiKey::METADATA => {
            let seen = endpoints::metadata(body, version)?;
            if let Some(id) = seen.cluster_id {
                context.shared.learn_cluster(id);
            }
            (
                rewrite(context, body, &seen.endpoints),
                answers::metadata(context, &seen),
            )
        }
        ApiKey::FIND_COORDINATOR => {
            let seen = endpoints::find_coordinator(body, version)?;
            (
                rewrite(context, body, &seen.endpoints),
                answers::find_coordinator(&seen),
            )
        }
        ApiKey::DESCRIBE_CLUSTER => {
            let seen = endpoints::describe_cluster(body, version)?;
            let report = Report {
                throttle_ms: seen.throttle_ms,
                error_code: seen.error_code,
                ..Report::default()
            };
            if seen.endpoint_type == CONTROLLER_ENDPOINTS {
                return Ok((None, report));
            }
            context.shared.learn_cluster(seen.cluster_id);
            (rewrite(context, body, &seen.endpoints), report)
        }
        ApiKey::PRODUCE => {
            let seen = endpoints::produce_response(body, version)?;
            (
                rewrite(context, body, &seen.endpoints),
                answers::produced(context, &seen),
            )
        }
        ApiKey::SHARE_ACKNOWLEDGE => {
            let seen = endpoints::share_acknowledge(body, version)?;
            (
                rewrite(context, body, &seen.endpoints),
                answers::acknowledged(context, &seen),
            )
        }
        ApiKey::API_VERSIONS => {
            let seen = api_versions::ApiVersionsResponse::read(body, version)?;
            let report = Report {
                throttle_ms: seen.throttle_ms.unwrap_or(0),
                // UNSUPPORTED_VERSION is how versions are negotiated, not a fault.
                error_code: if seen.error_code == 35 {
                    0
                } else {
                    seen.error_code
                },
                ..Report::default()
            };
            (
                api_versions::cap_max(body, version, policy::version_cap)?,
                report,
            )
        }
        _ => (None, answers::read(context, pending, body)),
    })
}

fn rewrite(context: &Context, body: &[u8], endpoints: &Endpoints<'_>) -> Option<Vec<u8>> {
    let splices = endpoints.splices(&mut |node, host, port| {
        context
            .shared
            .local_address(&context.ours, node, host, port)
    });
    if splices.is_empty() {
        return None;
    }
    splice::apply(body, &splices)
}

/// The trailer to send instead, of the same length; `None` = as it is.
pub(crate) fn trailer(
    context: &Context,
    kind: TrailerKind,
    api: ApiKey,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    // No tagged field at all, or no endpoint and no tagged field: nearly always.
    let empty: &[u8] = if kind == TrailerKind::Fetch {
        &[0]
    } else {
        &[1, 0]
    };
    if bytes == empty {
        return None;
    }
    let mut rewrite = |node: i32, host: &str, port: i32| {
        context
            .shared
            .local_address(&context.ours, node, host, port)
    };
    match endpoints::rewrite_trailer(kind, bytes, &mut rewrite) {
        Ok(done) => match done.outcome {
            TrailerOutcome::Untouched => None,
            TrailerOutcome::Rewritten | TrailerOutcome::RackDropped => Some(done.bytes),
            TrailerOutcome::Neutralised => {
                context
                    .shared
                    .counters
                    .add_bypass(BypassReason::EndpointNeutralised);
                Some(done.bytes)
            }
        },
        Err(error) => {
            context.decode_fault(api, error);
            context.address_bypass(BypassReason::Address, api);
            None
        }
    }
}
