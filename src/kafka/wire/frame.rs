//! The frame: a length, and the header of a request or response.
//!
//! Must not look into bodies.

use super::{
    api::ApiKey,
    error::{DecodeErrorKind, Result},
    reader::Reader,
};

/// Bytes of the length that begins every frame.
pub const LENGTH_BYTES: usize = 4;

/// What the four bytes that should be a frame length turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// A length within the limit.
    Frame(usize),
    /// A TLS handshake record: the peer speaks TLS, we do not.
    TlsHello,
    /// A TLS alert: the peer expects TLS from us.
    TlsAlert,
    /// `GET `, `POST`, ...: the peer speaks HTTP.
    Http,
    /// Negative or beyond the limit.
    Absurd,
}

/// Judges the first four bytes of a frame.
#[must_use]
pub fn leading(bytes: [u8; LENGTH_BYTES], frame_bytes_max: usize) -> Leading {
    match bytes {
        // RFC 8446 section 5.1: record type 22 (handshake) or 21 (alert), legacy version 0x03xx.
        [0x16, 0x03, 0x00..=0x04, _] => Leading::TlsHello,
        [0x15, 0x03, 0x00..=0x04, _] => Leading::TlsAlert,
        [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] | [b'P', b'U', b'T', b' '] => {
            Leading::Http
        }
        [b'H', b'E', b'A', b'D'] | [b'H', b'T', b'T', b'P'] | [b'O', b'P', b'T', b'I'] => {
            Leading::Http
        }
        [b'P', b'R', b'I', b' '] | [b'D', b'E', b'L', b'E'] | [b'C', b'O', b'N', b'N'] => {
            Leading::Http
        }
        _ => match usize::try_from(i32::from_be_bytes(bytes)) {
            Ok(length) if length <= frame_bytes_max => Leading::Frame(length),
            _ => Leading::Absurd,
        },
    }
}

/// Header of a request (versions 1 and 2 of the header; 0 is only used between brokers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// API.
    pub api: ApiKey,
    /// Version of the API.
    pub version: i16,
    /// Chosen by the client, repeated in the response.
    pub correlation_id: i32,
    /// Client id; not always UTF-8.
    pub client_id: Option<&'a [u8]>,
    /// Bytes of the header, the frame length not counted.
    pub length: usize,
}

/// Reads the fixed part of a request header: API, version and correlation id, the first eight bytes.
///
/// # Errors
/// `Incomplete`.
pub fn request_identity(bytes: &[u8]) -> Result<(ApiKey, i16, i32)> {
    let mut r = Reader::new(bytes, false);
    Ok((
        ApiKey(r.i16("request api key")?),
        r.i16("request api version")?,
        r.i32("correlation id")?,
    ))
}

/// Reads a request header; `bytes` begin behind the frame length.
///
/// # Errors
/// `Incomplete` while the header is still arriving, otherwise what is wrong with it.
pub fn request_header(bytes: &[u8]) -> Result<RequestHeader<'_>> {
    let (api, version, correlation_id) = request_identity(bytes)?;
    let mut r = Reader::new(bytes, api.is_flexible(version));
    r.take(8, "request header")?;
    let client_id = r.classic_nullable_string_bytes("client id")?;
    r.skip_tagged()?;
    Ok(RequestHeader {
        api,
        version,
        correlation_id,
        client_id,
        length: r.position(),
    })
}

/// Length of a response header of `api` and `version`; `bytes` begin behind the frame length.
///
/// # Errors
/// `Incomplete` while it is still arriving.
pub fn response_header_length(bytes: &[u8], api: ApiKey, version: i16) -> Result<usize> {
    let mut r = Reader::new(bytes, api.has_flexible_response_header(version));
    r.i32("correlation id")?;
    r.skip_tagged()?;
    Ok(r.position())
}

/// The acknowledgements a Produce request asks for; `body` begins behind the request header. Peeked, because with 0 there
/// will be no response. Reference: `ProduceRequest.json`; a transactional id precedes it from version 3 on, compact from 9.
///
/// # Errors
/// `Incomplete` while it is still arriving.
pub fn produce_acks(body: &[u8], version: i16) -> Result<i16> {
    let mut r = Reader::new(body, ApiKey::PRODUCE.is_flexible(version));
    if version >= 3 {
        r.nullable_string_bytes("transactional id")?;
    }
    let acks = r.i16("acks")?;
    if !(-1..=1).contains(&acks) {
        return Err(r.fault(DecodeErrorKind::Value, "acks"));
    }
    Ok(acks)
}

/// Whether a frame that begins with `bytes` can be a Kafka request at all: used to find the end of a raw SASL exchange.
#[must_use]
pub fn plausible_request(bytes: &[u8]) -> bool {
    request_identity(bytes).is_ok_and(|(api, version, _)| {
        api.api()
            .is_some_and(|known| (0..=known.newest.saturating_add(8)).contains(&version))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hello_is_not_a_frame_length() {
        assert_eq!(leading([0x16, 3, 1, 2], usize::MAX), Leading::TlsHello);
        assert_eq!(leading([0x15, 3, 3, 0], usize::MAX), Leading::TlsAlert);
        assert_eq!(leading(*b"GET ", usize::MAX), Leading::Http);
        assert_eq!(leading([0xff; 4], usize::MAX), Leading::Absurd);
        assert_eq!(leading([0, 0, 1, 0], 256), Leading::Frame(256));
        assert_eq!(leading([0, 0, 1, 1], 256), Leading::Absurd);
    }

    #[test]
    fn acks_are_found_behind_a_compact_transactional_id() {
        // v9: transactional id "tx" (compact length 3), acks 0.
        assert_eq!(produce_acks(&[3, b't', b'x', 0, 0], 9), Ok(0));
        // v9: null transactional id, acks -1.
        assert_eq!(produce_acks(&[0, 0xff, 0xff], 9), Ok(-1));
        // v8: null transactional id, acks 1.
        assert_eq!(produce_acks(&[0xff, 0xff, 0, 1], 8), Ok(1));
        assert!(
            produce_acks(&[0xff, 0xff, 0], 8)
                .unwrap_err()
                .is_incomplete()
        );
    }

    #[test]
    fn tokens_of_the_raw_sasl_exchange_are_not_requests() {
        assert!(!plausible_request(b"n,,n=user,r=abc"));
        assert!(!plausible_request(&[0x60, 0x82, 0x02, 0, 0, 0, 0, 0]));
        assert!(plausible_request(&[0, 3, 0, 9, 0, 0, 0, 7]));
    }
}
