//! Throughline: an observability sidecar for event-driven systems.
//!
//! One binary, `throughline`, proxies the traffic of an unchanged program, and turns what passes into service-level
//! indicators. Modules stand here in dependency order: each uses only those above it (`tests/architecture.rs` holds the
//! exact table, which `ARCHITECTURE.md` prints).

pub mod http;
pub mod propagation;
pub mod redaction;
pub mod schema;
pub mod slo;
pub mod trace;

pub mod event;

pub mod audit;
pub mod lineage;
pub mod span;

pub mod eventlog;

pub mod kafka;
pub mod metrics;
pub mod registry;
pub mod sli;

pub mod catalog;
pub mod export;
pub mod pipeline;

pub mod admin;
pub mod config;
pub mod lifecycle;

pub mod cli;
pub mod demo;

pub mod app;
