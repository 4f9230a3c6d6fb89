//! The direction from client to broker.
//!
//! Reads each request's header, decides what is done with the body, and puts the request into the in-flight queue before
//! its last byte leaves. Must not change a request but by `inject`; the one that is not passed on is an ApiVersions request from the
//! future.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    connection::Context,
    facts::{RequestFacts, read_request},
    inflight::{After, Expected, Pending},
    inject::{self, HeldRequest, Injected},
    lane::{Lane, LaneResult},
    pool::CHUNK_BYTES,
    produced::ProducedSink,
};
use crate::{
    event::{
        Answer, BypassReason, EventKind, Facts, FrameMode, Name, ProducedPart, PublishOutcome,
        Stamp,
    },
    kafka::wire::{
        api::ApiKey,
        error::DecodeError,
        frame::{self, LENGTH_BYTES, Leading},
        messages::api_versions::unsupported_version_reply,
        policy::{self, Decode, Policy, Skipped},
        scan::{Message, Scanner},
    },
};

/// Bytes of an observed request that are kept for reading; beyond it passes unread.
const OBSERVED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How the direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The reader ended and everything was passed on.
    Eof,
    /// Told to stop between two frames.
    Drained,
}

struct Header {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client: Name,
    /// Bytes of frame length and header.
    length: usize,
    readable: bool,
}

/// Passes requests until the client ends.
pub(crate) async fn run<R, W>(context: &Context, lane: &mut Lane<R, W>) -> LaneResult<End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut client_name: Name = Arc::from("");
    loop {
        if context.in_flight.is_tunnel() {
            lane.tunnel().await?;
            break;
        }
        if !boundary(context, lane).await? {
            if context.is_draining() {
                return Ok(End::Drained);
            }
            break;
        }
        let Some(length) = frame_length(context, lane) else {
            context.in_flight.begin_tunnel();
            continue;
        };
        if !one(context, lane, length, &mut client_name).await? {
            break;
        }
    }
    lane.finish().await?;
    Ok(End::Eof)
}

/// Waits for the length of the next frame. False where the client ended or the proxy drains.
async fn boundary<R, W>(context: &Context, lane: &mut Lane<R, W>) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    while context.in_flight.is_closed() {
        lane.flush().await?;
        if let Some(again) = context.in_flight.take_resend() {
            context.in_flight.push(Expected::Answer(again.pending));
            lane.write(&again.frame).await?;
            continue;
        }
        if context.in_flight.is_closed() {
            context.in_flight.changed_room.notified().await;
        }
    }
    while context.in_flight.len() >= context.shared.settings.limits.in_flight_requests {
        lane.flush().await?;
        context.in_flight.changed_room.notified().await;
    }
    while lane.available().len() < LENGTH_BYTES {
        lane.flush().await?;
        if context.is_draining() && lane.available().is_empty() {
            return Ok(false);
        }
        let between_frames = lane.available().is_empty();
        let stop = || between_frames && context.is_draining();
        if !lane.fill_unless(stop).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The length of the frame at hand, or `None` where it is no frame.
fn frame_length<R, W>(context: &Context, lane: &Lane<R, W>) -> Option<usize>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let first = lane.available().first_chunk::<LENGTH_BYTES>().copied()?;
    match frame::leading(first, context.shared.settings.limits.frame_bytes) {
        // The shortest header: API key, version, correlation id.
        Leading::Frame(length) if length >= 8 => Some(length),
        other => {
            context.framing_fault_from_client(other);
            None
        }
    }
}

/// Handles one request. False where the client ended inside it.
async fn one<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    length: usize,
    client: &mut Name,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let total = LENGTH_BYTES.saturating_add(length);
    if !lane.need(LENGTH_BYTES.saturating_add(8)).await? {
        return Ok(false);
    }
    let plausible =
        frame::plausible_request(lane.available().get(LENGTH_BYTES..).unwrap_or_default());
    if context.in_flight.is_raw_token(plausible) {
        let whole = lane.stream(total, |_| {}).await?;
        context.in_flight.push(Expected::RawToken);
        return Ok(whole);
    }
    let Some(header) = read_header(lane, total, client).await? else {
        return Ok(false);
    };
    let (policy, skipped) = policy::decide(header.api, header.version);
    if header.api == ApiKey::API_VERSIONS && skipped == Some(Skipped::Newer) {
        return answer_version_from_the_future(context, lane, &header, total).await;
    }
    note_skipped(context, header.api, skipped);
    if header.api == ApiKey::PRODUCE
        && policy.request == Decode::Scanned
        && header.readable
        && context.shared.modes.load().injects()
    {
        return held_produce(context, lane, header, policy, total).await;
    }
    let body = total.saturating_sub(header.length);
    lane.pass(header.length);
    let request = if header.readable {
        policy.request
    } else {
        Decode::Opaque
    };
    let (done, facts, answered) = match request {
        Decode::Scanned | Decode::ScannedTrailer => scan(context, lane, &header, body).await?,
        Decode::Observed | Decode::Edited => observe(context, lane, &header, body).await?,
        Decode::Opaque if header.api == ApiKey::PRODUCE => old_produce(lane, &header, body).await?,
        Decode::Opaque => (lane.stream(body, |_| {}).await?, RequestFacts::None, true),
    };
    context.shared.counters.add_frame(
        header.api.0,
        if request == Decode::Opaque {
            FrameMode::Opaque
        } else {
            FrameMode::Observed
        },
    );
    if !done {
        return Ok(false);
    }
    sent(context, header, policy, facts, answered, After::Nothing);
    Ok(true)
}

/// Holds a Produce request, edits it and sends it; streams it where it cannot be held.
async fn held_produce<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    header: Header,
    policy: Policy,
    total: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let shared = &context.shared;
    let in_lane = total <= CHUNK_BYTES;
    // What fits into the lane's own buffer takes no more memory.
    let room = if in_lane {
        None
    } else {
        match shared.inject.hold(total) {
            Some(room) => Some(room),
            None => return unheld_produce(context, lane, header, policy, total).await,
        }
    };
    let mut held = room.as_ref().map(|_| shared.spares.take(total));
    let whole = match &mut held {
        None => lane.need(total).await?,
        Some(held) => lane.hold(total, held).await?,
    };
    if !whole {
        if let Some(held) = held {
            lane.write(&held).await?;
        }
        return Ok(false);
    }
    let frame = match &held {
        None => lane.available().get(..total).unwrap_or_default(),
        Some(held) => held,
    };
    let mut sink = ProducedSink::new(shared);
    let body = frame.get(header.length..).unwrap_or_default();
    let mut scanner = Scanner::new(Message::ProduceRequest, header.version);
    let mut edited = shared.spares.take(total);
    let mut injected = match scanner.feed(body, &mut sink) {
        Ok(_) => {
            let request = HeldRequest {
                frame,
                header: header.length,
                version: header.version,
            };
            shared
                .inject
                .edit(shared, request, &mut sink.parts, &mut edited, Stamp::now())
        }
        Err(error) => {
            context.decode_fault(header.api, error);
            Injected::default()
        }
    };
    let mode = if injected.splices.is_some() {
        FrameMode::Edited
    } else {
        FrameMode::Observed
    };
    shared.counters.add_frame(header.api.0, mode);
    sink.bare.append(&mut injected.bare);
    let (facts, answered) = produce_facts(sink);
    let after = injected.edit.map_or(After::Nothing, After::Edited);
    sent(context, header, policy, facts, answered, after);
    match (injected.splices, held) {
        (Some(splices), None) => lane.pass_spliced(total, &splices).await?,
        (Some(splices), Some(held)) => lane.write_spliced(&held, &splices).await?,
        (None, None) => lane.pass(total),
        (None, Some(held)) => lane.write(&held).await?,
    }
    drop(room);
    Ok(true)
}

/// A Produce request that would have been edited, but is too large or finds no room.
async fn unheld_produce<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    header: Header,
    policy: Policy,
    total: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    lane.pass(header.length);
    let body = total.saturating_sub(header.length);
    let (done, mut facts, answered) = scan(context, lane, &header, body).await?;
    context
        .shared
        .counters
        .add_frame(header.api.0, FrameMode::Observed);
    if let RequestFacts::Produce { parts, .. } = &mut facts {
        inject::not_held(&context.shared, parts);
    }
    if done {
        sent(context, header, policy, facts, answered, After::Nothing);
    }
    Ok(done)
}

fn note_skipped(context: &Context, api: ApiKey, skipped: Option<Skipped>) {
    let counters = &context.shared.counters;
    match skipped {
        None => {}
        Some(Skipped::Older) => counters.add_bypass(BypassReason::OldVersion),
        Some(Skipped::Newer) => {
            counters.add_bypass(BypassReason::UnknownVersion);
            if policy::of(api).names_brokers {
                counters.add_bypass(BypassReason::Address);
            }
        }
    }
}

/// Reads the header as far as it can be read. `None` where the client ended inside it.
async fn read_header<R, W>(
    lane: &mut Lane<R, W>,
    total: usize,
    client: &mut Name,
) -> LaneResult<Option<Header>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let frame = lane.available();
        let frame = frame.get(..total.min(frame.len())).unwrap_or_default();
        let inner = frame.get(LENGTH_BYTES..).unwrap_or_default();
        let fault: DecodeError = match frame::request_header(inner) {
            Ok(read) => {
                let id = String::from_utf8_lossy(read.client_id.unwrap_or_default());
                if id != client.as_ref() {
                    *client = Name::from(id.as_ref());
                }
                return Ok(Some(Header {
                    api: read.api,
                    version: read.version,
                    correlation_id: read.correlation_id,
                    client: Name::clone(client),
                    length: LENGTH_BYTES.saturating_add(read.length),
                    readable: true,
                }));
            }
            Err(fault) => fault,
        };
        let wait = fault.is_incomplete() && frame.len() < total && frame.len() < CHUNK_BYTES;
        if wait {
            let more = frame.len().saturating_add(1);
            if !lane.need(more).await? {
                return Ok(None);
            }
            continue;
        }
        // An odd header (an old inter-broker request, or damage): what identifies the answer is in the first 8 bytes.
        let Ok((api, version, correlation_id)) = frame::request_identity(inner) else {
            return Ok(None);
        };
        let length = LENGTH_BYTES.saturating_add(8);
        return Ok(Some(Header {
            api,
            version,
            correlation_id,
            client: Name::clone(client),
            length,
            readable: false,
        }));
    }
}

type Done = (bool, RequestFacts, bool);

/// Streams a Produce request through the scanner.
async fn scan<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    header: &Header,
    body: usize,
) -> LaneResult<Done>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut sink = ProducedSink::new(&context.shared);
    let mut scanner = Scanner::new(Message::ProduceRequest, header.version);
    let mut fault = None;
    let done = lane
        .stream(body, |bytes| {
            if fault.is_none()
                && let Err(error) = scanner.feed(bytes, &mut sink)
            {
                fault = Some(error);
            }
        })
        .await?;
    if let Some(error) = fault {
        context.decode_fault(header.api, error);
    }
    let (facts, answered) = produce_facts(sink);
    Ok((done, facts, answered))
}

/// What was read of a Produce request, and whether it will be answered.
fn produce_facts(sink: ProducedSink<'_>) -> (RequestFacts, bool) {
    let answered = sink.acks != 0;
    let facts = RequestFacts::Produce {
        acks: sink.acks,
        transactional: sink.transactional,
        parts: sink.parts,
        bare: sink.bare,
    };
    (facts, answered)
}

/// Streams a small request and reads it once it is complete.
async fn observe<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    header: &Header,
    body: usize,
) -> LaneResult<Done>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // What a token says depends on the mechanism, which nothing else needs.
    let mechanism = match header.api {
        ApiKey::SASL_AUTHENTICATE => context.in_flight.mechanism(),
        _ => None,
    };
    let read = |bytes: &[u8]| {
        read_request(
            &context.shared,
            &context.connection.broker,
            mechanism,
            header.api,
            header.version,
            bytes,
        )
        .unwrap_or_else(|error| {
            context.decode_fault(header.api, error);
            RequestFacts::None
        })
    };
    if let Some(whole) = lane.available().get(..body) {
        let facts = read(whole);
        lane.pass(body);
        return Ok((true, facts, true));
    }
    if body > OBSERVED_BYTES_MAX {
        context.shared.counters.add_bypass(BypassReason::TooLarge);
        return Ok((lane.stream(body, |_| {}).await?, RequestFacts::None, true));
    }
    let mut copy = Vec::new();
    let done = lane
        .stream(body, |bytes| copy.extend_from_slice(bytes))
        .await?;
    let facts = if done {
        read(&copy)
    } else {
        RequestFacts::None
    };
    Ok((done, facts, true))
}

/// A Produce request that is not read still tells whether it will be answered.
async fn old_produce<R, W>(lane: &mut Lane<R, W>, header: &Header, body: usize) -> LaneResult<Done>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut wanted = 1usize;
    let acks = loop {
        if !lane.need(wanted.min(body)).await? {
            return Ok((false, RequestFacts::None, true));
        }
        let available = lane.available();
        let at_hand = available
            .get(..body.min(available.len()))
            .unwrap_or_default();
        match frame::produce_acks(at_hand, header.version) {
            Err(fault) if fault.is_incomplete() && at_hand.len() < body.min(CHUNK_BYTES) => {
                wanted = at_hand.len().saturating_add(1);
            }
            other => break other,
        }
    };
    let done = lane.stream(body, |_| {}).await?;
    Ok((done, RequestFacts::None, acks != Ok(0)))
}

/// Answers an ApiVersions request newer than this build as a broker of our age would (KIP-511): a broker that knows it
/// would answer in a form that cannot be capped.
async fn answer_version_from_the_future<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    header: &Header,
    total: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut dropped = Vec::new();
    if !lane.hold(total, &mut dropped).await? {
        return Ok(false);
    }
    let newest = ApiKey::API_VERSIONS.api().map_or(0, |api| api.newest);
    context
        .shared
        .counters
        .add_frame(header.api.0, FrameMode::Edited);
    context
        .in_flight
        .push(Expected::Ours(unsupported_version_reply(
            header.correlation_id,
            newest,
        )));
    Ok(true)
}

/// The request is about to leave whole.
fn sent(
    context: &Context,
    header: Header,
    policy: Policy,
    facts: RequestFacts,
    answered: bool,
    after: After,
) {
    let at = Stamp::now();
    context.seen_client(&header.client, &facts, at);
    if answered {
        context.in_flight.push(Expected::Answer(Box::new(Pending {
            api: header.api,
            version: header.version,
            correlation_id: header.correlation_id,
            policy,
            client: header.client,
            sent: at.mono,
            facts,
            after,
        })));
    } else if let RequestFacts::Produce {
        acks,
        transactional,
        parts,
        bare: _,
    } = facts
    {
        let parts: Vec<ProducedPart> = parts
            .into_iter()
            .map(|p| ProducedPart {
                outcome: PublishOutcome::NotAsked,
                ..p
            })
            .collect();
        context.emit(
            at,
            header.client,
            EventKind::Answered(Answer {
                operation: header.api.name(),
                time_limit: None,
                duration: std::time::Duration::ZERO,
                throttle: std::time::Duration::ZERO,
                error: None,
                facts: Facts::Produced(crate::event::Produced {
                    acks,
                    transactional,
                    parts,
                }),
            }),
        );
    }
}
