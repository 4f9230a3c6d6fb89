//! Things that are fetched or built once and kept between runs.
//!
//! `THROUGHLINE_TEST_CACHE`, else `throughline` in the user's cache directory; one folder per
//! artifact. A folder exists only when it is complete: it is made beside its place and renamed, and
//! a lock file keeps two test binaries from doing the same work.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of artifact `name`, made by `build` in an empty directory when it is not there yet.
#[track_caller]
pub(crate) fn artifact(name: &str, build: impl FnOnce(&Path)) -> PathBuf {
    let root = root();
    let finished = root.join(name);
    if finished.exists() {
        return finished;
    }
    create(&root);
    let lock = root.join(format!("{name}.lock"));
    let lock = File::create(&lock)
        .unwrap_or_else(|error| panic!("cannot create {}: {error}", lock.display()));
    lock.lock()
        .unwrap_or_else(|error| panic!("cannot lock artifact {name}: {error}"));
    if finished.exists() {
        return finished;
    }
    let work = tempfile::Builder::new()
        .prefix("building-")
        .tempdir_in(&root)
        .unwrap_or_else(|error| panic!("cannot work in {}: {error}", root.display()));
    build(work.path());
    fs::rename(work.path(), &finished)
        .unwrap_or_else(|error| panic!("cannot keep artifact {name}: {error}"));
    finished
}

/// Runs one step of a build and fails the test with its output.
#[track_caller]
pub(crate) fn step(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Fetches jars, with everything they need, into `libs` below `directory`.
#[track_caller]
pub(crate) fn jars(directory: &Path, dependencies: &[Jar<'_>]) {
    let listed: String = dependencies.iter().map(Jar::xml).collect();
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion>\
         <groupId>throughline</groupId><artifactId>jars</artifactId><version>1</version>\
         <dependencies>{listed}</dependencies></project>"
    );
    write(&directory.join("pom.xml"), &pom);
    step(
        Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg("-DoutputDirectory=libs")
            .current_dir(directory),
    );
}

/// One Maven dependency.
pub(crate) struct Jar<'a> {
    /// `group:artifact:version`.
    pub(crate) coordinates: &'a str,
    /// `group:artifact` of a dependency to leave out.
    pub(crate) without: Option<&'a str>,
}

impl<'a> Jar<'a> {
    pub(crate) fn new(coordinates: &'a str) -> Self {
        Self {
            coordinates,
            without: None,
        }
    }

    fn xml(&self) -> String {
        let mut parts = self.coordinates.splitn(3, ':');
        let mut part = || parts.next().expect("group:artifact:version");
        let (group, artifact, version) = (part(), part(), part());
        let without = self.without.map(|left_out| {
            let (group, artifact) = left_out.split_once(':').expect("group:artifact");
            format!(
                "<exclusions><exclusion><groupId>{group}</groupId>\
                 <artifactId>{artifact}</artifactId></exclusion></exclusions>"
            )
        });
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version>{}</dependency>",
            without.unwrap_or_default()
        )
    }
}

/// A short name for the contents of files, so that changed sources make a new artifact.
#[track_caller]
pub(crate) fn digest(files: &[PathBuf]) -> String {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let content = fs::read(file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        content.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The files of a directory with one of the given extensions, in order.
#[track_caller]
pub(crate) fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| extensions.contains(&extension))
        })
        .collect();
    found.sort();
    found
}

#[track_caller]
pub(crate) fn write(path: &Path, content: &str) {
    fs::write(path, content)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

#[track_caller]
pub(crate) fn create(directory: &Path) {
    fs::create_dir_all(directory)
        .unwrap_or_else(|error| panic!("cannot create {}: {error}", directory.display()));
}

fn root() -> PathBuf {
    if let Some(chosen) = std::env::var_os("THROUGHLINE_TEST_CACHE") {
        return PathBuf::from(chosen);
    }
    let home = std::env::var_os("HOME").expect("set THROUGHLINE_TEST_CACHE, or HOME");
    Path::new(&home).join(".cache").join("throughline")
}
