//! Packs edited records again, with the codec the producer chose.
//!
//! The level is not on the wire, so a fast one is taken; the framing is the producer's where there are two. Must not open
//! anything: that is `compression`'s.

use std::io::Write;

use crate::{event::Codec, kafka::wire::compression};

/// What zstd itself calls fast; Kafka's default is 3.
const ZSTD_LEVEL: i32 = 1;
/// The block of `snappy-java`'s output stream.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Version and lowest readable version behind the magic of `snappy-java`'s framing.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Appends `body`, compressed as `original` was. `None` for a codec that is not known.
pub(super) fn append(out: &mut Vec<u8>, codec: Codec, original: &[u8], body: &[u8]) -> Option<()> {
    match codec {
        Codec::None => out.extend_from_slice(body),
        Codec::Gzip => {
            let fast = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(out, fast);
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?;
        }
        Codec::Snappy if original.starts_with(compression::XERIAL_MAGIC) => {
            out.extend_from_slice(compression::XERIAL_MAGIC);
            out.extend_from_slice(&XERIAL_VERSIONS);
            for block in body.chunks(XERIAL_BLOCK_BYTES) {
                let packed = snap::raw::Encoder::new().compress_vec(block).ok()?;
                let length = i32::try_from(packed.len()).ok()?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&packed);
            }
        }
        Codec::Snappy => out.extend(snap::raw::Encoder::new().compress_vec(body).ok()?),
        Codec::Lz4 => {
            // Kafka's own reader refuses dependent blocks; blocks of 64 KB are what its writer makes.
            let frame = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Independent)
                .block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, out);
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?;
        }
        Codec::Zstd => out.extend(zstd::bulk::compress(body, ZSTD_LEVEL).ok()?),
        Codec::Other => return None,
    }
    Some(())
}
