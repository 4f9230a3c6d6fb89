//! How a key or a value says which schema wrote it.
//!
//! Reference: the wire format of Confluent's serializers (magic byte 0 and a schema id; since 8.1 also the header
//! `__value_schema_id`), of the AWS Glue Schema Registry (byte 3, a compression byte, a UUID) and of Apicurio (headers
//! `apicurio.value.*`). Must not know what a registry has.

use std::fmt;

/// What stands before the message in Confluent's framing.
const PREFIX: usize = 5;
/// And in Glue's: version, compression, UUID.
const GLUE_PREFIX: usize = 18;
const GLUE_VERSION: u8 = 3;
/// Not compressed, zlib.
const GLUE_COMPRESSION: [u8; 2] = [0, 5];

/// Which half of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

impl Part {
    /// What stands behind the topic in the name of its subject, in Confluent's default strategy.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Key => "-key",
            Self::Value => "-value",
        }
    }
}

/// Who defined the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Framing {
    /// Five bytes before the message.
    Confluent,
    /// The same, in a header.
    ConfluentHeader,
    /// 18 bytes before the message.
    Glue,
    /// A header.
    Apicurio,
}

impl Framing {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Confluent,
        Self::ConfluentHeader,
        Self::Glue,
        Self::Apicurio,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confluent => "confluent",
            Self::ConfluentHeader => "confluent_header",
            Self::Glue => "glue",
            Self::Apicurio => "apicurio",
        }
    }
}

/// Which schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// By the number that Confluent's API knows.
    Number(i32),
    /// By its UUID.
    Guid([u8; 16]),
    /// By a number that only the registry's own API knows.
    Global(i64),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Global(number) => write!(f, "{number}"),
            Self::Guid(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    let dash = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

/// A key or value with its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed<'v> {
    /// Who defined it.
    pub framing: Framing,
    /// Which schema.
    pub id: SchemaId,
    /// What stands behind the framing.
    pub message: &'v [u8],
}

impl<'v> Framed<'v> {
    /// Reads the framing of one part of a record; headers count before bytes.
    pub fn read<'h>(
        part: Part,
        headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
        value: &'v [u8],
    ) -> Option<Self> {
        let in_header = headers
            .into_iter()
            .find_map(|(key, held)| header(part, key, held?));
        if let Some((framing, id)) = in_header {
            return Some(Self {
                framing,
                id,
                message: value,
            });
        }
        confluent(value).or_else(|| glue(value))
    }
}

fn header(part: Part, key: &[u8], value: &[u8]) -> Option<(Framing, SchemaId)> {
    let number = |value: &[u8]| Some(i64::from_be_bytes(value.try_into().ok()?));
    match (part, key) {
        (Part::Value, b"__value_schema_id") | (Part::Key, b"__key_schema_id") => {
            let id = match value.split_first()? {
                (0, id) => SchemaId::Number(i32::from_be_bytes(id.try_into().ok()?)),
                (1, id) => SchemaId::Guid(id.try_into().ok()?),
                _ => return None,
            };
            Some((Framing::ConfluentHeader, id))
        }
        // What Confluent's API of that registry calls an id.
        (Part::Value, b"apicurio.value.contentId") | (Part::Key, b"apicurio.key.contentId") => {
            let id = number(value)?;
            let id = i32::try_from(id).map_or(SchemaId::Global(id), SchemaId::Number);
            Some((Framing::Apicurio, id))
        }
        (Part::Value, b"apicurio.value.globalId") | (Part::Key, b"apicurio.key.globalId") => {
            Some((Framing::Apicurio, SchemaId::Global(number(value)?)))
        }
        _ => None,
    }
}

fn confluent(value: &[u8]) -> Option<Framed<'_>> {
    let (prefix, message) = value.split_at_checked(PREFIX)?;
    let (0, id) = prefix.split_first()? else {
        return None;
    };
    let id = i32::from_be_bytes(id.try_into().ok()?);
    (id > 0).then_some(Framed {
        framing: Framing::Confluent,
        id: SchemaId::Number(id),
        message,
    })
}

fn glue(value: &[u8]) -> Option<Framed<'_>> {
    let (prefix, message) = value.split_at_checked(GLUE_PREFIX)?;
    let [GLUE_VERSION, compression, id @ ..] = prefix else {
        return None;
    };
    let id = id.try_into().ok()?;
    GLUE_COMPRESSION.contains(compression).then_some(Framed {
        framing: Framing::Glue,
        id: SchemaId::Guid(id),
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'v>(headers: &[(&str, &[u8])], value: &'v [u8]) -> Option<Framed<'v>> {
        let headers = headers.iter().map(|(k, v)| (k.as_bytes(), Some(*v)));
        Framed::read(Part::Value, headers, value)
    }

    #[test]
    fn every_serializer_says_it_its_way() {
        let framed = |framing, id, message| {
            Some(Framed {
                framing,
                id,
                message,
            })
        };
        let seven = SchemaId::Number(7);
        let value = [0, 0, 0, 0, 7, b'm'];
        assert_eq!(read(&[], &value), framed(Framing::Confluent, seven, b"m"));
        let header: [(&str, &[u8]); 1] = [("__value_schema_id", &[0, 0, 0, 0, 7])];
        let in_header = framed(Framing::ConfluentHeader, seven, b"m");
        assert_eq!(read(&header, b"m"), in_header);
        let guid = SchemaId::Guid([0xab; 16]);
        assert_eq!(guid.to_string(), "abababab-abab-abab-abab-abababababab");
        let header: [(&str, &[u8]); 1] =
            [("__value_schema_id", &[[1].as_slice(), &[0xab; 16]].concat())];
        assert_eq!(
            read(&header, b"m"),
            framed(Framing::ConfluentHeader, guid, b"m")
        );
        let value = [&[3, 5][..], &[0xab; 16], b"m"].concat();
        assert_eq!(read(&[], &value), framed(Framing::Glue, guid, b"m"));
        let header: [(&str, &[u8]); 1] = [("apicurio.value.contentId", &[0, 0, 0, 0, 0, 0, 0, 7])];
        assert_eq!(read(&header, b"m"), framed(Framing::Apicurio, seven, b"m"));
        let header: [(&str, &[u8]); 1] = [("apicurio.value.globalId", &[0, 0, 0, 0, 0, 0, 0, 7])];
        let global = framed(Framing::Apicurio, SchemaId::Global(7), b"m");
        assert_eq!(read(&header, b"m"), global);
    }

    #[test]
    fn other_bytes_are_no_framing() {
        for value in [
            &b"{\"json\": true}"[..],
            b"",
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[0, 0xff, 0, 0, 1, 2],
            &[
                3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
            ],
        ] {
            assert_eq!(read(&[], value), None, "{value:?}");
        }
        assert_eq!(read(&[("__value_schema_id", &[9, 1])], b"x"), None);
    }
}
