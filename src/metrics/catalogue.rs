//! Every metric family Throughline has: name, kind, unit, labels, help, area.
//!
//! Metric names are an interface: dashboards, rules and people's own boards use them, so they stand in one table that README
//! prints. Nothing registers a family that is not here, and no name is put together at run time.

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows; the name ends in `_total`.
    Counter,
    /// A value of now.
    Gauge,
    /// Distribution over fixed upper bounds.
    Histogram,
    /// Constant 1 whose labels are the message; the name ends in `_info`.
    Info,
}

impl Kind {
    /// The word in `# TYPE` of OpenMetrics and in the README.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// Which upper bounds a histogram family uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Buckets {
    /// The configured latency bounds, seconds.
    Latency,
    /// Counts of records.
    Records,
    /// None: the family is only pushed, with exponential buckets.
    Exponential,
}

/// Base unit of the value; one per family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A plain count of what the name says.
    One,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Records.
    Records,
    /// A share between 0 and 1, or one figure over another.
    Ratio,
}

impl Unit {
    /// The word in `# UNIT`; empty where there is none.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Records => "records",
            Self::Ratio => "ratio",
        }
    }
}

/// The part of the product a family belongs to; a column of the README's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Service-level indicators.
    Sli,
    /// Records and bytes.
    Traffic,
    /// How long things take.
    Latency,
    /// This pod's consumers.
    Consumer,
    /// Duplicates, dead letters, what was given up on.
    Failures,
    /// Schemas of values.
    Schema,
    /// The whole cluster, from `throughline observe` alone.
    Observer,
    /// Records of our own, from `throughline observe` and only where `observe.canary` is there.
    Canary,
    /// The names of kafka_exporter, from `throughline observe` and only where `metrics.compatibility` asks for them.
    Exporter,
    /// Who may do what, and with what software.
    Access,
    /// What is declared of topics, for rules to join.
    Ownership,
    /// Throughline itself.
    Health,
    /// The instruments of OpenTelemetry's messaging conventions: pushed over OTLP under their own names, never on the page.
    Conventions,
}

impl Area {
    /// The word in the README.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sli => "SLI",
            Self::Traffic => "traffic",
            Self::Latency => "latency",
            Self::Consumer => "consumer",
            Self::Failures => "failures",
            Self::Schema => "schema",
            Self::Observer => "observer",
            Self::Canary => "canary",
            Self::Exporter => "kafka_exporter",
            Self::Access => "access",
            Self::Ownership => "ownership",
            Self::Health => "own health",
            Self::Conventions => "semantic conventions",
        }
    }
}

/// One family. The label `cluster` is on every one and added by the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Full name as on the text page.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Unit of the value.
    pub unit: Unit,
    /// Part of the product.
    pub area: Area,
    /// Label names, `cluster` not among them.
    pub labels: &'static [&'static str],
    /// One sentence, without full stop.
    pub help: &'static str,
    /// Bounds, for histograms.
    pub buckets: Buckets,
}

impl Family {
    /// Whether it is not on the page but only pushed, under another name.
    #[must_use]
    pub const fn only_pushed(&self) -> bool {
        matches!(self.area, Area::Conventions)
    }
}

/// Labels whose values come from outside and are therefore capped; all others have bounded value sets in code.
pub const OUTSIDE_LABELS: [&str; 8] = [
    "topic",
    "group",
    "consumergroup",
    "peer",
    "software",
    "version",
    "broker",
    "partition",
];

/// Value of an outside label past the series cap.
pub const OTHER: &str = "_other";

macro_rules! families {
    ($($id:ident $name:literal $kind:ident $unit:ident $area:ident [$($label:literal)*] $buckets:ident $help:literal;)*) => {
        /// Names one family of the catalogue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Id {
            $(#[doc = $help] $id,)*
        }

        impl Id {
            /// All families, in the order of the README; those that are only pushed are not in it.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];

            /// Its entry.
            #[must_use]
            pub const fn family(self) -> &'static Family {
                match self {
                    $(Self::$id => &Family {
                        name: $name,
                        kind: Kind::$kind,
                        unit: Unit::$unit,
                        area: Area::$area,
                        labels: &[$($label,)*],
                        help: $help,
                        buckets: Buckets::$buckets,
                    },)*
                }
            }
        }
    };
}

families! {
    SliEvents "throughline_sli_events_total" Counter One Sli ["sli" "topic" "group" "stage"] Latency
        "Events judged by an SLI; stage only where the SLI has one";
    SliGoodEvents "throughline_sli_good_events_total" Counter One Sli ["sli" "topic" "group" "stage"] Latency
        "Events judged good by an SLI; moves together with the events";
    SliUnknownEvents "throughline_sli_unknown_events_total" Counter One Sli ["sli" "topic" "group" "reason"] Latency
        "Events that could not be judged and are in neither counter of the pair";

    ProducedRecords "throughline_produced_records_total" Counter Records Traffic ["topic"] Latency
        "Records the broker acknowledged, retries counted once (acks=0: records sent)";
    ProducedBytes "throughline_produced_bytes_total" Counter Bytes Traffic ["topic"] Latency
        "Bytes of the acknowledged batches on the wire (acks=0: sent)";
    ProducedBatches "throughline_produced_batches_total" Counter One Traffic ["topic" "codec"] Latency
        "Batches sent, every attempt, by compression codec";
    ProduceFailures "throughline_produce_failures_total" Counter One Traffic ["topic" "error"] Latency
        "Publish attempts the broker refused, one per partition in a request";
    DeliveredRecords "throughline_delivered_records_total" Counter Records Traffic ["topic" "group"] Latency
        "Records handed to a consumer: fetched less aborted, control and those before the offset asked for";
    DeliveredBytes "throughline_delivered_bytes_total" Counter Bytes Traffic ["topic" "group"] Latency
        "Bytes on the wire of the batches that held delivered records";
    InjectedRecords "throughline_injected_records_total" Counter Records Traffic ["topic"] Latency
        "Records of batches that were given headers, every attempt";
    LineageRecords "throughline_lineage_records_total" Counter Records Traffic ["topic" "evidence"] Latency
        "Records that were given context, by how their parent was found; root = none was";
    InjectionSkipped "throughline_injection_skipped_total" Counter One Traffic ["topic" "reason"] Latency
        "Records that were to be given headers and were sent as they came, every attempt";
    InjectionRefused "throughline_injection_refused_total" Counter One Traffic ["topic" "error"] Latency
        "Batches with added headers that the broker refused; each was repaired before the client saw it";
    FetchFailures "throughline_fetch_failures_total" Counter One Traffic ["topic" "error"] Latency
        "Errors of partitions in fetch answers";
    RequestFailures "throughline_request_failures_total" Counter One Traffic ["api" "error"] Latency
        "Answers that carried an error, the worst one counted";
    SequenceGaps "throughline_sequence_gaps_total" Counter One Traffic ["topic"] Latency
        "Holes in the sequence numbers of an idempotent producer that no retry closed; a batch whose answer was lost is none";
    ProducedSkew "throughline_produced_skew_ratio" Gauge Ratio Traffic ["topic"] Latency
        "Records this pod sent to the busiest partition over the mean of all, last one to two minutes; from 100 records a partition on";
    BatchRecords "throughline_batch_records" Histogram Records Traffic ["topic"] Records
        "Records per batch sent";

    ProduceDuration "throughline_produce_duration_seconds" Histogram Seconds Latency ["topic"] Latency
        "Publish request to acknowledgement, one observation per topic in a request";
    FetchDuration "throughline_fetch_duration_seconds" Histogram Seconds Latency ["topic"] Latency
        "Fetch request to answer, only where data was there when asked";
    CommitDuration "throughline_commit_duration_seconds" Histogram Seconds Latency ["group"] Latency
        "Offset commit request to answer";
    EndToEndLatency "throughline_end_to_end_latency_seconds" Histogram Seconds Latency ["topic" "group" "stage"] Latency
        "Publish time of a record to the stage it reached: fetched, committed";
    ProcessingDuration "throughline_processing_duration_seconds" Histogram Seconds Latency ["topic" "group"] Latency
        "Record fetched to record committed";
    BrokerRequestDuration "throughline_broker_request_duration_seconds" Histogram Seconds Latency ["broker" "api"] Latency
        "Request to the first byte of its answer, by broker and request type; Fetch and group requests wait by design";

    ConsumerLagRecords "throughline_consumer_lag_records" Gauge Records Consumer ["topic" "group"] Latency
        "Offsets after the committed one, sum over this pod's partitions";
    ConsumerLagSeconds "throughline_consumer_lag_seconds" Gauge Seconds Consumer ["topic" "group"] Latency
        "Age of the first uncommitted record, max over this pod's partitions; where it is not known exactly, the lower bound";
    ConsumerLagSecondsBound "throughline_consumer_lag_seconds_bound" Gauge Seconds Consumer ["topic" "group" "bound"] Latency
        "Interval that holds the lag in seconds: lower and upper, equal where it is exact, +Inf where no upper bound is known";
    ConsumerLagAge "throughline_consumer_lag_age_seconds" Gauge Seconds Consumer ["topic" "group"] Latency
        "Time since the end offset behind the lag was seen, max over this pod's partitions";
    ConsumerPartitionLagRecords "throughline_consumer_partition_lag_records" Gauge Records Consumer ["topic" "group" "partition"] Latency
        "Lag in records by partition; only with metrics.partitions";
    ConsumerPartitionLagSeconds "throughline_consumer_partition_lag_seconds" Gauge Seconds Consumer ["topic" "group" "partition"] Latency
        "Lag in seconds (lower bound) by partition; only with metrics.partitions";
    ConsumerMembers "throughline_consumer_members" Gauge One Consumer ["group" "state"] Latency
        "This pod's members of the group in each state: stable, rebalancing, unassigned, silent";
    ConsumerState "throughline_consumer_state" Gauge One Consumer ["group" "state"] Latency
        "This pod's partitions of the group in each state: ok, warn (lag grows), stalled (fetched, not committed), stopped, rewinding";
    ConsumerDrain "throughline_consumer_lag_drain_seconds" Gauge Seconds Consumer ["topic" "group"] Latency
        "Estimate: until this pod's partitions have no lag, at the speed of the last minute; absent while one of them does not drain";
    ConsumerAssignedPartitions "throughline_consumer_assigned_partitions" Gauge One Consumer ["topic" "group"] Latency
        "Partitions assigned to this pod's members";
    CommitInterval "throughline_commit_interval_seconds" Gauge Seconds Consumer ["group"] Latency
        "Smoothed time between commits of a member while records flow";
    Commits "throughline_commits_total" Counter One Consumer ["group"] Latency
        "Commit requests that the broker accepted for every partition in them";
    CommitFailures "throughline_commit_failures_total" Counter One Consumer ["group" "error"] Latency
        "Partitions of commit requests that the broker refused";
    Rebalances "throughline_rebalances_total" Counter One Consumer ["group" "reason"] Latency
        "Rebalance rounds this pod's members went through, one per generation";
    LostRecords "throughline_lost_records_total" Counter One Consumer ["topic" "group" "reason"] Latency
        "Offsets that a group was at and will never be given: deleted by retention, jumped after an out-of-range position, truncated";
    TimeToLoss "throughline_time_to_loss_seconds" Gauge Seconds Consumer ["topic" "group"] Latency
        "Estimate: until retention reaches the committed position at the speed of both, least over this pod's partitions; absent unless it comes nearer";
    PollGap "throughline_poll_gap_seconds" Gauge Seconds Consumer ["group"] Latency
        "Time since a member's client last had a fetch answered, max over this pod's members";
    ThrottledSeconds "throughline_throttled_seconds_total" Counter Seconds Consumer ["direction"] Latency
        "Throttle time the broker asked for";

    DuplicateRecords "throughline_duplicate_records_total" Counter Records Failures ["topic" "group" "class"] Latency
        "Records that were there before; classes replayed, rebalance_redelivered, same_content and producer_retry are in no SLI";
    DuplicateFalsePositives "throughline_duplicate_false_positive_ratio" Gauge Ratio Failures [] Latency
        "Share of events that are taken for one that was there and are not, about, as full as the memory of them is";
    DuplicateWindow "throughline_duplicate_window_seconds" Gauge Seconds Failures [] Latency
        "How far back every examined event is remembered: less than configured where more came than there is memory for";
    DeadLetterRecords "throughline_dead_letter_records_total" Counter Records Failures ["topic" "group" "dlq_topic" "category"] Latency
        "Records given up on, by the topic they were read from, once the dead-letter topic has them; 0 without dlq_topic beforehand";
    RetriedRecords "throughline_retried_records_total" Counter Records Failures ["topic" "group" "retry_topic" "category"] Latency
        "Records set aside to be tried again, once the retry topic has them";
    AcknowledgedRecords "throughline_share_acknowledged_records_total" Counter Records Failures ["topic" "group" "acknowledgement"] Latency
        "Records that members of a share group accepted, released (to be given again) or rejected";
    PoisonRecords "throughline_poison_records" Gauge Records Failures ["topic" "group"] Latency
        "Records that a group does not get past, or that were dead-lettered again after they were given back";
    SchemaRecords "throughline_schema_records_total" Counter Records Schema ["topic" "framing"] Latency
        "Examined records whose value says which schema wrote it, by whose framing";
    SchemaFailures "throughline_schema_failures_total" Counter One Schema ["topic" "reason"] Latency
        "Examined records whose schema is unknown or another topic's, that do not decode, or lack the framing the others have";
    SchemaVersions "throughline_schema_info" Info One Schema ["topic" "subject" "version" "format"] Latency
        "Schema versions that records were written with in the last hour";
    SchemaDrift "throughline_schema_drift" Gauge One Schema ["topic"] Latency
        "Schema versions in use in a topic within the last hour, besides one of each subject: 0 = all producers agree";
    ExaminedRatio "throughline_examined_ratio" Gauge Ratio Failures ["topic" "direction"] Latency
        "Share of the records of the last minutes whose ids and headers were looked at; the rest is unknown, never good";
    GroupLagRecords "throughline_group_lag_records" Gauge Records Observer ["topic" "group"] Latency
        "Offsets from the first uncommitted record to the end, sum over all partitions; 0 where only transaction markers are left";
    GroupLagSeconds "throughline_group_lag_seconds" Gauge Seconds Observer ["topic" "group"] Latency
        "Age of the first uncommitted record, max over all partitions; where it is not known exactly, the lower bound";
    GroupLagSecondsBound "throughline_group_lag_seconds_bound" Gauge Seconds Observer ["topic" "group" "bound"] Latency
        "Interval that holds the lag in seconds: lower and upper, equal where it is exact, +Inf where no upper bound is known";
    GroupLagDrain "throughline_group_lag_drain_seconds" Gauge Seconds Observer ["topic" "group"] Latency
        "Time to reach the end at the rate of the last minute, the slowest partition; +Inf where one falls behind or stands still";
    GroupPartitionLagRecords "throughline_group_partition_lag_records" Gauge Records Observer ["topic" "group" "partition"] Latency
        "Lag in records by partition; only with metrics.partitions";
    GroupState "throughline_group_state" Gauge One Observer ["group" "state"] Latency
        "1 for the state the group is in (of a folded name: each that one of its groups is in), 0 for the others: ok, warn, rewinding, stalled, stopped, abandoned";
    GroupMembers "throughline_group_members" Gauge One Observer ["group"] Latency
        "Members of the group";
    GroupCommitInterval "throughline_group_commit_interval_seconds" Gauge Seconds Observer ["group"] Latency
        "Smoothed time between commits of the group while records flow, as far as looks at the cluster tell";
    GroupTimeToLoss "throughline_group_time_to_loss_seconds" Gauge Seconds Observer ["topic" "group"] Latency
        "Time until retention by age removes unread records at the rate of the last minute; +Inf where it never does";
    GroupLostRecords "throughline_group_lost_records_total" Counter Records Observer ["topic" "group"] Latency
        "Offsets that retention removed before the group had committed past them";
    ReplayEstimate "throughline_replay_estimate_seconds" Gauge Seconds Observer ["topic" "group" "bound"] Latency
        "Time for the group to go through all that is retained, at its best (low), usual (likely) and worst (high) measured rate";
    PartitionSkew "throughline_partition_skew_ratio" Gauge Ratio Observer ["topic"] Latency
        "Records written to the busiest partition against the mean, last five minutes at most; absent under ten per partition";
    RetentionUsed "throughline_retention_used_ratio" Gauge Ratio Observer ["topic"] Latency
        "Share of what is retained that the slowest live group has not read, its worst partition";
    LogDirUsed "throughline_log_dir_used_ratio" Gauge Ratio Observer ["broker"] Latency
        "Used share of the fullest log directory's volume";
    UnderReplicated "throughline_under_replicated_partitions" Gauge One Observer [] Latency
        "Partitions with fewer replicas in sync than there are";
    Offline "throughline_offline_partitions" Gauge One Observer [] Latency
        "Partitions without a leader";
    BrokerUp "throughline_broker_up" Gauge One Observer ["broker"] Latency
        "1 where the broker answered the last probe, else 0";
    ObserverCycle "throughline_observer_cycle_seconds" Gauge Seconds Observer [] Latency
        "Time the last look at the cluster took";
    ObserverRefusals "throughline_observer_refusals_total" Counter One Observer ["api"] Latency
        "Questions the brokers refused for want of rights; each is asked again after an hour";

    CanarySent "throughline_canary_sent_total" Counter One Canary ["broker"] Latency
        "Canary records that became due, by the leader of their partition then; retries counted once";
    CanaryLate "throughline_canary_late_total" Counter One Canary ["broker"] Latency
        "Canary records that were read later than observe.canary.late_seconds after they were due";
    CanaryLost "throughline_canary_lost_total" Counter One Canary ["broker"] Latency
        "Canary records that this broker acknowledged and that are not there: read past, or missing at the end of their partition";
    CanaryRecovered "throughline_canary_recovered_total" Counter One Canary ["broker"] Latency
        "Canary records that were counted lost and were read later; each is late too";
    CanaryFailed "throughline_canary_failed_total" Counter One Canary ["broker" "reason"] Latency
        "Canary records that no broker acknowledged within observe.canary.lost_seconds, or that were refused for good";
    CanaryUnknown "throughline_canary_unknown_total" Counter One Canary ["reason"] Latency
        "Canary records of which nothing can be said: topic deleted, rights gone, the observer itself stood still, too many out";
    CanaryCommitFailures "throughline_canary_commit_failures_total" Counter One Canary ["reason"] Latency
        "Commits of the canary's group that were refused or not answered";
    CanaryOverdue "throughline_canary_overdue_records" Gauge Records Canary ["broker"] Latency
        "Canary records that are out longer than observe.canary.late_seconds now";
    CanaryCovered "throughline_canary_broker_covered" Gauge One Canary ["broker"] Latency
        "1 where the broker leads a partition of the canary topic, 0 where the canary says nothing of it";
    CanaryDuration "throughline_canary_duration_seconds" Histogram Seconds Canary ["broker" "stage"] Latency
        "Canary record due to acknowledged (produce) and read (round_trip); commit request to answer (commit)";

    ExporterBrokers "kafka_brokers" Gauge One Exporter [] Latency
        "Brokers that answered the last probe";
    ExporterTopicPartitions "kafka_topic_partitions" Gauge One Exporter ["topic"] Latency
        "Partitions of the topic";
    ExporterCurrentOffset "kafka_topic_partition_current_offset" Gauge One Exporter ["topic" "partition"] Latency
        "High watermark of the partition";
    ExporterOldestOffset "kafka_topic_partition_oldest_offset" Gauge One Exporter ["topic" "partition"] Latency
        "First offset of the partition";
    ExporterInSync "kafka_topic_partition_in_sync_replica" Gauge One Exporter ["topic" "partition"] Latency
        "Replicas in sync";
    ExporterReplicas "kafka_topic_partition_replicas" Gauge One Exporter ["topic" "partition"] Latency
        "Replicas of the partition";
    ExporterLeader "kafka_topic_partition_leader" Gauge One Exporter ["topic" "partition"] Latency
        "Node id of the leader; absent without one";
    ExporterUnderReplicated "kafka_topic_partition_under_replicated_partition" Gauge One Exporter ["topic" "partition"] Latency
        "1 where fewer replicas are in sync than there are, else 0";
    ExporterGroupOffset "kafka_consumergroup_current_offset" Gauge One Exporter ["consumergroup" "topic" "partition"] Latency
        "Committed offset";
    ExporterGroupLag "kafka_consumergroup_lag" Gauge One Exporter ["consumergroup" "topic" "partition"] Latency
        "Lag in records, as throughline_group_lag_records counts it";
    ExporterGroupLagSum "kafka_consumergroup_lag_sum" Gauge One Exporter ["consumergroup" "topic"] Latency
        "The same, sum over all partitions";
    ExporterGroupMembers "kafka_consumergroup_members" Gauge One Exporter ["consumergroup"] Latency
        "Members of the group";

    AuthorizationFailures "throughline_authorization_failures_total" Counter One Access ["api" "resource"] Latency
        "Answers refused for want of rights";
    AuthenticationFailures "throughline_authentication_failures_total" Counter One Access ["mechanism"] Latency
        "SASL authentications the broker refused";
    Client "throughline_client_info" Info One Access ["software" "version"] Latency
        "Client software seen in the last hour";
    ConnectFailures "throughline_connect_failures_total" Counter One Access ["broker" "kind"] Latency
        "Brokers that could not be reached for a client";
    ConnectionsClosed "throughline_connections_closed_total" Counter One Access ["side" "kind"] Latency
        "Ended connections by the side that ended them";

    TopicOwner "throughline_topic_owner_info" Info One Ownership ["topic" "team" "tier" "tenant"] Latency
        "Whose the topic is, by the first of `owners` that matches; absent where none does";
    TopicExpectedTraffic "throughline_topic_expected_traffic_seconds" Gauge Seconds Ownership ["topic"] Latency
        "How long the topic may be silent, as declared in `expected_traffic`";

    ClockSkew "throughline_clock_skew_seconds" Gauge Seconds Health ["peer"] Latency
        "How far publish times of a topic lie in the future; present while that happens";
    Coverage "throughline_coverage_ratio" Gauge Ratio Health ["topic"] Latency
        "Share of delivered records whose latency is known and not left out as not examined, last one to two minutes";
    ProxyConnections "throughline_proxy_connections" Gauge One Health [] Latency
        "Client connections open now";
    ProxyConnectionsAccepted "throughline_proxy_connections_accepted_total" Counter One Health [] Latency
        "Client connections accepted";
    ProxyConnectionsRefused "throughline_proxy_connections_refused_total" Counter One Health [] Latency
        "Client connections refused because of limits.connections";
    ProxyBytes "throughline_proxy_bytes_total" Counter Bytes Health ["direction"] Latency
        "Bytes passed on";
    ProxyFrames "throughline_proxy_frames_total" Counter One Health ["api" "mode"] Latency
        "Frames passed on, by request type and what was done with them";
    ProxyAddedLatency "throughline_proxy_added_latency_seconds" Histogram Seconds Health ["direction"] Latency
        "Arrival of a chunk to the end of its writing on";
    ProxyBypassed "throughline_proxy_bypassed_total" Counter One Health ["reason"] Latency
        "What passed unread that would have been read";
    LineageUnindexed "throughline_lineage_unindexed_batches_total" Counter One Health [] Latency
        "Delivered batches whose records could not be indexed in time, or not be read: what comes from them begins a new trace";
    TelemetryDropped "throughline_telemetry_dropped_total" Counter One Health ["signal" "reason"] Latency
        "Observations dropped so that traffic need not wait";
    ExportFailures "throughline_export_failures_total" Counter One Health ["signal"] Latency
        "Exports that failed after all retries; what was in them is lost and in telemetry_dropped_total";
    SeriesCapped "throughline_series_capped_total" Counter One Health ["family"] Latency
        "Observations that went to _other (SLIs and gauges: nowhere) because of metrics.max_series";
    Series "throughline_series" Gauge One Health [] Latency
        "Series held, against metrics.max_series";
    Build "throughline_build_info" Info One Health ["version" "commit"] Latency
        "The running build";
    ProcessCpu "process_cpu_seconds_total" Counter Seconds Health [] Latency
        "User and system CPU time";
    ProcessMemory "process_resident_memory_bytes" Gauge Bytes Health [] Latency
        "Resident memory";
    ProcessFds "process_open_fds" Gauge One Health [] Latency
        "Open file descriptors";
    ProcessStart "process_start_time_seconds" Gauge Seconds Health [] Latency
        "Start of the process since the Unix epoch";

    OperationDuration "throughline_operation_duration_seconds" Histogram Seconds Conventions ["operation" "topic" "group" "error"] Exponential
        "Duration of messaging operation initiated by a producer or consumer client";
    ProcessDuration "throughline_process_duration_seconds" Histogram Seconds Conventions ["operation" "topic" "group" "error"] Exponential
        "Duration of processing operation";
    SentMessages "throughline_sent_messages_total" Counter One Conventions ["operation" "topic" "group" "error"] Exponential
        "Number of messages producer attempted to send to the broker";
    ConsumedMessages "throughline_consumed_messages_total" Counter One Conventions ["operation" "topic" "group" "error"] Exponential
        "Number of messages that were delivered to the application";
}

/// The README's table, Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out =
        String::from("| area | family | kind | labels | meaning |\n|---|---|---|---|---|\n");
    let all = Id::ALL.iter().map(|id| id.family());
    for family in all.filter(|family| !family.only_pushed()) {
        let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
        out.push_str(&format!(
            "| {} | `{}` | {} | {} | {} |\n",
            family.area.as_str(),
            family.name,
            family.kind.as_str(),
            labels.join(" "),
            family.help
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_follow_the_rules_of_their_kind() {
        let mut seen = HashSet::new();
        for family in Id::ALL.iter().map(|id| id.family()) {
            assert!(seen.insert(family.name), "{} twice", family.name);
            assert_eq!(
                family.kind == Kind::Counter,
                family.name.ends_with("_total"),
                "{}",
                family.name
            );
            assert_eq!(family.kind == Kind::Info, family.name.ends_with("_info"));
            assert!(
                family.name.starts_with("throughline_")
                    || family.name.starts_with("process_")
                    || family.area == Area::Exporter && family.name.starts_with("kafka_"),
                "{}",
                family.name
            );
            assert!(!family.help.ends_with('.'), "{}", family.name);
            let labels: HashSet<_> = family.labels.iter().collect();
            assert_eq!(labels.len(), family.labels.len());
            assert!(!family.labels.contains(&"cluster") && !family.labels.contains(&"le"));
        }
    }

    #[test]
    fn a_unit_stands_in_the_name() {
        for family in Id::ALL.iter().map(|id| id.family()) {
            if family.unit != Unit::One {
                assert!(
                    family.name.contains(family.unit.as_str()),
                    "{}",
                    family.name
                );
            }
        }
    }

    #[test]
    fn the_table_names_every_family_once() {
        let table = markdown();
        let shown = Id::ALL.iter().filter(|id| !id.family().only_pushed());
        assert_eq!(table.lines().count(), shown.count() + 2);
        assert!(table.contains(
            "| SLI | `throughline_sli_events_total` | counter | `sli` `topic` `group` `stage` |"
        ));
    }
}
