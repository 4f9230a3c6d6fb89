//! Programs of `tests/clients` that OpenTelemetry's own instrumentation traces.
//!
//! Why: a program that is traced already is to keep its context, and only a real tracer shows what that looks like on the wire.
//! The programs are the same, byte for byte; the tracer is put before them as operators do it. Must not trace by itself.

use std::path::PathBuf;
use std::process::Command;

use super::cache::{self, Jar};
use super::clients::{Client, Output, RUN_LIMIT, Running, python, python_environment};

const AGENT: &str = "2.33.1";

/// A client library and what traces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instrumented {
    /// kafka-clients under the OpenTelemetry Java agent 2.33.1.
    JavaAgent,
    /// confluent-kafka under opentelemetry-instrument 0.66b1.
    ConfluentKafka,
    /// kafka-python under opentelemetry-instrument 0.66b1, which traces only what is sent.
    KafkaPython,
}

impl Instrumented {
    /// Short, and fit for a topic name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JavaAgent => "java-agent",
            Self::ConfluentKafka => "confluent-kafka-sdk",
            Self::KafkaPython => "kafka-python-sdk",
        }
    }

    /// Runs the program to its end; its spans have left for `endpoint` (OTLP over HTTP) by then.
    #[track_caller]
    pub(crate) fn run(self, service: &str, endpoint: &str, arguments: &[&str]) -> Output {
        self.start(service, endpoint, arguments).finish(RUN_LIMIT)
    }

    /// Starts it; its spans leave under the name `service`.
    #[track_caller]
    pub(crate) fn start(self, service: &str, endpoint: &str, arguments: &[&str]) -> Running {
        let mut command = self.command();
        command.envs([
            ("OTEL_SERVICE_NAME", service),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ]);
        Running::start(self.name(), command, arguments)
    }

    #[track_caller]
    fn command(self) -> Command {
        match self {
            Self::JavaAgent => {
                let mut command = Client::Java.command();
                let agent = format!("-javaagent:{}", java_agent().display());
                command.env("JAVA_TOOL_OPTIONS", agent);
                command
            }
            Self::ConfluentKafka => auto_instrumented(Client::Librdkafka.name()),
            Self::KafkaPython => auto_instrumented(Client::KafkaPython.name()),
        }
    }
}

#[track_caller]
fn java_agent() -> PathBuf {
    let folder = cache::artifact(&format!("opentelemetry-javaagent-{AGENT}"), |directory| {
        let jar = format!("io.opentelemetry.javaagent:opentelemetry-javaagent:{AGENT}");
        cache::jars(directory, &[Jar::new(&jar)]);
    });
    let jar = format!("libs/opentelemetry-javaagent-{AGENT}.jar");
    folder.join(jar)
}

#[track_caller]
fn auto_instrumented(client: &str) -> Command {
    let files = ["requirements.txt", "requirements-opentelemetry.txt"];
    let environment = python_environment(client, &files);
    let plain = python(&environment, client);
    let mut command = Command::new(plain.get_program());
    // Named as a file: its first line knows only where the environment was made.
    command.arg(environment.join("bin/opentelemetry-instrument"));
    command.arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}
