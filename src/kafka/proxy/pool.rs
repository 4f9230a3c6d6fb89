//! Reusable read buffers, so that memory follows the bytes in flight and not the number of connections.
//!
//! A connection that waits for its peer holds no buffer. Must not grow without bound: what is above the limit is freed.

use std::sync::{Mutex, PoisonError};

/// Bytes of one buffer: the chunk in which everything streams.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// Free buffers kept for the next reader.
const FREE_MAX: usize = 16;

/// Hands out buffers of [`CHUNK_BYTES`].
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Box<[u8]>>>,
}

impl Pool {
    /// A buffer, whatever is in it.
    pub(crate) fn take(&self) -> Box<[u8]> {
        let kept = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        kept.unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice())
    }

    /// Takes a buffer back.
    pub(crate) fn give(&self, buffer: Box<[u8]>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_MAX {
            free.push(buffer);
        }
    }
}
