//! Authentication as seen from outside: mechanism and result, never the tokens.
//!
//! Reference: `SaslHandshakeRequest.json`, `SaslAuthenticateResponse.json` (KIP-43, KIP-152, KIP-368). Must not expose,
//! keep or log authentication bytes or the broker's message about them.

use super::super::{api::ApiKey, body::open, error::Result};

/// Mechanisms that are named in metrics; any other is `OTHER`.
const MECHANISMS: [&str; 5] = [
    "PLAIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "GSSAPI",
];

/// A SaslHandshakeRequest, versions 0-1. After version 0, tokens follow without Kafka headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslHandshakeRequest<'a> {
    /// Mechanism the client wants.
    pub mechanism: &'a str,
}

impl<'a> SaslHandshakeRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-1, else what the field gives.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::SASL_HANDSHAKE, version, 0)?;
        Ok(Self {
            mechanism: r.string("mechanism")?,
        })
    }

    /// The mechanism as a label: one of the protocol's, else `OTHER`.
    #[must_use]
    pub fn mechanism_label(&self) -> &'static str {
        MECHANISMS
            .into_iter()
            .find(|m| m.eq_ignore_ascii_case(self.mechanism))
            .unwrap_or("OTHER")
    }
}

/// A SaslHandshakeResponse, versions 0-1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslHandshakeResponse<'a> {
    /// 0 = go on, 33 = the broker does not offer the mechanism.
    pub error_code: i16,
    /// Mechanisms the broker offers.
    pub mechanisms: Vec<&'a str>,
}

impl<'a> SaslHandshakeResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-1, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::SASL_HANDSHAKE, version, 0)?;
        let error_code = r.i16("error code")?;
        let mut mechanisms = Vec::new();
        r.array("mechanisms", |r| {
            mechanisms.push(r.string("mechanism")?);
            Ok(())
        })?;
        Ok(Self {
            error_code,
            mechanisms,
        })
    }
}

/// A SaslAuthenticateResponse, versions 0-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslAuthenticateResponse {
    /// 0 = accepted, or a further round of the exchange.
    pub error_code: i16,
    /// After this time the broker wants to authenticate again, ms; 0 = never. Added in version 1.
    pub session_lifetime_ms: i64,
}

impl SaslAuthenticateResponse {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-2, else what the fields give.
    pub fn read(body: &[u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::SASL_AUTHENTICATE, version, 0)?;
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        r.nullable_bytes("auth bytes")?;
        let session_lifetime_ms = if version >= 1 {
            r.i64("session lifetime")?
        } else {
            0
        };
        Ok(Self {
            error_code,
            session_lifetime_ms,
        })
    }
}
