//! A cursor over Kafka's primitive types.
//!
//! Every length is checked against the bytes that are there before anything is taken; arrays are visited, never collected
//! into a container sized by their count. Reference: <https://kafka.apache.org/protocol#protocol_types>.

use super::error::{DecodeError, DecodeErrorKind, Result};

/// Reads primitives from a slice. `flexible` chooses compact lengths and tagged fields (KIP-482).
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    flexible: bool,
}

/// A topic, named or by id, as requests and responses carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By topic id (KIP-516).
    Id([u8; 16]),
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `buffer`.
    #[must_use]
    pub fn new(buffer: &'a [u8], flexible: bool) -> Self {
        Self {
            rest: buffer,
            length: buffer.len(),
            flexible,
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    /// Bytes not taken yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes not taken yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether compact lengths and tagged fields are in force.
    #[must_use]
    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// A fault at the current position.
    #[must_use]
    pub fn fault(&self, kind: DecodeErrorKind, field: &'static str) -> DecodeError {
        DecodeError {
            kind,
            field,
            offset: self.position(),
        }
    }

    /// Takes exactly `n` bytes.
    ///
    /// # Errors
    /// `Incomplete` where fewer are left.
    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8]> {
        let Some((head, tail)) = self.rest.split_at_checked(n) else {
            return Err(self.fault(DecodeErrorKind::Incomplete, field));
        };
        self.rest = tail;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.fault(DecodeErrorKind::Incomplete, field));
        };
        self.rest = tail;
        Ok(*head)
    }

    /// INT8.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn i8(&mut self, field: &'static str) -> Result<i8> {
        self.fixed(field).map(i8::from_be_bytes)
    }

    /// BOOLEAN.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn bool(&mut self, field: &'static str) -> Result<bool> {
        self.i8(field).map(|v| v != 0)
    }

    /// INT16.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn i16(&mut self, field: &'static str) -> Result<i16> {
        self.fixed(field).map(i16::from_be_bytes)
    }

    /// INT32.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn i32(&mut self, field: &'static str) -> Result<i32> {
        self.fixed(field).map(i32::from_be_bytes)
    }

    /// INT64.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn i64(&mut self, field: &'static str) -> Result<i64> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    /// UINT32, as used by checksums.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn u32(&mut self, field: &'static str) -> Result<u32> {
        self.fixed(field).map(u32::from_be_bytes)
    }

    /// UUID.
    ///
    /// # Errors
    /// `Incomplete`.
    pub fn uuid(&mut self, field: &'static str) -> Result<[u8; 16]> {
        self.fixed(field)
    }

    /// UNSIGNED_VARINT: base 128, least significant group first, at most 5 bytes.
    ///
    /// # Errors
    /// `Incomplete`, or `Varint` past 5 bytes or 32 bits.
    #[inline]
    pub fn uvarint(&mut self, field: &'static str) -> Result<u32> {
        // Nearly always one byte.
        if let Some((byte @ ..0x80, tail)) = self.rest.split_first() {
            self.rest = tail;
            return Ok(u32::from(*byte));
        }
        self.long_uvarint(field)
    }

    fn long_uvarint(&mut self, field: &'static str) -> Result<u32> {
        let mut value = 0u32;
        for shift in [0u32, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>(field)?;
            let group = u32::from(byte & 0x7f);
            if shift == 28 && group > 0x0f {
                return Err(self.fault(DecodeErrorKind::Varint, field));
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault(DecodeErrorKind::Varint, field))
    }

    /// VARINT: zigzag over [`Self::uvarint`].
    ///
    /// # Errors
    /// As [`Self::uvarint`].
    pub fn varint(&mut self, field: &'static str) -> Result<i32> {
        let raw = self.uvarint(field)?;
        Ok((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg())
    }

    /// VARLONG: zigzag, at most 10 bytes.
    ///
    /// # Errors
    /// `Incomplete`, or `Varint` past 10 bytes.
    pub fn varlong(&mut self, field: &'static str) -> Result<i64> {
        let mut value = 0u64;
        for shift in [0u32, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let [byte] = self.fixed::<1>(field)?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(self.fault(DecodeErrorKind::Varint, field));
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg());
            }
        }
        Err(self.fault(DecodeErrorKind::Varint, field))
    }

    /// A length prefix of a string, in the form in force; `None` = null.
    fn string_length(&mut self, field: &'static str) -> Result<Option<usize>> {
        if self.flexible {
            return self.compact_length(field);
        }
        let raw = self.i16(field)?;
        self.length_or_null(i32::from(raw), field)
    }

    fn length_or_null(&self, raw: i32, field: &'static str) -> Result<Option<usize>> {
        if raw == -1 {
            return Ok(None);
        }
        usize::try_from(raw)
            .map(Some)
            .map_err(|_| self.fault(DecodeErrorKind::NegativeLength, field))
    }

    fn compact_length(&mut self, field: &'static str) -> Result<Option<usize>> {
        let raw = self.uvarint(field)?;
        match raw.checked_sub(1) {
            None => Ok(None),
            Some(n) => usize::try_from(n)
                .map(Some)
                .map_err(|_| self.fault(DecodeErrorKind::Limit, field)),
        }
    }

    /// (COMPACT_)NULLABLE_STRING as bytes: names are not always UTF-8.
    ///
    /// # Errors
    /// `Incomplete`, `NegativeLength`, `Varint`.
    pub fn nullable_string_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>> {
        match self.string_length(field)? {
            None => Ok(None),
            Some(n) => self.take(n, field).map(Some),
        }
    }

    /// (COMPACT_)NULLABLE_STRING.
    ///
    /// # Errors
    /// As [`Self::nullable_string_bytes`], or `Utf8`.
    pub fn nullable_string(&mut self, field: &'static str) -> Result<Option<&'a str>> {
        let offset = self.position();
        match self.nullable_string_bytes(field)? {
            None => Ok(None),
            Some(bytes) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|_| DecodeError {
                    kind: DecodeErrorKind::Utf8,
                    field,
                    offset,
                }),
        }
    }

    /// (COMPACT_)STRING.
    ///
    /// # Errors
    /// As [`Self::nullable_string`], or `NegativeLength` for null.
    pub fn string(&mut self, field: &'static str) -> Result<&'a str> {
        let offset = self.position();
        self.nullable_string(field)?.ok_or(DecodeError {
            kind: DecodeErrorKind::NegativeLength,
            field,
            offset,
        })
    }

    /// A STRING with a two-byte length whatever the version: the client id of every request header.
    ///
    /// # Errors
    /// `Incomplete`, `NegativeLength`.
    pub fn classic_nullable_string_bytes(
        &mut self,
        field: &'static str,
    ) -> Result<Option<&'a [u8]>> {
        let raw = self.i16(field)?;
        match self.length_or_null(i32::from(raw), field)? {
            None => Ok(None),
            Some(n) => self.take(n, field).map(Some),
        }
    }

    /// The length of a (COMPACT_)NULLABLE_BYTES or RECORDS field, without taking them; `None` = null.
    ///
    /// # Errors
    /// `Incomplete`, `NegativeLength`, `Varint`.
    pub fn bytes_length(&mut self, field: &'static str) -> Result<Option<usize>> {
        if self.flexible {
            return self.compact_length(field);
        }
        let raw = self.i32(field)?;
        self.length_or_null(raw, field)
    }

    /// (COMPACT_)NULLABLE_BYTES.
    ///
    /// # Errors
    /// As [`Self::bytes_length`].
    pub fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>> {
        match self.bytes_length(field)? {
            None => Ok(None),
            Some(n) => self.take(n, field).map(Some),
        }
    }

    /// The count of a (COMPACT_)ARRAY; `None` = null. Never allocate by it.
    ///
    /// # Errors
    /// As [`Self::bytes_length`].
    pub fn nullable_count(&mut self, field: &'static str) -> Result<Option<usize>> {
        self.bytes_length(field)
    }

    /// The count of a (COMPACT_)ARRAY, null read as empty.
    ///
    /// # Errors
    /// As [`Self::bytes_length`].
    pub fn count(&mut self, field: &'static str) -> Result<usize> {
        Ok(self.bytes_length(field)?.unwrap_or(0))
    }

    /// Visits each element of a (COMPACT_)ARRAY; null is read as empty.
    ///
    /// # Errors
    /// Whatever `each` returns first.
    pub fn array(
        &mut self,
        field: &'static str,
        mut each: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..self.count(field)? {
            each(self)?;
        }
        Ok(())
    }

    /// Collects an array of INT32. Grows as elements arrive, so a lying count allocates nothing.
    ///
    /// # Errors
    /// `Incomplete` and the array's own.
    pub fn i32_array(&mut self, field: &'static str) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        self.array(field, |r| {
            all.push(r.i32(field)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// A topic by name, or by id from the version on that uses ids.
    ///
    /// # Errors
    /// Those of the two forms.
    pub fn topic_ref(&mut self, by_id: bool, field: &'static str) -> Result<TopicRef<'a>> {
        if by_id {
            self.uuid(field).map(TopicRef::Id)
        } else {
            self.string(field).map(TopicRef::Name)
        }
    }

    /// Tagged fields (KIP-482): nothing in a non-flexible version, else each (tag, body) is shown to `each`.
    ///
    /// # Errors
    /// `Incomplete`, `Varint`, and whatever `each` returns.
    pub fn tagged(
        &mut self,
        mut each: impl FnMut(u32, &mut Reader<'a>) -> Result<()>,
    ) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint("tagged fields")? {
            let tag = self.uvarint("tag")?;
            let size = self.uvarint("tag size")?;
            let size = usize::try_from(size)
                .map_err(|_| self.fault(DecodeErrorKind::Limit, "tag size"))?;
            let start = self.position();
            let body = self.take(size, "tag body")?;
            let mut inner = Reader {
                rest: body,
                length: start.saturating_add(body.len()),
                flexible: true,
            };
            each(tag, &mut inner)?;
        }
        Ok(())
    }

    /// Skips tagged fields.
    ///
    /// # Errors
    /// As [`Self::tagged`].
    pub fn skip_tagged(&mut self) -> Result<()> {
        self.tagged(|_, _| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_varints_read_as_kafka_writes_them() {
        for (bytes, value) in [
            (&[0u8][..], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 0x01], 64),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], i32::MIN),
        ] {
            assert_eq!(Reader::new(bytes, false).varint("v"), Ok(value));
        }
        let max = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&max, false).varlong("v"), Ok(i64::MAX));
    }

    #[test]
    fn an_overlong_varint_is_a_fault_not_a_wrap() {
        let err = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f], false)
            .uvarint("v")
            .unwrap_err();
        assert_eq!(err.kind, DecodeErrorKind::Varint);
    }

    #[test]
    fn a_length_beyond_the_buffer_is_incomplete() {
        let err = Reader::new(&[0x7f, 0xff, b'a'], false)
            .string("name")
            .unwrap_err();
        assert!(err.is_incomplete());
        assert_eq!(err.field, "name");
    }

    #[test]
    fn tagged_positions_are_positions_in_the_whole_buffer() {
        let mut seen = None;
        let mut reader = Reader::new(&[9, 1, 0, 2, 0xaa, 0xbb], true);
        reader.i8("x").unwrap();
        reader
            .tagged(|tag, body| {
                seen = Some((tag, body.position(), body.remaining()));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, Some((0, 4, 2)));
    }
}
