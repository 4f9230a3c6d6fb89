//! The event log over OTLP: a bounded queue, batches, retries, and a count of what was lost.
//!
//! Log records are made here because the SDK lets nobody else fill its own. A collector that is slow or away costs records, never memory or
//! traffic. Must not decide what an entry says.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    BATCH_DELAY, NOTICE, OtlpError, Settings, environment, resource,
    transport::{self, Transport},
};
use crate::{
    eventlog::{Entry, Field, Sink},
    metrics::{Dropped, Metrics},
    span::semconv,
};

/// Log records that may wait for the collector; one is about 1 KB.
const QUEUE_LOGS: usize = 4_096;
/// Log records sent at once.
const BATCH_LOGS: usize = 512;
/// Before the kind of an entry, in the name of the event.
const EVENT_PREFIX: &str = "throughline.";

/// Takes entries without waiting.
#[derive(Debug)]
pub struct LogQueue {
    records: mpsc::Sender<LogRecord>,
    full: Dropped,
}

impl Sink for LogQueue {
    fn entry(&mut self, entry: &Entry) {
        if self.records.try_send(record(entry)).is_err() {
            self.full.add(1);
        }
    }
}

/// Sends what is queued.
#[derive(Debug)]
pub struct LogExporter {
    records: mpsc::Receiver<LogRecord>,
    transport: Transport,
    resource: Resource,
    lost: Dropped,
    failures: Dropped,
    warned: Option<Instant>,
}

/// Makes both ends. Must be called on the runtime that will run the exporter.
///
/// # Errors
/// A setting, or a variable of the environment, is wrong.
pub fn logs(settings: &Settings, metrics: &Metrics) -> Result<(LogQueue, LogExporter), OtlpError> {
    let variable = environment::variable;
    let url = environment::url(environment::LOGS, settings, &variable);
    let headers = environment::headers(environment::LOGS, settings, &variable)?;
    let transport = Transport::new(settings.protocol, &url, headers)?;
    Ok(ends(transport, settings, QUEUE_LOGS, metrics))
}

fn ends(
    transport: Transport,
    settings: &Settings,
    room: usize,
    metrics: &Metrics,
) -> (LogQueue, LogExporter) {
    let (sender, records) = mpsc::channel(room);
    let queue = LogQueue {
        records: sender,
        full: metrics.dropped("logs", "queue_full"),
    };
    let exporter = LogExporter {
        records,
        transport,
        resource: Resource::from(&resource(settings)),
        lost: metrics.dropped("logs", "export"),
        failures: metrics.export_failures("logs"),
        warned: None,
    };
    (queue, exporter)
}

impl LogExporter {
    /// Sends batches until nobody is left who could queue a record, and everything queued was sent or lost.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        while self.fill(&mut batch).await {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Waits for a record, then a little for more. False where no more will come.
    async fn fill(&mut self, batch: &mut Vec<LogRecord>) -> bool {
        if self.records.recv_many(batch, BATCH_LOGS).await == 0 {
            return false;
        }
        let full = async {
            while batch.len() < BATCH_LOGS {
                let room = BATCH_LOGS.saturating_sub(batch.len());
                if self.records.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        // A batch that is not full when the time is over goes as it is.
        tokio::time::timeout(BATCH_DELAY, full).await.ok();
        true
    }

    async fn send(&mut self, log_records: Vec<LogRecord>) {
        let records = u64::try_from(log_records.len()).unwrap_or(u64::MAX);
        let scope = ScopeLogs {
            scope: Some(InstrumentationScope {
                name: "throughline".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            log_records,
            schema_url: semconv::SCHEMA_URL.to_owned(),
        };
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![scope],
                ..ResourceLogs::default()
            }],
        };
        match self.transport.send::<transport::Logs>(request).await {
            Ok(answer) => {
                let rejected = answer.partial_success.map_or(0, |p| p.rejected_log_records);
                if let Ok(rejected @ 1..) = u64::try_from(rejected) {
                    self.missed(rejected, &"rejected by the collector");
                }
            }
            Err(fault) => {
                self.failures.add(1);
                self.missed(records, &fault);
            }
        }
    }

    fn missed(&mut self, records: u64, fault: &dyn std::fmt::Display) {
        self.lost.add(records);
        if self.warned.is_none_or(|at| at.elapsed() >= NOTICE) {
            self.warned = Some(Instant::now());
            tracing::warn!(%fault, records, "the collector did not take log records, they are lost; check otlp.endpoint (said once a minute)");
        }
    }
}

/// An entry as OTLP has it.
fn record(entry: &Entry) -> LogRecord {
    let (severity, number) = (entry.severity(), entry.kind.is_failure());
    let number = if number {
        SeverityNumber::Warn
    } else {
        SeverityNumber::Info
    };
    let time_unix_nano = nanos(entry.at_ms);
    let ids = entry
        .ids
        .map(|(trace, span)| (trace.to_vec(), span.to_vec()));
    let (trace_id, span_id) = ids.unwrap_or_default();
    let attributes = entry.fields.iter().map(|(name, field)| KeyValue {
        key: name.clone().into_owned(),
        value: Some(AnyValue {
            value: Some(value(field)),
        }),
        ..KeyValue::default()
    });
    LogRecord {
        time_unix_nano,
        observed_time_unix_nano: time_unix_nano,
        severity_number: number.into(),
        severity_text: severity.to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(entry.sentence.to_owned())),
        }),
        attributes: attributes.collect(),
        trace_id,
        span_id,
        event_name: format!("{EVENT_PREFIX}{}", entry.kind.as_str()),
        ..LogRecord::default()
    }
}

fn value(field: &Field) -> Value {
    match field {
        Field::Text(text) => Value::StringValue(text.clone()),
        Field::Int(number) => Value::IntValue(*number),
        Field::Float(number) => Value::DoubleValue(*number),
        Field::Bool(yes) => Value::BoolValue(*yes),
    }
}

fn nanos(ms: i64) -> u64 {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eventlog::Kind,
        export::otlp::Protocol,
        metrics::{self, Metrics},
    };

    fn entry(kind: Kind) -> Entry {
        Entry {
            at_ms: 1_700_000_000_123,
            kind,
            sentence: "it happened",
            ids: Some(([7; 16], [9; 8])),
            fields: vec![
                ("a".into(), Field::Text("b".to_owned())),
                ("n".into(), Field::Int(-1)),
                ("s".into(), Field::Float(0.5)),
                ("t".into(), Field::Bool(true)),
            ],
        }
    }

    #[test]
    fn an_entry_is_a_log_record_with_ids_severity_and_typed_attributes() {
        let failed = record(&entry(Kind::DeadLetter));
        assert_eq!(failed.time_unix_nano, 1_700_000_000_123_000_000);
        assert_eq!(
            (failed.severity_number, &*failed.severity_text),
            (13, "WARN")
        );
        assert_eq!(failed.event_name, "throughline.dead_letter");
        assert_eq!((failed.trace_id, failed.span_id), (vec![7; 16], vec![9; 8]));
        let value = |n: usize| failed.attributes[n].value.clone().unwrap().value.unwrap();
        let values: Vec<Value> = (0..4).map(value).collect();
        let expected = [
            Value::StringValue("b".to_owned()),
            Value::IntValue(-1),
            Value::DoubleValue(0.5),
            Value::BoolValue(true),
        ];
        assert_eq!(values, expected);
        let other = record(&Entry {
            ids: None,
            ..entry(Kind::Sampled)
        });
        assert_eq!((other.severity_number, other.trace_id.len()), (9, 0));
    }

    #[tokio::test]
    async fn a_full_queue_and_a_collector_that_is_away_cost_records_and_are_counted() {
        let registry = metrics::Settings {
            max_series: 1_000,
            latency_bounds: vec![1.0],
            push: false,
        };
        let metrics = Metrics::new(&registry).unwrap();
        let settings = Settings {
            endpoint: None,
            protocol: Protocol::HttpProtobuf,
            headers: Vec::new(),
            service_name: None,
            attributes: Vec::new(),
        };
        // Nobody listens there.
        let url = "http://127.0.0.1:9/v1/logs";
        let transport = Transport::new(settings.protocol, url, Default::default()).unwrap();
        let (mut queue, exporter) = ends(transport, &settings, 3, &metrics);
        for _ in 0..5 {
            queue.entry(&entry(Kind::Slow));
        }
        drop(queue);
        exporter.run().await;
        assert_eq!(metrics.dropped("logs", "queue_full").count(), 2);
        assert_eq!(metrics.dropped("logs", "export").count(), 3);
        assert_eq!(metrics.export_failures("logs").count(), 1);
    }
}
