//! Trace context and correlation ids, as records carry them.
//!
//! W3C Trace Context (`traceparent`, `tracestate`), OpenTelemetry's consistent sampling inside it, our own `tl` member,
//! correlation ids under their many names, the headers of tracers that speak something else, and those that say which record
//! a dead letter was. Strict in what is written, tolerant in what is read. Pure: bytes in, values out. Must not do IO, keep state, take the time, or know a protocol.

mod carried;
mod dead_letter;
mod derived;
mod ids;
mod pattern;
mod position;
mod sampling;
mod send;
mod traceparent;
mod tracestate;
mod write;

pub use carried::{Carried, CorrelationNames, ForeignFormat};
pub use dead_letter::{DeadLetter, is_aside_topic, is_dead_letter_topic, origin_topic};
pub use derived::derive;
pub use ids::IdSource;
pub use pattern::Pattern;
pub use position::Position;
pub use sampling::{RANDOMNESS_MAX, Sampling};
pub use send::{Evidence, SENT_MEMBER, Sent};
pub use traceparent::{SpanId, TraceId, Traceparent, TraceparentFault};
pub use tracestate::{TRACESTATE_MEMBERS_MAX, Tracestate};
pub use write::{HeaderChoice, NewContext};

/// Header that carries the trace id and the span id (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";
/// Header that carries what tracers add (W3C Trace Context).
pub const TRACESTATE: &str = "tracestate";
/// Header that carries the correlation id, unless configured otherwise.
pub const CORRELATION_ID: &str = "correlation-id";
