//! A Produce request as it streams by: what is in it, per partition.

use bytes::Bytes;

use crate::{
    event::{
        CapturedBatch, Codec, Injection, Name, ProducedPart, PublishOutcome, Reservation, Stamp,
        UNRESOLVED,
    },
    kafka::wire::{
        batch::BatchHeader,
        compression,
        reader::TopicRef,
        record::ControlType,
        scan::{Head, PartitionHead, Sink},
    },
};

use super::{
    bare::{Bare, SentBatch},
    inject::sequence,
    settings::TopicMode,
    shared::Shared,
};

/// Partitions kept per request; more are passed and not reported.
const PARTS_MAX: usize = 10_000;

/// Bytes of a batch for which there is room at once; more grow with what arrives.
const BATCH_AT_ONCE: usize = 4 << 20;

/// Collects the parts of a Produce request.
#[derive(Debug)]
pub(crate) struct ProducedSink<'a> {
    shared: &'a Shared,
    pub(crate) acks: i16,
    pub(crate) transactional: bool,
    pub(crate) parts: Vec<ProducedPart>,
    /// Records that stay without a context.
    pub(crate) bare: Vec<Bare>,
    topic: Option<Name>,
    /// The records of the topic stay as they are, and somebody wants to know of them.
    notes: bool,
    open: bool,
    /// The batch at hand, where it is wanted.
    held: Option<HeldBatch>,
}

/// A batch whose bytes are kept as they pass: once, whoever wants them.
#[derive(Debug)]
struct HeldBatch {
    bytes: Vec<u8>,
    /// Its records are to be noted.
    noted: Option<Reservation>,
    /// The observer wants to examine its records.
    captured: Option<Reservation>,
}

impl<'a> ProducedSink<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            acks: -1,
            transactional: false,
            parts: Vec::new(),
            bare: Vec::new(),
            topic: None,
            notes: false,
            open: false,
            held: None,
        }
    }

    fn part(&mut self) -> Option<&mut ProducedPart> {
        if self.open {
            self.parts.last_mut()
        } else {
            None
        }
    }
}

impl Sink for ProducedSink<'_> {
    fn head(&mut self, head: Head) {
        self.acks = head.acks;
        self.transactional = head.transactional;
    }

    fn topic(&mut self, topic: TopicRef<'_>) {
        let name = self.shared.topics.resolve(topic);
        let shared = self.shared;
        let mode = shared.modes.load().of(&name);
        self.notes = mode == TopicMode::Observe
            && self.acks != 0
            && shared.recent.traces()
            && name.as_ref() != UNRESOLVED;
        self.topic = (mode != TopicMode::Off).then_some(name);
    }

    fn partition(&mut self, head: PartitionHead) {
        self.open = false;
        let Some(topic) = &self.topic else { return };
        if self.parts.len() >= PARTS_MAX {
            return;
        }
        self.open = true;
        self.parts.push(ProducedPart {
            topic: Name::clone(topic),
            partition: head.partition,
            batches: 0,
            records: 0,
            bytes: 0,
            codec: Codec::None,
            transaction: None,
            sequence: None,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            outcome: PublishOutcome::Lost,
            captured: None,
            injection: Injection::default(),
            traced: Vec::new(),
            unrecorded: None,
            descent: Vec::new(),
        });
    }

    fn aborted(&mut self, _producer_id: i64, _first_offset: i64) {}

    fn batch(&mut self, header: &BatchHeader, _marker: Option<ControlType>) -> bool {
        let (base, max) = header.timestamps();
        let mut first = false;
        if let Some(part) = self.part() {
            first = part.batches == 0;
            if first {
                part.codec = compression::codec(header.codec());
                part.base_timestamp_ms = base;
                part.sequence = sequence(*header);
                part.transaction = header.is_transactional().then_some(header.producer_id);
            }
            part.batches = part.batches.saturating_add(1);
            part.records = part
                .records
                .saturating_add(u64::try_from(header.record_count).unwrap_or(0));
            part.bytes = part
                .bytes
                .saturating_add(u64::try_from(header.total_bytes()).unwrap_or(0));
            part.max_timestamp_ms = part.max_timestamp_ms.max(max);
        }
        // Kafka takes one batch per partition; what stands behind it has no offset that is told.
        let noted = (self.notes && first)
            .then(|| self.shared.inject.hold(header.total_bytes()))
            .flatten();
        let observer = &self.shared.observer;
        let of = self.parts.last().filter(|_| self.open && first);
        let bytes = header.total_bytes();
        let captured = of
            .filter(|part| observer.examines(&part.topic, part.partition, bytes))
            .and_then(|_| observer.reserve(bytes));
        let wanted = noted.is_some() || captured.is_some();
        self.held = wanted.then(|| HeldBatch {
            bytes: Vec::with_capacity(bytes.min(BATCH_AT_ONCE)),
            noted,
            captured,
        });
        wanted
    }

    fn batch_bytes(&mut self, bytes: &[u8]) {
        if let Some(held) = &mut self.held {
            held.bytes.extend_from_slice(bytes);
        }
    }

    fn batch_end(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let number = self.parts.len().saturating_sub(1);
        if let (Some(room), Some(part)) = (held.noted, self.parts.last_mut()) {
            let batch = SentBatch {
                topic: &Name::clone(&part.topic),
                at: Stamp::now(),
                packed: part.codec != Codec::None,
                bytes: &held.bytes,
            };
            self.bare
                .extend(Bare::note(self.shared, batch, (number, part), Vec::new()));
            drop(room);
        }
        if let (Some(reservation), Some(part)) = (held.captured, self.part()) {
            part.captured = Some(CapturedBatch {
                bytes: Bytes::from(held.bytes),
                reservation,
                examined: true,
                edited: false,
            });
        }
    }

    fn old_format(&mut self, bytes: usize) {
        if let Some(part) = self.part() {
            part.bytes = part.bytes.saturating_add(u64::try_from(bytes).unwrap_or(0));
        }
    }

    fn cut_off(&mut self, _damaged: bool) {}

    fn acquired(&mut self, _first: i64, _last: i64, _delivery_count: i16) {}

    fn partition_end(&mut self) {}
}
