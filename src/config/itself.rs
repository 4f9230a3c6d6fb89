//! Finds a configuration that would make the sidecar dial itself, or listen twice on one port.
//!
//! Here because it is the first mistake on a laptop (`--bootstrap localhost:9092` with the default listener) and shows,
//! once bound, as a loop of connections. Must not resolve names: only what is certain without DNS is a fault.

use std::net::{IpAddr, Ipv4Addr};

use super::{Config, Sources, address::HostPort, section::Section};

/// How far the proposed port is from the taken one.
const PORT_STEP: u16 = 10_000;

/// Reports what is wrong between keys; each key by itself was checked before.
pub(super) fn check(config: &Config, sources: &Sources, root: &Section<'_>) {
    let (kafka, admin) = (&config.kafka, &config.admin);
    let section = root.section("kafka");
    if kafka.listen.port != 0 && kafka.listen.port == admin.listen.port {
        let (at, key, other) = match root.section("admin") {
            admin if admin.given("listen") => (admin, "kafka.listen", kafka.listen),
            _ => (section.clone(), "admin.listen", admin.listen),
        };
        let port = other.port;
        let message = format!("port {port} is also that of {key} ({other}), allowed: another port");
        at.fault("listen", message);
    }
    if sources.needs_bootstrap && !section.given("bootstrap") {
        let message =
            "is missing, allowed: one or more host:port, for example --bootstrap kafka:9092";
        section.absent("bootstrap", message);
    }
    let own = kafka.bootstrap.iter().find(|a| is_own(a, config, sources));
    if let Some(address) = own {
        let listen = kafka.listen;
        let command = command(config, sources);
        let message = format!(
            "`{address}` is our own listen address ({listen}), listen elsewhere: {command}"
        );
        section.fault("bootstrap", message);
    }
}

fn is_own(address: &HostPort, config: &Config, sources: &Sources) -> bool {
    let listen = config.kafka.listen;
    if address.port != listen.port {
        return false;
    }
    let host = address.host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return listen.takes(ip.to_canonical());
    }
    let short = |name: &str| {
        name.split('.')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let ours = sources.hostname.as_deref();
    let named = host == "localhost"
        || host.ends_with(".localhost")
        || host == "localhost.localdomain"
        || ours.is_some_and(|name| name.eq_ignore_ascii_case(&host) || short(name) == host);
    named && listen.takes(IpAddr::from(Ipv4Addr::LOCALHOST))
}

/// The command the user gave, with another `--listen` and everything else as it was.
fn command(config: &Config, sources: &Sources) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut given = sources.command.iter();
    while let Some(word) = given.next() {
        match word.as_str() {
            "--listen" => {
                given.next();
            }
            "--set" => {
                let value = given.next().map_or("", String::as_str);
                if !sets_listen(value) {
                    words.extend([quoted(word), quoted(value)]);
                }
            }
            word if word.starts_with("--listen=") => {}
            word if word.strip_prefix("--set=").is_some_and(sets_listen) => {}
            word => words.push(quoted(word)),
        }
    }
    if words.is_empty() {
        words.extend(["throughline", "run"].map(str::to_owned));
    }
    let mut other = config.kafka.listen;
    let taken = |port: u16| {
        port == config.admin.listen.port
            || port == config.kafka.broker_listen.port
            || config
                .kafka
                .bootstrap
                .iter()
                .any(|address| address.port == port)
    };
    other.port = other.port.checked_add(PORT_STEP).unwrap_or(PORT_STEP);
    while taken(other.port) {
        other.port = other.port.checked_add(1).unwrap_or(PORT_STEP);
    }
    format!("{} --listen {other}", words.join(" "))
}

fn sets_listen(assignment: &str) -> bool {
    assignment
        .split_once('=')
        .is_some_and(|(key, _)| key.trim() == "kafka.listen")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", super::yaml::printable(word).replace('\'', "'\\''"))
}
