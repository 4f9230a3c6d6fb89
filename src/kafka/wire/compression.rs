//! Opens the compressed part of a batch, never beyond a cap.
//!
//! The only place that may call a decompressor. The output is limited by the caller's cap and by a ratio to the input, so
//! that a small batch cannot cost much; a decompressor's own memory is limited too. Reference: KIP-110 (zstd), the xerial
//! framing of `snappy-java`, the LZ4 frame format. Must not compress; an edit that needs it lives with the edit.

use std::{borrow::Cow, io::Read};

use super::error::{DecodeError, DecodeErrorKind, Result};
use crate::event::Codec;

/// Output bytes allowed per input byte.
const RATIO_MAX: usize = 1_000;
/// Output that is always allowed, so that small batches of equal records are not refused.
const RATIO_FLOOR_BYTES: usize = 1 << 20;
/// More output per input byte than snappy can reach: its best is a copy of 64 bytes said in 3.
const SNAPPY_RATIO_MAX: usize = 32;
/// Largest zstd window, as a power of two: 8 MiB, what level 19 asks for.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How snappy-java's framing begins: magic, then two version numbers of four bytes.
pub(super) const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// The codec of a batch's attribute bits.
#[must_use]
pub fn codec(number: i16) -> Codec {
    match number {
        0 => Codec::None,
        1 => Codec::Gzip,
        2 => Codec::Snappy,
        3 => Codec::Lz4,
        4 => Codec::Zstd,
        _ => Codec::Other,
    }
}

fn fault(kind: DecodeErrorKind) -> DecodeError {
    DecodeError {
        kind,
        field: "compressed records",
        offset: 0,
    }
}

/// Decompresses `bytes` into at most `cap` bytes, and at most a thousand times the input (but a mebibyte is always
/// allowed). Borrows where there is nothing to decompress.
///
/// # Errors
/// `Limit` past the cap or the ratio; `Compression` for bytes that are not of this codec, and for an unknown codec.
pub fn decompress(codec: Codec, bytes: &[u8], cap: usize) -> Result<Cow<'_, [u8]>> {
    let limit = cap.min(bytes.len().saturating_mul(RATIO_MAX).max(RATIO_FLOOR_BYTES));
    match codec {
        Codec::None => Ok(Cow::Borrowed(bytes)),
        Codec::Gzip => read_capped(flate2::read::MultiGzDecoder::new(bytes), limit),
        Codec::Snappy => snappy(bytes, limit),
        Codec::Lz4 => read_capped(lz4_flex::frame::FrameDecoder::new(bytes), limit),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)
                .map_err(|_| fault(DecodeErrorKind::Compression))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|_| fault(DecodeErrorKind::Compression))?;
            read_capped(decoder, limit)
        }
        Codec::Other => Err(fault(DecodeErrorKind::Compression)),
    }
}

fn read_capped<'a>(decoder: impl Read, limit: usize) -> Result<Cow<'a, [u8]>> {
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    decoder
        .take(one_more)
        .read_to_end(&mut out)
        .map_err(|_| fault(DecodeErrorKind::Compression))?;
    if out.len() > limit {
        return Err(fault(DecodeErrorKind::Limit));
    }
    Ok(Cow::Owned(out))
}

fn snappy<'a>(bytes: &[u8], limit: usize) -> Result<Cow<'a, [u8]>> {
    let mut out = Vec::new();
    if !bytes.starts_with(XERIAL_MAGIC) {
        snappy_block(bytes, limit, &mut out)?;
        return Ok(Cow::Owned(out));
    }
    let mut rest = bytes
        .get(XERIAL_HEADER_BYTES..)
        .ok_or(fault(DecodeErrorKind::Compression))?;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (block, tail) = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .and_then(|n| tail.split_at_checked(n))
            .ok_or(fault(DecodeErrorKind::Compression))?;
        snappy_block(block, limit, &mut out)?;
        rest = tail;
    }
    if rest.is_empty() {
        Ok(Cow::Owned(out))
    } else {
        Err(fault(DecodeErrorKind::Compression))
    }
}

/// Appends one raw block. Its length is a number from the wire, so it is checked before it sizes anything.
fn snappy_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let length =
        snap::raw::decompress_len(block).map_err(|_| fault(DecodeErrorKind::Compression))?;
    let start = out.len();
    let end = start.saturating_add(length);
    if end > limit {
        return Err(fault(DecodeErrorKind::Limit));
    }
    if length > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(fault(DecodeErrorKind::Compression));
    }
    out.resize(end, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new()
        .decompress(block, room)
        .map_err(|_| fault(DecodeErrorKind::Compression))?;
    if written == length {
        Ok(())
    } else {
        Err(fault(DecodeErrorKind::Compression))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn compress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Gzip => {
                let mut e = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                e.write_all(bytes).unwrap();
                e.finish().unwrap()
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            Codec::Lz4 => {
                let mut e = lz4_flex::frame::FrameEncoder::new(vec![]);
                e.write_all(bytes).unwrap();
                e.finish().unwrap()
            }
            Codec::Zstd => zstd::bulk::compress(bytes, 3).unwrap(),
            Codec::None | Codec::Other => bytes.to_vec(),
        }
    }

    fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
        let mut out = XERIAL_MAGIC.to_vec();
        out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
        for block in blocks {
            let raw = compress(Codec::Snappy, block);
            out.extend_from_slice(&u32::try_from(raw.len()).unwrap().to_be_bytes());
            out.extend_from_slice(&raw);
        }
        out
    }

    #[test]
    fn every_codec_gives_back_what_went_in() {
        let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        for codec in CODECS {
            let packed = compress(codec, &bytes);
            let cap = bytes.len();
            assert_eq!(
                decompress(codec, &packed, cap).unwrap(),
                &*bytes,
                "{codec:?}"
            );
            let err = decompress(codec, &packed, cap - 1).unwrap_err();
            assert_eq!(err.kind, DecodeErrorKind::Limit, "{codec:?}");
        }
    }

    #[test]
    fn xerial_framing_is_several_blocks() {
        let packed = xerial(&[b"abc", b"", b"def"]);
        assert_eq!(
            decompress(Codec::Snappy, &packed, 6).unwrap(),
            &b"abcdef"[..]
        );
        assert_eq!(
            decompress(Codec::Snappy, &packed, 5).unwrap_err().kind,
            DecodeErrorKind::Limit
        );
        let cut = &packed[..packed.len() - 1];
        assert!(decompress(Codec::Snappy, cut, 6).is_err());
        assert!(decompress(Codec::Snappy, &packed[..12], 6).is_err());
    }

    #[test]
    fn a_snappy_length_of_four_gibibytes_allocates_nothing() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        for cap in [100, usize::MAX] {
            assert!(decompress(Codec::Snappy, &bomb, cap).is_err());
        }
    }

    #[test]
    fn the_ratio_stops_a_bomb_below_the_cap() {
        let bomb = compress(Codec::Zstd, &vec![0; 64 << 20]);
        assert!(bomb.len() < 60_000, "{}", bomb.len());
        let err = decompress(Codec::Zstd, &bomb, usize::MAX).unwrap_err();
        assert_eq!(err.kind, DecodeErrorKind::Limit);
        // Snappy at its best stays under its own ratio.
        let zeros = vec![0; 4 << 20];
        let packed = compress(Codec::Snappy, &zeros);
        assert_eq!(
            decompress(Codec::Snappy, &packed, 4 << 20).unwrap(),
            &*zeros
        );
    }

    #[test]
    fn noise_is_a_fault() {
        for codec in CODECS {
            let err = decompress(codec, &[0xee; 40], 1_000).unwrap_err();
            assert!(
                matches!(
                    err.kind,
                    DecodeErrorKind::Compression | DecodeErrorKind::Limit
                ),
                "{codec:?}"
            );
        }
        assert!(decompress(Codec::Other, b"x", 10).is_err());
        assert_eq!(decompress(Codec::None, b"x", 0).unwrap(), &b"x"[..]);
    }
}
