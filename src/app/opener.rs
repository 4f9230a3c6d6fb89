//! Opens captured Kafka batches for the pipeline, which knows no protocol.

use crate::{
    kafka::wire::record::{Record, Records},
    pipeline::{RecordOpener, Unreadable},
};

/// Bytes a batch may have once decompressed.
const OPEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// See [`RecordOpener`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opener;

impl RecordOpener for Opener {
    fn open(&self, batch: &[u8]) -> Result<Vec<(i64, i64)>, Unreadable> {
        let records = Records::open(batch, OPEN_BYTES_MAX).map_err(|_| Unreadable)?;
        let header = *records.header();
        let of = |record: Record<'_>| {
            let offset = header
                .base_offset
                .saturating_add(i64::from(record.offset_delta));
            (offset, header.published_ms(record.timestamp_delta))
        };
        records
            .iter()
            .map(|r| r.map(of).map_err(|_| Unreadable))
            .collect()
    }
}
