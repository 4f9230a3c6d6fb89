//! How Java programs are started: with little memory, one compiler, and the classes that an earlier run left in an archive (JEP 350).
//!
//! A broker is there in half the time that way. A virtual machine that finds no archive, or not one of its own, loads classes as ever.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::cache;

/// Where the classes come from.
#[derive(Clone, Debug)]
pub(crate) enum Classes {
    /// From the class path.
    Loaded,
    /// From the class path, and what was loaded is kept in a file at the end.
    Kept(PathBuf),
    /// From such a file.
    Archived(PathBuf),
}

/// `java` with a heap of at most so many MiB; the class path and the program are to be added.
pub(crate) fn java(heap_mib: u32, classes: &Classes) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{heap_mib}m"));
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    match classes {
        Classes::Loaded => {}
        Classes::Kept(file) => {
            command.arg(format!("-XX:ArchiveClassesAtExit={}", file.display()));
        }
        Classes::Archived(file) => {
            command.arg(format!("-XX:SharedArchiveFile={}", file.display()));
            // What does not fit is said on standard output, which is read.
            command.arg("-Xlog:disable");
        }
    }
    command
}

/// The classes of the artifact `of`; `keep` runs a program of it with [`Classes::Kept`] when they are not yet there.
#[track_caller]
pub(crate) fn archived(of: &str, keep: impl FnOnce(Classes)) -> Classes {
    const FILE: &str = "classes.jsa";
    let folder = cache::artifact(
        &format!("{of}-classes-{}", machine()),
        |directory: &Path| {
            keep(Classes::Kept(directory.join(FILE)));
        },
    );
    Classes::Archived(folder.join(FILE))
}

/// A short name of the virtual machine: no other can use its archives.
fn machine() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let output = Command::new("java").arg("-version").output();
        let output = output.unwrap_or_else(|error| panic!("cannot run java: {error}"));
        let mut hasher = DefaultHasher::new();
        output.stderr.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    })
}
