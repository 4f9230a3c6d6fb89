//! The messages of our own login: which mechanism, and the tokens it exchanges.
//!
//! Apart from `sasl`, which reads what passes through and must never see a token. Must not keep or log one.
//!
//! Reference: `SaslHandshakeRequest.json`, `SaslAuthenticateRequest.json` (KIP-152) and its response.

use super::{
    super::{api::ApiKey, error::Result, splice::put_string},
    reading::within,
    requests::frame,
};

/// The SaslHandshake version that is written: tokens follow in Kafka messages from 1 on.
pub const SASL_HANDSHAKE_VERSIONS: (i16, i16) = (1, 1);
/// SaslAuthenticate versions that are written and read.
pub const SASL_AUTHENTICATE_VERSIONS: (i16, i16) = (0, 1);

/// A SaslHandshakeRequest, version 1.
#[must_use]
pub fn sasl_handshake_request(correlation_id: i32, mechanism: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, mechanism, false);
    frame(ApiKey::SASL_HANDSHAKE, 1, correlation_id, &body)
}

/// A SaslAuthenticateRequest; `None` outside 0-1, and for a token no frame can hold.
#[must_use]
pub fn sasl_authenticate_request(
    correlation_id: i32,
    version: i16,
    token: &[u8],
) -> Option<Vec<u8>> {
    if !(SASL_AUTHENTICATE_VERSIONS.0..=SASL_AUTHENTICATE_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = Vec::from(i32::try_from(token.len()).ok()?.to_be_bytes());
    body.extend_from_slice(token);
    let key = ApiKey::SASL_AUTHENTICATE;
    Some(frame(key, version, correlation_id, &body))
}

/// A SaslAuthenticateResponse to us.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "holds a token")]
pub struct LoginStep<'a> {
    /// 0 = accepted, or a further round.
    pub error_code: i16,
    /// The broker's token.
    pub token: &'a [u8],
}

impl<'a> LoginStep<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-1, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let key = ApiKey::SASL_AUTHENTICATE;
        let r = &mut within(body, key, version, SASL_AUTHENTICATE_VERSIONS)?;
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        Ok(Self {
            error_code,
            token: r.nullable_bytes("auth bytes")?.unwrap_or_default(),
        })
    }
}
