//! Which delivered record a program's new record comes from, for programs that know nothing of tracing.
//!
//! One sidecar sees one program: what was delivered to it (`deliveries`) and what it sends. A header that both carry, a
//! business id or a key that exactly one delivered record has is evidence; each kind has a confidence, and only from
//! `parent_confidence` on is the delivered record taken for the parent. Pure over what is told and when. Must not do IO, know
//! a protocol, or keep a record's bytes: hashes, ids and positions only.

mod business;
mod chains;
mod deliveries;
mod fans;
mod graph;
mod ids;
mod parent;

pub use business::{BusinessId, BusinessIds};
pub use deliveries::{Batch, Deliveries, Settings};
pub use graph::{Edge, Graph, Sighting};
pub use parent::{Delivered, Parent, Produced, Target};
