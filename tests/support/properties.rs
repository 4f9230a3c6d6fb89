//! What is written into a broker's property file.

use std::fmt::Write as _;

use super::certificates::Certificates;
use super::kafka::{KafkaSpec, Listener, Mechanism, Node};

/// The properties of one node, in the form of its file.
pub(super) fn render(
    spec: &KafkaSpec,
    nodes: &[Node],
    node: &Node,
    certificates: Option<&Certificates>,
    zookeeper: Option<u16>,
) -> String {
    let mut lines = Properties::default();
    match zookeeper {
        Some(port) => {
            lines.set("broker.id", node.id);
            lines.set("zookeeper.connect", format!("127.0.0.1:{port}"));
            // The default of 6 s is too short for a machine that also compiles.
            lines.set("zookeeper.connection.timeout.ms", 60_000);
            lines.set("zookeeper.session.timeout.ms", 30_000);
        }
        None => quorum(&mut lines, nodes, node),
    }
    listeners(&mut lines, spec, node, zookeeper.is_some());
    small_and_quick(&mut lines, nodes.len());
    lines.set("log.dirs", node.directory.join("data").display());
    if let Some(certificates) = certificates {
        tls(&mut lines, certificates);
    }
    sasl(&mut lines, spec);
    if spec.acls {
        lines.set(
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        );
        lines.set("allow.everyone.if.no.acl.found", true);
    }
    for (name, value) in &spec.properties {
        lines.set(name, value);
    }
    lines.0
}

#[derive(Default)]
struct Properties(String);

impl Properties {
    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name}={value}").expect("a string takes everything");
    }
}

fn quorum(lines: &mut Properties, nodes: &[Node], node: &Node) {
    let voters: Vec<String> = nodes
        .iter()
        .map(|voter| format!("{}@127.0.0.1:{}", voter.id, voter.controller_port))
        .collect();
    lines.set("process.roles", "broker,controller");
    lines.set("node.id", node.id);
    lines.set("controller.quorum.voters", voters.join(","));
    lines.set("controller.listener.names", "CONTROLLER");
    lines.set("share.coordinator.state.topic.replication.factor", 1);
    lines.set("share.coordinator.state.topic.min.isr", 1);
    lines.set("share.coordinator.state.topic.num.partitions", 3);
    lines.set(
        "group.coordinator.rebalance.protocols",
        "classic,consumer,share",
    );
    lines.set("group.consumer.min.session.timeout.ms", 1000);
    lines.set("group.consumer.session.timeout.ms", 6000);
    lines.set("group.consumer.min.heartbeat.interval.ms", 100);
    lines.set("group.consumer.heartbeat.interval.ms", 500);
}

fn listeners(lines: &mut Properties, spec: &KafkaSpec, node: &Node, zookeeper: bool) {
    let bound = |listener: &Listener, port: u16| format!("{}://127.0.0.1:{port}", listener.name());
    let mut listening = Vec::new();
    let mut advertised = Vec::new();
    let mut protocols = Vec::new();
    for (listener, port) in &node.ports {
        listening.push(bound(listener, *port));
        let told = spec.advertised_port(listener, node.id).unwrap_or(*port);
        advertised.push(bound(listener, told));
        protocols.push(format!("{}:{}", listener.name(), listener.protocol()));
    }
    if !zookeeper {
        listening.push(format!("CONTROLLER://127.0.0.1:{}", node.controller_port));
        protocols.push("CONTROLLER:PLAINTEXT".to_owned());
    }
    lines.set("listeners", listening.join(","));
    lines.set("advertised.listeners", advertised.join(","));
    // Names apart from protocols came with 0.10.2 (KIP-103), the oldest release here.
    lines.set("listener.security.protocol.map", protocols.join(","));
    lines.set("inter.broker.listener.name", Listener::Plaintext.name());
}

fn small_and_quick(lines: &mut Properties, brokers: usize) {
    let copies = brokers.min(3);
    lines.set("offsets.topic.num.partitions", 3);
    lines.set("offsets.topic.replication.factor", copies);
    lines.set("transaction.state.log.num.partitions", 3);
    lines.set("transaction.state.log.replication.factor", copies);
    lines.set("transaction.state.log.min.isr", 1);
    lines.set("num.partitions", 6);
    lines.set("default.replication.factor", 1);
    lines.set("group.initial.rebalance.delay.ms", 0);
    lines.set("group.min.session.timeout.ms", 100);
    // The timestamps of the test records lie in the past: keep them.
    lines.set("log.retention.ms", -1);
    lines.set("log.cleaner.dedupe.buffer.size", 16 * 1024 * 1024);
    lines.set("controlled.shutdown.enable", true);
}

fn tls(lines: &mut Properties, certificates: &Certificates) {
    lines.set("ssl.keystore.type", "PEM");
    lines.set("ssl.keystore.location", certificates.server_store.display());
    lines.set("ssl.truststore.type", "PEM");
    lines.set("ssl.truststore.location", certificates.ca.display());
    lines.set("ssl.client.auth", "required");
    // With SASL the password says who the client is, and its certificate is not asked for.
    lines.set("listener.name.sasl_ssl.ssl.client.auth", "none");
}

fn sasl(lines: &mut Properties, spec: &KafkaSpec) {
    let with_sasl: Vec<_> = spec.listeners.iter().filter(|one| one.has_sasl()).collect();
    if with_sasl.is_empty() {
        return;
    }
    lines.set(
        "sasl.enabled.mechanisms",
        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    );
    let users: Vec<String> = spec
        .users
        .iter()
        .map(|(name, password)| format!("user_{name}=\"{password}\""))
        .collect();
    for listener in with_sasl {
        let name = listener.name().to_lowercase();
        for mechanism in [
            Mechanism::Plain,
            Mechanism::ScramSha256,
            Mechanism::ScramSha512,
        ] {
            let (module, known) = match mechanism {
                Mechanism::Plain => ("plain.PlainLoginModule", users.join(" ")),
                Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                    ("scram.ScramLoginModule", String::new())
                }
            };
            lines.set(
                &format!(
                    "listener.name.{name}.{}.sasl.jaas.config",
                    mechanism.name().to_lowercase()
                ),
                format!("org.apache.kafka.common.security.{module} required {known};"),
            );
        }
    }
}
