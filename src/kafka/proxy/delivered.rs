//! A Fetch or ShareFetch response as it streams by: what the application is about to see.
//!
//! Delivered = fetched, less aborted and control batches, less records before the offset asked for. Captures a batch only
//! where the observer asks for its records and the budget allows. Must not open a batch.

use std::{collections::BTreeMap, sync::PoisonError};

use bytes::Bytes;

use crate::{
    event::{
        Acquired, BatchFact, BatchKind, BypassReason, CapturedBatch, Codec, DeliveredPart, Name,
        Reservation, Stamp, UNRESOLVED,
    },
    kafka::wire::{
        batch::BatchHeader,
        compression, error_code,
        reader::TopicRef,
        record::ControlType,
        scan::{Head, PartitionHead, Sink},
    },
};

use super::{
    by_partition::ByPartition,
    pool::Spare,
    recent::{DeliveredBatch, Found},
    sessions,
    shared::Shared,
};

/// Batches reported per response; more are passed and not reported.
const BATCHES_MAX: usize = 100_000;
/// Bytes of a batch for which there is room at once; more grow with what arrives.
const BATCH_AT_ONCE: usize = 4 << 20;
/// Aborted transactions kept per partition.
const ABORTED_MAX: usize = 10_000;

/// A batch whose bytes are kept as they pass: once, whoever wants them.
#[derive(Debug)]
struct HeldBatch {
    bytes: Spare,
    /// Its records are to be indexed.
    indexed: Option<Reservation>,
    /// The observer wants its records; whether to examine them.
    captured: Option<(Reservation, bool)>,
}

/// A batch whose records are indexed at the end of its partition.
#[derive(Debug)]
struct WaitingBatch {
    /// Which of the partition's batches.
    number: usize,
    bytes: Bytes,
    /// Held until the batch is indexed.
    _room: Reservation,
}

/// Collects what a response delivers.
#[derive(Debug)]
pub(crate) struct DeliveredSink<'a> {
    shared: &'a Shared,
    session: Option<&'a sessions::Shared>,
    read_committed: bool,
    share: bool,
    at: Stamp,
    pub(crate) head: Head,
    pub(crate) parts: Vec<DeliveredPart>,
    /// Some partition had records waiting when it was asked.
    pub(crate) data_was_there: bool,
    /// First error among the partitions.
    pub(crate) error_code: i16,
    topic: Option<Name>,
    open: bool,
    batches: usize,
    /// Aborted transactions of the current partition, by first offset.
    aborted: Vec<(i64, i64)>,
    next_aborted: usize,
    /// Producers whose current transaction is aborted, with the offset it began at.
    aborting: BTreeMap<i64, i64>,
    /// The batch at hand, where it is wanted.
    held: Option<HeldBatch>,
    /// Batches of the current partition that are indexed once it is known which of their records the member was given: share groups.
    waiting: Vec<WaitingBatch>,
    /// What became of the acknowledgements in the request.
    pub(crate) acknowledged: ByPartition<i16>,
}

impl<'a> DeliveredSink<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        session: Option<&'a sessions::Shared>,
        read_committed: bool,
        share: bool,
        at: Stamp,
    ) -> Self {
        Self {
            shared,
            session,
            read_committed,
            share,
            at,
            head: Head::default(),
            parts: Vec::new(),
            data_was_there: false,
            error_code: 0,
            topic: None,
            open: false,
            batches: 0,
            aborted: Vec::new(),
            next_aborted: 0,
            aborting: BTreeMap::new(),
            held: None,
            waiting: Vec::new(),
            acknowledged: ByPartition::default(),
        }
    }

    fn part(&mut self) -> Option<&mut DeliveredPart> {
        if self.open {
            self.parts.last_mut()
        } else {
            None
        }
    }

    /// As Kafka's own consumer does it: a transaction is aborted from its first offset to its marker.
    fn kind(&mut self, header: &BatchHeader, marker: Option<ControlType>) -> BatchKind {
        if !self.read_committed {
            return if header.is_control() {
                BatchKind::Control
            } else {
                BatchKind::Data
            };
        }
        let last = header.last_offset();
        while let Some((first, producer)) = self.aborted.get(self.next_aborted).copied()
            && first <= last
        {
            self.aborting.insert(producer, first);
            self.next_aborted = self.next_aborted.saturating_add(1);
        }
        if header.is_control() {
            if marker == Some(ControlType::Abort) {
                self.aborting.remove(&header.producer_id);
            }
            return BatchKind::Control;
        }
        if header.is_transactional() && self.aborting.contains_key(&header.producer_id) {
            BatchKind::Aborted
        } else {
            BatchKind::Data
        }
    }

    fn fact(header: &BatchHeader, kind: BatchKind, asked: Option<i64>) -> BatchFact {
        let (base_timestamp_ms, max_timestamp_ms) = header.timestamps();
        let records = u32::try_from(header.record_count).unwrap_or(0);
        let before = asked.map_or(0, |asked| asked.saturating_sub(header.base_offset).max(0));
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        // Where compaction left holes, fewer records than offsets stand before the one asked for.
        let after = u32::try_from(
            header
                .last_offset()
                .saturating_sub(header.base_offset)
                .saturating_add(1),
        )
        .unwrap_or(u32::MAX)
        .saturating_sub(before);
        let delivered = if kind == BatchKind::Data {
            records.min(after)
        } else {
            0
        };
        BatchFact {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            records,
            delivered,
            bytes: u32::try_from(header.total_bytes()).unwrap_or(u32::MAX),
            base_timestamp_ms,
            max_timestamp_ms,
            log_append_time: header.is_log_append_time(),
            codec: compression::codec(header.codec()),
            kind,
            captured: None,
        }
    }

    /// Room to index the records of a batch, where they are to be.
    fn room_to_index(&self, topic: &Name, header: &BatchHeader) -> Option<Reservation> {
        let Self { shared, at, .. } = self;
        if !shared.recent.wants(at.mono) {
            return None;
        }
        if !shared.recent.traces() && !shared.modes.load().injects() {
            return None;
        }
        if topic.as_ref() == UNRESOLVED {
            return None;
        }
        let room = shared.inject.hold(header.total_bytes());
        if room.is_none() {
            shared.recent.missed(shared, topic, at.mono);
        }
        room
    }

    /// Indexes the records that the application is given of a batch of the current partition.
    fn index(&mut self, number: usize, bytes: &[u8]) {
        let (shared, at) = (self.shared, self.at);
        let Some(part) = self.parts.last_mut() else {
            return;
        };
        let fact = part.batches.get(number);
        let Some(fact) = fact.filter(|fact| fact.delivered > 0) else {
            return;
        };
        let batch = DeliveredBatch {
            topic: &part.topic,
            partition: part.partition,
            asked: part.asked,
            acquired: self.share.then_some(part.acquired.as_slice()),
            packed: fact.codec != Codec::None,
            records: u64::from(fact.delivered),
            bytes,
        };
        let found = Found {
            traced: &mut part.traced,
            unrecorded: &mut part.unrecorded,
        };
        if !shared.recent.index(shared, batch, at, found) {
            shared.recent.missed(shared, batch.topic, at.mono);
        }
    }

    /// Share groups: what was acquired is delivered, not what the batches hold.
    fn count_acquired(&mut self) {
        let Some(part) = self.part() else { return };
        part.acquired.sort_unstable_by_key(|run| run.first);
        for batch in &mut part.batches {
            let overlap: i64 = part
                .acquired
                .iter()
                .map(|run| {
                    run.last
                        .min(batch.last_offset)
                        .saturating_sub(run.first.max(batch.base_offset))
                        .saturating_add(1)
                        .max(0)
                })
                .sum();
            batch.delivered = batch
                .delivered
                .min(u32::try_from(overlap).unwrap_or(u32::MAX));
        }
        for WaitingBatch { number, bytes, .. } in std::mem::take(&mut self.waiting) {
            self.index(number, &bytes);
        }
    }
}

/// Room for the bytes of a batch; a length that lies takes none that is not used.
fn room_for(shared: &Shared, header: &BatchHeader) -> Spare {
    let bytes = header.total_bytes().min(BATCH_AT_ONCE);
    let mut room = shared.spares.take(bytes);
    room.reserve_exact(bytes);
    room
}

impl Sink for DeliveredSink<'_> {
    fn head(&mut self, head: Head) {
        self.head = head;
    }

    fn topic(&mut self, topic: TopicRef<'_>) {
        let name = self.shared.topics.resolve(topic);
        self.topic = self.shared.observes(&name).then_some(name);
    }

    fn partition(&mut self, head: PartitionHead) {
        self.open = false;
        self.waiting.clear();
        self.aborted.clear();
        self.next_aborted = 0;
        self.aborting.clear();
        if self.error_code == 0 {
            self.error_code = head.error_code;
        }
        let Some(topic) = self.topic.clone() else {
            return;
        };
        if self.share {
            let code = head.acknowledge_error_code;
            self.error_code = error_code::worse(self.error_code, code);
            self.acknowledged.insert(&topic, head.partition, code);
        }
        let mut asked = None;
        if let Some(session) = self.session {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = session.asked(&topic, head.partition) {
                asked = Some(known.offset);
                if known.known_end > known.offset {
                    self.data_was_there = true;
                }
                let end = if self.read_committed {
                    head.last_stable_offset
                } else {
                    head.high_watermark
                };
                known.known_end = known.known_end.max(end);
            }
        }
        self.open = true;
        self.parts.push(DeliveredPart {
            topic,
            partition: head.partition,
            asked,
            error: error_code::failure(head.error_code),
            high_watermark: head.high_watermark,
            last_stable: head.last_stable_offset,
            log_start: head.log_start_offset,
            batches: Vec::new(),
            acquired: Vec::new(),
            traced: Vec::new(),
            unrecorded: None,
        });
    }

    fn aborted(&mut self, producer_id: i64, first_offset: i64) {
        if self.read_committed && self.aborted.len() < ABORTED_MAX {
            let at = self
                .aborted
                .partition_point(|(first, _)| *first <= first_offset);
            self.aborted.insert(at, (first_offset, producer_id));
        }
    }

    fn batch(&mut self, header: &BatchHeader, marker: Option<ControlType>) -> bool {
        let kind = self.kind(header, marker);
        self.batches = self.batches.saturating_add(1);
        if self.batches > BATCHES_MAX {
            self.open = false;
        }
        let Some(part) = self.part() else {
            return false;
        };
        let asked = part.asked;
        let fact = Self::fact(header, kind, asked);
        // Old records resent from the middle of a batch, all of them before the offset asked for, are no delivery.
        let wanted = fact.delivered > 0
            && !fact.log_append_time
            && fact.max_timestamp_ms > fact.base_timestamp_ms;
        let (topic, partition, base, max) = (
            Name::clone(&part.topic),
            part.partition,
            fact.base_timestamp_ms,
            fact.max_timestamp_ms,
        );
        let delivered = fact.delivered > 0;
        part.batches.push(fact);
        let indexed = delivered
            .then(|| self.room_to_index(&topic, header))
            .flatten();
        let observer = &self.shared.observer;
        let examined = delivered && observer.examines(&topic, partition, header.total_bytes());
        let opened =
            examined || (wanted && observer.wants_records(&topic, self.at.wall_ms, base, max));
        let captured = opened
            .then(|| observer.reserve(header.total_bytes()))
            .flatten()
            .map(|room| (room, examined));
        let kept = indexed.is_some() || captured.is_some();
        self.held = kept.then(|| HeldBatch {
            bytes: room_for(self.shared, header),
            indexed,
            captured,
        });
        kept
    }

    fn batch_bytes(&mut self, bytes: &[u8]) {
        if let Some(held) = &mut self.held {
            held.bytes.extend_from_slice(bytes);
        }
    }

    fn batch_end(&mut self) {
        let Some(HeldBatch {
            bytes,
            mut indexed,
            captured,
        }) = self.held.take()
        else {
            return;
        };
        let Some(number) = self.part().and_then(|p| p.batches.len().checked_sub(1)) else {
            return;
        };
        if !self.share && indexed.is_some() {
            self.index(number, &bytes);
            indexed = None;
        }
        if indexed.is_none() && captured.is_none() {
            return;
        }
        // What is kept longer takes no more room than it needs.
        let bytes = Bytes::copy_from_slice(&bytes);
        if let Some(room) = indexed {
            self.waiting.push(WaitingBatch {
                number,
                bytes: bytes.clone(),
                _room: room,
            });
        }
        if let Some((reservation, examined)) = captured
            && let Some(batch) = self.part().and_then(|p| p.batches.last_mut())
        {
            batch.captured = Some(CapturedBatch {
                bytes,
                reservation,
                examined,
                edited: false,
            });
        }
    }

    fn old_format(&mut self, _bytes: usize) {
        self.shared.counters.add_bypass(BypassReason::OldVersion);
    }

    fn cut_off(&mut self, damaged: bool) {
        if damaged {
            self.shared.counters.add_bypass(BypassReason::Decode);
        }
    }

    fn acquired(&mut self, first: i64, last: i64, delivery_count: i16) {
        if let Some(part) = self.part().filter(|part| part.acquired.len() < BATCHES_MAX) {
            part.acquired.push(Acquired {
                first,
                last,
                deliveries: u32::try_from(delivery_count).unwrap_or(0),
            });
        }
    }

    fn partition_end(&mut self) {
        if self.share {
            self.count_acquired();
        }
        self.open = false;
    }
}
