//! The module graph is the one ARCHITECTURE.md prints: no other edge, no cycle, no module without a purpose, no file grown
//! past reading.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Production lines (tests and blank lines apart) a file may have.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files that only tests compile: they may reach further than production code.
fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests")
        || path
            .file_stem()
            .is_some_and(|n| n.to_string_lossy().ends_with("tests"))
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") && !is_test(&path) {
                into.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join("src"), &mut all);
    all
}

/// The unit a path belongs to: the top-level module, and below `kafka` the folder.
fn unit(path: &[&str]) -> Option<String> {
    match path {
        ["kafka", sub, ..] => Some(format!("kafka::{sub}")),
        ["kafka"] => None,
        [top, ..] => Some((*top).to_owned()),
        [] => None,
    }
}

fn unit_of_file(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root().join("src")).unwrap();
    let parts: Vec<&str> = relative
        .iter()
        .map(|p| p.to_str().unwrap().trim_end_matches(".rs"))
        .collect();
    match parts.as_slice() {
        ["lib" | "main"] | ["kafka", "mod"] => None,
        other => unit(other),
    }
}

/// The text without its `#[cfg(test)]` tail, comments and blank lines.
fn production(text: &str) -> Vec<&str> {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with("//"))
        .collect()
}

/// All `crate::a::b` paths in a file, `use` groups spread out.
fn crate_paths(text: &str) -> Vec<Vec<String>> {
    let code = production(text).join(" ");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("crate::") {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + "crate::".len()..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        spread(rest, &mut Vec::new(), &mut found);
    }
    found
}

/// Follows one path; returns how much of the text it took.
fn spread(text: &str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut taken = 0;
    let depth = prefix.len();
    loop {
        let rest = &text[taken..];
        if let Some(inner) = rest.strip_prefix('{') {
            taken += 1;
            let mut inner_at = 0;
            loop {
                let skip = inner[inner_at..].len()
                    - inner[inner_at..].trim_start_matches([' ', ',']).len();
                inner_at += skip;
                if inner[inner_at..].starts_with('}') || inner[inner_at..].is_empty() {
                    inner_at += usize::from(!inner[inner_at..].is_empty());
                    break;
                }
                let before = prefix.len();
                inner_at += spread(&inner[inner_at..], prefix, found).max(1);
                prefix.truncate(before);
            }
            prefix.truncate(depth);
            return taken + inner_at;
        }
        let word: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if word.is_empty() {
            break;
        }
        taken += word.len();
        prefix.push(word);
        if text[taken..].starts_with("::") {
            taken += 2;
        } else {
            break;
        }
    }
    found.push(prefix.clone());
    prefix.truncate(depth);
    taken
}

fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let units: BTreeSet<String> = sources()
        .iter()
        .filter_map(|(f, _)| unit_of_file(f))
        .collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> =
        units.iter().map(|u| (u.clone(), BTreeSet::new())).collect();
    for (file, text) in sources() {
        let Some(from) = unit_of_file(&file) else {
            continue;
        };
        let mut paths = crate_paths(&text);
        // `super::super::x` out of a folder of `kafka` reaches a sibling.
        if from.starts_with("kafka::") {
            paths.extend(sibling_paths(&file, &text));
        }
        for path in paths {
            let parts: Vec<&str> = path.iter().map(String::as_str).collect();
            if let Some(to) = unit(&parts)
                && to != from
                && units.contains(&to)
            {
                edges.get_mut(&from).unwrap().insert(to);
            }
        }
    }
    edges
}

fn sibling_paths(file: &Path, text: &str) -> Vec<Vec<String>> {
    let relative = file.strip_prefix(root().join("src")).unwrap();
    // Number of `super::` that lead from this file's module to `kafka`.
    let is_mod = relative.file_name().is_some_and(|n| n == "mod.rs");
    let depth = relative.components().count() - 1 - usize::from(is_mod);
    let up = "super::".repeat(depth);
    let code = production(text).join(" ");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&up) {
        let before = code[..at].chars().next_back();
        let rest = &code[at + up.len()..];
        if before == Some(':') || rest.starts_with("super::") {
            continue;
        }
        spread(rest, &mut vec!["kafka".to_owned()], &mut found);
    }
    found
}

/// The table in ARCHITECTURE.md: `| module | may import |` between its markers.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let table = text
        .split("<!-- imports:begin -->")
        .nth(1)
        .and_then(|t| t.split("<!-- imports:end -->").next())
        .expect("ARCHITECTURE.md has the import table between its markers");
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    table
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(|l| {
            let cells: Vec<&str> = l.split('|').collect();
            (names(cells[1]).into_iter().next().unwrap(), names(cells[2]))
        })
        .collect()
}

#[test]
fn every_import_is_in_the_table() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (from, targets) in edges() {
        let Some(may) = allowed.get(&from) else {
            wrong.push(format!("{from} is not in the table"));
            continue;
        };
        wrong.extend(
            targets
                .difference(may)
                .map(|to| format!("{from} imports {to}")),
        );
    }
    assert!(
        wrong.is_empty(),
        "not allowed by ARCHITECTURE.md:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_table_names_nothing_that_is_not_there() {
    let edges = edges();
    let gone: Vec<String> = allowed()
        .into_keys()
        .filter(|m| !edges.contains_key(m))
        .collect();
    assert!(gone.is_empty(), "in the table but not in src/: {gone:?}");
}

#[test]
fn the_module_graph_has_no_cycle() {
    let mut left = edges();
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, to)| to.iter().all(|t| !left.contains_key(t)))
            .map(|(m, _)| m.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            left.remove(&module);
        }
    }
    assert!(left.is_empty(), "a cycle among {left:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, t)| !t.starts_with("//!"))
        .map(|(f, _)| f)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

#[test]
fn no_file_has_outgrown_reading() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(f, t)| (production(&t).len(), f))
        .filter(|(n, _)| *n > LINES_MAX)
        .collect();
    assert!(
        long.is_empty(),
        "over {LINES_MAX} production lines: {long:?}"
    );
}

#[test]
fn architecture_md_names_every_module() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let missing: Vec<String> = edges()
        .into_keys()
        .filter(|m| !text.contains(&format!("`{m}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not name {missing:?}"
    );
}

#[test]
fn grouped_paths_are_spread() {
    let paths = crate_paths("use crate::{a::{b, c::d}, e};\nfn f() { crate::g::h(); }");
    let joined: Vec<String> = paths.iter().map(|p| p.join("::")).collect();
    assert_eq!(joined, ["a::b", "a::c::d", "e", "g::h"]);
}
