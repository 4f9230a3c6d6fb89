//! Names of attributes, operations and instruments, in the words of OpenTelemetry's semantic conventions, version 1.44.0.
//!
//! The messaging part is in development and renames things, so no other file spells one. Must not compute a value. Source:
//! semantic-conventions `docs/messaging/messaging-spans.md`, `messaging-metrics.md` and `kafka.md`.

/// The version, as spans and metrics name it.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Which system: [`KAFKA`].
pub const SYSTEM: &str = "messaging.system";
/// The system.
pub const KAFKA: &str = "kafka";
/// What was done, in the system's words.
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// What was done, in the conventions' words: create, send, receive, process, settle.
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// Topic.
pub const DESTINATION: &str = "messaging.destination.name";
/// Partition, as text.
pub const PARTITION: &str = "messaging.destination.partition.id";
/// Consumer group.
pub const GROUP: &str = "messaging.consumer.group.name";
/// Client id.
pub const CLIENT_ID: &str = "messaging.client.id";
/// Offset in the partition.
pub const OFFSET: &str = "messaging.kafka.offset";
/// The record has no value.
pub const TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// Cluster id.
pub const CLUSTER: &str = "messaging.kafka.cluster.id";
/// Records in the batch.
pub const BATCH_COUNT: &str = "messaging.batch.message_count";
/// Correlation id.
pub const CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// Bytes of the value.
pub const BODY_SIZE: &str = "messaging.message.body.size";
/// The protocol's name of an error.
pub const ERROR_TYPE: &str = "error.type";
/// Value of [`ERROR_TYPE`] where a request was sent and nobody knows how it ended.
pub const LOST: &str = "_LOST";
/// Host of the real broker.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port of the real broker.
pub const SERVER_PORT: &str = "server.port";

/// Value of [`OPERATION_NAME`]: a record is made.
pub const CREATE: &str = "create";
/// Value of [`OPERATION_NAME`]: a batch goes to a broker.
pub const SEND: &str = "send";
/// Value of [`OPERATION_NAME`]: an answer with records. A proxy sees no poll.
pub const FETCH: &str = "fetch";
/// Value of [`OPERATION_NAME`]: a record between its delivery and its commit.
pub const PROCESS: &str = "process";
/// Value of [`OPERATION_NAME`]: a group's position is stored.
pub const COMMIT: &str = "commit";

/// Instrument, a histogram in seconds: how long requests of a client took.
pub const CLIENT_OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// Instrument, a histogram in seconds: how long records were worked on.
pub const PROCESS_DURATION: &str = "messaging.process.duration";
/// Instrument, a counter of messages: what producers sent.
pub const CLIENT_SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// Instrument, a counter of messages: what consumers were given.
pub const CLIENT_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// Unit of the counters.
pub const MESSAGES: &str = "{message}";

/// What stood behind a parent: `header`, `key`, ...
pub const EVIDENCE: &str = "throughline.lineage.evidence";
/// How often that evidence is right.
pub const CONFIDENCE: &str = "throughline.lineage.confidence";
/// `derived`: the record carries no context, it follows from the record's position.
pub const CONTEXT: &str = "throughline.context";
/// `aborted`: the record was written in a transaction that was taken back.
pub const TRANSACTION: &str = "throughline.transaction";
/// `true`: a program gave up on the record.
pub const DEAD_LETTER: &str = "throughline.dead_letter";
/// The record that it was, `topic:partition:offset`.
pub const ORIGIN: &str = "throughline.dead_letter.origin";
/// `true`: a program set the record aside, to be tried again.
pub const RETRY: &str = "throughline.retry";
/// The record that it was, `topic:partition:offset`.
pub const RETRY_ORIGIN: &str = "throughline.retry.origin";
/// Class of the exception that it was given up for, as its headers say.
pub const EXCEPTION_TYPE: &str = "exception.type";
/// Message of that exception.
pub const EXCEPTION_MESSAGE: &str = "exception.message";
/// Value of the label `cluster` of the metrics, where it is configured.
pub const CLUSTER_NAME: &str = "throughline.cluster";
/// Seconds from the request to its answer.
pub const PUBLISH_SECONDS: &str = "throughline.publish_seconds";
/// Seconds from a record's publish to its delivery.
pub const END_TO_END_SECONDS: &str = "throughline.end_to_end_seconds";
/// `appended_twice`, `redelivered`, `rebalance_redelivered`, `producer_retry`.
pub const DUPLICATE_CLASS: &str = "throughline.duplicate.class";
/// `transient`, `persistent`, `unknown`: why a record was set aside.
pub const FAILURE_CATEGORY: &str = "throughline.failure.category";
/// `unknown_id`, `wrong_subject`, `undecodable`, `missing_framing`.
pub const SCHEMA_FAILURE: &str = "throughline.schema.failure";
/// Before the name of a header that is shown.
pub const HEADER_PREFIX: &str = "throughline.header.";
/// Before the JSON pointer of a field of the value that is shown.
pub const VALUE_PREFIX: &str = "throughline.value.";
/// [`PARTIAL`] where the trace is not recorded as a whole: earlier hops may be missing.
pub const TRACE: &str = "throughline.trace";
/// See [`TRACE`].
pub const PARTIAL: &str = "partial";
/// `slow`, `error` or `duplicate`: what the span was recorded for, though the trace is not.
pub const KEPT: &str = "throughline.kept";
/// The span was put together from what passed, nobody reported it.
pub const INFERRED: &str = "throughline.inferred";
/// The earlier record with the same parent, topic, key and value, `topic:partition:offset`.
pub const DUPLICATE_OF: &str = "throughline.duplicate_of";
/// [`VANTAGE`] of what was read from Kafka, long after it passed.
pub const LOG: &str = "log";
/// Where it was seen from.
pub const VANTAGE: &str = "throughline.vantage";
