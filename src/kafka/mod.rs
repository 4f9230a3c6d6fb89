//! Everything that knows the Kafka protocol. Nothing outside this folder does.

pub mod proxy;
pub mod wire;
