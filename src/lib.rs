//! Throughline: an observability sidecar for event-driven systems.
//!
//! One binary, `throughline`, proxies the traffic of an unchanged program, and turns what passes into service-level
//! indicators. Modules stand here in dependency order: each uses only those above it (`tests/architecture.rs` holds the
//! exact table, which `ARCHITECTURE.md` prints).

pub mod cli;
pub mod config;
pub mod demo;
pub mod event;
pub mod kafka;
