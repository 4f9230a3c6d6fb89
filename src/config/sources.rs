//! Flags over environment over file over default.
//!
//! Here because precedence must be the same for every key: all sources become one tree, key by key, before anything is
//! read from it. Must not know what a value means.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    fault::{Fault, Origin},
    schema::{self, Settable, Shape},
    yaml::{self, Entry, FILE_BYTES_MAX, Node, Value, printable},
};

/// What every variable of ours begins with.
const PREFIX: &str = "THROUGHLINE_";
/// Variables with the prefix that are not keys: the file's path, and what the build was given.
const RESERVED: &[&str] = &["THROUGHLINE_CONFIG", "THROUGHLINE_COMMIT"];

/// One `key=value` from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag as a fault should show it: `--listen`, `--set kafka.listen`.
    pub flag: String,
    /// Dotted path.
    pub key: String,
    /// Text, as in the file; lists of mappings as YAML flow: `[{match: x, mode: off}]`.
    pub value: String,
}

/// Where a configuration is read from; kept to read it again on SIGHUP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The YAML file, if any.
    pub file: Option<PathBuf>,
    /// Name and value of environment variables; those without our prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// From the command line.
    pub overrides: Vec<Override>,
    /// Whether the absence of `kafka.bootstrap` is a fault.
    pub needs_bootstrap: bool,
    /// This machine's name, to notice a bootstrap address that is our own.
    pub hostname: Option<String>,
    /// The command line in words, to print a corrected one.
    pub command: Vec<String>,
}

impl Sources {
    /// The environment and name of this machine and process; no file, no flags.
    #[must_use]
    pub fn of_process() -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .or_else(|| std::env::var("HOSTNAME").ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty());
        Self {
            environment,
            hostname,
            ..Self::default()
        }
    }

    /// One tree of all sources.
    ///
    /// # Errors
    /// A fault that leaves no file to read on with. Others go to `faults`.
    pub(super) fn tree(&self, faults: &mut Vec<Fault>) -> Result<Node, Fault> {
        let mut root = match &self.file {
            Some(path) => read(path, faults)?,
            None => Node::empty(Origin::Absent),
        };
        if matches!(root.value, Value::Null) {
            root.value = Value::Map(Vec::new());
        }
        let settable = schema::settable();
        let mut given = self.environment_layers(&settable, faults);
        given.extend(self.flag_layers(&settable, faults));
        for layer in given {
            place(&mut root, &layer.path, layer.node);
        }
        Ok(root)
    }

    fn environment_layers(&self, settable: &[Settable], faults: &mut Vec<Fault>) -> Vec<Layer> {
        let named: Vec<(String, &Settable)> = settable
            .iter()
            .map(|key| (variable(&key.path), key))
            .collect();
        let mut layers = Vec::new();
        for (name, value) in &self.environment {
            let foreign = !name.starts_with(PREFIX)
                || RESERVED.contains(&name.as_str())
                || service_link(name, value);
            // An empty variable is how a shell or a pod template says "not set".
            if foreign || value.is_empty() {
                continue;
            }
            let origin = Origin::Environment(printable(name).into());
            match find(&named, name) {
                Some(key) => layers.extend(layer(key, origin, value, faults)),
                None => {
                    let near = schema::nearest(name, named.iter().map(|(known, _)| known.as_str()));
                    let advice = near.map_or_else(
                        || format!("allowed: {PREFIX} and a key's path with `_`, for example {PREFIX}KAFKA_LISTEN"),
                        |near| format!("did you mean `{near}`?"),
                    );
                    faults.push(Fault::new(
                        &origin,
                        "",
                        format!("unknown variable, {advice}"),
                    ));
                }
            }
        }
        shallow_first(layers)
    }

    fn flag_layers(&self, settable: &[Settable], faults: &mut Vec<Fault>) -> Vec<Layer> {
        let named: Vec<(String, &Settable)> =
            settable.iter().map(|key| (key.path.clone(), key)).collect();
        let mut layers: Vec<Layer> = Vec::new();
        for (index, given) in self.overrides.iter().enumerate() {
            let origin = Origin::Flag(printable(&given.flag).into());
            let path = printable(&given.key);
            let earlier = self
                .overrides
                .iter()
                .take(index)
                .find(|earlier| earlier.key == given.key);
            if let Some(earlier) = earlier {
                let message = format!("given twice, also by {}", printable(&earlier.flag));
                faults.push(Fault::new(&origin, &path, message));
                continue;
            }
            match find(&named, &given.key) {
                Some(key) => layers.extend(layer(key, origin, &given.value, faults)),
                None => faults.push(Fault::new(
                    &origin,
                    &path,
                    unknown_path(&given.key, settable),
                )),
            }
        }
        shallow_first(layers)
    }
}

/// A node and where it goes.
struct Layer {
    path: String,
    node: Node,
}

/// The name of the variable of a key: the prefix, and its path in capitals with `_` for `.`.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// Kubernetes puts variables into every pod for each Service of its namespace; a Service called `throughline...` makes
/// some with our prefix.
fn service_link(name: &str, value: &str) -> bool {
    let port_of_url =
        value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (port_of_url && (name.ends_with("_PORT") || name.contains("_PORT_")))
        || ["_TCP_", "_UDP_", "_SCTP_"].iter().any(|protocol| {
            let mut ends = ["PROTO", "PORT", "ADDR"].iter();
            ends.any(|end| name.ends_with(&format!("{protocol}{end}")))
        })
}

/// The key called `given`.
fn find<'a>(named: &[(String, &'a Settable)], given: &str) -> Option<&'a Settable> {
    let found = named.iter().find(|(known, _)| known == given);
    found.map(|(_, key)| *key)
}

fn unknown_path(given: &str, settable: &[Settable]) -> String {
    let prefix = format!("{given}.");
    let under: Vec<&str> = settable
        .iter()
        .filter(|key| key.path.starts_with(&prefix))
        .map(|key| key.path.as_str())
        .collect();
    if !under.is_empty() {
        return format!("is a section, allowed: {}", under.join(", "));
    }
    let list = settable.iter().find(|key| {
        let rest = given.strip_prefix(key.path.as_str()).unwrap_or_default();
        matches!(key.shape, Shape::Rules(_) | Shape::Many | Shape::Each)
            && rest.starts_with(['.', '['])
    });
    if let Some(key) = list {
        return format!(
            "is inside a list, allowed: `{}` as a whole, for example '[...]'",
            key.path
        );
    }
    match schema::nearest(given, settable.iter().map(|key| key.path.as_str())) {
        Some(near) => format!("unknown key, did you mean `{near}`?"),
        None => "unknown key, allowed: those of config/reference.yaml, for example kafka.listen"
            .to_owned(),
    }
}

/// Text to a node, in the shape its key has.
fn layer(key: &Settable, origin: Origin, text: &str, faults: &mut Vec<Fault>) -> Option<Layer> {
    let text = text.trim();
    let at = |_| origin.clone();
    let plain = || Node::text(origin.clone(), text);
    let node = match key.shape {
        Shape::One => plain(),
        _ if text.is_empty() => plain(),
        // `[a:1, b:2]` is a list, `[::1]:9092` is an address.
        Shape::Many | Shape::Each => yaml::parse(text, &at, &mut Vec::new())
            .ok()
            .filter(|node| matches!(node.value, Value::List(_)))
            .unwrap_or_else(plain),
        Shape::Section(_) | Shape::Presence(_) | Shape::Rules(_) => {
            match yaml::parse(text, &at, faults) {
                Ok(node) => node,
                Err(mut fault) => {
                    fault.key.clone_from(&key.path);
                    faults.push(fault);
                    return None;
                }
            }
        }
    };
    Some(Layer {
        path: key.path.clone(),
        node,
    })
}

/// A section goes in before its keys, whatever the order they were given in.
fn shallow_first(mut layers: Vec<Layer>) -> Vec<Layer> {
    layers.sort_by_key(|layer| layer.path.matches('.').count());
    layers
}

/// Puts `node` at `path`, over what stands there. Mappings are merged key by key. Where something that is no mapping stands
/// in the way, nothing happens: its shape is reported anyway.
fn place(root: &mut Node, path: &str, node: Node) {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let index = entries.iter().position(|entry| entry.key == name);
    let index = index.unwrap_or_else(|| {
        entries.push(Entry {
            key: name.to_owned(),
            origin: node.origin.clone(),
            node: Node::empty(node.origin.clone()),
        });
        entries.len() - 1
    });
    let Some(entry) = entries.get_mut(index) else {
        return;
    };
    let Some(rest) = rest else {
        merge(&mut entry.node, node);
        return;
    };
    if matches!(entry.node.value, Value::Null) {
        entry.node = Node::empty(node.origin.clone());
    }
    place(&mut entry.node, rest, node);
}

fn merge(under: &mut Node, over: Node) {
    match (&mut under.value, over.value) {
        (Value::Map(_), Value::Map(entries)) => {
            for entry in entries {
                place_key(under, entry);
            }
        }
        (_, value) => {
            under.origin = over.origin;
            under.value = value;
        }
    }
}

fn place_key(under: &mut Node, entry: Entry) {
    let Value::Map(entries) = &mut under.value else {
        return;
    };
    match entries.iter_mut().find(|own| own.key == entry.key) {
        Some(own) => *own = entry,
        None => entries.push(entry),
    }
}

fn read(path: &Path, faults: &mut Vec<Fault>) -> Result<Node, Fault> {
    let name: Arc<str> = printable(&path.to_string_lossy()).into();
    let at = |line| Origin::File {
        path: Arc::clone(&name),
        line,
    };
    let cannot = |message: String| Fault::new(&at(0), "", message);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot(format!("cannot be read: {error}")))?;
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(format!("cannot be read: {error}")))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(cannot(format!(
            "is too large, allowed: {FILE_BYTES_MAX} bytes"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|b| **b == b'\n')
            .count();
        Fault::new(&at(lines + 1), "", "not valid UTF-8")
    })?;
    yaml::parse(&text, &at, faults)
}
