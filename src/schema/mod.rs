//! Schemas of records: how a value says which one wrote it, what a registry told of it, and whether the value decodes.
//!
//! Pure: whoever asks a registry puts the answers in. Must not keep or show a value.

mod compiled;
mod framing;
mod known;

pub use compiled::{Compiled, Language, Source, Unusable};
pub use framing::{Framed, Framing, Part, SchemaId};
pub use known::{Answer, Known, MAX_KNOWN, NotOfTopic, Question, Schemas, Subject};
