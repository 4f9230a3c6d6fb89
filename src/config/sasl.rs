//! `kafka.sasl:` - who our own connections say they are.
//!
//! The password is read from a file here, so that a wrong path stops the start and not the first connection. Must not show
//! it: not in `Debug`, not in `/config`, not in a fault.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    admin::Token,
    section::{Section, choice, text},
    tls::read_file,
};

/// Longest user name or password, in bytes.
const BYTES_MAX: usize = 4_096;

/// How we log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// `PLAIN`.
    Plain,
    /// `SCRAM-SHA-256`.
    ScramSha256,
    /// `SCRAM-SHA-512`.
    ScramSha512,
}

impl SaslMechanism {
    const WORDS: &[(&str, Self)] = &[
        ("PLAIN", Self::Plain),
        ("SCRAM-SHA-256", Self::ScramSha256),
        ("SCRAM-SHA-512", Self::ScramSha512),
    ];

    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// The `kafka.sasl` section; its presence switches the login on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslConfig {
    /// How it is said.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Where `password` came from.
    pub password_file: PathBuf,
    /// The password; never shown.
    pub password: Token,
}

impl SaslConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        if !section.present() {
            return None;
        }
        let mechanism = section.required(
            "mechanism",
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
            choice(SaslMechanism::WORDS),
        );
        let username = section.required("username", "the name to log in with", text(username));
        let password = section.required(
            "password_file",
            "the path of a file that holds the password and nothing else",
            text(|path| password(Path::new(path)).map(|word| (path.into(), word))),
        );
        let (password_file, password) = password?;
        Some(Self {
            mechanism: mechanism?,
            username: username?,
            password_file,
            password,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "mechanism": self.mechanism.as_str(),
            "username": self.username,
            "password_file": self.password_file,
        })
    }
}

fn username(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!(
            "is not a name, allowed: 1 to {BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(name.to_owned())
}

/// The file's content without the line ends an editor leaves behind.
fn password(path: &Path) -> Result<Token, String> {
    let bytes = read_file(path)?;
    let text = String::from_utf8(bytes).map_err(|_| "holds no UTF-8, allowed: a password")?;
    let word = text.trim_end_matches(['\n', '\r']);
    if word.is_empty() || word.len() > BYTES_MAX || word.chars().any(char::is_control) {
        return Err(format!(
            "holds no password, allowed: 1 to {BYTES_MAX} bytes on one line"
        ));
    }
    Ok(Token::of(word.to_owned()))
}
