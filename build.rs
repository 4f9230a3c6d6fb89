//! How the binary is linked: an idle sidecar is memory of every pod, so what it has run lies side by side and its relative
//! relocations are packed.
//!
//! The kernel maps files in blocks of 64 KB, and the functions that ran until the sidecar is ready are spread over the whole
//! of its text: together they are a quarter of the blocks. The loader reads the whole relocation table at start; packed
//! (`DT_RELR`) it is a thirtieth. Nothing here changes what the code does; where a linker or a C library may not know it,
//! the binary is linked as ever.

use std::{env, path::Path, process::Command};

/// The first glibc that reads packed relocations; an older one refuses such a binary.
const PACKED_SINCE: (u32, u32) = (2, 36);
/// Made by `scripts/link/record.sh`.
const STARTUP: &str = "scripts/link/startup.ld";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={STARTUP}");
    let is = |variable, value| env::var(variable).is_ok_and(|v| v == value);
    let linux = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let native = env::var("HOST").ok() == env::var("TARGET").ok();
    if !linux || !native || !is("PROFILE", "release") || other_linker() {
        return;
    }
    if version().is_some_and(|v| v >= PACKED_SINCE) {
        link("-z,pack-relative-relocs");
    }
    if let Some(root) = env::var_os("CARGO_MANIFEST_DIR") {
        link(&format!("-T,{}", Path::new(&root).join(STARTUP).display()));
    }
}

fn link(argument: &str) {
    println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
}

/// Somebody chose a linker of their own; it may not know these arguments.
fn other_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    flags.contains("linker") || flags.contains("fuse-ld") || env::var_os("RUSTC_LINKER").is_some()
}

/// The C library of this machine: `getconf` says `glibc 2.36`.
fn version() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = String::from_utf8(said.ok()?.stdout).ok()?;
    let (major, rest) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
