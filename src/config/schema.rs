//! Every key there is, in one table.
//!
//! Here because unknown keys, keys of later versions, shapes, names of environment variables and `config/reference.yaml` must
//! all agree; they are derived from, or tested against, this table. Must not know values: each section's file does.

use super::{
    fault::Fault,
    yaml::{Entry, Node, Value, printable},
};

/// What may stand under a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// One scalar.
    One,
    /// A list of scalars, or one scalar with commas.
    Many,
    /// A list of scalars that may hold commas, or one such scalar.
    Each,
    /// A mapping.
    Section(&'static [Key]),
    /// A mapping that means something by being there, even empty.
    Presence(&'static [Key]),
    /// A list of mappings.
    Rules(&'static [Key]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

use Shape::{Each, Many, One, Presence, Rules, Section};

const TLS: &[Key] = &[
    key("ca_file", One),
    key("cert_file", One),
    key("key_file", One),
    key("server_name", One),
    key("insecure_skip_verify", One),
];

const SASL: &[Key] = &[
    key("mechanism", One),
    key("username", One),
    key("password_file", One),
];

const KAFKA: &[Key] = &[
    key("bootstrap", Many),
    key("listen", One),
    key("broker_listen", One),
    key("advertise", One),
    key("cluster_name", One),
    key("tls", Presence(TLS)),
    key("sasl", Presence(SASL)),
];

const CONTEXT: &[Key] = &[
    key("mode", One),
    key("topics", Rules(&[key("match", One), key("mode", One)])),
    key("headers", One),
    key("correlation", One),
    key("correlation_header", One),
    key("correlation_aliases", Many),
];

const LINEAGE: &[Key] = &[
    key("parent_confidence", One),
    key("window_seconds", One),
    key("hold_us_max", One),
    key("records_max", One),
    key("business_ids", Rules(IDS)),
];

const IDS: &[Key] = &[key("header", One), key("json", One), key("regex", One)];

const DUPLICATES: &[Key] = &[
    key("window_seconds", One),
    key("memory_bytes", One),
    key("ids", Rules(IDS)),
];

const DEAD_LETTER: &[Key] = &[
    key("topics", One),
    key(
        "categories",
        Rules(&[key("match", One), key("category", One)]),
    ),
    key("poison_deliveries", One),
];

const OTLP: &[Key] = &[
    key("endpoint", One),
    key("protocol", One),
    key("headers_file", One),
    key("service_name", One),
    key("traces", One),
    key("metrics", One),
    key("diagnostics", One),
    key("logs", One),
];

const EVENT_LOG: &[Key] = &[
    key("file", One),
    key("records", Many),
    key("lines_per_second_per_topic", One),
    key("headers", Each),
    key("json_pointers", Each),
    key("exception_messages", One),
];

const REDACTION: &[Key] = &[
    key("headers", Each),
    key("json_pointers", Each),
    key("patterns", Each),
];

const OBJECTIVE: &[Key] = &[
    key("match", One),
    key("sli", One),
    key("threshold_seconds", One),
    key("target", One),
    key("stage", One),
];

const METRICS: &[Key] = &[
    key("partitions", One),
    key("max_series", One),
    key("compatibility", Many),
];

const LIMITS: &[Key] = &[
    key("connections", One),
    key("frame_bytes", One),
    key("edit_frame_bytes", One),
    key("edit_bytes_total", One),
    key("edit_cpu_ms_per_second", One),
    key("telemetry_bytes", One),
    key("examine_bytes_per_second", One),
    key("queue_events", One),
    key("in_flight_requests", One),
];

const CANARY: &[Key] = &[
    key("topic", One),
    key("group", One),
    key("interval_seconds", One),
    key("late_seconds", One),
    key("lost_seconds", One),
];

const OBSERVE: &[Key] = &[
    key("cycle_seconds", One),
    key("delivery_deadline_seconds", One),
    key("abandoned_after_seconds", One),
    key("quota_bytes", One),
    key("canary", Presence(CANARY)),
];

const PROXY: &[Key] = &[
    key("worker_threads", One),
    key("connect_timeout_seconds", One),
];

/// The whole file.
pub(super) const ROOT: &[Key] = &[
    key("kafka", Section(KAFKA)),
    key("context", Section(CONTEXT)),
    key(
        "sampling",
        Section(&[key("traces_per_second_per_topic", One), key("always", Many)]),
    ),
    key("lineage", Section(LINEAGE)),
    key("duplicates", Section(DUPLICATES)),
    key("dead_letter", Section(DEAD_LETTER)),
    key(
        "schema",
        Section(&[
            key("registry_url", One),
            key("headers_file", One),
            key("format", One),
            key("decode_records_per_second", One),
        ]),
    ),
    key("otlp", Section(OTLP)),
    key("objectives", Rules(OBJECTIVE)),
    key(
        "owners",
        Rules(&[
            key("match", One),
            key("team", One),
            key("tier", One),
            key("tenant", One),
        ]),
    ),
    key(
        "expected_traffic",
        Rules(&[key("topic", One), key("within_seconds", One)]),
    ),
    key("metrics", Section(METRICS)),
    key("names", Rules(&[key("match", One), key("as", One)])),
    key("limits", Section(LIMITS)),
    key("proxy", Section(PROXY)),
    key("observe", Section(OBSERVE)),
    key(
        "admin",
        Section(&[key("listen", One), key("token_file", One)]),
    ),
    key(
        "audit",
        Section(&[
            key("file", One),
            key("topic", One),
            key("interval_seconds", One),
        ]),
    ),
    key("event_log", Section(EVENT_LOG)),
    key("redaction", Section(REDACTION)),
    key("log", Section(&[key("format", One), key("level", One)])),
    key("drain_timeout_seconds", One),
];

/// A key that a flag or variable can name: its dotted path and its shape.
#[derive(Debug, Clone)]
pub(super) struct Settable {
    pub(super) path: String,
    pub(super) shape: Shape,
}

/// All keys that a flag or variable can name.
pub(super) fn settable() -> Vec<Settable> {
    fn collect(prefix: &str, keys: &[Key], into: &mut Vec<Settable>) {
        for key in keys {
            let path = join(prefix, key.name);
            match key.shape {
                Section(keys) => collect(&path, keys, into),
                Presence(keys) => {
                    into.push(Settable {
                        path: path.clone(),
                        shape: key.shape,
                    });
                    collect(&path, keys, into);
                }
                shape => into.push(Settable { path, shape }),
            }
        }
    }
    let mut all = Vec::new();
    collect("", ROOT, &mut all);
    all
}

/// Every key this version acts on, as dotted paths in the order of the table; the keys of a list's items are written
/// `objectives[].match`.
#[must_use]
pub fn keys() -> Vec<String> {
    fn collect(prefix: &str, keys: &[Key], into: &mut Vec<String>) {
        for key in keys {
            let path = join(prefix, key.name);
            match key.shape {
                One | Many | Each => into.push(path),
                Section(keys) | Presence(keys) => {
                    into.push(path.clone());
                    collect(&path, keys, into);
                }
                Rules(keys) => {
                    into.push(path.clone());
                    collect(&format!("{path}[]"), keys, into);
                }
            }
        }
    }
    let mut all = Vec::new();
    collect("", ROOT, &mut all);
    all
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Finds every key that is unknown or of the wrong shape.
pub(super) fn check(root: &Node, faults: &mut Vec<Fault>) {
    check_shape("", Section(ROOT), root, faults);
}

fn check_shape(path: &str, shape: Shape, node: &Node, faults: &mut Vec<Fault>) {
    let wrong = |allowed: &str| {
        Fault::new(
            &node.origin,
            path,
            format!("is {}, allowed: {allowed}", kind(node)),
        )
    };
    match (shape, &node.value) {
        (Presence(_), Value::Null) => faults.push(Fault::new(
            &node.origin,
            path,
            "is empty, allowed: {} to switch it on, or no such key at all",
        )),
        (_, Value::Null) | (One | Many | Each, Value::Scalar(_)) => {}
        (One, _) => faults.push(wrong("one value")),
        (Many | Each, Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                if !matches!(item.value, Value::Scalar(_)) {
                    let message = format!("is {}, allowed: one value", kind(item));
                    faults.push(Fault::new(
                        &item.origin,
                        &format!("{path}[{index}]"),
                        message,
                    ));
                }
            }
        }
        (Many, _) => faults.push(wrong("a list of values, or one value with commas")),
        (Each, _) => faults.push(wrong("a list of values, or one value")),
        (Section(keys) | Presence(keys), Value::Map(entries)) => {
            check_keys(path, keys, entries, faults)
        }
        (Section(_) | Presence(_), _) => faults.push(wrong("a mapping of keys")),
        (Rules(keys), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if matches!(item.value, Value::Map(_)) {
                    check_shape(&path, Section(keys), item, faults);
                } else {
                    let message =
                        format!("is {}, allowed: a mapping with {}", kind(item), names(keys));
                    faults.push(Fault::new(&item.origin, &path, message));
                }
            }
        }
        (Rules(keys), _) => faults.push(wrong(&format!("a list of mappings with {}", names(keys)))),
    }
}

fn check_keys(path: &str, keys: &'static [Key], entries: &[Entry], faults: &mut Vec<Fault>) {
    for entry in entries {
        let path = join(path, &printable(&entry.key));
        if let Some(key) = keys.iter().find(|key| key.name == entry.key) {
            check_shape(&path, key.shape, &entry.node, faults);
        } else {
            let message = format!("unknown key, {}", advice(keys, &entry.key));
            faults.push(Fault::new(&entry.origin, &path, message));
        }
    }
}

/// What to write instead of an unknown key: the nearest key here, the place where this key exists, or all that is allowed.
fn advice(keys: &[Key], given: &str) -> String {
    if let Some(near) = nearest(given, keys.iter().map(|key| key.name)) {
        return format!("did you mean `{near}`?");
    }
    let suffix = format!(".{given}");
    let elsewhere: Vec<String> = self::keys()
        .into_iter()
        .filter(|path| path == given || path.ends_with(&suffix))
        .collect();
    match elsewhere.as_slice() {
        [only] => format!("it stands at `{only}`"),
        _ => format!("allowed: {}", names(keys)),
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter()
        .map(|key| key.name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "empty",
        Value::Scalar(_) => "one value",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

/// The candidate that `given` most likely stands for, if any is near: at most a third of it differs, or one
/// begins with the other.
pub(super) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const CHARS_MAX: usize = 64;
    let length = given.chars().count();
    if length > CHARS_MAX {
        return None;
    }
    let given = given.to_lowercase();
    let known: Vec<&str> = candidates.into_iter().collect();
    let edited = known
        .iter()
        .map(|candidate| (distance(&given, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, candidate)) = edited {
        return Some(candidate);
    }
    // `bootstrap_servers` for `bootstrap`, `drain_timeout` for `drain_timeout_seconds`.
    let begins = |a: &str, b: &str| b.len() >= 4 && a.starts_with(&b.to_lowercase());
    let shorter = known
        .iter()
        .filter(|c| begins(&given, c))
        .max_by_key(|c| c.len());
    let mut longer = known.iter().filter(|c| begins(&c.to_lowercase(), &given));
    match (shorter, longer.next(), longer.next()) {
        (Some(candidate), _, _) | (None, Some(candidate), None) => Some(candidate),
        _ => None,
    }
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, l) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut previous = above + 1;
        if let Some(first) = row.first_mut() {
            *first = previous;
        }
        for (cell, r) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(l != r);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(previous + 1);
            previous = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("listen", "listen"), 0);
    }

    #[test]
    fn every_variable_names_one_key() {
        let mut names: Vec<String> = settable()
            .into_iter()
            .map(|k| k.path.replace('.', "_"))
            .collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
