//! Kafka's own message schemas, read from the newest `kafka-clients` jar, and random messages written by them.
//!
//! An oracle that shares no code with `kafka::wire`: values are drawn and written by the JSON schemas alone, for every
//! version they know. Must not use the library under test.

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use serde_json::{Map, Value, json};

use super::kafka::Version;

/// Key under which a drawn struct keeps tagged fields that no schema knows.
pub(crate) const UNKNOWN_TAGS: &str = "#unknown";

/// The jar: `THROUGHLINE_KAFKA_CLIENTS_JAR`, or that of the newest Kafka in the test cache, which is filled where it is empty.
/// Never skips.
pub(crate) fn clients_jar() -> PathBuf {
    std::env::var_os("THROUGHLINE_KAFKA_CLIENTS_JAR").map_or_else(
        || {
            let libs = Version::V4_4_0.jars();
            libs.join("kafka-clients-4.4.0.jar")
        },
        PathBuf::from,
    )
}

/// The entries of a zip whose name `wanted` accepts. Enough of the format for a jar; saves a tool and a dependency.
fn unzip(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let mut at = u32_at(end + 16);
    let mut entries = BTreeMap::new();
    for _ in 0..u16_at(end + 10) {
        let (method, packed) = (u16_at(at + 10), u32_at(at + 20));
        let (name, extra, comment) = (u16_at(at + 28), u16_at(at + 30), u16_at(at + 32));
        let local = u32_at(at + 42);
        let file = std::str::from_utf8(&bytes[at + 46..at + 46 + name]).unwrap();
        if wanted(file) {
            let data = local + 30 + u16_at(local + 26) + u16_at(local + 28);
            let data = &bytes[data..data + packed];
            let mut text = String::new();
            if method == 0 {
                text.push_str(std::str::from_utf8(data).unwrap());
            } else {
                let mut inflate = flate2::read::DeflateDecoder::new(data);
                inflate.read_to_string(&mut text).unwrap();
            }
            entries.insert(file.to_owned(), text);
        }
        at += 46 + name + extra + comment;
    }
    entries
}

/// A range of versions: `3-5`, `3+`, `3`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) first: i16,
    pub(crate) last: i16,
}

impl Versions {
    const NONE: Self = Self { first: 1, last: 0 };

    fn parse(text: Option<&Value>) -> Self {
        let Some(text) = text.and_then(Value::as_str) else {
            return Self::NONE;
        };
        if text == "none" {
            return Self::NONE;
        }
        if let Some(first) = text.strip_suffix('+') {
            return Self {
                first: first.parse().unwrap(),
                last: i16::MAX,
            };
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        }
    }

    pub(crate) fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    pub(crate) fn is_none(self) -> bool {
        self.first > self.last
    }
}

/// A field of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: String,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tagged: Versions,
    pub(crate) tag: Option<u32>,
    pub(crate) default: Option<Value>,
    pub(crate) fields: Vec<Field>,
}

fn fields(value: Option<&Value>) -> Vec<Field> {
    let list = value.and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter()
        .map(|f| Field {
            name: f["name"].as_str().unwrap().to_owned(),
            ty: f["type"].as_str().unwrap_or_default().to_owned(),
            versions: Versions::parse(f.get("versions")),
            nullable: Versions::parse(f.get("nullableVersions")),
            tagged: Versions::parse(f.get("taggedVersions")),
            tag: f
                .get("tag")
                .map(|t| u32::try_from(t.as_u64().unwrap()).unwrap()),
            default: f.get("default").cloned(),
            fields: fields(f.get("fields")),
        })
        .collect()
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) name: String,
    /// `request`, `response`, `data`, `header`, ...
    pub(crate) kind: String,
    pub(crate) api_key: Option<i16>,
    pub(crate) valid: Versions,
    pub(crate) flexible: Versions,
    pub(crate) fields: Vec<Field>,
    pub(crate) structs: BTreeMap<String, Vec<Field>>,
}

/// All schemas of the jar by name.
pub(crate) fn all() -> BTreeMap<String, Schema> {
    let jar = clients_jar();
    let bytes = std::fs::read(&jar).unwrap();
    let files = unzip(&bytes, |name| {
        name.starts_with("common/message/") && name.ends_with(".json")
    });
    assert!(
        files.len() > 150,
        "schemas in {}: {}",
        jar.display(),
        files.len()
    );
    files
        .values()
        .map(|text| {
            let plain: String = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            let json: Value = serde_json::from_str(&plain).unwrap();
            let common = json["commonStructs"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let schema = Schema {
                name: json["name"].as_str().unwrap().to_owned(),
                kind: json["type"].as_str().unwrap_or_default().to_owned(),
                api_key: json["apiKey"].as_i64().map(|k| i16::try_from(k).unwrap()),
                valid: Versions::parse(json.get("validVersions")),
                flexible: Versions::parse(json.get("flexibleVersions")),
                fields: fields(json.get("fields")),
                structs: common
                    .iter()
                    .map(|s| {
                        (
                            s["name"].as_str().unwrap().to_owned(),
                            fields(s.get("fields")),
                        )
                    })
                    .collect(),
            };
            (schema.name.clone(), schema)
        })
        .collect()
}

/// xorshift64*: seeded, so that a failure can be repeated.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Vec<u8> {
        let n = self.below(max);
        (0..n).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    pub(crate) fn text(&mut self, max: usize) -> String {
        let letters: Vec<char> = "abcdefghijklmnopqrstuvwxyz0123456789.-_äß"
            .chars()
            .collect();
        let n = self.below(max);
        (0..n).map(|_| letters[self.below(letters.len())]).collect()
    }

    fn number(&mut self, bits: u32) -> i64 {
        let raw = self.next().cast_signed();
        match self.below(5) {
            0 => -1,
            1 => 0,
            2 => raw.rem_euclid(100),
            _ => raw >> (64 - bits),
        }
    }
}

impl Schema {
    fn nested<'s>(&'s self, field: &'s Field, ty: &str) -> &'s [Field] {
        if field.fields.is_empty() {
            self.structs.get(ty).map_or(&[], Vec::as_slice)
        } else {
            &field.fields
        }
    }

    /// A random value of `version`. Fields that the version does not have are absent.
    pub(crate) fn random(&self, version: i16, rng: &mut Random) -> Value {
        self.random_struct(&self.fields, version, rng)
    }

    fn random_struct(&self, list: &[Field], version: i16, rng: &mut Random) -> Value {
        let mut map = Map::new();
        for field in list {
            if !field.versions.contains(version) || field.tagged.contains(version) && rng.chance(2)
            {
                continue;
            }
            let value = if field.nullable.contains(version) && rng.chance(4) {
                // A tagged field that is null is not written; null is its default.
                if field.tagged.contains(version) {
                    continue;
                }
                Value::Null
            } else {
                self.random_value(field, &field.ty, version, rng)
            };
            // Writers leave out a tagged field that has its default, and so does the crate.
            if field.tagged.contains(version) && self.is_default(field, &value) {
                continue;
            }
            map.insert(field.name.clone(), value);
        }
        if self.flexible.contains(version) && rng.chance(6) {
            let mut tags = Map::new();
            for tag in [77, 300] {
                tags.insert(format!("{tag:08}"), json!(rng.bytes(200)));
            }
            map.insert(UNKNOWN_TAGS.to_owned(), Value::Object(tags));
        }
        Value::Object(map)
    }

    fn is_default(&self, field: &Field, value: &Value) -> bool {
        let default = match &field.default {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        match value {
            Value::Number(n) => default.parse().unwrap_or(0) == n.as_i64().unwrap(),
            Value::Bool(b) => default.eq_ignore_ascii_case("true") == *b,
            Value::Object(map) => self
                .nested(field, &field.ty)
                .iter()
                .all(|f| map.get(&f.name).is_none_or(|v| self.is_default(f, v))),
            Value::Array(all) if field.ty == "uuid" => all.iter().all(|b| b.as_u64() == Some(0)),
            Value::Array(all) => all.is_empty(),
            Value::String(text) => *text == default,
            Value::Null => true,
        }
    }

    fn random_value(&self, field: &Field, ty: &str, version: i16, rng: &mut Random) -> Value {
        if let Some(element) = ty.strip_prefix("[]") {
            let n = rng.below(4);
            return (0..n)
                .map(|_| self.random_value(field, element, version, rng))
                .collect();
        }
        match ty {
            "bool" => json!(rng.chance(2)),
            "int8" => json!(rng.number(8)),
            "int16" if field.name.ends_with("ErrorCode") => {
                if rng.chance(2) {
                    json!(0)
                } else {
                    json!(i64::try_from(rng.below(140)).unwrap() - 1)
                }
            }
            "int16" => json!(rng.number(16)),
            "uint16" => json!(rng.below(65_536)),
            "int32" => json!(rng.number(32)),
            "int64" => json!(rng.number(64)),
            "float64" => json!(0.5),
            "uuid" if rng.chance(8) => json!(vec![0u8; 16]),
            "uuid" => json!([rng.next().to_le_bytes(), rng.next().to_le_bytes()].concat()),
            "string" => {
                let max = if rng.chance(10) { 300 } else { 24 };
                json!(rng.text(max))
            }
            "bytes" | "records" => {
                let max = if rng.chance(10) { 400 } else { 30 };
                json!(rng.bytes(max))
            }
            _ => self.random_struct(self.nested(field, ty), version, rng),
        }
    }

    /// Writes `value` as `version`.
    pub(crate) fn encode(&self, version: i16, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_struct(&self.fields, version, value, &mut out);
        out
    }

    /// Bytes of a FetchResponse or ShareFetchResponse up to the end of its responses array.
    pub(crate) fn trailer_at(&self, version: i16, value: &Value) -> usize {
        let mut bare = value.clone();
        let map = bare.as_object_mut().unwrap();
        map.remove(UNKNOWN_TAGS);
        if self.name == "FetchResponse" {
            map.remove("NodeEndpoints");
            self.encode(version, &bare).len() - 1
        } else {
            map.insert("NodeEndpoints".to_owned(), Value::Array(vec![]));
            self.encode(version, &bare).len() - 2
        }
    }

    fn encode_struct(&self, list: &[Field], version: i16, value: &Value, out: &mut Vec<u8>) {
        let flexible = self.flexible.contains(version);
        let mut tags: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for field in list.iter().filter(|f| f.versions.contains(version)) {
            let Some(inner) = value.get(&field.name) else {
                assert!(field.tagged.contains(version), "{} is missing", field.name);
                continue;
            };
            if field.tagged.contains(version) {
                let mut body = Vec::new();
                self.encode_value(field, &field.ty, version, inner, &mut body);
                tags.insert(field.tag.unwrap(), body);
            } else {
                self.encode_value(field, &field.ty, version, inner, out);
            }
        }
        if !flexible {
            return;
        }
        if let Some(unknown) = value.get(UNKNOWN_TAGS).and_then(Value::as_object) {
            for (tag, body) in unknown {
                tags.insert(tag.parse().unwrap(), byte_vec(body));
            }
        }
        uvarint(out, tags.len());
        for (tag, body) in tags {
            uvarint(out, tag as usize);
            uvarint(out, body.len());
            out.extend(body);
        }
    }

    fn encode_value(&self, field: &Field, ty: &str, version: i16, v: &Value, out: &mut Vec<u8>) {
        let flexible = self.flexible.contains(version);
        let length = |out: &mut Vec<u8>, n: Option<usize>, short: bool| {
            if flexible {
                uvarint(out, n.map_or(0, |n| n + 1));
            } else if short {
                out.extend(n.map_or(-1, |n| i16::try_from(n).unwrap()).to_be_bytes());
            } else {
                out.extend(n.map_or(-1, |n| i32::try_from(n).unwrap()).to_be_bytes());
            }
        };
        if let Some(element) = ty.strip_prefix("[]") {
            length(out, v.as_array().map(Vec::len), false);
            for one in v.as_array().into_iter().flatten() {
                self.encode_value(field, element, version, one, out);
            }
            return;
        }
        let number = || v.as_i64().unwrap();
        match ty {
            "bool" => out.push(u8::from(v.as_bool().unwrap())),
            "int8" => out.extend(i8::try_from(number()).unwrap().to_be_bytes()),
            "int16" => out.extend(i16::try_from(number()).unwrap().to_be_bytes()),
            "uint16" => out.extend(u16::try_from(number()).unwrap().to_be_bytes()),
            "int32" => out.extend(i32::try_from(number()).unwrap().to_be_bytes()),
            "int64" => out.extend(number().to_be_bytes()),
            "float64" => out.extend(v.as_f64().unwrap().to_be_bytes()),
            "uuid" => out.extend(byte_vec(v)),
            "string" => {
                length(out, v.as_str().map(str::len), true);
                out.extend_from_slice(v.as_str().unwrap_or_default().as_bytes());
            }
            "bytes" | "records" => {
                length(out, v.as_array().map(Vec::len), false);
                out.extend(byte_vec(v));
            }
            _ => {
                if field.nullable.contains(version) && !field.ty.starts_with("[]") {
                    out.push(if v.is_null() { 0xff } else { 1 });
                }
                if !v.is_null() {
                    self.encode_struct(self.nested(field, ty), version, v, out);
                }
            }
        }
    }
}

fn byte_vec(value: &Value) -> Vec<u8> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .map(|b| u8::try_from(b.as_u64().unwrap()).unwrap())
        .collect()
}

fn uvarint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}
