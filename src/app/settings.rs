//! From what the user wrote to what each module needs.
//!
//! The one place that knows both sides. Must not invent a default: those are the configuration's.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use super::{
    categories::Categories,
    opener::Opener,
    schemas::{Link, SchemaCheck},
    showing::{SharedRedaction, Shows},
};
use crate::{
    config::{
        self, Always, AuditTarget, Config, ContextConfig, ListenAddress, ListenHost, Mode,
        NameRule, OtlpConfig, Recorded, TlsConfig,
    },
    event::{Category, Name},
    eventlog::{self, Kind},
    export::{lines, otlp},
    kafka::{
        control::{Access, Login, Mechanism},
        dial::{
            HostPort, TlsSettings,
            tls::{TlsError, TlsMaterial, client_config},
        },
        proxy::settings::{
            InjectSettings, Limits, LineageSettings, Listen, Modes, Settings, TopicMode,
        },
        wire::{api::ApiKey, messages::sasl::MECHANISMS, policy::REFUSABLE},
    },
    lineage::{self, BusinessId, BusinessIds},
    pipeline::{self, Fold},
    propagation::{CorrelationNames, HeaderChoice, is_aside_topic},
    redaction::Redaction,
    sli::{self, DEFAULT_LATENCY_THRESHOLD, DuplicateSettings, Objective, Objectives, Sli, Stage},
    span::{Keep, SlowAfter, SlowIn},
};

/// Settings of the proxy.
pub(crate) fn proxy(config: &Config) -> Result<Settings, TlsError> {
    Ok(Settings {
        bootstrap: bootstrap(config),
        listen: listen(&config.kafka.listen),
        broker_listen: listen(&config.kafka.broker_listen),
        advertise: config.kafka.advertise.clone(),
        tls: config.kafka.tls.as_ref().map(tls).transpose()?,
        inject: inject(config),
        lineage: lineage(config),
        limits: Limits {
            connections: config.limits.connections.get(),
            frame_bytes: usize::try_from(config.limits.frame_bytes).unwrap_or(usize::MAX),
            edit_bytes: config.limits.edit_bytes_total.get(),
            in_flight_requests: config.limits.in_flight_requests.get(),
        },
        connect_timeout: config.proxy.connect_timeout,
        drain_timeout: config.drain_timeout,
    })
}

/// Injection.
fn inject(config: &Config) -> InjectSettings {
    let context = &config.context;
    let cpu_ms = u64::try_from(config.limits.edit_cpu_ms_per_second.get()).unwrap_or(u64::MAX);
    InjectSettings {
        headers: match context.headers {
            config::Headers::Full => HeaderChoice::Full,
            config::Headers::Traceparent => HeaderChoice::Traceparent,
            config::Headers::Correlation => HeaderChoice::Correlation,
        },
        correlation: context.correlation,
        names: correlation_names(context),
        traces_per_second_per_topic: config.sampling.traces_per_second_per_topic.get(),
        frame_bytes: config.limits.edit_frame_bytes.get(),
        bytes_total: config.limits.edit_bytes_total.get(),
        compressed_budget: Duration::from_millis(cpu_ms),
        shows_edited: tells(config),
    }
}

/// Names of the correlation header.
pub(crate) fn correlation_names(context: &ContextConfig) -> CorrelationNames {
    let aliases = context.correlation_aliases.iter().map(String::as_str);
    let aliases: Vec<&str> = aliases.collect();
    CorrelationNames::new(&context.correlation_header, &aliases)
}

/// Lineage.
fn lineage(config: &Config) -> LineageSettings {
    let lineage = &config.lineage;
    LineageSettings {
        deliveries: lineage::Settings {
            window: lineage.window,
            records_max: lineage.records_max.get(),
            parent_confidence: lineage.parent_confidence,
        },
        business: ids(&lineage.business_ids),
        hold: lineage.hold,
        traces: otlp(config, Signal::Traces).is_some(),
    }
}

fn ids(ids: &[config::BusinessId]) -> BusinessIds {
    let ids = ids.iter().filter_map(|id| match id {
        config::BusinessId::Header(name) => Some(BusinessId::Header(name.clone())),
        config::BusinessId::Json(pointer) => Some(BusinessId::Json(pointer.clone())),
        config::BusinessId::Regex(pattern) => pattern.over_bytes().ok().map(BusinessId::Regex),
    });
    BusinessIds::new(ids.collect())
}

/// What is looked for in records; `link` leads to a registry.
pub(crate) fn opener(config: &Config, link: Option<Link>, redaction: &SharedRedaction) -> Opener {
    let letters = &config.dead_letter;
    let categories = letters.categories.iter().map(|(pattern, kind)| {
        let category = match kind {
            config::FailureKind::Transient => Category::Transient,
            config::FailureKind::Persistent => Category::Persistent,
            config::FailureKind::Unknown => Category::Unknown,
        };
        (pattern.regex().clone(), category)
    });
    Opener {
        ids: ids(&config.duplicates.ids),
        dead_letters: letters.topics.as_ref().map(|t| t.regex().clone()),
        categories: Categories::new(categories.collect()),
        schemas: (config.schema.format == config::SchemaFormat::Auto)
            .then(|| SchemaCheck::new(link, config.schema.decode_records_per_second.get())),
        shows: shows(config, redaction),
        ..Opener::default()
    }
}

/// What the engine is told besides objectives.
pub(crate) fn engine(config: &Config) -> sli::Settings {
    sli::Settings {
        duplicates: DuplicateSettings {
            window: config.duplicates.window,
            bytes: config.duplicates.memory_bytes.get(),
        },
        poison_deliveries: config.dead_letter.poison_deliveries,
    }
}

/// What leaves over OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Spans.
    Traces,
    /// The families of the page, pushed.
    Metrics,
    /// The event log.
    Logs,
}

impl Signal {
    fn asked_for(self, otlp: &OtlpConfig) -> bool {
        match self {
            Self::Traces => otlp.traces,
            Self::Metrics => otlp.metrics,
            Self::Logs => otlp.logs,
        }
    }

    /// Variables for the endpoint and the protocol: the signal's own, which wins, and that for all.
    fn variables(self) -> [[&'static str; 2]; 2] {
        match self {
            Self::Traces => [
                [
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                ],
                [
                    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                    "OTEL_EXPORTER_OTLP_PROTOCOL",
                ],
            ],
            Self::Logs => [
                [
                    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                ],
                [
                    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
                    "OTEL_EXPORTER_OTLP_PROTOCOL",
                ],
            ],
            Self::Metrics => [
                [
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                ],
                [
                    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
                    "OTEL_EXPORTER_OTLP_PROTOCOL",
                ],
            ],
        }
    }
}

/// Where a signal goes; `None` where it is not asked for, or nobody named a collector.
pub(crate) fn otlp(config: &Config, signal: Signal) -> Option<otlp::Settings> {
    let otlp = &config.otlp;
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let [endpoints, protocols] = signal.variables();
    let named = otlp.endpoint.is_some() || endpoints.into_iter().any(|n| variable(n).is_some());
    if !signal.asked_for(otlp) || !named {
        return None;
    }
    let of_environment = || match protocols.into_iter().find_map(variable).as_deref() {
        Some("http/protobuf") => otlp::Protocol::HttpProtobuf,
        _ => otlp::Protocol::Grpc,
    };
    let protocol = otlp
        .protocol
        .map_or_else(of_environment, |protocol| match protocol {
            config::OtlpProtocol::Grpc => otlp::Protocol::Grpc,
            config::OtlpProtocol::HttpProtobuf => otlp::Protocol::HttpProtobuf,
        });
    let mut attributes = vec![
        ("telemetry.distro.name", "throughline".to_owned()),
        (
            "telemetry.distro.version",
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ];
    if let Some(host) = variable("HOSTNAME") {
        attributes.push(("host.name", host));
    }
    Some(otlp::Settings {
        endpoint: otlp.endpoint.clone(),
        protocol,
        headers: otlp.headers.expose().to_vec(),
        attributes,
        service_name: otlp.service_name.clone(),
    })
}

/// Calls the program so, unless it was given a name.
pub(crate) fn call(to: &mut otlp::Settings, name: &str) {
    if to.service_name.is_none() && std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        to.service_name = Some(name.to_owned());
    }
}

/// The brokers to begin with.
pub(crate) fn bootstrap(config: &Config) -> Vec<HostPort> {
    config
        .kafka
        .bootstrap
        .iter()
        .map(|b| HostPort {
            host: b.host.clone(),
            port: b.port,
        })
        .collect()
}

/// TLS towards the brokers.
pub(crate) fn tls(config: &TlsConfig) -> Result<TlsSettings, TlsError> {
    let identity = config
        .identity
        .as_ref()
        .map(|i| (i.chain.clone(), i.key.clone_key()));
    Ok(TlsSettings {
        client: client_config(TlsMaterial {
            roots: config.roots.clone(),
            identity,
            insecure_skip_verify: config.insecure_skip_verify,
        })?,
        server_name: config
            .server_name
            .as_ref()
            .map(|n| n.to_str().as_ref().into()),
    })
}

/// How our own connections get in.
pub(crate) fn access(config: &Config) -> Result<Access, TlsError> {
    let login = config.kafka.sasl.as_ref().map(|sasl| Login {
        mechanism: match sasl.mechanism {
            config::SaslMechanism::Plain => Mechanism::Plain,
            config::SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            config::SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        },
        username: sasl.username.clone(),
        password: sasl.password.expose().to_owned(),
    });
    Ok(Access {
        tls: config.kafka.tls.as_ref().map(tls).transpose()?,
        login: login.map(Arc::new),
    })
}

fn listen(address: &ListenAddress) -> Listen {
    Listen {
        addresses: addresses(address),
        port: address.port,
    }
}

/// The IP addresses of a listener; both loopbacks for `localhost`, because Node.js dials `::1`.
pub(crate) fn addresses(address: &ListenAddress) -> Vec<IpAddr> {
    match address.host {
        ListenHost::Loopbacks => vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
        ListenHost::Ip(ip) => vec![ip],
    }
}

/// Modes by topic.
pub(crate) fn modes(context: &ContextConfig) -> Modes {
    Modes {
        default: mode(context.mode),
        topics: context
            .topics
            .iter()
            .map(|t| (t.pattern.regex().clone(), mode(t.mode)))
            .collect(),
    }
}

fn mode(mode: Mode) -> TopicMode {
    match mode {
        Mode::Inject => TopicMode::Inject,
        Mode::Observe => TopicMode::Observe,
        Mode::Off => TopicMode::Off,
    }
}

/// Objectives of the engine.
pub(crate) fn objectives(config: &Config) -> Vec<Objective> {
    let sli = |sli| match sli {
        config::Sli::Publish => Sli::Publish,
        config::Sli::Availability => Sli::Availability,
        config::Sli::Latency => Sli::Latency,
        config::Sli::Processing => Sli::Processing,
        config::Sli::Duplicates => Sli::Duplicates,
        config::Sli::DeadLetter => Sli::DeadLetter,
        config::Sli::Schema => Sli::Schema,
        config::Sli::Delivery => Sli::Delivery,
        config::Sli::Lag => Sli::Lag,
        config::Sli::Broker => Sli::Broker,
        config::Sli::Retention => Sli::Retention,
    };
    let all = config.objectives.iter().map(|o| Objective {
        pattern: Some(o.pattern.regex().clone()),
        stage: o.stage.map(|stage| match stage {
            config::Stage::Fetched => Stage::Fetched,
            config::Stage::Committed => Stage::Committed,
        }),
        sli: sli(o.sli),
        threshold: o.threshold,
        target: Some(o.target),
    });
    all.collect()
}

/// What has spans though its trace is not recorded.
pub(crate) fn keep(config: &Config) -> Keep {
    let sampling = &config.sampling;
    let mut keep = Keep::new(sampling.traces_per_second_per_topic.get());
    let asked = |always| sampling.always.contains(&always);
    keep.error = asked(Always::Error);
    keep.dead_letter = asked(Always::DeadLetter);
    keep.duplicate = asked(Always::Duplicate);
    if asked(Always::Slow) {
        keep.slow_after = Some(slow_in(config));
    }
    keep
}

/// What is slow in a topic.
fn slow_in(config: &Config) -> SlowIn {
    let (mut all, nobody) = (Objectives::new(objectives(config)), Name::from(""));
    Box::new(move |topic| {
        let goal = all.goal(Sli::Latency, topic, &nobody);
        let after = goal.threshold.unwrap_or(DEFAULT_LATENCY_THRESHOLD);
        SlowAfter {
            delivered: after,
            committed: (goal.stage == Some(Stage::Committed)).then_some(after),
        }
    })
}

fn refusable() -> impl Iterator<Item = (&'static str, &'static str)> {
    let each = |(api, resources): (ApiKey, &'static [&'static str])| {
        resources
            .iter()
            .map(move |resource| (api.name(), *resource))
    };
    REFUSABLE.into_iter().flat_map(each)
}

/// Where the audit trail goes; `None` where nobody asked for one.
pub(crate) fn audit(config: &Config) -> Option<lines::Target> {
    config.audit.file.as_ref().map(lines_to)
}

fn lines_to(target: &AuditTarget) -> lines::Target {
    match target {
        AuditTarget::Stdout => lines::Target::Stdout,
        AuditTarget::File(path) => lines::Target::File(path.clone()),
    }
}

/// Where the lines of the event log go; `None` where nobody asked for them.
pub(crate) fn event_log_file(config: &Config) -> Option<lines::Target> {
    config.event_log.file.as_ref().map(lines_to)
}

/// Whether single records are told of anywhere.
pub(crate) fn tells(config: &Config) -> bool {
    config.event_log.file.is_some() || otlp(config, Signal::Logs).is_some()
}

/// What the event log tells.
pub(crate) fn event_log(config: &Config, redaction: &SharedRedaction) -> eventlog::Settings {
    let log = &config.event_log;
    let kind = |kind: &Recorded| match kind {
        Recorded::Slow => Kind::Slow,
        Recorded::DeadLetter => Kind::DeadLetter,
        Recorded::Retry => Kind::Retry,
        Recorded::Duplicate => Kind::Duplicate,
        Recorded::Schema => Kind::Schema,
        Recorded::Error => Kind::Error,
        Recorded::Sampled => Kind::Sampled,
    };
    eventlog::Settings {
        kinds: log.records.iter().map(kind).collect(),
        per_second: log.lines_per_second_per_topic.get(),
        slow_after: slow_in(config),
        cluster_name: config.kafka.cluster_name.clone(),
        redaction: Arc::clone(redaction),
    }
}

/// What is never shown of a record.
pub(crate) fn redaction(config: &Config) -> Redaction {
    let rules = &config.redaction;
    let all = |patterns: &[config::Pattern]| {
        let each = patterns.iter().map(|pattern| pattern.regex().clone());
        each.collect()
    };
    Redaction::new(
        all(&rules.headers),
        rules.json_pointers.clone(),
        all(&rules.patterns),
    )
}

/// What is shown of a record; nothing where nobody is told of single ones.
fn shows(config: &Config, redaction: &SharedRedaction) -> Shows {
    let names = correlation_names(&config.context);
    let redaction = Arc::clone(redaction);
    if !tells(config) {
        return Shows {
            names,
            redaction,
            ..Shows::default()
        };
    }
    let log = &config.event_log;
    let headers = log.headers.iter();
    Shows {
        names,
        headers: headers.map(|name| name.as_str().into()).collect(),
        pointers: log.json_pointers.clone(),
        messages: log.exception_messages,
        redaction,
    }
}

/// Limits and labels of the pipeline.
pub(crate) fn pipeline(config: &Config) -> pipeline::Settings {
    let fold = |rule: &NameRule| Fold {
        pattern: rule.pattern.regex().clone(),
        label: rule.replacement.as_str().into(),
    };
    pipeline::Settings {
        queue_events: config.limits.queue_events,
        telemetry_bytes: config.limits.telemetry_bytes.get(),
        examine_bytes_per_second: u64::try_from(config.limits.examine_bytes_per_second.get())
            .unwrap_or(u64::MAX),
        always_examined: pipeline::Always {
            named: is_aside_topic,
            configured: config
                .dead_letter
                .topics
                .as_ref()
                .map(|t| t.regex().clone()),
        },
        partitions: config.metrics.partitions,
        names: config.names.iter().map(fold).collect(),
        ownership: ownership(config),
        refusable: refusable().collect(),
        mechanisms: MECHANISMS.to_vec(),
        ..pipeline::Settings::default()
    }
}

fn ownership(config: &Config) -> pipeline::Ownership {
    let owner = |owner: &config::OwnerConfig| pipeline::Owner {
        pattern: owner.pattern.regex().clone(),
        team: owner.team.as_str().into(),
        tier: owner.tier.as_str().into(),
        tenant: owner.tenant.as_str().into(),
    };
    let expected = config.expected_traffic.iter();
    pipeline::Ownership {
        owners: config.owners.iter().map(owner).collect(),
        expected: expected
            .map(|declared| {
                (
                    declared.topic.as_str().into(),
                    declared.within.as_secs_f64(),
                )
            })
            .collect(),
    }
}
