//! One direction of a connection: a reader, a writer and the chunk between them.
//!
//! Bytes are looked at (`cursor`) before they are written on (`start`), and everything looked at is written before the
//! lane waits for more, so a frame streams. Must not know what the bytes mean.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};

use super::pool::{CHUNK_BYTES, Pool};
use crate::{
    event::{DataplaneCounters, Direction},
    kafka::wire::splice::{self, Splice},
};

/// Held bytes for which there is room at once; more grow with what arrives.
const HELD_AT_ONCE: usize = 4 << 20;

/// A side that failed, with the cause.
#[derive(Debug)]
pub(crate) enum LaneFault {
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write(io::Error),
}

/// Result of lane operations.
pub(crate) type LaneResult<T> = Result<T, LaneFault>;

/// One direction of one connection.
#[derive(Debug)]
pub(crate) struct Lane<R, W> {
    reader: R,
    writer: W,
    direction: Direction,
    counters: Arc<DataplaneCounters>,
    pool: Arc<Pool>,
    buffer: Option<Box<[u8]>>,
    /// First byte that is not written on yet.
    start: usize,
    /// First byte that was not looked at yet.
    cursor: usize,
    /// Behind the last byte read.
    end: usize,
    /// When the bytes not yet written arrived.
    arrived: Option<Instant>,
    ended: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Lane<R, W> {
    pub(crate) fn new(
        reader: R,
        writer: W,
        direction: Direction,
        counters: Arc<DataplaneCounters>,
        pool: Arc<Pool>,
    ) -> Self {
        Self {
            reader,
            writer,
            direction,
            counters,
            pool,
            buffer: None,
            start: 0,
            cursor: 0,
            end: 0,
            arrived: None,
            ended: false,
        }
    }

    /// Bytes read and not looked at yet.
    pub(crate) fn available(&self) -> &[u8] {
        self.buffer
            .as_deref()
            .and_then(|b| b.get(self.cursor..self.end))
            .unwrap_or_default()
    }

    /// Marks `n` bytes as looked at: they will be written on as they are.
    pub(crate) fn pass(&mut self, n: usize) {
        self.cursor = self.cursor.saturating_add(n).min(self.end);
    }

    /// Takes `n` looked-at-or-not bytes out of the stream: they will not be written on. Everything before must have been
    /// flushed.
    pub(crate) fn discard(&mut self, n: usize) {
        self.cursor = self.cursor.saturating_add(n).min(self.end);
        self.start = self.cursor;
    }

    /// Makes at least `n` unlooked-at bytes available (`n` ≤ a chunk). False where the reader ended first.
    pub(crate) async fn need(&mut self, n: usize) -> LaneResult<bool> {
        while self.available().len() < n {
            if !self.fill().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what was looked at, then waits for more bytes. False where the reader has ended.
    pub(crate) async fn fill(&mut self) -> LaneResult<bool> {
        self.fill_unless(|| false).await
    }

    /// As [`Self::fill`], but gives up the wait, with true and nothing more at hand, where `stop` says so when polled.
    pub(crate) async fn fill_unless(&mut self, stop: impl Fn() -> bool) -> LaneResult<bool> {
        self.flush().await?;
        if self.ended {
            return Ok(false);
        }
        self.make_room();
        let read = poll_fn(|cx| {
            if stop() {
                return Poll::Ready(None);
            }
            self.poll_fill(cx).map(Some)
        })
        .await;
        let Some(read) = read.transpose().map_err(LaneFault::Read)? else {
            return Ok(true);
        };
        if read == 0 {
            self.ended = true;
            return Ok(false);
        }
        if self.arrived.is_none() {
            self.arrived = Some(Instant::now());
        }
        Ok(true)
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.cursor, self.end) = (0, 0, 0);
            self.release();
        } else if self.end == CHUNK_BYTES
            && let Some(buffer) = self.buffer.as_deref_mut()
        {
            buffer.copy_within(self.start..self.end, 0);
            self.cursor = self.cursor.saturating_sub(self.start);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
    }

    fn release(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give(buffer);
        }
    }

    /// Reads into the free part of the buffer. A lane that holds nothing gives its buffer back while it waits.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = self.buffer.take().unwrap_or_else(|| self.pool.take());
        let free = buffer.get_mut(self.end..).unwrap_or_default();
        let mut into = ReadBuf::new(free);
        let polled = Pin::new(&mut self.reader).poll_read(cx, &mut into);
        let read = into.filled().len();
        match polled {
            Poll::Ready(Ok(())) => {
                self.end = self.end.saturating_add(read);
                self.buffer = Some(buffer);
                Poll::Ready(Ok(read))
            }
            Poll::Ready(Err(fault)) => {
                self.buffer = Some(buffer);
                Poll::Ready(Err(fault))
            }
            Poll::Pending => {
                if self.start == self.end {
                    self.pool.give(buffer);
                } else {
                    self.buffer = Some(buffer);
                }
                Poll::Pending
            }
        }
    }

    /// Writes everything that was looked at.
    pub(crate) async fn flush(&mut self) -> LaneResult<()> {
        if self.start == self.cursor {
            return Ok(());
        }
        let bytes = self
            .buffer
            .as_deref()
            .and_then(|b| b.get(self.start..self.cursor))
            .unwrap_or_default();
        let written = bytes.len();
        self.writer
            .write_all(bytes)
            .await
            .map_err(LaneFault::Write)?;
        // A TLS writer buffers; a plain socket does nothing here.
        self.writer.flush().await.map_err(LaneFault::Write)?;
        self.start = self.cursor;
        self.written(written);
        Ok(())
    }

    /// Writes bytes of our own making, behind everything that was looked at.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> LaneResult<()> {
        self.flush().await?;
        self.writer
            .write_all(bytes)
            .await
            .map_err(LaneFault::Write)?;
        self.writer.flush().await.map_err(LaneFault::Write)?;
        self.written(bytes.len());
        Ok(())
    }

    /// As [`Self::write`], with replacements made.
    pub(crate) async fn write_spliced(
        &mut self,
        bytes: &[u8],
        splices: &[Splice<'_>],
    ) -> LaneResult<()> {
        self.flush().await?;
        let written = write_spliced(&mut self.writer, bytes, splices).await;
        self.written(written.map_err(LaneFault::Write)?);
        Ok(())
    }

    /// Writes the next `n` bytes, which were not looked at, with replacements made.
    pub(crate) async fn pass_spliced(
        &mut self,
        n: usize,
        splices: &[Splice<'_>],
    ) -> LaneResult<()> {
        self.flush().await?;
        let end = self.cursor.saturating_add(n).min(self.end);
        let buffer = self.buffer.as_deref();
        let bytes = buffer.and_then(|b| b.get(self.cursor..end));
        let written = write_spliced(&mut self.writer, bytes.unwrap_or_default(), splices).await;
        self.discard(n);
        self.written(written.map_err(LaneFault::Write)?);
        Ok(())
    }

    fn written(&mut self, bytes: usize) {
        self.counters
            .add_bytes(self.direction, u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Some(arrived) = self.arrived.take() {
            self.counters
                .latency(self.direction)
                .observe(arrived.elapsed());
        }
    }

    /// Passes the rest of the stream unread, to its end.
    pub(crate) async fn tunnel(&mut self) -> LaneResult<()> {
        loop {
            self.pass(usize::MAX);
            if !self.fill().await? {
                return Ok(());
            }
        }
    }

    /// Passes `n` bytes, showing each piece to `look` before it is written.
    pub(crate) async fn stream(
        &mut self,
        mut n: usize,
        mut look: impl FnMut(&[u8]),
    ) -> LaneResult<bool> {
        loop {
            let now = self.available();
            let now = now.get(..n.min(now.len())).unwrap_or_default();
            if !now.is_empty() {
                look(now);
            }
            let passed = now.len();
            self.pass(passed);
            n = n.saturating_sub(passed);
            if n == 0 {
                return Ok(true);
            }
            if !self.fill().await? {
                return Ok(false);
            }
        }
    }

    /// Takes `n` bytes out of the stream into memory, after flushing what is before them. Room is only set aside: what of it
    /// is used grows with what arrives.
    pub(crate) async fn hold(&mut self, n: usize, into: &mut Vec<u8>) -> LaneResult<bool> {
        into.reserve_exact(n.min(HELD_AT_ONCE));
        self.flush().await?;
        while into.len() < n {
            let now = self.available();
            let now = now
                .get(..n.saturating_sub(into.len()).min(now.len()))
                .unwrap_or_default();
            into.extend_from_slice(now);
            let taken = now.len();
            self.discard(taken);
            if into.len() < n && !self.fill().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Passes the end of the stream on: what is left, then the half-close.
    pub(crate) async fn finish(&mut self) -> LaneResult<()> {
        self.pass(usize::MAX);
        self.flush().await?;
        self.release();
        self.writer.shutdown().await.map_err(LaneFault::Write)
    }
}

impl<R, W> Drop for Lane<R, W> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give(buffer);
        }
    }
}

/// Writes bytes with replacements made, none of them copied; how many were written.
async fn write_spliced<W: AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
    splices: &[Splice<'_>],
) -> io::Result<usize> {
    // Whoever made the replacements has seen that they fit.
    let pieces = splice::pieces(bytes, splices).ok_or(io::ErrorKind::InvalidInput)?;
    let mut slices: Vec<IoSlice<'_>> = pieces.into_iter().map(IoSlice::new).collect();
    let mut left = slices.as_mut_slice();
    // Nothing at the front is empty.
    IoSlice::advance_slices(&mut left, 0);
    let mut total = 0usize;
    while !left.is_empty() {
        let written = writer.write_vectored(left).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
        total = total.saturating_add(written);
    }
    writer.flush().await?;
    Ok(total)
}
