//! The programs that deploy/ is held against, each built or installed once into the cache.
//!
//! Why packages: no container engine and no cluster is at hand where tests run, but what they would refuse is known to the
//! schemas, parsers and loaders that they are made of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::support::cache;

const COMPOSE: &str = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2";
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.5.0";
const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";
const DEFINITIONS: [&str; 2] = ["podmonitors", "prometheusrules"];

/// A path below the root of the repository.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

#[track_caller]
pub(crate) fn read(relative: &str) -> String {
    let file = path(relative);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether a command ended well, its standard output, and what it said on standard error.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> (bool, String, String) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The Python environment of tests/deploy/requirements.txt: schemas of Kubernetes, hadolint.
fn environment() -> PathBuf {
    let requirements = path("tests/deploy/requirements.txt");
    let name = format!(
        "venv-deploy-{}",
        cache::digest(std::slice::from_ref(&requirements))
    );
    cache::artifact(&name, |directory| {
        cache::step(Command::new("python3").args(["-m", "venv"]).arg(directory));
        let mut command = Command::new(directory.join("bin/python"));
        command.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary=:all:",
            "-r",
        ]);
        cache::step(command.arg(requirements));
    })
}

/// tests/deploy/documents.py, see there.
pub(crate) fn documents() -> Command {
    let mut command = Command::new(environment().join("bin/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(path("tests/deploy/documents.py"));
    command
}

/// The documents of a YAML file.
#[track_caller]
pub(crate) fn yaml(file: &Path) -> Vec<Value> {
    let (good, out, err) = run(documents().arg("json").arg(file));
    assert!(good, "{}: {err}", file.display());
    serde_json::from_str(&out).expect("JSON")
}

/// Dockerfile linter.
pub(crate) fn hadolint() -> Command {
    Command::new(environment().join("bin/hadolint"))
}

/// The loader of Docker Compose: reads, checks and prints a file.
pub(crate) fn compose() -> Command {
    let mut command = Command::new(installed(COMPOSE).join("cmd"));
    // Paths in the file are relative to where it is.
    command.current_dir(path("deploy/compose"));
    command
}

pub(crate) fn kustomize() -> Command {
    Command::new(installed(KUSTOMIZE).join("kustomize"))
}

/// A program of a Go module.
#[track_caller]
fn installed(package: &str) -> PathBuf {
    let name = package.replace(['/', '@'], "-");
    cache::artifact(&format!("go-{name}"), |directory| {
        let mut command = Command::new("go");
        command.args(["install", package]).env("GOBIN", directory);
        cache::step(command.env("GOFLAGS", "-trimpath").current_dir(directory));
    })
}

/// A collector of the components that deploy/compose/collector.yaml names.
pub(crate) fn collector() -> Command {
    let sources = path("tests/deploy/collector");
    let files = ["main.go", "go.mod", "go.sum"].map(|file| sources.join(file));
    let built = cache::artifact(
        &format!("deploy-collector-{}", cache::digest(&files)),
        |directory| {
            let mut command = Command::new("go");
            command.args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                "-s -w",
                "-o",
            ]);
            cache::step(
                command
                    .arg(directory.join("collector"))
                    .arg(".")
                    .current_dir(&sources),
            );
        },
    );
    Command::new(built.join("collector"))
}

/// The definitions of the Prometheus operator's resources that are used here.
#[track_caller]
pub(crate) fn definitions() -> PathBuf {
    let name = OPERATOR.replace(['/', '@'], "-");
    cache::artifact(&format!("crds-{name}"), |directory| {
        let mut command = Command::new("go");
        command.args(["mod", "download", "-json", OPERATOR]);
        let (good, out, err) = run(command.current_dir(directory));
        assert!(good, "{OPERATOR}: {out}{err}");
        let module: Value = serde_json::from_str(&out).expect("JSON");
        let module = Path::new(module["Dir"].as_str().expect("its directory"));
        for kind in DEFINITIONS {
            let file = format!("monitoring.coreos.com_{kind}.yaml");
            let from = module.join("example/prometheus-operator-crd").join(&file);
            let content =
                fs::read(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            fs::write(directory.join(file), content).expect("a copy");
        }
    })
}
