//! `throughline check`: is the configuration right, and does everything it names answer.
//!
//! Loads the configuration exactly as `run` does. Must not bind a port.

use std::{io, time::Duration};

use super::settings;
use crate::{cli::Streams, config::Config, kafka::control};

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
    Ok(all)
}
