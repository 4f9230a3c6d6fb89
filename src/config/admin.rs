//! `admin:` and `log:` - how operators look in.
//!
//! Here so that the token has one type that never prints itself. Must not open a socket or set up logging.

use std::{
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    address::{ListenAddress, ListenHost},
    section::{Section, choice, text},
    tls::read_file,
};

/// Shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// A secret that callers must present; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A secret from another file.
    pub(super) fn of(text: String) -> Self {
        Self(text)
    }

    /// The token itself, for whoever compares it with what a request brings. Never to be shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// The `admin` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where metrics, health and the console are served.
    pub listen: ListenAddress,
    /// Where `token` came from.
    pub token_file: Option<PathBuf>,
    /// Lets callers from outside loopback change things (`Authorization: Bearer`); `None` = only loopback may.
    pub token: Option<Token>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddress {
                host: ListenHost::Ip(Ipv4Addr::LOCALHOST.into()),
                port: 9470,
            },
            token_file: None,
            token: None,
        }
    }
}

impl AdminConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let read = |path: &str| token(Path::new(path)).map(|token| (path.into(), token));
        let (token_file, token) = section.optional("token_file", text(read)).unzip();
        Self {
            listen: section.or("listen", default.listen, text(str::parse)),
            token_file,
            token,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"listen": self.listen.to_string(), "token_file": self.token_file})
    }
}

fn token(path: &Path) -> Result<Token, String> {
    let allowed =
        format!("allowed: {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters");
    let bytes = read_file(path)?;
    let token = bytes.trim_ascii();
    let right = token.iter().all(u8::is_ascii_graphic);
    if !right || !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
        return Err(format!("holds no token, {allowed}"));
    }
    Ok(Token(String::from_utf8_lossy(token).into_owned()))
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least severe lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What does not work.
    Error,
    /// What may soon not work.
    Warn,
    /// What happened, once per thing.
    Info,
    /// What happened, in detail.
    Debug,
    /// Everything, the libraries' own steps among it; release builds leave those out.
    Trace,
}

impl LogFormat {
    const WORDS: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];

    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl LogLevel {
    /// The level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == name);
        found.map(|(_, level)| *level)
    }

    const WORDS: &[(&str, Self)] = &[
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// As written in the file, and as a filter directive of `tracing`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The `log` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines are written.
    pub level: LogLevel,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: LogLevel::Info,
        }
    }
}

impl LogConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            format: section.or("format", default.format, choice(LogFormat::WORDS)),
            level: section.or("level", default.level, choice(LogLevel::WORDS)),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"format": self.format.as_str(), "level": self.level.as_str()})
    }
}
