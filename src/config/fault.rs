//! What is wrong with a configuration, and where.
//!
//! Here so that every source (file, environment, flag) reports in one form, one line per fault, all at once. Must not decide
//! what is allowed; the readers of each section do.

use std::{fmt, sync::Arc};

/// Where a value came from: what a person has to edit to change it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the configuration file; line 0 stands for the file as a whole.
    File {
        /// The path as the user gave it.
        path: Arc<str>,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable, by its full name.
    Environment(Arc<str>),
    /// A command-line flag: `--listen`, or `--set kafka.listen`.
    Flag(Arc<str>),
    /// No source gave it; the fault is its absence.
    Absent,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0 } => f.write_str(path),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
            Self::Absent => f.write_str("configuration"),
        }
    }
}

/// One thing wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where to look.
    pub origin: Origin,
    /// Dotted path of the key; empty where the fault is not about one key.
    pub key: String,
    /// What is wrong and what is allowed; one line.
    pub message: String,
}

impl Fault {
    pub(super) fn new(origin: &Origin, key: &str, message: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything wrong with a configuration, in the order of the file, then environment, then flags. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `None` where nothing is wrong.
    pub(super) fn of(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort();
        faults.dedup();
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// The faults, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
