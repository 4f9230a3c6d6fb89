//! From what a user writes (file, environment, flags) to typed values.
//!
//! Here because all faults must be reported at once, each with its line, which no deserializer does. Each section has a file
//! of its own with its defaults and ranges; `schema` has every key. `app` maps these structs to the settings of the other
//! modules. Must not import another module of the crate, and must not accept a key that nothing acts on.

mod address;
mod admin;
mod audit;
mod canary;
mod context;
mod effective;
mod event_log;
mod examined;
mod fault;
mod itself;
mod kafka;
mod limits;
mod lineage;
mod names;
mod objectives;
mod observe;
mod otlp;
mod ownership;
mod pattern;
mod sasl;
mod schema;
mod section;
mod sources;
mod tls;
mod yaml;

use std::time::Duration;

pub use address::{AddressError, HostPort, ListenAddress, ListenHost};
pub use admin::{AdminConfig, LogConfig, LogFormat, LogLevel, Token};
pub use audit::{AuditConfig, AuditTarget};
pub use canary::CanaryConfig;
pub use context::{Always, ContextConfig, Headers, Mode, SamplingConfig, TopicMode};
pub use effective::{Changes, changes};
pub use event_log::{EventLogConfig, Recorded, RedactionConfig};
pub use examined::{DeadLetterConfig, DuplicatesConfig, FailureKind, SchemaConfig, SchemaFormat};
pub use fault::{Fault, Faults, Origin};
pub use kafka::KafkaConfig;
pub use limits::{LimitsConfig, MetricsConfig, ProxyConfig};
pub use lineage::{BusinessId, LineageConfig};
pub use names::NameRule;
pub use objectives::{ObjectiveConfig, Sli, Stage};
pub use observe::ObserveConfig;
pub use otlp::{
    OtlpConfig, OtlpHeaders, OtlpProtocol, endpoint as otlp_endpoint, headers as read_headers,
};
pub use ownership::{ExpectedTraffic, OwnerConfig};
pub use pattern::Pattern;
pub use sasl::{SaslConfig, SaslMechanism};
pub use schema::keys;
pub use sources::{Override, Sources};
pub use tls::{Identity, TlsConfig};
pub use yaml::FILE_BYTES_MAX;

use section::{Section, Walk, seconds};

/// Everything a user can set, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which cluster, and where the application finds us.
    pub kafka: KafkaConfig,
    /// What is done with records.
    pub context: ContextConfig,
    /// How many traces are recorded.
    pub sampling: SamplingConfig,
    /// How parents are found.
    pub lineage: LineageConfig,
    /// Which events are remembered.
    pub duplicates: DuplicatesConfig,
    /// Records that programs give up on.
    pub dead_letter: DeadLetterConfig,
    /// Schemas of values.
    pub schema: SchemaConfig,
    /// Where traces go.
    pub otlp: OtlpConfig,
    /// In the order written.
    pub objectives: Vec<ObjectiveConfig>,
    /// Whose topics are, in the order written.
    pub owners: Vec<OwnerConfig>,
    /// Topics that are never silent.
    pub expected_traffic: Vec<ExpectedTraffic>,
    /// What is kept as series.
    pub metrics: MetricsConfig,
    /// In the order written.
    pub names: Vec<NameRule>,
    /// Limits of buffers and queues.
    pub limits: LimitsConfig,
    /// The dataplane.
    pub proxy: ProxyConfig,
    /// How the observer watches.
    pub observe: ObserveConfig,
    /// The admin listener.
    pub admin: AdminConfig,
    /// The trail of who used what.
    pub audit: AuditConfig,
    /// Records told of one by one.
    pub event_log: EventLogConfig,
    /// What is never shown of a record.
    pub redaction: RedactionConfig,
    /// Our own log.
    pub log: LogConfig,
    /// How long requests in flight may take after SIGTERM.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kafka: KafkaConfig::default(),
            context: ContextConfig::default(),
            sampling: SamplingConfig::default(),
            lineage: LineageConfig::default(),
            duplicates: DuplicatesConfig::default(),
            dead_letter: DeadLetterConfig::default(),
            schema: SchemaConfig::default(),
            otlp: OtlpConfig::default(),
            objectives: Vec::new(),
            owners: Vec::new(),
            expected_traffic: Vec::new(),
            metrics: MetricsConfig::default(),
            names: Vec::new(),
            limits: LimitsConfig::default(),
            proxy: ProxyConfig::default(),
            observe: ObserveConfig::default(),
            admin: AdminConfig::default(),
            audit: AuditConfig::default(),
            event_log: EventLogConfig::default(),
            redaction: RedactionConfig::default(),
            log: LogConfig::default(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Reads all sources, the files they name included.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let tree = match sources.tree(&mut faults) {
            Ok(tree) => tree,
            Err(fault) => {
                faults.push(fault);
                // Without a readable file every other complaint may be a consequence.
                return Faults::of(faults).map_or_else(|| Ok(Self::default()), Err);
            }
        };
        schema::check(&tree, &mut faults);
        let walk = Walk::default();
        let root = Section::root(&tree, &walk);
        let config = Self::read(&root);
        itself::check(&config, sources, &root);
        faults.extend(walk.into_faults());
        Faults::of(faults).map_or(Ok(config), Err)
    }

    fn read(root: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            kafka: KafkaConfig::read(&root.section("kafka")),
            context: ContextConfig::read(&root.section("context")),
            sampling: SamplingConfig::read(&root.section("sampling")),
            lineage: LineageConfig::read(&root.section("lineage")),
            duplicates: DuplicatesConfig::read(&root.section("duplicates")),
            dead_letter: DeadLetterConfig::read(&root.section("dead_letter")),
            schema: SchemaConfig::read(&root.section("schema")),
            otlp: OtlpConfig::read(&root.section("otlp")),
            objectives: ObjectiveConfig::read_all(root),
            owners: OwnerConfig::read_all(root),
            expected_traffic: ExpectedTraffic::read_all(root),
            metrics: MetricsConfig::read(&root.section("metrics")),
            names: NameRule::read_all(root),
            limits: LimitsConfig::read(&root.section("limits")),
            proxy: ProxyConfig::read(&root.section("proxy")),
            observe: ObserveConfig::read(&root.section("observe")),
            admin: AdminConfig::read(&root.section("admin")),
            audit: AuditConfig::read(&root.section("audit")),
            event_log: EventLogConfig::read(&root.section("event_log")),
            redaction: RedactionConfig::read(&root.section("redaction")),
            log: LogConfig::read(&root.section("log")),
            drain_timeout: root.or(
                "drain_timeout_seconds",
                default.drain_timeout,
                seconds(0.0..=3_600.0),
            ),
        }
    }
}
