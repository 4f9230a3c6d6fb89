//! Where librdkafka's own words go.
//!
//! Here so that no client writes to stderr over a live view. Must not log a record.

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// Passes logs and errors of one client to `tracing`, under the client's id.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) client: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(
            client = self.client,
            ?level,
            facility,
            message,
            "librdkafka"
        );
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // One connection lost is routine: the client dials again. All of them lost has a code of its own.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure) {
            tracing::debug!(client = self.client, reason, "connection lost");
        } else {
            tracing::warn!(client = self.client, %error, reason, "kafka client");
        }
    }
}

impl ConsumerContext for Context {}
