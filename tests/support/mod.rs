//! Real servers, real clients and what surrounds them, for integration tests.
//!
//! A test file says `mod support;` and starts what it needs; everything it started dies with the
//! test, passed, failed or killed. Nothing here may import the crate under test: these are the
//! independent witnesses.
#![allow(dead_code, reason = "each test binary uses a part of this module")]
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

pub(crate) mod alertmanager;
pub(crate) mod cache;
pub(crate) mod certificates;
pub(crate) mod chain;
pub(crate) mod clients;
pub(crate) mod collector;
pub(crate) mod deadline;
pub(crate) mod hook;
pub(crate) mod http;
pub(crate) mod instrumented;
pub(crate) mod jaeger;
pub(crate) mod jvm;
pub(crate) mod kafka;
pub(crate) mod metrics;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod prometheus;
mod properties;
pub(crate) mod reaper;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod same;
pub(crate) mod schemas;
pub(crate) mod segments;
pub(crate) mod sockets;
pub(crate) mod stage;
pub(crate) mod throughline;
