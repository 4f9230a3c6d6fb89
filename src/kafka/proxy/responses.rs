//! The direction from broker to client.
//!
//! Matches each response with its request, replaces addresses and versions where the policy says so, and reports what the
//! answer says. Everything else passes as it comes. Must not delay an unedited frame.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    answers::{self, Report},
    connection::Context,
    delivered::DeliveredSink,
    edits,
    facts::RequestFacts,
    inflight::{Expected, Pending},
    inject::repair::{self, Verdict},
    lane::{Lane, LaneResult},
    pool::CHUNK_BYTES,
    requests::End,
};
use crate::{
    event::{BypassReason, FrameMode, Stamp},
    kafka::wire::{
        api::ApiKey,
        endpoints::TrailerKind,
        frame::{self, LENGTH_BYTES, Leading},
        policy::Decode,
        scan::{Message, Scanner},
    },
};

/// Bytes of a small response that are kept for reading.
const OBSERVED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What follows the records of a Fetch response is a few hundred bytes; past this it is passed as it is.
const TRAILER_BYTES_MAX: usize = 1024 * 1024;

/// Passes responses until the broker ends.
pub(crate) async fn run<R, W>(context: &Context, lane: &mut Lane<R, W>) -> LaneResult<End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        if context.in_flight.is_tunnel() {
            lane.tunnel().await?;
            break;
        }
        if !boundary(context, lane).await? {
            break;
        }
        if context.in_flight.is_tunnel() {
            continue;
        }
        let first = lane
            .available()
            .first_chunk::<LENGTH_BYTES>()
            .copied()
            .unwrap_or_default();
        let length = match frame::leading(first, context.shared.settings.limits.frame_bytes) {
            Leading::Frame(length) => length,
            other => {
                context.framing_fault_from_broker(other);
                context.in_flight.begin_tunnel();
                continue;
            }
        };
        if !one(context, lane, length).await? {
            break;
        }
        context.in_flight.changed_room.notify_one();
    }
    // No answer will come any more that could open it.
    context.in_flight.give_up();
    lane.finish().await?;
    Ok(End::Eof)
}

/// Waits for the next frame and sends our own answers meanwhile. False where the broker ended.
async fn boundary<R, W>(context: &Context, lane: &mut Lane<R, W>) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        context.in_flight.clear_news();
        while let Some(ours) = context.in_flight.pop_ours() {
            lane.write(&ours).await?;
        }
        if lane.available().len() >= LENGTH_BYTES || context.in_flight.is_tunnel() {
            return Ok(true);
        }
        lane.flush().await?;
        // Nothing is left to write, so only the wait for bytes can be cancelled here.
        if !lane.fill_unless(|| context.in_flight.has_news()).await? {
            return Ok(false);
        }
    }
}

/// Handles one response. False where the broker ended inside it.
async fn one<R, W>(context: &Context, lane: &mut Lane<R, W>, length: usize) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let total = LENGTH_BYTES.saturating_add(length);
    if !lane
        .need(LENGTH_BYTES.saturating_add(length.min(4)))
        .await?
    {
        return Ok(false);
    }
    let at = Stamp::now();
    let correlation_id = lane
        .available()
        .get(LENGTH_BYTES..)
        .and_then(|b| b.first_chunk::<4>().copied())
        .map(i32::from_be_bytes);
    let pending = match context.in_flight.pop() {
        Some(Expected::RawToken) => return lane.stream(total, |_| {}).await,
        Some(Expected::Answer(pending)) if correlation_id == Some(pending.correlation_id) => {
            pending
        }
        _ => {
            context.unmatched_response();
            context.in_flight.begin_tunnel();
            return Ok(true);
        }
    };
    let header = response_header(lane, &pending, total).await?;
    let Some(header) = header else {
        context.in_flight.give_up();
        return lane.stream(total, |_| {}).await;
    };
    let mode = match pending.policy.response {
        Decode::Opaque => FrameMode::Opaque,
        Decode::Observed | Decode::Scanned | Decode::ScannedTrailer => FrameMode::Observed,
        Decode::Edited => FrameMode::Edited,
    };
    context.shared.counters.add_frame(pending.api.0, mode);
    match pending.policy.response {
        Decode::Opaque => {
            let report = Report::default();
            let done = lane.stream(total, |_| {}).await?;
            answers::emit(context, at, *pending, report);
            Ok(done)
        }
        Decode::Observed => observe(context, lane, at, *pending, header, total).await,
        Decode::Edited => edit(context, lane, at, *pending, header, total).await,
        Decode::Scanned | Decode::ScannedTrailer => {
            scan(context, lane, at, *pending, header, total).await
        }
    }
}

/// Length of frame length and response header; `None` where the broker ended or the header is damaged.
async fn response_header<R, W>(
    lane: &mut Lane<R, W>,
    pending: &Pending,
    total: usize,
) -> LaneResult<Option<usize>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let frame = lane.available();
        let frame = frame.get(..total.min(frame.len())).unwrap_or_default();
        let inner = frame.get(LENGTH_BYTES..).unwrap_or_default();
        match frame::response_header_length(inner, pending.api, pending.version) {
            Ok(length) => return Ok(Some(LENGTH_BYTES.saturating_add(length))),
            Err(fault) if fault.is_incomplete() && frame.len() < total.min(CHUNK_BYTES) => {
                let more = frame.len().saturating_add(1);
                if !lane.need(more).await? {
                    return Ok(None);
                }
            }
            Err(_) => return Ok(None),
        }
    }
}

/// Streams a small response and reads it once it is complete.
async fn observe<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    at: Stamp,
    pending: Pending,
    header: usize,
    total: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if let Some(body) = lane.available().get(header..total) {
        let report = answers::read(context, &pending, body);
        lane.pass(total);
        answers::emit(context, at, pending, report);
        return Ok(true);
    }
    let keep = total <= OBSERVED_BYTES_MAX;
    let mut copy = Vec::new();
    let done = lane
        .stream(total, |bytes| {
            if keep {
                copy.extend_from_slice(bytes);
            }
        })
        .await?;
    let report = match copy.get(header..) {
        Some(body) if done && keep => answers::read(context, &pending, body),
        _ => {
            context.shared.counters.add_bypass(BypassReason::TooLarge);
            Report::default()
        }
    };
    answers::emit(context, at, pending, report);
    Ok(done)
}

/// Holds a response whole, replaces what must be replaced and sends it.
async fn edit<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    at: Stamp,
    pending: Pending,
    header: usize,
    total: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let guarded = pending.after.is_guarded();
    let open = || {
        if guarded {
            context.in_flight.open();
        }
    };
    if total <= CHUNK_BYTES {
        if !lane.need(total).await? {
            return Ok(false);
        }
        let frame = lane.available().get(..total).unwrap_or_default();
        match answer(context, pending, frame, header) {
            Answered::Nothing => {
                lane.flush().await?;
                lane.discard(total);
            }
            Answered::AsIs(pending, report) => {
                lane.pass(total);
                answers::emit(context, at, pending, report);
            }
            Answered::Instead(bytes, pending, report) => {
                lane.write(&bytes).await?;
                lane.discard(total);
                answers::emit(context, at, pending, report);
            }
        }
        open();
        return Ok(true);
    }
    if total > context.shared.settings.limits.edit_bytes {
        context.address_bypass(BypassReason::TooLarge, pending.api);
        let done = lane.stream(total, |_| {}).await?;
        answers::emit(context, at, pending, Report::default());
        open();
        return Ok(done);
    }
    let mut held = Vec::new();
    let done = lane.hold(total, &mut held).await?;
    if !done {
        lane.write(&held).await?;
        answers::emit(context, at, pending, Report::default());
        return Ok(false);
    }
    match answer(context, pending, &held, header) {
        Answered::Nothing => {}
        Answered::AsIs(pending, report) => {
            lane.write(&held).await?;
            answers::emit(context, at, pending, report);
        }
        Answered::Instead(bytes, pending, report) => {
            lane.write(&bytes).await?;
            answers::emit(context, at, pending, report);
        }
    }
    open();
    Ok(true)
}

/// What a response that was held whole becomes.
enum Answered {
    /// The client is not answered yet.
    Nothing,
    AsIs(Pending, Report),
    Instead(Vec<u8>, Pending, Report),
}

fn answer(context: &Context, pending: Pending, frame: &[u8], header: usize) -> Answered {
    match repair::judge(context, pending, frame, header) {
        Verdict::Again => Answered::Nothing,
        Verdict::AsIs(pending) => match edits::edit(context, &pending, frame, header) {
            (None, report) => Answered::AsIs(pending, report),
            (Some(bytes), report) => Answered::Instead(bytes, pending, report),
        },
        Verdict::Instead(pending, frame, header) => {
            let (edited, report) = edits::edit(context, &pending, &frame, header);
            Answered::Instead(edited.unwrap_or(frame), pending, report)
        }
    }
}

/// Streams a response with records through the scanner, and rewrites what follows them.
async fn scan<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    at: Stamp,
    pending: Pending,
    header: usize,
    total: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let share = pending.api == ApiKey::SHARE_FETCH;
    let (session, read_committed) = match &pending.facts {
        RequestFacts::Fetch {
            session,
            read_committed,
        } => (session.as_ref(), *read_committed),
        // Share consumers see what the share group's isolation level lets them; acquired ranges decide.
        _ => (None, false),
    };
    let message = if share {
        Message::ShareFetchResponse
    } else {
        Message::FetchResponse
    };
    let mut scanner = Scanner::new(message, pending.version);
    let mut sink = DeliveredSink::new(&context.shared, session, read_committed, share, at);
    lane.pass(header);
    let mut left = total.saturating_sub(header);
    let mut readable = true;
    while left > 0 && !scanner.at_trailer() && readable {
        let available = lane.available();
        let piece = available
            .get(..left.min(available.len()))
            .unwrap_or_default();
        let passed = match scanner.feed(piece, &mut sink) {
            Ok(before) => before,
            Err(error) => {
                context.decode_fault(pending.api, error);
                readable = false;
                0
            }
        };
        lane.pass(passed);
        left = left.saturating_sub(passed);
        if left > 0 && !scanner.at_trailer() && readable && !lane.fill().await? {
            return Ok(false);
        }
    }
    let report = answers::delivered(context, &pending, sink);
    let done = if readable && (share || pending.version >= 16) {
        let kind = if share {
            TrailerKind::ShareFetch
        } else {
            TrailerKind::Fetch
        };
        trailer(context, lane, kind, pending.api, left).await?
    } else {
        lane.stream(left, |_| {}).await?
    };
    answers::emit(context, at, pending, report);
    Ok(done)
}

/// Rewrites the addresses behind the records without changing a length.
async fn trailer<R, W>(
    context: &Context,
    lane: &mut Lane<R, W>,
    kind: TrailerKind,
    api: ApiKey,
    length: usize,
) -> LaneResult<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if length > TRAILER_BYTES_MAX {
        context.address_bypass(BypassReason::TooLarge, api);
        return lane.stream(length, |_| {}).await;
    }
    if let Some(bytes) = lane.available().get(..length) {
        match edits::trailer(context, kind, api, bytes) {
            None => lane.pass(length),
            Some(edited) => {
                lane.write(&edited).await?;
                lane.discard(length);
            }
        }
        return Ok(true);
    }
    let mut held = Vec::new();
    let done = lane.hold(length, &mut held).await?;
    let edited = if done {
        edits::trailer(context, kind, api, &held)
    } else {
        None
    };
    lane.write(edited.as_deref().unwrap_or(&held)).await?;
    Ok(done)
}
