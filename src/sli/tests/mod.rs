//! The engine as tables of (events, times) -> results.

mod availability;
mod delivery;
mod failures;
mod lag;
mod loss;
mod publish;
mod schema;
pub(super) mod script;
mod shares;
