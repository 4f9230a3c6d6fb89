//! Where metrics and logs go, from what was configured and `OTEL_*`: the exporter crate, which reads them for traces, keeps what it read
//! to itself.
//!
//! Pure over the variables it is given. Precedence as for traces: a configured endpoint wins, headers of the environment win.
//! Source: opentelemetry-specification, `protocol/exporter.md` and `configuration/sdk-environment-variables.md`.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::{OtlpError, Protocol, Settings};

/// What is asked for in the environment, and where HTTP collectors take it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal {
    endpoint: &'static str,
    insecure: &'static str,
    headers: &'static str,
    path: &'static str,
}

/// Metrics.
pub(super) const METRICS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    insecure: "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
    headers: "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    path: "/v1/metrics",
};
/// Logs.
pub(super) const LOGS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    insecure: "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
    headers: "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    path: "/v1/logs",
};

/// Where they take traces; an endpoint that names it names the collector.
const TRACES_PATH: &str = "/v1/traces";
/// Between two pushes, where nobody says otherwise.
const INTERVAL: Duration = Duration::from_secs(60);

/// Value of a variable; an empty one is none.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL a signal is sent to.
pub(super) fn url(
    signal: Signal,
    settings: &Settings,
    variable: &impl Fn(&str) -> Option<String>,
) -> String {
    let of_signal = || variable(signal.endpoint);
    let of_all = || variable("OTEL_EXPORTER_OTLP_ENDPOINT");
    match settings.protocol {
        Protocol::Grpc => {
            let named = settings.endpoint.clone().or_else(of_signal).or_else(of_all);
            let named = named.unwrap_or_else(|| "http://localhost:4317".to_owned());
            let insecure = variable(signal.insecure)
                .or_else(|| variable("OTEL_EXPORTER_OTLP_INSECURE"))
                .is_some_and(|value| value.eq_ignore_ascii_case("true"));
            match (named.contains("://"), insecure) {
                (true, _) => named,
                (false, true) => format!("http://{named}"),
                (false, false) => format!("https://{named}"),
            }
        }
        Protocol::HttpProtobuf => {
            let base = match &settings.endpoint {
                Some(endpoint) => endpoint.clone(),
                None => match of_signal() {
                    Some(whole) => return whole,
                    None => of_all().unwrap_or_else(|| "http://localhost:4318".to_owned()),
                },
            };
            with_path(&base, signal.path)
        }
    }
}

/// The URL of a collector with the path of the signal.
fn with_path(endpoint: &str, path: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(path) {
        return base.to_owned();
    }
    let base = base.strip_suffix(TRACES_PATH).unwrap_or(base);
    format!("{base}{path}")
}

/// What is sent with every request.
///
/// # Errors
/// A configured header cannot be sent. One of the environment that cannot is left out.
pub(super) fn headers(
    signal: Signal,
    settings: &Settings,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let header = header(name, value).ok_or_else(|| OtlpError::Header(name.clone()))?;
        headers.insert(header.0, header.1);
    }
    let said = variable(signal.headers).or_else(|| variable("OTEL_EXPORTER_OTLP_HEADERS"));
    for pair in said.unwrap_or_default().split(',') {
        let known = pair
            .split_once('=')
            .and_then(|(name, value)| header(name.trim(), &decoded(value.trim())));
        if let Some((name, value)) = known {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(value).ok()?))
}

/// Without its percent-encoding; as it is where that is none.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next().unwrap_or_default()).to_digit(16);
        let (high, low) = (digit(), digit());
        let Some((high, low)) = high.zip(low) else {
            return value.to_owned();
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

/// Between two pushes: `OTEL_METRIC_EXPORT_INTERVAL`, milliseconds.
pub(super) fn interval(variable: &impl Fn(&str) -> Option<String>) -> Duration {
    let Some(said) = variable("OTEL_METRIC_EXPORT_INTERVAL") else {
        return INTERVAL;
    };
    match said.parse() {
        Ok(ms) if ms > 0 => Duration::from_millis(ms),
        _ => {
            tracing::warn!(%said, "OTEL_METRIC_EXPORT_INTERVAL is no number of milliseconds over 0; metrics are pushed every 60 s");
            INTERVAL
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: Option<&str>, protocol: Protocol) -> Settings {
        Settings {
            endpoint: endpoint.map(str::to_owned),
            protocol,
            headers: vec![
                ("x-token".into(), "ours".into()),
                ("x-own".into(), "1".into()),
            ],
            service_name: None,
            attributes: Vec::new(),
        }
    }

    fn given(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |wanted| {
            let found = pairs.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn a_configured_endpoint_wins_over_the_signals_and_that_over_the_one_for_all() {
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1/base");
        const SIGNAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:2/own");
        let grpc = |endpoint| settings(endpoint, Protocol::Grpc);
        let http = |endpoint| settings(endpoint, Protocol::HttpProtobuf);
        let both = given(&[ALL, SIGNAL]);
        let all = given(&[ALL]);
        let none = given(&[]);
        assert_eq!(url(METRICS, &grpc(Some("http://c:3")), &both), "http://c:3");
        assert_eq!(url(METRICS, &grpc(None), &both), "http://m:2/own");
        assert_eq!(url(METRICS, &grpc(None), &all), "http://all:1/base");
        assert_eq!(url(METRICS, &grpc(None), &none), "http://localhost:4317");
        assert_eq!(
            url(METRICS, &http(Some("http://c:3")), &both),
            "http://c:3/v1/metrics"
        );
        assert_eq!(url(METRICS, &http(None), &both), "http://m:2/own");
        assert_eq!(
            url(METRICS, &http(None), &all),
            "http://all:1/base/v1/metrics"
        );
        assert_eq!(
            url(METRICS, &http(None), &none),
            "http://localhost:4318/v1/metrics"
        );
    }

    #[test]
    fn an_endpoint_that_names_the_path_of_traces_names_the_collector() {
        for (endpoint, expected) in [
            ("http://c:4318/", "http://c:4318/v1/metrics"),
            ("https://c/otlp/v1/traces", "https://c/otlp/v1/metrics"),
            ("https://c/otlp/v1/metrics", "https://c/otlp/v1/metrics"),
        ] {
            assert_eq!(with_path(endpoint, METRICS.path), expected);
        }
    }

    #[test]
    fn a_grpc_endpoint_without_a_scheme_is_secure_unless_said_otherwise() {
        const BARE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
        let settings = settings(None, Protocol::Grpc);
        assert_eq!(url(METRICS, &settings, &given(&[BARE])), "https://c:4317");
        let insecure = given(&[BARE, ("OTEL_EXPORTER_OTLP_INSECURE", "True")]);
        assert_eq!(url(METRICS, &settings, &insecure), "http://c:4317");
    }

    #[test]
    fn logs_have_variables_and_a_path_of_their_own() {
        let said = given(&[
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l:2"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-own=logs"),
        ]);
        assert_eq!(
            url(LOGS, &settings(None, Protocol::Grpc), &said),
            "http://l:2"
        );
        let http = settings(Some("http://c:4318/v1/traces"), Protocol::HttpProtobuf);
        assert_eq!(url(LOGS, &http, &said), "http://c:4318/v1/logs");
        let headers = headers(LOGS, &http, &said).unwrap();
        assert_eq!(headers.get("x-own").unwrap(), "logs");
    }

    #[test]
    fn headers_of_the_environment_are_decoded_and_win() {
        let said = given(&[(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-token=a%20b , nothing, =x, x-bad=%zz",
        )]);
        let headers = headers(METRICS, &settings(None, Protocol::Grpc), &said).unwrap();
        let all: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(all.len(), 3, "{all:?}");
        for wanted in [("x-token", "a b"), ("x-own", "1"), ("x-bad", "%zz")] {
            assert!(all.contains(&wanted), "{all:?}");
        }
    }

    #[test]
    fn the_interval_is_milliseconds_and_a_minute_in_doubt() {
        const NAME: &str = "OTEL_METRIC_EXPORT_INTERVAL";
        assert_eq!(interval(&given(&[])), INTERVAL);
        assert_eq!(
            interval(&given(&[(NAME, "250")])),
            Duration::from_millis(250)
        );
        for wrong in [&[(NAME, "0")], &[(NAME, "-1")], &[(NAME, "1m")]] {
            assert_eq!(interval(&given(wrong)), INTERVAL);
        }
    }
}
