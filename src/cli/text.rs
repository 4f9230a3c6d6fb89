//! Fixed texts: examples of each command, and the version.
//!
//! Here to keep prose out of the definitions. Must not promise what this version does not do.

use super::Build;

pub(super) const EXAMPLES: &str = "\
Examples:
  See it work on this machine, nothing else needed:
    throughline demo
  Stand beside a program whose bootstrap.servers is localhost:9092:
    throughline run --bootstrap kafka-1:9092,kafka-2:9092";

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  Pass everything to a cluster; the program's bootstrap.servers becomes localhost:9092:
    throughline run --bootstrap kafka-1:9092,kafka-2:9092
  Kafka itself is on localhost:9092, over TLS, with a file for the rest:
    throughline run --config throughline.yaml --bootstrap localhost:9092 --listen localhost:19092 --set 'kafka.tls={}'

Every key of the file can also be given as --set key.path=value, or as an environment variable: THROUGHLINE_ and the path
with _ for the dots (THROUGHLINE_KAFKA_BOOTSTRAP). Flags win over the environment, the environment over the file.";

pub(super) const OBSERVE_EXAMPLES: &str = "\
Examples:
  Watch a cluster; metrics are on http://127.0.0.1:9470/metrics:
    throughline observe --bootstrap kafka-1:9092,kafka-2:9092
  Log in over TLS, and let Prometheus in another pod scrape it:
    throughline observe --config /etc/throughline/observe.yaml --admin 0.0.0.0:9470

One per cluster is enough, two are harmless. It needs the right to DESCRIBE the
cluster, topics and groups, READ on topics for exact lag in seconds,
DESCRIBE_CONFIGS on topics for the time to loss, and none to change anything.
What it may not ask is on /readyz?verbose.
Exit status: 0 stopped; 2 the configuration is wrong.";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  In CI, without a network: is the file right?
    throughline check --config throughline.yaml --offline
  In an init container: is the file right, and does everything it names answer?
    throughline check --config /etc/throughline/throughline.yaml

Exit status: 0 all right; 1 something does not answer; 2 the configuration is wrong.";

pub(super) const DEMO_EXAMPLES: &str = "\
Examples:
  An order pipeline on an embedded cluster, until Ctrl-C:
    throughline demo
  One minute on a cluster of your own, then a summary:
    throughline demo --bootstrap localhost:9092 --duration 60s";

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  What became of one record, and where did it come from?
    throughline trace orders:0:42 --bootstrap kafka-1:9092
  Everything with one correlation id in the last day, for a program:
    throughline trace --correlation-id order-4711 --within 24h --topics '^(orders|payments)' --format json

It needs records with context (context.mode: inject, or another W3C tracer) or with a correlation id. Keys and values are
never printed. Exit status: 0 found; 1 nothing found; 2 the command line or the configuration is wrong.";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  For this bash session:
    source <(throughline completions bash)
  For fish, from now on:
    throughline completions fish > ~/.config/fish/completions/throughline.fish";

pub(super) fn version(build: Build) -> String {
    let commit = option_env!("THROUGHLINE_COMMIT").unwrap_or("unknown");
    format!(
        "throughline {}\ncommit {commit}\nlibrdkafka {}\n",
        env!("CARGO_PKG_VERSION"),
        (build.librdkafka)()
    )
}

pub(super) const SLO_EXAMPLES: &str = "\
Examples:
  The rules of this configuration, into Prometheus' directory:
    throughline slo generate --config throughline.yaml > /etc/prometheus/rules/throughline.yaml
  May something risky be rolled out now?
    throughline slo status --prometheus http://prometheus:9090 --fail-if-burning";

pub(super) const GENERATE_EXAMPLES: &str = "\
Examples:
  For Prometheus, with links to your own Grafana and runbooks:
    throughline slo generate --config throughline.yaml --dashboards https://grafana.example.com --runbooks https://wiki.example.com/kafka
  For the Prometheus Operator:
    throughline slo generate --config throughline.yaml --format crd | kubectl apply -f -

Of one indicator the first entry of `objectives` that matches counts, then its default. Patterns must be ones that
Prometheus' expressions (RE2) understand in the same way; others are refused. Without objectives it writes what
stands in alerts/.
Exit status: 0 written; 2 the configuration is wrong.";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  Every budget, what burns fastest first:
    throughline slo status --prometheus http://prometheus:9090
  In CI, before a risky change of what reads or writes orders:
    throughline slo status --prometheus http://prometheus:9090 --topic '^orders' --fail-if-burning

It reads what the rules of `throughline slo generate` record. A budget burns where the last hour's share of bad events
is over four times what the objective allows, with ten bad events or more.
Exit status: 0 nothing burns, or not asked; 1 a budget burns, or Prometheus knows no indicator or does not
answer; 2 usage.";
