//! Kafka's wire format: bytes in, typed facts or edits out.
//!
//! Pure: no IO, no clock, no allocation sized by a number from the wire, and no panic on any input. A frame that is not
//! understood is reported as such and left alone; whoever calls decides to pass it on.
//!
//! Reference: <https://kafka.apache.org/protocol>, and the message schemas inside the `kafka-clients` jar.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod api;
pub mod batch;
pub mod body;
pub mod compression;
pub mod edit;
pub mod endpoints;
pub mod error;
pub mod error_code;
pub mod frame;
pub mod messages;
pub mod policy;
pub mod reader;
pub mod record;
pub mod scan;
pub mod search;
pub mod splice;
