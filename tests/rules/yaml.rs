//! YAML to JSON, for the files of `alerts/`: lists, mappings, text. Every scalar is a string, but for null and the empty one.
//!
//! Must not know a rule.

use std::{fs, path::Path};

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

enum Open {
    List(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// What a file holds.
#[track_caller]
pub(crate) fn read(file: &Path) -> Value {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// One document.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| error.to_string())?;
        let done = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null") => {
                Value::Null
            }
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Mapping(entries, _)) => Value::Object(entries),
                None => return Err("an end without a beginning".to_owned()),
            },
            Event::Alias(_) => return Err(format!("line {}: an alias", span.start.line())),
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Mapping(_, key @ None)) => {
                *key = Some(done.as_str().unwrap_or_default().to_owned());
            }
            Some(Open::Mapping(entries, key)) => {
                let key = key.take().unwrap_or_default();
                if entries.insert(key.clone(), done).is_some() {
                    return Err(format!("line {}: {key} twice", span.start.line()));
                }
            }
        }
    }
    root.ok_or_else(|| "nothing in it".to_owned())
}

/// The list under a key; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The text under a key; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
