//! Composition: one file per role wires the parts, and the two runtimes are made here.
//!
//! The dataplane has `proxy.worker_threads` threads; everything that is telemetry has one thread of its own. Must not hold
//! logic that a module could have.

mod auditing;
mod categories;
mod check;
mod control;
mod demo;
mod diagnostics;
mod exporting;
mod logging;
mod observe;
mod opener;
mod schemas;
mod settings;
mod showing;
mod sidecar;
mod slo;
mod telling;
mod trace;
mod watch;

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
};

use tokio::runtime::{Builder, Runtime};

use self::{diagnostics::Diagnostics, sidecar::Sidecar};
use crate::{
    cli::{self, Request, Streams, USAGE_ERROR},
    config::{Config, Sources},
    lifecycle::{Signals, Told},
};

/// Exit status for what was asked and did not hold.
const FAILED: u8 = 1;

/// Runs the command line and gives the exit status.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    let color = |terminal| cli::color(terminal, no_color.as_deref(), term.as_deref());
    let (out_color, err_color) = (
        color(io::stdout().is_terminal()),
        color(io::stderr().is_terminal()),
    );
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
        out_color,
        err_color,
    };
    // A closed pipe is the reader's decision, not a failure.
    dispatch(words, &mut streams).unwrap_or(0)
}

fn dispatch(words: &[OsString], streams: &mut Streams<'_>) -> io::Result<u8> {
    let build = cli::Build {
        librdkafka: || rdkafka::util::get_rdkafka_version().1,
    };
    let config_variable = std::env::var_os("THROUGHLINE_CONFIG");
    match cli::parse(
        words,
        Sources::of_process(),
        config_variable,
        build,
        streams,
    )? {
        Request::Exit(status) => Ok(status),
        Request::Check(check) => match Config::load(&check.sources) {
            Err(faults) => cli::report(&faults, streams).map(|()| USAGE_ERROR),
            Ok(config) => {
                let runtime = telemetry()?;
                let all = runtime.block_on(check::check(&config, check.offline, streams))?;
                Ok(if all { 0 } else { FAILED })
            }
        },
        Request::Generate(wanted) => match Config::load(&wanted.sources) {
            Err(faults) => cli::report(&faults, streams).map(|()| USAGE_ERROR),
            Ok(config) => slo::generate(&config, &wanted, streams),
        },
        Request::Status(wanted) => telemetry()?.block_on(slo::status(&wanted, streams)),
        Request::Trace(wanted) => match Config::load(&wanted.sources) {
            Err(faults) => cli::report(&faults, streams).map(|()| USAGE_ERROR),
            Ok(config) => telemetry()?.block_on(trace::trace(&config, &wanted, streams)),
        },
        Request::Observe(observe) => match Config::load(&observe.sources) {
            Err(faults) => cli::report(&faults, streams).map(|()| USAGE_ERROR),
            Ok(config) => observe::observer_role(&config, &observe.sources, streams),
        },
        Request::Run(run) => match Config::load(&run.sources) {
            Err(faults) => cli::report(&faults, streams).map(|()| USAGE_ERROR),
            Ok(config) => sidecar_role(&config, &run.sources, streams),
        },
        Request::Demo(wanted) => demo::demo_role(&wanted, streams),
    }
}

/// The runtime of everything that is not the dataplane.
fn telemetry() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("telemetry")
        .enable_all()
        .build()
}

/// The runtime of the dataplane.
fn dataplane(threads: usize) -> io::Result<Runtime> {
    if threads == 1 {
        return Builder::new_current_thread()
            .thread_name("dataplane")
            .enable_all()
            .build();
    }
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("dataplane")
        .enable_all()
        .build()
}

/// `throughline run`.
fn sidecar_role(config: &Config, sources: &Sources, streams: &mut Streams<'_>) -> io::Result<u8> {
    let diagnostics = config.otlp.diagnostics.then(Diagnostics::new);
    let log = logging::start(&config.log, streams.err_color, diagnostics.as_ref());
    let log = log.map_err(io::Error::other)?;
    let telemetry = telemetry()?;
    let status = dataplane(config.proxy.worker_threads.get())?.block_on(async {
        let mut signals = Signals::listen()?;
        let sidecar =
            match Sidecar::start(config, telemetry.handle(), Some(log.level()), diagnostics) {
                Ok(sidecar) => sidecar,
                Err(fault) => {
                    writeln!(streams.err, "{fault}")?;
                    return Ok(USAGE_ERROR);
                }
            };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %watch::list(&sidecar.listen),
            admin = %sidecar.admin,
            mode = config.context.mode.as_str(),
            "throughline runs"
        );
        loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::Stop => break,
                    Told::Reload => reload(&sidecar, sources),
                },
                () = sidecar.asked_to_stop.notified() => break,
            }
        }
        tracing::info!("stopping: no new connections; answering what is in flight");
        sidecar.stop().await;
        Ok(0)
    });
    telemetry.shutdown_background();
    status
}

/// Reads the configuration again. A bad one changes nothing.
fn reload(sidecar: &Sidecar, sources: &Sources) {
    let _span = tracing::debug_span!("reload").entered();
    match Config::load(sources) {
        Err(faults) => {
            for fault in &faults {
                tracing::error!(%fault, "configuration not reloaded");
            }
        }
        Ok(new) => {
            let changes = sidecar.switches.reload(&new);
            tracing::info!(applied = ?changes.applied_live, needs_restart = ?changes.needs_restart, "configuration reloaded");
        }
    }
}
