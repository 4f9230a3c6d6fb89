//! The command line: arguments to a typed request, and what is printed for people.
//!
//! Here so that `main` has only to load, run and exit. May import `config` and nothing else of the crate. Must not exit the
//! process, start anything, or write to a stream it was not handed.

mod args;
mod text;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    time::Duration,
};

use clap::{ColorChoice, CommandFactory, FromArgMatches, error::ErrorKind};

use crate::config::{Faults, HostPort, ListenAddress, Sources};
use args::{Arguments, Subcommand};

/// Exit status for usage and configuration errors.
pub const USAGE_ERROR: u8 = 2;

/// Subcommands of the design that this version does not have.
const LATER: &[&str] = &[
    "observe", "trace", "dlq", "replay", "gateway", "slo", "catalog",
];

/// What the binary is made of, for `--version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build<'a> {
    /// Version of librdkafka as linked.
    pub librdkafka: &'a str,
}

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Be a sidecar.
    Run(Run),
    /// Validate a configuration, and reach what it names.
    Check(Check),
    /// Show it all on one machine.
    Demo(Demo),
    /// Nothing is left to do but exit with this status; everything was printed.
    Exit(u8),
}

/// `throughline run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// To load the configuration from, now and on SIGHUP.
    pub sources: Sources,
}

/// `throughline check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// To load the configuration from.
    pub sources: Sources,
    /// Whether to leave the endpoints alone.
    pub offline: bool,
}

/// `throughline demo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// A cluster to use instead of the embedded one; empty = embedded.
    pub bootstrap: Vec<HostPort>,
    /// When to stop; `None` = on Ctrl-C.
    pub duration: Option<Duration>,
    /// Where the console is served; `None` = a free port.
    pub admin: Option<ListenAddress>,
    /// Whether colour was declined by flag.
    pub no_color: bool,
}

/// The two streams of a process, and whether each takes colour.
#[expect(missing_debug_implementations, reason = "holds writers")]
pub struct Streams<'a> {
    /// What a program might parse.
    pub out: &'a mut dyn Write,
    /// What people read.
    pub err: &'a mut dyn Write,
    /// Whether `out` takes colour.
    pub out_color: bool,
    /// Whether `err` takes colour.
    pub err_color: bool,
}

/// Whether to write colour: on a terminal, unless `NO_COLOR` is set to anything or the terminal is dumb.
#[must_use]
pub fn color(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    let declined = no_color.is_some_and(|value| !value.is_empty());
    terminal && !declined && term != Some(OsStr::new("dumb"))
}

/// Parses the arguments, the program's name first. Help, version, completions and usage errors are printed here.
/// `process` holds what the process is given besides its arguments ([`Sources::of_process`]); `config_variable` is
/// `THROUGHLINE_CONFIG`.
///
/// # Errors
/// Only those of writing.
pub fn parse(
    words: &[OsString],
    process: Sources,
    config_variable: Option<OsString>,
    build: Build<'_>,
    streams: &mut Streams<'_>,
) -> io::Result<Request> {
    if let Some(later) = later(words) {
        writeln!(
            streams.err,
            "throughline {later}: not in this version; `throughline --help` lists what is"
        )?;
        return Ok(Request::Exit(USAGE_ERROR));
    }
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(words);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, build, streams),
    };
    let process = Sources {
        command: words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        ..process
    };
    Ok(match arguments.command {
        Subcommand::Run(run) => Request::Run(Run {
            sources: run.overrides.sources(process, config_variable),
        }),
        Subcommand::Check(check) => Request::Check(Check {
            sources: check.overrides.sources(process, config_variable),
            offline: check.offline,
        }),
        Subcommand::Demo(demo) if demo.otlp_endpoint.is_some() => {
            writeln!(
                streams.err,
                "--otlp-endpoint: not in this version, remove it"
            )?;
            Request::Exit(USAGE_ERROR)
        }
        Subcommand::Demo(demo) => Request::Demo(Demo {
            bootstrap: demo.bootstrap,
            duration: demo.duration,
            admin: demo.admin,
            no_color: demo.no_color,
        }),
        Subcommand::Completions { shell } => {
            // Rendered aside, because the generator panics where a pipe is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "throughline", &mut script);
            streams.out.write_all(&script)?;
            Request::Exit(0)
        }
    })
}

/// Prints everything that is wrong with a configuration, one line each, and nothing else.
///
/// # Errors
/// Only those of writing.
pub fn report(faults: &Faults, streams: &mut Streams<'_>) -> io::Result<()> {
    for fault in faults {
        if streams.err_color {
            writeln!(streams.err, "\u{1b}[31m{}\u{1b}[0m", fault)?;
        } else {
            writeln!(streams.err, "{fault}")?;
        }
    }
    Ok(())
}

fn later(words: &[OsString]) -> Option<&'static str> {
    let first = words.get(1)?;
    LATER.iter().find(|name| first == **name).copied()
}

fn refuse(error: &clap::Error, build: Build<'_>, streams: &mut Streams<'_>) -> io::Result<Request> {
    if error.kind() == ErrorKind::DisplayVersion {
        streams.out.write_all(text::version(build).as_bytes())?;
        return Ok(Request::Exit(0));
    }
    let (stream, color) = if error.use_stderr() {
        (&mut streams.err, streams.err_color)
    } else {
        (&mut streams.out, streams.out_color)
    };
    let rendered = error.render();
    if color {
        write!(stream, "{}", rendered.ansi())?;
    } else {
        write!(stream, "{rendered}")?;
    }
    let status = if error.use_stderr() { USAGE_ERROR } else { 0 };
    Ok(Request::Exit(status))
}

/// Colours are decided here, per stream, and not by clap from its own look at the terminal.
const COLOR: ColorChoice = ColorChoice::Always;
