//! A Produce request as it streams by: what is in it, per partition.

use crate::{
    event::{Codec, Injection, Name, ProducedPart, PublishOutcome},
    kafka::wire::{
        batch::BatchHeader,
        compression,
        reader::TopicRef,
        record::ControlType,
        scan::{Head, PartitionHead, Sink},
    },
};

use super::{inject::sequence, shared::Shared};

/// Partitions kept per request; more are passed and not reported.
const PARTS_MAX: usize = 10_000;

/// Collects the parts of a Produce request.
#[derive(Debug)]
pub(crate) struct ProducedSink<'a> {
    shared: &'a Shared,
    pub(crate) acks: i16,
    pub(crate) transactional: bool,
    pub(crate) parts: Vec<ProducedPart>,
    topic: Option<Name>,
    open: bool,
}

impl<'a> ProducedSink<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            acks: -1,
            transactional: false,
            parts: Vec::new(),
            topic: None,
            open: false,
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
        self.topic = self.shared.observes(&name).then_some(name);
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
            sequence: None,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            outcome: PublishOutcome::Lost,
            injection: Injection::default(),
            traced: Vec::new(),
            descent: Vec::new(),
        });
    }

    fn aborted(&mut self, _producer_id: i64, _first_offset: i64) {}

    fn batch(&mut self, header: &BatchHeader, _marker: Option<ControlType>) -> bool {
        let (base, max) = header.timestamps();
        if let Some(part) = self.part() {
            if part.batches == 0 {
                part.codec = compression::codec(header.codec());
                part.base_timestamp_ms = base;
                part.sequence = sequence(*header);
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
        false
    }

    fn batch_bytes(&mut self, _bytes: &[u8]) {}

    fn batch_end(&mut self) {}

    fn old_format(&mut self, bytes: usize) {
        if let Some(part) = self.part() {
            part.bytes = part.bytes.saturating_add(u64::try_from(bytes).unwrap_or(0));
        }
    }

    fn cut_off(&mut self, _damaged: bool) {}

    fn acquired(&mut self, _first: i64, _last: i64, _delivery_count: i16) {}

    fn partition_end(&mut self) {}
}
