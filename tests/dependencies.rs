//! What is linked into the binary has a licence deny.toml allows, and nothing it bans.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

fn quoted(text: &str) -> BTreeSet<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Holds where every `AND` part has an `OR` alternative that is allowed. `/` is the old form of `OR`.
fn allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    plain
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|one| licences.contains(one.trim())))
}

#[test]
fn every_dependency_has_an_allowed_licence_and_none_is_banned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny = fs::read_to_string(root.join("deny.toml")).unwrap();
    let licences = quoted(
        deny.split("allow = [")
            .nth(1)
            .unwrap()
            .split(']')
            .next()
            .unwrap(),
    );
    let banned: BTreeSet<String> = deny
        .lines()
        .filter_map(|l| l.trim().strip_prefix("{ crate = \""))
        .filter_map(|l| l.split('"').next().map(str::to_owned))
        .collect();
    assert!(
        !licences.is_empty() && !banned.is_empty(),
        "deny.toml was not understood"
    );
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none given");
        if !allowed(licence, &licences) {
            wrong.push(format!("{name}: {licence}"));
        }
        if banned.contains(name) {
            wrong.push(format!("{name} is banned"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
