//! A producer with the settings a careful service would choose.
//!
//! Here so that the demo's services are real librdkafka clients. Must not retry or drop on its own: librdkafka does the
//! one, and a record that could not be delivered is the caller's to report.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
};

use super::{ClusterError, blocking, context::Context};

/// How long a record may take to be acknowledged, all retries included.
const DELIVERY_TIMEOUT_MS: &str = "30000";
/// How long closing waits for what is still queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// A record to publish.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Decides the partition.
    pub key: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// Headers in order.
    pub headers: &'a [(String, Vec<u8>)],
}

/// An idempotent producer (`enable.idempotence`, hence `acks=all`), `linger.ms` 5.
#[expect(missing_debug_implementations, reason = "librdkafka's handle has none")]
pub struct Producer {
    inner: FutureProducer<Context>,
}

/// A record that was handed to the client and is not yet acknowledged.
#[expect(missing_debug_implementations, reason = "librdkafka's future has none")]
pub struct InFlight {
    topic: String,
    delivery: DeliveryFuture,
}

impl Producer {
    /// Creates the client; it connects in the background.
    ///
    /// # Errors
    /// librdkafka refused a setting.
    pub fn connect(bootstrap: &str, client: &str) -> Result<Self, ClusterError> {
        let context = Context {
            client: client.to_owned(),
        };
        let inner = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("client.id", client)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .create_with_context(context)
            .map_err(|fault| ClusterError::new(format!("create producer {client}"), fault))?;
        Ok(Self { inner })
    }

    /// Queues a record.
    ///
    /// # Errors
    /// The client's queue is full, or the record can never be sent.
    pub fn begin(&self, record: &Outgoing<'_>) -> Result<InFlight, ClusterError> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let queued = FutureRecord::to(record.topic)
            .key(record.key)
            .payload(record.value)
            .headers(headers);
        match self.inner.send_result(queued) {
            Ok(delivery) => Ok(InFlight {
                topic: record.topic.to_owned(),
                delivery,
            }),
            Err((fault, _)) => Err(ClusterError::new(
                format!("publish to {}", record.topic),
                fault,
            )),
        }
    }

    /// Publishes a record and waits for its acknowledgement.
    ///
    /// # Errors
    /// It was not acknowledged in time, or the broker refused it.
    pub async fn send(&self, record: &Outgoing<'_>) -> Result<(), ClusterError> {
        self.begin(record)?.acknowledged().await
    }

    /// Waits for what is queued, then closes the client.
    ///
    /// # Errors
    /// Something was still queued after 10 s.
    pub async fn close(self) -> Result<(), ClusterError> {
        blocking("close a producer", move || {
            self.inner
                .flush(FLUSH_TIMEOUT)
                .map_err(|fault| ClusterError::new("flush a producer", fault))
        })
        .await
    }
}

impl InFlight {
    /// Waits for the acknowledgement.
    ///
    /// # Errors
    /// It did not come in time, or the broker refused the record.
    pub async fn acknowledged(self) -> Result<(), ClusterError> {
        let attempt = || format!("publish to {}", self.topic);
        match self.delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((fault, _))) => Err(ClusterError::new(attempt(), fault)),
            Err(_) => Err(ClusterError::bare(format!(
                "{}: the client was closed",
                attempt()
            ))),
        }
    }
}
