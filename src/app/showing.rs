//! What of a record may be shown in the event log: ids, and what the configuration asks for, redacted.
//!
//! Here because a record's bytes end where batches are opened. Must not show a key.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    event::{Name, RecordView},
    kafka::wire::record::Record,
    propagation::{Carried, CorrelationNames},
    redaction::Redaction,
};

/// Rules that may change while running.
pub(crate) type SharedRedaction = Arc<ArcSwap<Redaction>>;

/// Headers that hold the message of an exception: Spring's, on what it gave up on and on what it will try again, Kafka Connect's, Kafka
/// Streams' (KIP-1034).
const MESSAGES: [&[u8]; 5] = [
    b"kafka_dlt-exception-message",
    b"kafka_exception-message",
    b"__connect.errors.exception.message",
    b"__streams.errors.message",
    b"__streams.errors.message.name",
];

/// What is shown of a record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shows {
    /// Names of the correlation header.
    pub(crate) names: CorrelationNames,
    /// Headers by name, compared without regard to case.
    pub(crate) headers: Vec<Name>,
    /// Fields of JSON values, by pointer.
    pub(crate) pointers: Vec<String>,
    /// Messages of exceptions.
    pub(crate) messages: bool,
    /// What is not shown in any of these.
    pub(crate) redaction: SharedRedaction,
}

impl Shows {
    pub(crate) fn of(&self, record: &Record<'_>, published_ms: i64) -> RecordView {
        let headers = record.headers().map_while(Result::ok);
        let headers = headers.map(|header| (header.key, header.value));
        let carried = Carried::read(headers.clone(), &self.names);
        let context = carried.traceparent.and_then(Result::ok);
        let redaction = self.redaction.load();
        let (mut shown, mut message) = (Vec::new(), None);
        for (key, value) in headers {
            let value = value.unwrap_or_default();
            let named = |name: &&Name| key.eq_ignore_ascii_case(name.as_bytes());
            if let Some(name) = self.headers.iter().find(named) {
                shown.push((Arc::clone(name), redaction.header(name, value)));
            }
            if self.messages && MESSAGES.contains(&key) {
                let key = String::from_utf8_lossy(key);
                message = Some(redaction.header(&key, value));
            }
        }
        let fields = redaction.fields(record.value.unwrap_or_default(), &self.pointers);
        let fields = fields.into_iter();
        RecordView {
            record: record.offset_delta,
            published_ms,
            context,
            traced_otherwise: context.is_none() && carried.is_traced(),
            sent: carried.sent(),
            correlation: carried.correlation_id.map(Into::into),
            body_bytes: record.value.map_or(0, <[u8]>::len),
            tombstone: record.value.is_none(),
            headers: shown,
            fields: fields.map(|(name, text)| (name.into(), text)).collect(),
            exception_message: message,
        }
    }
}
