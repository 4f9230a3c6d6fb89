//! `throughline check`: is the configuration right, and does everything it names answer.
//!
//! Loads the configuration exactly as `run` does. Must not bind a port.

use std::{io, time::Duration};

use super::settings;
use crate::{
    cli::Streams,
    config::{CanaryConfig, Config},
    kafka::control::{self, Access, BrokerLane, TopicLayout, TopicTold, UNKNOWN_TOPIC, error_name},
};

/// Time for one broker to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks every endpoint; true where all answered. One line per endpoint on stdout.
///
/// # Errors
/// Only those of writing.
pub(crate) async fn check(
    config: &Config,
    offline: bool,
    streams: &mut Streams<'_>,
) -> io::Result<bool> {
    let access = match settings::access(config) {
        Ok(access) => access,
        Err(fault) => {
            writeln!(streams.err, "{fault}")?;
            return Ok(false);
        }
    };
    writeln!(streams.out, "configuration: ok")?;
    if offline {
        return Ok(true);
    }
    let mut all = true;
    for broker in settings::bootstrap(config) {
        match control::probe(&broker, &access, TIMEOUT).await {
            Ok(probe) => {
                let what = match probe.cluster {
                    None => "it wants authentication: the application brings its own, set kafka.sasl for ours"
                        .to_owned(),
                    Some(cluster) => format!(
                        "cluster {}, {} brokers",
                        cluster.id.as_deref().unwrap_or("without an id"),
                        cluster.brokers.len()
                    ),
                };
                writeln!(
                    streams.out,
                    "broker {broker}: ok ({} APIs; {what})",
                    probe.apis
                )?;
            }
            Err(fault) => {
                all = false;
                writeln!(streams.out, "broker {broker}: {fault}")?;
            }
        }
    }
    let mut fares = |what: &str, topic: &str, found: Result<String, String>| {
        all &= found.is_ok();
        let said = found.map_or_else(|lacks| lacks, |said| format!("ok ({said})"));
        writeln!(streams.out, "{what} topic {topic}: {said}")
    };
    if let Some(canary) = &config.observe.canary {
        let found = canary_fares(config, canary, &access).await;
        fares("canary", &canary.topic, found)?;
    }
    if let Some(topic) = &config.audit.topic {
        let found = audit_fares(config, topic, &access).await;
        fares("audit", topic, found)?;
    }
    Ok(all)
}

/// A topic as the first broker that answers tells it, and a way to ask that broker more.
async fn laid(
    config: &Config,
    topic: &str,
    access: &Access,
) -> Result<(BrokerLane, TopicTold, TopicLayout), String> {
    let mut last = "no broker was asked; set kafka.bootstrap".to_owned();
    for broker in settings::bootstrap(config) {
        let mut lane = BrokerLane::new(broker, access.clone(), TIMEOUT);
        let told = match lane.topic(topic).await {
            Ok(told) => told,
            Err(fault) => {
                last = fault.to_string();
                continue;
            }
        };
        return match told.topic.clone() {
            Ok(layout) => Ok((lane, told, layout)),
            Err(UNKNOWN_TOPIC) => Err("there is no such topic: create it".to_owned()),
            Err(code) => Err(error_name(code).to_owned()),
        };
    }
    Err(last)
}

/// The rights among these that we lack on a topic.
fn lacking(rights: &[(&str, Option<bool>)]) -> Vec<String> {
    let missing = rights.iter().filter(|(_, may)| *may == Some(false));
    missing
        .map(|(right, _)| format!("needs {right} on the topic"))
        .collect()
}

/// Whether the trail can be written. Writes nothing.
async fn audit_fares(config: &Config, topic: &str, access: &Access) -> Result<String, String> {
    let (_, _, layout) = laid(config, topic, access).await?;
    let lacks = lacking(&[("WRITE", layout.may_write)]);
    if lacks.is_empty() {
        Ok(format!("{} partitions", layout.partitions.len()))
    } else {
        Err(lacks.join("; "))
    }
}

/// Whether the canary will work: its topic, our rights, and a partition for every broker to lead. Writes nothing.
async fn canary_fares(
    config: &Config,
    canary: &CanaryConfig,
    access: &Access,
) -> Result<String, String> {
    let (mut lane, told, layout) = laid(config, &canary.topic, access).await?;
    let mut lacks = lacking(&[("WRITE", layout.may_write), ("READ", layout.may_read)]);
    match lane.coordinator(&canary.group).await {
        // GROUP_AUTHORIZATION_FAILED.
        Ok(Err(30)) => lacks.push(format!("needs READ on group {}", canary.group)),
        // A coordinator that is not there yet is no fault of the configuration.
        Ok(_) => {}
        Err(fault) => lacks.push(format!("coordinator of group {}: {fault}", canary.group)),
    }
    lacks.extend(never_led(&told, &layout));
    if lacks.is_empty() {
        let partitions = layout.partitions.len();
        Ok(format!(
            "{partitions} partitions, every broker is to lead one"
        ))
    } else {
        Err(lacks.join("; "))
    }
}

/// Brokers that are to lead none of the topic's partitions; who leads them at the moment may differ.
fn never_led(told: &TopicTold, layout: &TopicLayout) -> Option<String> {
    let preferred = layout.partitions.iter().filter_map(|p| p.replicas.first());
    let preferred: Vec<i32> = preferred.copied().collect();
    let bare = told
        .brokers
        .iter()
        .filter(|(node, _)| !preferred.contains(node));
    let bare: Vec<String> = bare.map(|(node, _)| node.to_string()).collect();
    let bare = (!bare.is_empty()).then(|| bare.join(", "))?;
    Some(format!(
        "no partition of it is for these brokers to lead: {bare}"
    ))
}
