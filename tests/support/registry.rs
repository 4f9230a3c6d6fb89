//! A real schema registry with Confluent's API: Apicurio.
//!
//! Why: what an id, a subject and an incompatible version look like, only a registry knows. From Maven Central; it needs Java 21.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{cache, deadline::poll_until, http, ports, process::Process};

const VERSION: &str = "3.3.3";
/// Oldest Java that it runs on.
const JAVA_MIN: u32 = 21;
const START_LIMIT: Duration = Duration::from_secs(120);
const BASE: &str = "/apis/ccompat/v7";

/// A running registry that keeps schemas in memory; ends when dropped.
pub(crate) struct Registry {
    port: u16,
    process: Process,
    _directory: TempDir,
}

impl Registry {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let home = cache::artifact(&format!("apicurio-{VERSION}"), build);
        let (port, management) = (ports::free(), ports::free());
        let mut command = Command::new(java());
        command
            .args(["-Xmx384m", "-Dquarkus.http.host=127.0.0.1"])
            .arg(format!("-Dquarkus.http.port={port}"))
            .arg("-Dquarkus.management.host=127.0.0.1")
            .arg(format!("-Dquarkus.management.port={management}"))
            .arg("-Dapicurio.rest.deletion.artifact.enabled=true")
            .arg("-jar")
            .arg(home.join("quarkus-run.jar"))
            .current_dir(directory.path());
        let registry = Self {
            port,
            process: Process::spawn("registry", &mut command),
            _directory: directory,
        };
        poll_until("the registry answers", START_LIMIT, || {
            let (status, _) = registry.call("GET", "/subjects", None).ok()?;
            (status == 200).then_some(())
        });
        registry
    }

    /// For `schema.registry_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{BASE}", self.port)
    }

    /// Registers a version; its id, or the status that it was refused with.
    #[track_caller]
    pub(crate) fn register(&self, subject: &str, language: &str, text: &str) -> Result<i32, u16> {
        let body = json!({"schema": text, "schemaType": language});
        let path = format!("/subjects/{subject}/versions");
        let (status, answer) = self
            .call("POST", &path, Some(&body))
            .unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.process.tail()));
        let id = answer["id"].as_i64().and_then(|id| i32::try_from(id).ok());
        id.filter(|_| status == 200).ok_or(status)
    }

    /// Asks that new versions of a subject can read what the last one wrote.
    #[track_caller]
    pub(crate) fn demand_backward(&self, subject: &str) {
        let body = json!({"compatibility": "BACKWARD"});
        let path = format!("/config/{subject}");
        let (status, answer) = self.call("PUT", &path, Some(&body)).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<(u16, Value)> {
        let path = format!("{BASE}{path}");
        let kind = "application/vnd.schemaregistry.v1+json";
        http::json(http::local(self.port), method, &path, (kind, body))
    }
}

/// A Java that is new enough: `JAVA_HOME`, the path, else what Debian and others install.
#[track_caller]
fn java() -> PathBuf {
    let home = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten();
    let installed = installed.filter_map(|entry| Some(entry.ok()?.path()));
    let homes = home.into_iter().chain(installed);
    let all = homes.map(|home| home.join("bin").join("java"));
    let all = std::iter::once(PathBuf::from("java")).chain(all);
    let mut new_enough = all.filter(|java| version(java) >= JAVA_MIN);
    new_enough.next().unwrap_or_else(|| {
        panic!("no Java from {JAVA_MIN} on: `make tools` installs it or says how")
    })
}

fn version(java: &Path) -> u32 {
    let Ok(output) = Command::new(java).arg("-version").output() else {
        return 0;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let quoted = text.split('"').nth(1).unwrap_or_default();
    let major = quoted.split(['.', '-', '+']).next();
    major.and_then(|major| major.parse().ok()).unwrap_or(0)
}

fn build(directory: &Path) {
    let coordinates = format!("io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all");
    cache::step(
        Command::new("mvn")
            .args(["-q", "-B", "dependency:copy", "-DoutputDirectory=."])
            .arg(format!("-Dartifact={coordinates}"))
            .current_dir(directory),
    );
    let archive = format!("apicurio-registry-app-{VERSION}-all.tar.gz");
    cache::step(
        Command::new("tar")
            .args(["-xzf", &archive])
            .current_dir(directory),
    );
    std::fs::remove_file(directory.join(archive)).expect("the archive goes");
}
