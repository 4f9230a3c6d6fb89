//! Authentication as seen from outside: mechanism, the name a client claims, and the result; never the tokens.
//!
//! Reference: `SaslHandshakeRequest.json`, `SaslAuthenticateRequest.json`, `SaslAuthenticateResponse.json` (KIP-43, KIP-152,
//! KIP-368), RFC 4616 (PLAIN), RFC 5802 (SCRAM). Of authentication bytes nothing leaves this file but the name that PLAIN and
//! SCRAM carry in clear. Must not expose, keep or log the rest, or the broker's message about them.

use super::super::{api::ApiKey, body::open, error::Result};

/// Mechanisms that are named in metrics; any other is `OTHER`.
pub const MECHANISMS: [&str; 6] = [
    "PLAIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "GSSAPI",
    OTHER,
];
const OTHER: &str = "OTHER";
/// Longest name that is told, in bytes.
const NAME_BYTES_MAX: usize = 255;

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
            .unwrap_or(OTHER)
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

/// The name that a SaslAuthenticateRequest (versions 0-2) carries in clear: PLAIN's authentication identity, the user of a
/// SCRAM client's first message. `None` where it carries none (a later message, another mechanism, a delegation token) or one
/// that is not fit to be shown.
///
/// # Errors
/// `Version` outside 0-2, else what the field gives.
pub fn claimed_name(body: &[u8], version: i16, mechanism: &str) -> Result<Option<String>> {
    let r = &mut open(body, ApiKey::SASL_AUTHENTICATE, version, 0)?;
    let token = r.nullable_bytes("auth bytes")?.unwrap_or_default();
    let name = match mechanism {
        "PLAIN" => plain_name(token),
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => scram_name(token),
        _ => None,
    };
    let fit = |name: &String| {
        (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    Ok(name.filter(fit))
}

/// `[authzid] NUL authcid NUL passwd`.
fn plain_name(token: &[u8]) -> Option<String> {
    let mut parts = token.split(|byte| *byte == 0);
    let (_, name, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    str::from_utf8(name).ok().map(str::to_owned)
}

/// `gs2-flag "," [a=authzid] "," n=user "," r=nonce ["," extensions]`; in names a comma is `=2C` and an equals sign `=3D`.
fn scram_name(token: &[u8]) -> Option<String> {
    let text = str::from_utf8(token).ok()?;
    let mut fields = text.split(',');
    let (flag, authzid) = (fields.next()?, fields.next()?);
    let is_flag = flag == "n" || flag == "y" || flag.starts_with("p=");
    if !is_flag || !(authzid.is_empty() || authzid.starts_with("a=")) {
        return None;
    }
    let name = fields.next()?.strip_prefix("n=")?;
    // The name is then the id of a token.
    if !fields.next()?.starts_with("r=") || fields.any(|field| field.starts_with("tokenauth=")) {
        return None;
    }
    Some(name.replace("=2C", ",").replace("=3D", "="))
}

/// A SaslAuthenticateResponse, versions 0-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslAuthenticateResponse {
    /// 0 = accepted, or a further round of the exchange.
    pub error_code: i16,
    /// The broker has nothing more to ask: its message is empty or the signature that ends SCRAM. With error code 0 the client is in.
    pub is_last: bool,
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
        let token = r.nullable_bytes("auth bytes")?.unwrap_or_default();
        let session_lifetime_ms = if version >= 1 {
            r.i64("session lifetime")?
        } else {
            0
        };
        Ok(Self {
            error_code,
            is_last: token.is_empty() || token.starts_with(b"v="),
            session_lifetime_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(mechanism: &str, token: &[u8]) -> Option<String> {
        let length = i32::try_from(token.len()).unwrap();
        let body = [&length.to_be_bytes()[..], token].concat();
        claimed_name(&body, 0, mechanism).unwrap()
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table")]
    fn the_name_is_told_and_nothing_else_of_a_token() {
        let alice = || Some("alice".to_owned());
        for (what, mechanism, token, wanted) in [
            ("plain", "PLAIN", &b"\0alice\0secret"[..], alice()),
            (
                "with an authorization id",
                "PLAIN",
                b"alice\0alice\0secret",
                alice(),
            ),
            ("an empty password", "PLAIN", b"\0alice\0", alice()),
            ("cut off before the password", "PLAIN", b"\0alice", None),
            ("a part too many", "PLAIN", b"\0alice\0a\0b", None),
            ("no name", "PLAIN", b"\0\0secret", None),
            ("not text", "PLAIN", b"\0\xff\xfe\0secret", None),
            ("control characters", "PLAIN", b"\0al\x1bice\0secret", None),
            ("nothing", "PLAIN", b"", None),
            ("scram", "SCRAM-SHA-256", b"n,,n=alice,r=nonce", alice()),
            (
                "scram, bound",
                "SCRAM-SHA-512",
                b"p=tls-exporter,a=alice,n=alice,r=nonce",
                alice(),
            ),
            (
                "escapes",
                "SCRAM-SHA-256",
                b"n,,n=a=2Cb=3Dc,r=nonce",
                Some("a,b=c".to_owned()),
            ),
            (
                "extensions",
                "SCRAM-SHA-256",
                b"n,,n=alice,r=nonce,x=y",
                alice(),
            ),
            (
                "a delegation token",
                "SCRAM-SHA-256",
                b"n,,n=id,r=nonce,tokenauth=true",
                None,
            ),
            (
                "scram's last message",
                "SCRAM-SHA-256",
                b"c=biws,r=nonce,p=proof",
                None,
            ),
            (
                "scram without a nonce",
                "SCRAM-SHA-256",
                b"n,,n=alice",
                None,
            ),
            (
                "plain sent as scram",
                "SCRAM-SHA-256",
                b"\0alice\0secret",
                None,
            ),
            (
                "a bearer token",
                "OAUTHBEARER",
                b"n,a=alice,\x01auth=Bearer t\x01\x01",
                None,
            ),
            ("kerberos", "GSSAPI", b"\0alice\0secret", None),
        ] {
            assert_eq!(name(mechanism, token), wanted, "{what}");
        }
        assert_eq!(
            name("PLAIN", &[&b"\0"[..], &[b'a'; 256], b"\0x"].concat()),
            None
        );
    }

    #[test]
    fn the_last_answer_is_empty_or_a_signature() {
        for (token, last) in [
            (&b""[..], true),
            (b"v=abc", true),
            (b"r=n,s=s,i=4096", false),
        ] {
            let length = i32::try_from(token.len()).unwrap();
            let body = [
                &0_i16.to_be_bytes()[..],
                &(-1_i16).to_be_bytes(),
                &length.to_be_bytes(),
                token,
            ]
            .concat();
            assert_eq!(
                SaslAuthenticateResponse::read(&body, 0).unwrap().is_last,
                last
            );
        }
    }
}
