//! Everything that knows the Kafka protocol. Nothing outside this folder does.

pub mod cluster;
pub mod control;
pub mod dial;
pub mod proxy;
pub mod wire;
