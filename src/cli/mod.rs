//! The command line: arguments to a typed request, and what is printed for people.
//!
//! Here so that `main` has only to load, run and exit. May import `config` and nothing else of the crate. Must not exit the
//! process, start anything, or write to a stream it was not handed.

mod args;
mod text;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{ColorChoice, CommandFactory, FromArgMatches, error::ErrorKind};

use crate::config::{Faults, HostPort, ListenAddress, Pattern, Sources};
use args::{Arguments, SloCommand, Subcommand, TraceArguments};

/// Exit status for usage and configuration errors.
pub const USAGE_ERROR: u8 = 2;

/// Subcommands of the design that this version does not have.
const LATER: &[&str] = &["dlq", "replay", "gateway", "catalog"];

/// What the binary is made of, for `--version`.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Tells the version of librdkafka as linked.
    pub librdkafka: fn() -> String,
}

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Be a sidecar.
    Run(Run),
    /// Watch a whole cluster.
    Observe(Observe),
    /// Validate a configuration, and reach what it names.
    Check(Check),
    /// Follow one event.
    Trace(Trace),
    /// Write rules for Prometheus.
    Generate(Generate),
    /// Ask Prometheus for error budgets.
    Status(Status),
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

/// `throughline observe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
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

/// `throughline trace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// To load the configuration from.
    pub sources: Sources,
    /// Which event.
    pub event: TracedEvent,
    /// How far around the record, or back from now.
    pub within: Duration,
    /// Which topics; `None` = all but the brokers' own.
    pub topics: Option<Pattern>,
    /// How to print it.
    pub format: TraceFormat,
}

/// How an event is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracedEvent {
    /// By one of its records.
    Position {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
    /// By its correlation id.
    Correlation(String),
    /// By its trace id, 32 lower-case hexadecimal digits.
    Trace(String),
}

/// How a tree is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TraceFormat {
    /// For people.
    Tree,
    /// For programs.
    Json,
    /// A flowchart, for documents.
    Mermaid,
    /// Spans, sent to a collector.
    Otlp,
}

/// `throughline slo generate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    /// To load the configuration from.
    pub sources: Sources,
    /// For whom.
    pub format: RuleFormat,
    /// One part alone.
    pub only: Option<RulePart>,
    /// Before `/<alert>.md`.
    pub runbooks: String,
    /// Before `/d/<uid>`.
    pub dashboards: String,
}

/// Who reads rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RuleFormat {
    /// Prometheus, as a rule file.
    Prometheus,
    /// The Prometheus Operator, as a custom resource.
    Crd,
}

/// A part of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RulePart {
    /// Recording rules.
    Rules,
    /// Alerts, which read them.
    Alerts,
}

/// `throughline slo status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Base address of Prometheus.
    pub prometheus: String,
    /// Headers for it.
    pub headers_file: Option<PathBuf>,
    /// Whether a budget that burns is a failure.
    pub fail_if_burning: bool,
    /// Which clusters; `None` = all.
    pub cluster: Option<Pattern>,
    /// Which topics; `None` = all, and what belongs to none.
    pub topic: Option<Pattern>,
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
    /// Collector the traces go to.
    pub otlp_endpoint: Option<String>,
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
    build: Build,
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
        Subcommand::Observe(observe) => Request::Observe(Observe {
            sources: observe.flags.sources(process, config_variable),
        }),
        Subcommand::Check(check) => Request::Check(Check {
            // In CI the brokers' addresses may not be known yet: a pod has them in its environment.
            sources: Sources {
                needs_bootstrap: !check.offline,
                ..check.overrides.sources(process, config_variable)
            },
            offline: check.offline,
        }),
        Subcommand::Trace(trace) => follow(trace, process, config_variable),
        Subcommand::Slo(SloCommand::Generate(generate)) => Request::Generate(Generate {
            sources: generate.file.sources(process, config_variable),
            format: generate.format,
            only: generate.only,
            runbooks: generate.runbooks,
            dashboards: generate.dashboards,
        }),
        Subcommand::Slo(SloCommand::Status(status)) => Request::Status(Status {
            prometheus: status.prometheus,
            headers_file: status.headers_file,
            fail_if_burning: status.fail_if_burning,
            cluster: status.cluster,
            topic: status.topic,
        }),
        Subcommand::Demo(demo) => Request::Demo(Demo {
            otlp_endpoint: demo.otlp_endpoint,
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

fn follow(trace: TraceArguments, process: Sources, config_variable: Option<OsString>) -> Request {
    let by_id = trace.correlation_id.map(TracedEvent::Correlation);
    let by_id = by_id.or(trace.trace_id.map(TracedEvent::Trace));
    let by_position = trace
        .position
        .map(|(topic, partition, offset)| TracedEvent::Position {
            topic,
            partition,
            offset,
        });
    let Some(event) = by_position.or(by_id) else {
        // The group of the definition has already refused this.
        return Request::Exit(USAGE_ERROR);
    };
    Request::Trace(Trace {
        sources: trace.cluster.sources(process, config_variable),
        event,
        within: trace.within,
        topics: trace.topics,
        format: trace.format,
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

fn refuse(error: &clap::Error, build: Build, streams: &mut Streams<'_>) -> io::Result<Request> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: Build = Build {
        librdkafka: || "9.9.9".to_owned(),
    };

    /// What `throughline` with these words does, prints on stdout, and prints on stderr.
    fn ask(words: &[&str]) -> (Request, String, String) {
        let words: Vec<OsString> = [&["throughline"], words]
            .concat()
            .iter()
            .map(OsString::from)
            .collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            out: &mut out,
            err: &mut err,
            out_color: false,
            err_color: false,
        };
        let variable = Some(OsString::from("from-env.yaml"));
        let request = parse(&words, Sources::default(), variable, BUILD, &mut streams).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (request, text(out), text(err))
    }

    #[test]
    fn observe_binds_no_proxy_and_pushes_where_a_collector_is_named() {
        let given = |words: &[&str]| -> Vec<String> {
            let (request, ..) = ask(words);
            let Request::Observe(observe) = request else {
                panic!("{request:?}");
            };
            let all = observe.sources.overrides.iter();
            all.map(|o| format!("{}={}", o.key, o.value)).collect()
        };
        assert_eq!(
            given(&["observe", "--bootstrap", "a:1", "--admin", "0.0.0.0:1"]),
            [
                "kafka.bootstrap=a:1",
                "kafka.listen=localhost:0",
                "admin.listen=0.0.0.0:1"
            ]
        );
        let collector = ["observe", "--otlp-endpoint", "http://c:4317"];
        assert_eq!(given(&collector)[0], "otlp.metrics=true");
        let said = [&collector[..], &["--set", "otlp.metrics=false"]].concat();
        assert!(!given(&said).contains(&"otlp.metrics=true".to_owned()));
        assert_eq!(
            ask(&["observe", "--listen", "localhost:1"]).0,
            Request::Exit(2)
        );
    }

    #[test]
    fn run_hands_its_flags_to_the_configuration() {
        let (request, ..) = ask(&[
            "run",
            "--bootstrap",
            "a:1,b:2",
            "--listen=localhost:1",
            "--mode",
            "off",
            "--set",
            "log.level=debug",
            "--set",
            "names=[{match: 'a=b', as: c}]",
        ]);
        let Request::Run(run) = request else {
            panic!("{request:?}");
        };
        let given: Vec<String> = run
            .sources
            .overrides
            .iter()
            .map(|o| format!("{}|{}|{}", o.flag, o.key, o.value))
            .collect();
        assert_eq!(
            given,
            [
                "--bootstrap|kafka.bootstrap|a:1,b:2",
                "--listen|kafka.listen|localhost:1",
                "--mode|context.mode|off",
                "--set log.level|log.level|debug",
                "--set names|names|[{match: 'a=b', as: c}]",
            ]
        );
        assert!(run.sources.needs_bootstrap);
        assert_eq!(run.sources.file, Some("from-env.yaml".into()));
        assert_eq!(run.sources.command.first().unwrap(), "throughline");
    }

    #[test]
    fn check_and_demo_are_typed() {
        let (request, ..) = ask(&["check", "--config", "x.yaml", "--offline"]);
        assert!(
            matches!(request, Request::Check(Check { offline: true, sources }) if sources.file == Some("x.yaml".into()))
        );
        let (request, ..) = ask(&[
            "demo",
            "--bootstrap",
            "a:1,[::1]:2",
            "--duration",
            "60s",
            "--no-color",
        ]);
        let Request::Demo(demo) = request else {
            panic!("{request:?}");
        };
        assert_eq!(
            (demo.bootstrap.len(), demo.duration, demo.no_color),
            (2, Some(Duration::from_secs(60)), true)
        );
    }

    #[test]
    fn trace_names_one_event_and_binds_nothing() {
        let (request, ..) = ask(&["trace", "a:b:3:9", "--bootstrap", "localhost:9092"]);
        let Request::Trace(trace) = request else {
            panic!("{request:?}");
        };
        let event = TracedEvent::Position {
            topic: "a:b".to_owned(),
            partition: 3,
            offset: 9,
        };
        assert_eq!(trace.event, event);
        assert_eq!(trace.within, Duration::from_secs(3_600));
        assert_eq!((trace.topics, trace.format), (None, TraceFormat::Tree));
        assert!(trace.sources.needs_bootstrap);
        let sources = Sources {
            file: None,
            ..trace.sources
        };
        let config = crate::config::Config::load(&sources).unwrap();
        assert_eq!(
            config.kafka.bootstrap.len(),
            1,
            "also where a sidecar would listen"
        );
        let (request, ..) = ask(&[
            "trace",
            "--correlation-id",
            "order 7",
            "--format=json",
            "--topics",
            "^a",
        ]);
        assert!(
            matches!(request, Request::Trace(Trace { event: TracedEvent::Correlation(id), format: TraceFormat::Json, topics: Some(_), .. }) if id == "order 7")
        );
    }

    #[test]
    fn every_command_has_help_with_two_examples() {
        for command in ["run", "check", "trace", "demo", "completions"] {
            let (request, out, err) = ask(&[command, "--help"]);
            assert_eq!((request, err.as_str()), (Request::Exit(0), ""));
            let examples = out.split("Examples:").nth(1).unwrap();
            assert_eq!(
                examples.matches(&format!("throughline {command}")).count(),
                2,
                "{examples}"
            );
            assert!(!out.contains('\u{1b}'), "{out}");
        }
    }

    #[test]
    fn version_names_what_the_binary_is_made_of() {
        for words in [&["--version"][..], &["-V"], &["run", "--version"]] {
            let (request, out, _) = ask(words);
            assert_eq!(request, Request::Exit(0));
            assert!(
                out.starts_with("throughline 0.")
                    && out.contains("\ncommit ")
                    && out.ends_with("\nlibrdkafka 9.9.9\n")
            );
        }
    }

    #[test]
    fn what_is_wrong_or_later_exits_2_and_writes_nothing_to_stdout() {
        let wrong: &[(&[&str], &str)] = &[
            (&[], "Usage:"),
            (&["rum"], "similar subcommand"),
            (&["run", "--listn", "x"], "--listen"),
            (&["run", "--set", "x"], "KEY=VALUE"),
            (&["demo", "--duration", "60"], "60s"),
            (&["demo", "--bootstrap", "kafka"], "has no port"),
            (&["demo", "--otlp-endpoint", "x"], "is no URL"),
            (&["trace"], "TOPIC:PARTITION:OFFSET"),
            (&["trace", "orders:0"], "orders:0:42"),
            (
                &["trace", "orders:0:1", "--trace-id", &"a".repeat(32)],
                "cannot be used with",
            ),
            (&["trace", "--trace-id", "7"], "--correlation-id"),
            (&["trace", "a:0:1", "--topics", "("], "unclosed group"),
            (
                &["trace", "orders:0:1", "--format", "svg"],
                "tree, json, mermaid, otlp",
            ),
            (
                &["replay", "orders"],
                "throughline replay: not in this version",
            ),
            (&["slo"], "slo <COMMAND>"),
            (&["slo", "generate", "--format", "sloth"], "prometheus, crd"),
            (
                &["slo", "status", "--prometheus", "localhost:9090"],
                "http:// or https://",
            ),
        ];
        for (words, expected) in wrong {
            let (request, out, err) = ask(words);
            assert_eq!((request, out.as_str()), (Request::Exit(2), ""), "{words:?}");
            assert!(err.contains(expected), "{words:?}: {err}");
        }
    }

    #[test]
    fn completions_are_a_script() {
        for (shell, marker) in [
            ("bash", "_throughline()"),
            ("zsh", "#compdef throughline"),
            ("fish", "complete -c throughline"),
        ] {
            let (request, out, err) = ask(&["completions", shell]);
            assert_eq!((request, err.as_str()), (Request::Exit(0), ""));
            assert!(out.contains(marker), "{shell}");
        }
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let set = |text| Some(OsStr::new(text));
        assert!(color(true, None, set("xterm")) && color(true, set(""), None));
        assert!(
            !color(false, None, None)
                && !color(true, set("1"), None)
                && !color(true, None, set("dumb"))
        );
    }
}
