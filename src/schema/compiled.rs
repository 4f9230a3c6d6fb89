//! A schema that messages are held against: Avro, JSON Schema, Protobuf.
//!
//! Messages come from a program that is not ours and schemas from a registry that is not either: sizes, depths and patterns are
//! bounded, and a fault of a decoder is a figure, not an end. Must not fetch anything.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use apache_avro::{Schema, reader::datum::GenericDatumReader};
use jsonschema::{PatternOptions, Validator};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

/// What one decoder may allocate for a message, bytes.
const ALLOCATION_MAX: usize = 16 << 20;
/// Deepest schema that is looked through.
const DEPTH_MAX: usize = 64;

/// Language of a schema, as Confluent's API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Apache Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl Language {
    /// The label, and in small letters what the API says.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "avro",
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// From `schemaType`; without one it is Avro.
    #[must_use]
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("AVRO") => Some(Self::Avro),
            Some("JSON") => Some(Self::Json),
            Some("PROTOBUF") => Some(Self::Protobuf),
            Some(_) => None,
        }
    }
}

/// A schema as a registry has it, with those it refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Its text.
    pub text: String,
    /// Name as it is referred to, and text; what others refer to comes first.
    pub references: Vec<(String, String)>,
}

/// Why nothing is held against a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It does not compile.
    Unreadable,
    /// It contains itself: a message could be nested without end.
    Recursive,
}

/// Ready to decode.
pub enum Compiled {
    /// With the schemas it refers to.
    Avro(Box<Schema>, Vec<Schema>),
    /// JSON Schema.
    Json(Box<Validator>),
    /// The messages of the file, in the order of Confluent's message index.
    Protobuf(Vec<MessageDescriptor>),
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avro(..) => "Avro",
            Self::Json(_) => "Json",
            Self::Protobuf(_) => "Protobuf",
        })
    }
}

impl Compiled {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Where nothing can be held against it.
    pub fn new(language: Language, source: &Source) -> Result<Self, Unusable> {
        static LIMIT: Once = Once::new();
        LIMIT.call_once(|| {
            apache_avro::util::max_allocation_bytes(ALLOCATION_MAX);
        });
        let compile = || match language {
            Language::Avro => avro(source),
            Language::Json => json(source),
            Language::Protobuf => protobuf(source),
        };
        catch_unwind(AssertUnwindSafe(compile)).unwrap_or(Err(Unusable::Unreadable))
    }

    /// Whether a message decodes, all of it; `None` where the decoder failed on it in a way of its own.
    #[must_use]
    pub fn decodes(&self, message: &[u8]) -> Option<bool> {
        let decode = || match self {
            Self::Avro(schema, others) => {
                let mut rest = message;
                let all = others.iter().collect();
                let reader = GenericDatumReader::builder(schema).writer_schemata(all);
                let reader = reader.and_then(|reader| reader.build());
                let read = reader.and_then(|reader| reader.read_value(&mut rest));
                read.is_ok() && rest.is_empty()
            }
            Self::Json(validator) => {
                let value = serde_json::from_slice::<serde_json::Value>(message);
                value.is_ok_and(|value| validator.is_valid(&value))
            }
            Self::Protobuf(messages) => protobuf_decodes(messages, message).unwrap_or(false),
        };
        catch_unwind(AssertUnwindSafe(decode)).ok()
    }

    /// The full name of what it describes, where it has one: subjects may be named by it.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Avro(schema, _) => schema.name().map(|name| name.fullname(None)),
            Self::Json(_) => None,
            Self::Protobuf(messages) => messages.first().map(|m| m.full_name().to_owned()),
        }
    }
}

fn avro(source: &Source) -> Result<Compiled, Unusable> {
    let texts = source.references.iter().map(|(_, text)| text.as_str());
    let others: Vec<&str> = texts.collect();
    let (schema, others) =
        Schema::parse_str_with_list(&source.text, others).map_err(|_| Unusable::Unreadable)?;
    let names: BTreeMap<String, &Schema> = others
        .iter()
        .filter_map(|other| Some((other.name()?.fullname(None), other)))
        .collect();
    if recursive(&schema, &names, &mut Vec::new()) {
        return Err(Unusable::Recursive);
    }
    Ok(Compiled::Avro(Box::new(schema), others))
}

/// Whether a schema contains itself. A reference to what was closed before is none.
fn recursive(schema: &Schema, others: &BTreeMap<String, &Schema>, open: &mut Vec<String>) -> bool {
    if open.len() > DEPTH_MAX {
        return true;
    }
    match schema {
        Schema::Ref { name } => {
            let name = name.fullname(None);
            if open.contains(&name) {
                return true;
            }
            let other = others.get(&name);
            other.is_some_and(|other| recursive(other, others, open))
        }
        Schema::Record(record) => {
            open.push(record.name.fullname(None));
            let within = record
                .fields
                .iter()
                .any(|field| recursive(&field.schema, others, open));
            open.pop();
            within
        }
        Schema::Array(array) => recursive(&array.items, others, open),
        Schema::Map(map) => recursive(&map.types, others, open),
        Schema::Union(union) => union.variants().iter().any(|v| recursive(v, others, open)),
        _ => false,
    }
}

fn json(source: &Source) -> Result<Compiled, Unusable> {
    let parse = |text: &str| {
        serde_json::from_str::<serde_json::Value>(text).map_err(|_| Unusable::Unreadable)
    };
    let schema = parse(&source.text)?;
    let mut registry = jsonschema::Registry::new();
    for (name, text) in &source.references {
        let resource = jsonschema::Resource::from_contents(parse(text)?);
        registry = registry
            .add(name.as_str(), resource)
            .map_err(|_| Unusable::Unreadable)?;
    }
    let registry = registry.prepare().map_err(|_| Unusable::Unreadable)?;
    // The linear engine: a pattern of a schema must not hold the thread.
    let options = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .with_registry(&registry);
    let validator = options.build(&schema).map_err(|_| Unusable::Unreadable)?;
    Ok(Compiled::Json(Box::new(validator)))
}

/// The texts of a schema and its references, by the names they import each other by.
#[derive(Debug)]
struct Texts(BTreeMap<String, String>);

const ROOT: &str = "throughline-root.proto";

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn protobuf(source: &Source) -> Result<Compiled, Unusable> {
    let mut texts: BTreeMap<String, String> = source.references.iter().cloned().collect();
    texts.insert(ROOT.to_owned(), source.text.clone());
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(texts));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(ROOT).map_err(|_| Unusable::Unreadable)?;
    let pool: DescriptorPool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(ROOT).ok_or(Unusable::Unreadable)?;
    let messages: Vec<MessageDescriptor> = file.messages().collect();
    if messages.is_empty() {
        return Err(Unusable::Unreadable);
    }
    Ok(Compiled::Protobuf(messages))
}

/// Confluent writes which message of the file it is before the message: a count and that many indexes, zigzag; a single 0 is
/// the first.
fn protobuf_decodes(messages: &[MessageDescriptor], bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    let count = usize::try_from(zigzag(&mut rest)?).ok()?;
    let mut descriptor = None;
    if count == 0 {
        descriptor = messages.first().cloned();
    }
    if count > DEPTH_MAX {
        return None;
    }
    for level in 0..count {
        let index = usize::try_from(zigzag(&mut rest)?).ok()?;
        descriptor = if level == 0 {
            messages.get(index).cloned()
        } else {
            descriptor.and_then(|of: MessageDescriptor| of.child_messages().nth(index))
        };
    }
    Some(DynamicMessage::decode(descriptor?, rest).is_ok())
}

fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let mut value: u64 = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let half = i64::try_from(value >> 1).ok()?;
            return Some(if value & 1 == 0 { half } else { -half - 1 });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str, references: &[(&str, &str)]) -> Source {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Source {
            text: text.to_owned(),
            references: references.iter().map(own).collect(),
        }
    }

    fn compile(language: Language, text: &str) -> Compiled {
        Compiled::new(language, &source(text, &[])).unwrap()
    }

    const ORDER: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"}, {"name": "count", "type": "int"}]}"#;

    #[test]
    fn avro_decodes_all_of_a_message_or_not() {
        let order = compile(Language::Avro, ORDER);
        assert_eq!(order.name().as_deref(), Some("shop.Order"));
        assert_eq!(order.decodes(b"\x04ab\x06"), Some(true));
        assert_eq!(order.decodes(b"\x04ab\x06more"), Some(false));
        assert_eq!(order.decodes(b"\x04a"), Some(false));
        assert_eq!(order.decodes(b""), Some(false));
        // A length that lies asks for gigabytes.
        assert_eq!(order.decodes(b"\xfe\xff\xff\xff\x0f"), Some(false));
    }

    #[test]
    fn avro_finds_what_it_refers_to() {
        let cart = r#"{"type": "record", "name": "Cart", "fields": [{"name": "order", "type": "shop.Order"}]}"#;
        let cart = source(cart, &[("shop.Order", ORDER)]);
        let cart = Compiled::new(Language::Avro, &cart).unwrap();
        assert_eq!(cart.decodes(b"\x04ab\x06"), Some(true));
        assert_eq!(cart.decodes(b"\x04"), Some(false));
    }

    #[test]
    fn a_schema_that_contains_itself_is_not_used_and_one_that_repeats_a_type_is() {
        let list = r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#;
        let of = |text: &str| Compiled::new(Language::Avro, &source(text, &[])).err();
        assert_eq!(of(list), Some(Unusable::Recursive));
        let twice = r#"{"type": "record", "name": "T", "fields": [
            {"name": "a", "type": {"type": "fixed", "name": "F", "size": 1}}, {"name": "b", "type": "F"}]}"#;
        assert_eq!(of(twice), None);
        assert_eq!(of("{"), Some(Unusable::Unreadable));
    }

    #[test]
    fn json_is_held_against_its_schema() {
        let order =
            r#"{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}"#;
        let order = compile(Language::Json, order);
        assert_eq!(order.decodes(br#"{"id": "a", "more": 1}"#), Some(true));
        assert_eq!(order.decodes(br#"{"id": 1}"#), Some(false));
        assert_eq!(order.decodes(b"not json"), Some(false));
        let deep = "[".repeat(1_000_000);
        assert_eq!(order.decodes(deep.as_bytes()), Some(false));
    }

    #[test]
    fn protobuf_finds_the_message_by_its_index() {
        let text = r#"syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto"; import "money.proto";
            message Order { string id = 1; google.protobuf.Timestamp at = 2; shop.Money price = 3;
                message Line { int32 count = 1; } }
            message Refund { string id = 1; }"#;
        let money = r#"syntax = "proto3"; package shop; message Money { int64 cents = 1; }"#;
        let order = source(text, &[("money.proto", money)]);
        let order = Compiled::new(Language::Protobuf, &order).unwrap();
        assert_eq!(order.name().as_deref(), Some("shop.Order"));
        // The first; the second; the first within the first.
        assert_eq!(order.decodes(b"\x00\x0a\x01a"), Some(true));
        assert_eq!(order.decodes(b"\x02\x02\x0a\x01a"), Some(true));
        assert_eq!(order.decodes(b"\x04\x00\x00\x08\x05"), Some(true));
        assert_eq!(
            order.decodes(b"\x02\x08\x0a\x01a"),
            Some(false),
            "no such message"
        );
        assert_eq!(order.decodes(b"\x00\x0a\x05a"), Some(false), "cut");
        assert_eq!(order.decodes(b""), Some(false));
        let missing = Compiled::new(Language::Protobuf, &source(text, &[]));
        assert_eq!(missing.err(), Some(Unusable::Unreadable));
    }
}
