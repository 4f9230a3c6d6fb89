//! Reusable buffers, so that memory follows the bytes in flight and not the number of connections.
//!
//! A connection that waits for its peer holds no buffer. Must not grow without bound: what is above the limit is freed.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

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

/// Larger buffers that are kept, for what is held whole. A page that the system hands out costs more than the edit of what it
/// holds, and a buffer of a megabyte that is made for every request is hundreds of them.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Free ones, and when each was given back.
    free: Vec<(Vec<u8>, Instant)>,
    /// Somebody is going to look for those that nobody takes.
    swept: bool,
}

/// Smaller ones are the allocator's business.
const SPARE_BYTES_MIN: usize = 16 * 1024;
/// Free ones kept, together.
const SPARE_BYTES_TOTAL: usize = 16 << 20;
/// Free ones kept.
const SPARES_MAX: usize = 16;
/// One that is taken is at most so many times as large as was asked for.
const SPARE_TIMES_MAX: usize = 4;
/// One that nobody took for so long is freed.
const SPARE_LASTS: Duration = Duration::from_secs(2);

impl Spares {
    /// An empty buffer: the smallest that holds `bytes`, else the largest there is, else one without room. None that is much too
    /// large: it may be held for long, and only `bytes` are accounted for.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Spare {
        let most = bytes.saturating_mul(SPARE_TIMES_MAX).max(CHUNK_BYTES);
        let mut kept = self.lock();
        let free = || {
            kept.free
                .iter()
                .map(|(b, _)| b.capacity())
                .filter(|c| *c <= most)
        };
        let best = free()
            .filter(|c| *c >= bytes)
            .min()
            .or_else(|| free().max());
        let at = best.and_then(|best| kept.free.iter().position(|(b, _)| b.capacity() == best));
        let buffer = at.map(|at| kept.free.swap_remove(at).0);
        Spare {
            buffer: buffer.unwrap_or_default(),
            home: Arc::clone(self),
        }
    }

    fn give(self: &Arc<Self>, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes < SPARE_BYTES_MIN {
            return;
        }
        // Without a runtime nobody would free it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        buffer.clear();
        let mut kept = self.lock();
        let held: usize = kept.free.iter().map(|(b, _)| b.capacity()).sum();
        if kept.free.len() >= SPARES_MAX || held.saturating_add(bytes) > SPARE_BYTES_TOTAL {
            return;
        }
        kept.free.push((buffer, Instant::now()));
        if !std::mem::replace(&mut kept.swept, true) {
            drop(runtime.spawn(sweep(Arc::downgrade(self))));
        }
    }

    /// Frees what nobody took for long; whether anything is left.
    fn free_idle(&self) -> bool {
        let mut kept = self.lock();
        kept.free.retain(|(_, since)| since.elapsed() < SPARE_LASTS);
        kept.swept = !kept.free.is_empty();
        kept.swept
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the last buffer, so that an idle program is not woken.
async fn sweep(spares: Weak<Spares>) {
    loop {
        tokio::time::sleep(SPARE_LASTS).await;
        if !spares.upgrade().is_some_and(|spares| spares.free_idle()) {
            return;
        }
    }
}

/// A buffer that goes back to where it came from.
#[derive(Debug)]
pub(crate) struct Spare {
    buffer: Vec<u8>,
    home: Arc<Spares>,
}

impl Deref for Spare {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for Spare {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(spares: &Arc<Spares>, bytes: usize) {
        spares.take(bytes).reserve_exact(bytes);
    }

    fn kept(spares: &Arc<Spares>) -> Vec<usize> {
        let mut all: Vec<usize> = spares
            .lock()
            .free
            .iter()
            .map(|(b, _)| b.capacity())
            .collect();
        all.sort_unstable();
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_buffer_serves_again_and_is_freed_when_nobody_takes_it() {
        let spares = Arc::new(Spares::default());
        used(&spares, 1 << 20);
        for _ in 0..5 {
            tokio::time::sleep(SPARE_LASTS / 2).await;
            let mut buffer = spares.take(300_000);
            assert_eq!((buffer.capacity(), buffer.len()), (1 << 20, 0));
            buffer.push(1);
            assert!(kept(&spares).is_empty());
        }
        assert_eq!(kept(&spares), [1 << 20]);
        tokio::time::sleep(2 * SPARE_LASTS).await;
        assert!(kept(&spares).is_empty());
        used(&spares, 1 << 20);
        tokio::time::sleep(2 * SPARE_LASTS).await;
        assert!(kept(&spares).is_empty(), "and the next one too");
    }

    #[tokio::test]
    async fn the_smallest_that_fits_is_taken() {
        let spares = Arc::new(Spares::default());
        let all = [1 << 20, 1 << 18, 1 << 19].map(|bytes| {
            let mut buffer = spares.take(0);
            buffer.reserve_exact(bytes);
            buffer
        });
        drop(all);
        assert_eq!(spares.take(300_000).capacity(), 1 << 19);
        assert_eq!(spares.take(2 << 20).capacity(), 1 << 20, "else the largest");
        assert_eq!(
            spares.take(60_000).capacity(),
            0,
            "none that is much too large"
        );
    }

    #[tokio::test]
    async fn no_more_is_kept_than_the_bound() {
        let spares = Arc::new(Spares::default());
        let many: Vec<Spare> = (0..2 * SPARES_MAX).map(|_| spares.take(0)).collect();
        for mut buffer in many {
            buffer.reserve_exact(SPARE_BYTES_TOTAL / 4);
        }
        assert_eq!(kept(&spares), [SPARE_BYTES_TOTAL / 4; 4]);
        let small = Arc::new(Spares::default());
        let many: Vec<Spare> = (0..2 * SPARES_MAX).map(|_| small.take(0)).collect();
        for mut buffer in many {
            buffer.reserve_exact(SPARE_BYTES_MIN);
        }
        assert_eq!(kept(&small), [SPARE_BYTES_MIN; SPARES_MAX]);
        used(&small, SPARE_BYTES_MIN - 1);
        assert_eq!(kept(&small).len(), SPARES_MAX);
    }
}
