//! YAML text to a small tree that knows its lines.
//!
//! Built from the parser's events and not by a loader, because a loader stops at the first duplicate key and copies what an
//! alias points at. Here every duplicate is reported, aliases and tags are refused, and size, depth and node count are
//! limited before anything is built. Must not know a key.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::fault::{Fault, Origin};

/// Largest configuration file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of lists and mappings; the schema needs 5.
const DEPTH_MAX: usize = 16;
/// Most values and keys in one file.
const NODES_MAX: usize = 20_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// What a node holds. Scalars keep their source text: what it means depends on the key.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// The text of a scalar; quoted text is never a number or a boolean.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// One key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) node: Node,
}

impl Node {
    /// A node that a flag or variable gives as text.
    pub(super) fn text(origin: Origin, text: &str) -> Self {
        let value = if text.is_empty() {
            Value::Null
        } else {
            Value::Scalar(Scalar {
                text: text.to_owned(),
                quoted: false,
            })
        };
        Self { origin, value }
    }

    /// A mapping without keys.
    pub(super) fn empty(origin: Origin) -> Self {
        Self {
            origin,
            value: Value::Map(Vec::new()),
        }
    }

    /// The value under `key`, where this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            _ => None,
        }
    }

    /// Whether it says nothing: null, empty, or holding only what says nothing.
    pub(super) fn says_nothing(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar(_) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.iter().all(|e| e.node.says_nothing()),
        }
    }
}

/// Reads one document. `origin` turns a line (from 1) into a place. Duplicate keys go to `faults` and the first one counts;
/// an empty document is an empty mapping.
///
/// # Errors
/// The fault that ended the reading: syntax, an alias, a tag, a second document, or a limit.
pub(super) fn parse(
    text: &str,
    origin: &dyn Fn(usize) -> Origin,
    faults: &mut Vec<Fault>,
) -> Result<Node, Fault> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("is {} bytes, allowed: {FILE_BYTES_MAX}", text.len());
        return Err(Fault::new(&origin(0), "", message));
    }
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree::default();
    loop {
        let (event, span) = match parser.next_event() {
            None => break,
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                let message = format!("not valid YAML: {}", one_line(error.info()));
                let line = error.marker().line().max(1);
                return Err(Fault::new(&origin(line), "", message));
            }
        };
        let at = origin(span.start.line().max(1));
        if matches!(event, Event::StreamEnd) {
            break;
        }
        tree.event(event, &at, faults)
            .map_err(|message| Fault::new(&at, "", message))?;
    }
    Ok(tree.root.unwrap_or_else(|| Node::empty(origin(1))))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The tree while it is being read.
#[derive(Default)]
struct Tree {
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    open: Vec<Open>,
}

/// A list or mapping whose end has not been seen, and the key that waits for its value.
struct Open {
    node: Node,
    key: Option<(String, Origin)>,
}

impl Tree {
    fn event(
        &mut self,
        event: Event<'_>,
        at: &Origin,
        faults: &mut Vec<Fault>,
    ) -> Result<(), Cow<'static, str>> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("a second document begins, allowed: one document per file".into());
                }
            }
            Event::Alias(_) => {
                return Err("an alias (*name) is not allowed, repeat the value instead".into());
            }
            Event::Scalar(text, style, _, tag) => {
                refuse_tag(tag.as_deref())?;
                self.scalar(&text, style, at, faults)?;
            }
            Event::SequenceStart(_, tag) => {
                refuse_tag(tag.as_deref())?;
                self.begin(Value::List(Vec::new()), at)?;
            }
            Event::MappingStart(_, tag) => {
                refuse_tag(tag.as_deref())?;
                self.begin(Value::Map(Vec::new()), at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.place(open.node, faults);
                }
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Cow<'static, str>> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} values in one file").into());
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, at: &Origin) -> Result<(), Cow<'static, str>> {
        self.count()?;
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} levels").into());
        }
        if let Some(parent) = self.open.last()
            && matches!(parent.node.value, Value::Map(_))
            && parent.key.is_none()
        {
            return Err("a key is a list or a mapping, allowed: plain text".into());
        }
        let node = Node {
            origin: at.clone(),
            value,
        };
        self.open.push(Open { node, key: None });
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        at: &Origin,
        faults: &mut Vec<Fault>,
    ) -> Result<(), Cow<'static, str>> {
        self.count()?;
        if let Some(open) = self.open.last_mut()
            && matches!(open.node.value, Value::Map(_))
            && open.key.is_none()
        {
            open.key = Some((text.to_owned(), at.clone()));
            return Ok(());
        }
        let quoted = !matches!(style, ScalarStyle::Plain);
        let null = !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        let value = if null {
            Value::Null
        } else {
            Value::Scalar(Scalar {
                text: text.to_owned(),
                quoted,
            })
        };
        let node = Node {
            origin: at.clone(),
            value,
        };
        self.place(node, faults);
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, faults: &mut Vec<Fault>) {
        let path = self.path();
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut parent.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => {
                let Some((key, origin)) = parent.key.take() else {
                    return;
                };
                if let Some(first) = entries.iter().find(|e| e.key == key) {
                    let message = format!("given twice, first at {}", first.origin);
                    faults.push(Fault::new(&origin, &path, message));
                    return;
                }
                entries.push(Entry { key, origin, node });
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }

    /// Dotted path of the keys that wait for a value.
    fn path(&self) -> String {
        let keys = self.open.iter().filter_map(|o| o.key.as_ref());
        keys.map(|(key, _)| printable(key))
            .collect::<Vec<_>>()
            .join(".")
    }
}

fn refuse_tag(tag: Option<&Tag>) -> Result<(), Cow<'static, str>> {
    match tag {
        Some(tag) => Err(format!(
            "tag {} is not allowed, remove it",
            printable(&tag.to_string())
        )
        .into()),
        None => Ok(()),
    }
}

/// Text from a user as it may stand in a message: one line, no control characters, cut after 80 characters.
pub(super) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
