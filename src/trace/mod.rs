//! The tree of one event, from the records that carry its context.
//!
//! Records go in as their headers say, in any order; a tree comes out, and texts of it. Pure: what was read, and when, is the
//! caller's. Must not see keys or values, do IO, or know how records were found.

mod json;
mod mermaid;
mod observed;
mod text;
mod tree;
mod when;

pub use json::json;
pub use mermaid::mermaid;
pub use observed::{Lack, Observed};
pub use text::text;
pub use tree::{Link, Node, Tree};
pub use when::{millis, utc};

pub use crate::propagation::{DeadLetter, Position, is_dead_letter_topic};

/// What a text of a tree says beside the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The record that was asked for, where one was.
    pub asked: Option<Position>,
    /// What was not read, and why, a line each; empty = all of it was.
    pub unread: Vec<String>,
}
