//! The engine as tables of (events, times) -> results.

mod availability;
mod delivery;
mod lag;
mod loss;
mod publish;
pub(super) mod script;
