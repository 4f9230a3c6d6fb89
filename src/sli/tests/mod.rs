//! The engine as tables of (events, times) -> results.

mod availability;
mod delivery;
mod failures;
mod lag;
mod publish;
mod schema;
mod script;
