//! Opens captured Kafka batches for the pipeline, which knows no protocol.
//!
//! What leaves is positions, times, ids, hashes and kinds of failure; keys, values and headers stay here, but for what the event log is
//! to show, which is redacted. Must not count.

use std::hash::{BuildHasher, RandomState};

use crate::{
    event::{DeliveredRecord, Identity, LateSchemas, RecordView, SentRecords, SentTo, SetAside},
    kafka::wire::{
        batch::BatchHeader,
        record::{Record, Records},
    },
    lineage::BusinessIds,
    pipeline::{RecordOpener, Unreadable},
    propagation::{DeadLetter, Position, origin_topic},
};

use super::{categories::Categories, schemas::SchemaCheck, showing::Shows};

/// Bytes a batch may have once decompressed.
const OPEN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Headers that hold an event's id, where none is configured; without regard to case.
const ID_HEADERS: [&[u8]; 3] = [b"idempotency-key", b"message-id", b"event-id"];

/// See [`RecordOpener`].
#[derive(Debug, Default)]
pub(crate) struct Opener {
    /// Where an event's id stands, before anything else.
    pub(crate) ids: BusinessIds,
    /// Topics that are dead-letter topics whatever their records say.
    pub(crate) dead_letters: Option<regex::Regex>,
    /// Kinds of failure.
    pub(crate) categories: Categories,
    /// Keyed per process: what is hashed comes from outside.
    pub(crate) hasher: RandomState,
    /// Holds values against a registry; `None` where nobody wants to know.
    pub(crate) schemas: Option<SchemaCheck>,
    /// What of a record may be shown.
    pub(crate) shows: Shows,
}

impl RecordOpener for Opener {
    fn delivered(
        &mut self,
        batch: &[u8],
        examined: bool,
    ) -> Result<Vec<DeliveredRecord>, Unreadable> {
        let records = Records::open(batch, OPEN_BYTES_MAX).map_err(|_| Unreadable)?;
        let header = *records.header();
        let of = |record: Record<'_>| DeliveredRecord {
            offset: offset(&header, &record),
            published_ms: header.published_ms(record.timestamp_delta),
            identity: if examined {
                self.identity(&record)
            } else {
                Identity::Unasked
            },
        };
        records
            .iter()
            .map(|r| r.map(of).map_err(|_| Unreadable))
            .collect()
    }

    fn sent(&mut self, to: &SentTo, batch: &[u8]) -> Result<SentRecords, Unreadable> {
        let records = Records::open(batch, OPEN_BYTES_MAX).map_err(|_| Unreadable)?;
        let topic = &to.topic;
        let named = self
            .dead_letters
            .as_ref()
            .is_some_and(|topics| topics.is_match(topic));
        let mut aside = Vec::new();
        for record in &records {
            let record = record.map_err(|_| Unreadable)?;
            let letter = DeadLetter::set_aside(topic, headers(&record))
                .or_else(|| named.then(DeadLetter::default));
            let number = record.offset_delta;
            aside.extend(letter.map(|letter| self.aside(topic, number, letter)));
        }
        let schemas = self.schemas.as_mut();
        let schemas = schemas.map(|check| check.take(to, &records, batch));
        Ok(SentRecords {
            aside,
            schemas: schemas.unwrap_or_default(),
        })
    }

    fn show(
        &mut self,
        batch: &[u8],
        wanted: &mut dyn FnMut(i32, i64) -> bool,
    ) -> Result<Vec<RecordView>, Unreadable> {
        let records = Records::open(batch, OPEN_BYTES_MAX).map_err(|_| Unreadable)?;
        let header = *records.header();
        let mut shown = Vec::new();
        for record in &records {
            let record = record.map_err(|_| Unreadable)?;
            let published_ms = header.published_ms(record.timestamp_delta);
            if wanted(record.offset_delta, published_ms) {
                shown.push(self.shows.of(&record, published_ms));
            }
        }
        Ok(shown)
    }

    fn late(&mut self) -> Vec<LateSchemas> {
        let schemas = self.schemas.as_mut();
        schemas.map_or_else(Vec::new, |check| check.late(OPEN_BYTES_MAX))
    }
}

impl Opener {
    fn identity(&self, record: &Record<'_>) -> Identity {
        let configured = (!self.ids.is_empty())
            .then(|| self.ids.of(headers(record), record.value))
            .and_then(|ids| ids.first().copied());
        if let Some(id) = configured {
            return Identity::Named(id);
        }
        let (mut event, mut source, mut other) = (None, None, [None; 3]);
        for (key, value) in headers(record) {
            let Some(value) = value.filter(|v| !v.is_empty()) else {
                continue;
            };
            match key {
                b"ce_id" => event = Some(value),
                b"ce_source" => source = Some(value),
                _ => {
                    let names = ID_HEADERS.iter().zip(&mut other);
                    for (_, place) in names.filter(|(name, _)| key.eq_ignore_ascii_case(name)) {
                        *place = Some(value);
                    }
                }
            }
        }
        if let (Some(event), Some(source)) = (event, source) {
            return Identity::Named(self.hasher.hash_one((0, event, source)));
        }
        let named = (1..).zip(other).find_map(|(n, id): (u8, _)| Some((n, id?)));
        match named {
            Some(named) => Identity::Named(self.hasher.hash_one(named)),
            None => Identity::Content(self.hasher.hash_one((record.key, record.value))),
        }
    }

    fn aside(&self, topic: &str, record: i32, letter: DeadLetter) -> SetAside {
        let class = letter.exception_class.as_deref();
        let (of, position) = match letter.origin {
            Some(Position {
                topic,
                partition,
                offset,
            }) => (Some(topic), Some((partition, offset))),
            None => (origin_topic(topic).map(str::to_owned), None),
        };
        let category = class.map_or_else(Default::default, |class| self.categories.of(class));
        SetAside {
            record,
            retry: letter.retry,
            topic: of.map(Into::into),
            position,
            group: letter.group.map(Into::into),
            category,
            exception_class: letter.exception_class.map(Into::into),
        }
    }
}

fn offset(header: &BatchHeader, record: &Record<'_>) -> i64 {
    header
        .base_offset
        .saturating_add(i64::from(record.offset_delta))
}

/// Up to the first that does not decode.
fn headers<'r>(
    record: &Record<'r>,
) -> impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)> + Clone + use<'r> {
    record
        .headers()
        .map_while(Result::ok)
        .map(|header| (header.key, header.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of one record with value `v` and these headers.
    fn batch(headers: &[(&str, &str)]) -> Vec<u8> {
        let size = |n: usize| u8::try_from(n * 2).unwrap();
        let mut record = vec![0, 0, 0, 1, 2, b'v', size(headers.len())];
        for (key, value) in headers {
            for text in [key, value] {
                record.push(size(text.len()));
                record.extend_from_slice(text.as_bytes());
            }
        }
        let mut out = vec![0u8; 61];
        // The length is a VARINT; these records are over 63 bytes long, at times.
        let length = record.len() * 2;
        if length < 128 {
            out.push(u8::try_from(length).unwrap());
        } else {
            out.push(u8::try_from(length & 127).unwrap() | 128);
            out.push(u8::try_from(length >> 7).unwrap());
        }
        out.extend_from_slice(&record);
        let length = u32::try_from(out.len() - 12).unwrap();
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[16] = 2;
        out[57..61].copy_from_slice(&1u32.to_be_bytes());
        out
    }

    fn identity(opener: &mut Opener, headers: &[(&str, &str)]) -> Identity {
        opener.delivered(&batch(headers), true).unwrap()[0].identity
    }

    #[test]
    fn the_first_id_there_is_names_the_event_and_without_one_its_content_does() {
        let mut opener = Opener::default();
        let mut of = |headers: &[(&str, &str)]| identity(&mut opener, headers);
        let cloud = [("ce_id", "1"), ("ce_source", "shop")];
        assert!(matches!(of(&cloud), Identity::Named(_)));
        assert_ne!(of(&cloud), of(&[("ce_id", "1"), ("ce_source", "bank")]));
        let both = [("ce_id", "1"), ("event-id", "9"), ("ce_source", "shop")];
        assert_eq!(of(&cloud), of(&both));
        assert_eq!(
            of(&[("Event-Id", "9")]),
            of(&[("event-id", "9"), ("x", "y")])
        );
        assert_ne!(of(&[("event-id", "9")]), of(&[("message-id", "9")]));
        assert!(matches!(of(&[("ce_id", "1")]), Identity::Content(_)));
        assert_eq!(of(&[("x", "1")]), of(&[("x", "2")]));
        let plain = opener.delivered(&batch(&cloud), false).unwrap();
        assert_eq!(plain[0].identity, Identity::Unasked);
    }

    #[test]
    fn what_is_set_aside_says_where_it_came_from_and_why() {
        let mut opener = Opener::default();
        let connect = batch(&[
            ("__connect.errors.topic", "orders"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "42"),
            ("__connect.errors.connector.name", "sink"),
            (
                "__connect.errors.exception.class.name",
                "java.net.SocketTimeoutException",
            ),
        ]);
        let sent = |opener: &mut Opener, topic: &str, batch: &[u8]| {
            let to = SentTo {
                topic: topic.into(),
                partition: 0,
                base_offset: None,
                as_captured: true,
            };
            opener.sent(&to, batch).unwrap().aside
        };
        let found = sent(&mut opener, "errors", &connect);
        let letter = SetAside {
            retry: false,
            topic: Some("orders".into()),
            position: Some((3, 42)),
            group: Some("connect-sink".into()),
            category: crate::event::Category::Transient,
            exception_class: Some("java.net.SocketTimeoutException".into()),
            ..SetAside::default()
        };
        assert_eq!(found, [letter]);
        let named = sent(&mut opener, "orders.dlq", &batch(&[]));
        assert_eq!(named[0].topic.as_deref(), Some("orders"));
        assert_eq!(named[0].position, None);
        assert!(sent(&mut opener, "orders", &batch(&[])).is_empty());
        let mut opener = Opener {
            dead_letters: regex::Regex::new("^failed$").ok(),
            ..opener
        };
        assert_eq!(sent(&mut opener, "failed", &batch(&[])).len(), 1);
    }
}
