//! How our own connections get in: TLS, and who we say we are.
//!
//! One value for every question this program asks, so that `check`, `trace`, `run` and `observe` cannot differ. Must not print
//! a password, and never serves the application's connections: their tokens pass through untouched.

use std::{fmt, sync::Arc};

use super::super::dial::TlsSettings;

/// What our own connections are opened with.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// TLS; `None` = plaintext.
    pub tls: Option<TlsSettings>,
    /// Login; `None` = the listener wants none.
    pub login: Option<Arc<Login>>,
}

/// A SASL mechanism we log in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: the password itself; only over TLS a secret.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802 with SHA-512, as Kafka has it.
    ScramSha512,
}

impl Mechanism {
    /// The name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we say we are.
#[derive(Clone)]
pub struct Login {
    /// How it is said.
    pub mechanism: Mechanism,
    /// User name.
    pub username: String,
    /// Password; never printed.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginError {
    /// The broker wants no SASL, or too old a form of it.
    NotSpoken,
    /// Not this mechanism.
    NotOffered(Mechanism),
    /// Wrong name or password.
    Refused(Mechanism),
    /// The exchange is not what the mechanism prescribes.
    Malformed(Mechanism),
    /// The broker did not prove that it knows the password.
    Unproven(Mechanism),
    /// The operating system gives no randomness.
    NoRandomness,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSpoken => f.write_str(
                "the port does not speak SASL; remove kafka.sasl or name a SASL listener",
            ),
            Self::NotOffered(mechanism) => write!(
                f,
                "the broker does not offer {} on this port; check kafka.sasl.mechanism",
                mechanism.as_str()
            ),
            Self::Refused(mechanism) => write!(
                f,
                "the broker refused the login; check kafka.sasl.username and password_file, and that the user has {} \
                 credentials",
                mechanism.as_str()
            ),
            Self::Malformed(mechanism) => write!(
                f,
                "the broker's part of {} is not what the mechanism prescribes; check the address",
                mechanism.as_str()
            ),
            Self::Unproven(mechanism) => write!(
                f,
                "the broker could not prove in {} that it knows the password; is this the right cluster?",
                mechanism.as_str()
            ),
            Self::NoRandomness => {
                f.write_str("the operating system gives no randomness for a nonce")
            }
        }
    }
}

impl std::error::Error for LoginError {}
