//! Comparing what two runs saw, and saying where they differ.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Differences that a failure message shows.
const SHOWN: usize = 5;

/// Fails the test with the first differences between two maps.
#[track_caller]
pub(crate) fn assert_same<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    left: (&str, &BTreeMap<K, V>),
    right: (&str, &BTreeMap<K, V>),
) {
    let mut differences = Vec::new();
    for (key, value) in left.1 {
        match right.1.get(key) {
            Some(other) if other == value => {}
            Some(other) => differences.push(format!(
                "{key:?}:\n    {}: {value:?}\n    {}: {other:?}",
                left.0, right.0
            )),
            None => differences.push(format!("{key:?}: only {}: {value:?}", left.0)),
        }
    }
    for (key, value) in right.1 {
        if !left.1.contains_key(key) {
            differences.push(format!("{key:?}: only {}: {value:?}", right.0));
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {} differences between {} ({} entries) and {} ({} entries), the first:\n  {}",
        differences.len(),
        left.0,
        left.1.len(),
        right.0,
        right.1.len(),
        differences[..differences.len().min(SHOWN)].join("\n  "),
    );
}
