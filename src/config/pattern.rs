//! A compiled regular expression that can be compared and shown.
//!
//! Here because rules match names by pattern and a reload must see whether a rule changed. Must not grow without limit: the
//! compiled size is capped.

use std::{fmt, str::FromStr};

use regex::{Regex, RegexBuilder};

/// Largest compiled pattern, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 18;

/// A `match:` pattern; unanchored, as the `regex` crate reads it.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether it matches somewhere in `name`.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.0
    }

    /// The same over bytes that need not be UTF-8.
    ///
    /// # Errors
    /// Never seen: what compiles for text compiles for bytes.
    pub fn over_bytes(&self) -> Result<regex::bytes::Regex, regex::Error> {
        regex::bytes::RegexBuilder::new(self.as_str())
            .size_limit(COMPILED_BYTES_MAX)
            .build()
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .build();
        built.map(Self).map_err(|error| {
            let reason = match &error {
                regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                // The last line of the crate's picture says what is wrong.
                _ => error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .replace("error: ", ""),
            };
            format!("is not a regular expression: {reason}")
        })
    }
}
