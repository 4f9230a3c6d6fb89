//! Finds the few records of a partition that hold one of some byte strings, without reading the others.
//!
//! A batch is decompressed (with a cap) and its body searched as bytes; only records with a hit are decoded. What is found
//! may hold the string anywhere, so the caller decides whether it means anything. Must not keep what it read.

use memchr::memmem::Finder;

use super::{
    batch::{BATCH_LENGTH_PREFIX_BYTES, BatchHeader, MAGIC_PEEK_BYTES},
    reader::Reader,
    record::{ControlType, Record, Records, control_type},
};

/// The byte strings to look for.
#[derive(Debug, Clone)]
pub struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// Empty strings are left out: they are everywhere.
    #[must_use]
    pub fn new<'n>(strings: impl IntoIterator<Item = &'n [u8]>) -> Self {
        let some = strings.into_iter().filter(|string| !string.is_empty());
        Self(some.map(|s| Finder::new(s).into_owned()).collect())
    }

    /// Where they stand, ascending.
    fn places(&self, body: &[u8]) -> Vec<usize> {
        let mut all: Vec<usize> = Vec::new();
        for finder in &self.0 {
            all.extend(finder.find_iter(body));
        }
        if self.0.len() > 1 {
            all.sort_unstable();
        }
        all
    }
}

/// What is looked for.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Records with one of these in them.
    Holding(Needles),
    /// The record at this offset.
    At(i64),
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Searched {
    /// Records in the batches, found or not.
    pub records: u64,
    /// Batches that could not be opened: damaged, past the cap, of an unknown codec, or of a format before headers.
    pub unreadable: u64,
    /// Offset behind the last whole batch; `None` where there was none.
    pub next_offset: Option<i64>,
}

/// A record that was found.
#[derive(Debug, Clone)]
pub struct Hit<'r> {
    /// Its offset.
    pub offset: i64,
    /// Its time, ms.
    pub timestamp: i64,
    /// It is part of a transaction that was aborted.
    pub aborted: bool,
    /// The record.
    pub record: Record<'r>,
}

/// Walks the headers of whole batches in `records`: gives each batch's bytes with its header, or its next offset alone
/// where the format is older. Ends at a batch that is cut off or does not look like one.
fn batches(mut records: &[u8], mut each: impl FnMut(&[u8], Option<BatchHeader>, i64)) {
    while records.len() >= MAGIC_PEEK_BYTES {
        let mut r = Reader::new(records, false);
        let (Ok(base), Ok(size)) = (r.i64("base offset"), r.i32("batch length")) else {
            return;
        };
        let Ok(size) = usize::try_from(size) else {
            return;
        };
        let total = size.saturating_add(BATCH_LENGTH_PREFIX_BYTES);
        let Some((batch, rest)) = records.split_at_checked(total) else {
            return;
        };
        let header = BatchHeader::read(batch).ok();
        // In formats 0 and 1 the offset is that of the (last) message.
        let last = header.map_or(base, |header| header.last_offset());
        each(batch, header, last.saturating_add(1));
        records = rest;
    }
}

/// The offset behind the last whole batch, from the headers alone.
#[must_use]
pub fn next_offset(records: &[u8]) -> Option<i64> {
    let mut next = None;
    batches(records, |_, _, behind| next = Some(behind));
    next
}

/// Looks through the records of one fetched partition. `aborted` is (producer id, first offset), as the broker told.
/// A batch is decompressed into at most `cap` bytes.
pub fn search(
    records: &[u8],
    aborted: &[(i64, i64)],
    wanted: &Wanted,
    cap: usize,
    mut hit: impl FnMut(Hit<'_>),
) -> Searched {
    let mut done = Searched::default();
    let mut aborting = Aborting::new(aborted);
    batches(records, |batch, header, behind| {
        done.next_offset = Some(behind);
        let Some(header) = header else {
            done.unreadable = done.unreadable.saturating_add(1);
            return;
        };
        let is_aborted = aborting.passes(&header, batch);
        if header.is_control() {
            return;
        }
        let count = u64::try_from(header.record_count).unwrap_or(0);
        done.records = done.records.saturating_add(count);
        if let Wanted::At(offset) = wanted
            && !(header.base_offset..behind).contains(offset)
        {
            return;
        }
        match Records::open(batch, cap) {
            Ok(open) => search_batch(&open, wanted, is_aborted, &mut hit),
            Err(_) => done.unreadable = done.unreadable.saturating_add(1),
        }
    });
    done
}

fn search_batch(open: &Records<'_>, wanted: &Wanted, aborted: bool, hit: &mut impl FnMut(Hit<'_>)) {
    let places = match wanted {
        Wanted::Holding(needles) => needles.places(open.body()),
        Wanted::At(_) => Vec::new(),
    };
    let mut places = places.into_iter().peekable();
    let header = open.header();
    for record in open.iter().map_while(Result::ok) {
        let offset = header
            .base_offset
            .saturating_add(i64::from(record.offset_delta));
        let is_wanted = match wanted {
            Wanted::At(wanted) => offset == *wanted,
            Wanted::Holding(_) => {
                if places.peek().is_none() {
                    return;
                }
                let mut holds = false;
                while places.next_if(|place| *place < record.at.end).is_some() {
                    holds = true;
                }
                holds
            }
        };
        if is_wanted {
            hit(Hit {
                offset,
                timestamp: header.published_ms(record.timestamp_delta),
                aborted,
                record,
            });
        }
    }
}

/// What [`first_visible`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstVisible {
    /// The first record a reader of committed records would get.
    Found {
        /// Its offset.
        offset: i64,
        /// Its time, ms.
        timestamp_ms: i64,
    },
    /// Only markers, aborted records and holes up to here.
    Passed(i64),
    /// The first batch that counts is not whole: it is larger than what was asked for.
    CutOff,
    /// The batch is damaged, opens to more than the cap, or is of a format before v2.
    Unreadable,
}

/// The first record at `from` or behind it that a reader of committed records would get, as far as whole batches tell.
/// `aborted` is (producer id, first offset), as the broker told. A batch is decompressed into at most `cap` bytes, and only
/// where its header leaves the answer open.
#[must_use]
pub fn first_visible(
    records: &[u8],
    aborted: &[(i64, i64)],
    from: i64,
    cap: usize,
) -> FirstVisible {
    let mut aborting = Aborting::new(aborted);
    let mut found = None;
    let mut passed = None;
    batches(records, |batch, header, behind| {
        if found.is_some() {
            return;
        }
        let Some(header) = header else {
            found = Some(FirstVisible::Unreadable);
            return;
        };
        let is_aborted = aborting.passes(&header, batch);
        if behind > from && !is_aborted && !header.is_control() {
            found = first_of(batch, &header, from, cap);
        }
        passed = Some(behind);
    });
    match (found, passed) {
        (Some(found), _) => found,
        (None, Some(behind)) if behind > from => FirstVisible::Passed(behind),
        (None, _) => FirstVisible::CutOff,
    }
}

/// The first record of a batch at `from` or behind; `None` where compaction left none there.
fn first_of(batch: &[u8], header: &BatchHeader, from: i64, cap: usize) -> Option<FirstVisible> {
    let span = header.last_offset_delta.saturating_add(1);
    // Every record has the header's time.
    if header.record_count == span && (header.is_log_append_time() || span == 1) {
        return Some(FirstVisible::Found {
            offset: header.base_offset.max(from),
            timestamp_ms: header.max_timestamp,
        });
    }
    let Ok(open) = Records::open(batch, cap) else {
        return Some(FirstVisible::Unreadable);
    };
    for record in &open {
        let Ok(record) = record else {
            return Some(FirstVisible::Unreadable);
        };
        let delta = i64::from(record.offset_delta);
        let offset = header.base_offset.saturating_add(delta);
        if offset >= from {
            return Some(FirstVisible::Found {
                offset,
                timestamp_ms: header.published_ms(record.timestamp_delta),
            });
        }
    }
    None
}

/// Which producers' transactional records are aborted, as batches pass in order (KIP-98).
#[derive(Debug)]
struct Aborting<'a> {
    /// By first offset, not begun yet.
    ahead: Vec<&'a (i64, i64)>,
    now: Vec<i64>,
}

impl<'a> Aborting<'a> {
    fn new(aborted: &'a [(i64, i64)]) -> Self {
        let mut ahead: Vec<_> = aborted.iter().collect();
        ahead.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
        Self {
            ahead,
            now: Vec::new(),
        }
    }

    fn passes(&mut self, header: &BatchHeader, batch: &[u8]) -> bool {
        if !header.is_transactional() {
            return false;
        }
        while let Some((producer, _)) = self
            .ahead
            .pop_if(|(_, first)| *first <= header.last_offset())
        {
            self.now.push(*producer);
        }
        if header.is_control() {
            let record = batch
                .get(super::batch::BATCH_HEADER_BYTES..)
                .unwrap_or_default();
            if control_type(record) == Some(ControlType::Abort) {
                self.now.retain(|producer| *producer != header.producer_id);
            }
            return false;
        }
        self.now.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::splice::put_varint;

    /// A batch at `base` with one record per value, times 1000 + i, uncompressed.
    fn batch(base: i64, attributes: u8, producer: i64, values: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let i = i32::try_from(i).unwrap();
            let mut record = vec![0];
            put_varint(&mut record, i);
            put_varint(&mut record, i);
            put_varint(&mut record, -1);
            put_varint(&mut record, i32::try_from(value.len()).unwrap());
            record.extend_from_slice(value.as_bytes());
            put_varint(&mut record, 0);
            put_varint(&mut body, i32::try_from(record.len()).unwrap());
            body.append(&mut record);
        }
        let count = i32::try_from(values.len()).unwrap();
        framed(base, attributes, producer, count, &body)
    }

    fn framed(base: i64, attributes: u8, producer: i64, count: i32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::from(base.to_be_bytes());
        let length = i32::try_from(49 + body.len()).unwrap();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, attributes]);
        out.extend_from_slice(&(count - 1).to_be_bytes());
        out.extend_from_slice(&1000i64.to_be_bytes());
        out.extend_from_slice(&9000i64.to_be_bytes());
        out.extend_from_slice(&producer.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn marker(base: i64, producer: i64, kind: u8) -> Vec<u8> {
        let body = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
        framed(base, 0x30, producer, 1, &body)
    }

    fn found(
        records: &[u8],
        aborted: &[(i64, i64)],
        wanted: &Wanted,
    ) -> (Vec<(i64, i64, bool)>, Searched) {
        let mut all = Vec::new();
        let done = search(records, aborted, wanted, 1 << 20, |hit| {
            all.push((hit.offset, hit.timestamp, hit.aborted));
        });
        (all, done)
    }

    #[test]
    fn only_records_that_hold_a_needle_are_found_once_each() {
        let records = [
            batch(10, 0, -1, &["x", "needle needle", "other", ""]),
            batch(20, 0x08, -1, &["", "another"]),
        ]
        .concat();
        let needles = Needles::new([&b"needle"[..], b"other", b""]);
        let (all, done) = found(&records, &[], &Wanted::Holding(needles.clone()));
        // Under LogAppendTime the batch's largest time is each record's.
        assert_eq!(
            all,
            [(11, 1001, false), (12, 1002, false), (21, 9000, false)]
        );
        assert_eq!((done.records, done.unreadable), (6, 0));
        assert_eq!(done.next_offset, Some(22));
        assert_eq!(next_offset(&records), Some(22));
    }

    #[test]
    fn a_record_is_found_by_its_offset_and_a_cut_batch_is_left() {
        let whole = [batch(0, 0, -1, &["a", "b"]), batch(2, 0, -1, &["c"])].concat();
        assert_eq!(
            found(&whole, &[], &Wanted::At(1)).0,
            [(1, 1001, false)],
            "by offset"
        );
        assert_eq!(found(&whole, &[], &Wanted::At(3)).0, []);
        let (all, done) = found(&whole[..whole.len() - 1], &[], &Wanted::At(2));
        assert_eq!((all, done.next_offset, done.records), (vec![], Some(2), 2));
    }

    #[test]
    fn what_cannot_be_opened_is_counted() {
        let mut unknown = batch(0, 7, -1, &["needle"]);
        unknown.extend(batch(1, 4, -1, &["needle"]));
        // Format 1: one message, whose offset stands first.
        let mut old = vec![0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 10, 0, 0, 0, 0, 1];
        old.extend_from_slice(&[0; 5]);
        unknown.append(&mut old);
        let needles = Needles::new([&b"needle"[..]]);
        let (all, done) = found(&unknown, &[], &Wanted::Holding(needles.clone()));
        assert_eq!((all, done.unreadable), (vec![], 3));
        assert_eq!(done.next_offset, Some(6));
    }

    #[test]
    fn records_of_an_aborted_transaction_are_marked_up_to_its_marker() {
        let records = [
            batch(0, 0x10, 7, &["n"]),
            batch(1, 0x10, 8, &["n"]),
            marker(2, 7, 0),
            batch(3, 0x10, 7, &["n"]),
            marker(4, 7, 1),
            marker(5, 8, 1),
            batch(6, 0, -1, &["n"]),
        ]
        .concat();
        let needles = Needles::new([&b"n"[..]]);
        let (all, _) = found(&records, &[(7, 0)], &Wanted::Holding(needles.clone()));
        let all: Vec<_> = all
            .into_iter()
            .map(|(at, _, aborted)| (at, aborted))
            .collect();
        assert_eq!(all, [(0, true), (1, false), (3, false), (6, false)]);
    }

    #[test]
    fn any_bytes_are_searched_without_a_panic() {
        let records = batch(0, 0, 1, &["abc", "needle"]);
        let needles = Needles::new([&b"e"[..]]);
        for at in 0..records.len() {
            for with in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = records.clone();
                damaged[at] = with;
                found(&damaged, &[(1, 0)], &Wanted::Holding(needles.clone()));
                found(&damaged[..at], &[], &Wanted::At(1));
            }
        }
    }

    #[test]
    fn the_first_visible_record_is_behind_markers_and_aborted_records() {
        let plain = batch(10, 0, -1, &["a", "b", "c"]);
        let found = |offset, timestamp_ms| FirstVisible::Found {
            offset,
            timestamp_ms,
        };
        assert_eq!(first_visible(&plain, &[], 11, 1 << 20), found(11, 1001));
        assert_eq!(first_visible(&plain, &[], 5, 1 << 20), found(10, 1000));
        let cut = &plain[..plain.len() - 1];
        assert_eq!(first_visible(cut, &[], 10, 1 << 20), FirstVisible::CutOff);
        assert_eq!(first_visible(&[], &[], 10, 1 << 20), FirstVisible::CutOff);
        // Stamped by the broker: all have the header's time.
        let stamped = batch(10, 8, -1, &["a", "b", "c"]);
        assert_eq!(first_visible(&stamped, &[], 12, 1 << 20), found(12, 9000));
        // An aborted transaction, its marker, a committed one's marker: nothing to see.
        let tail = [
            batch(20, 0x10, 7, &["x", "y"]),
            marker(22, 7, 0),
            marker(23, 8, 1),
        ]
        .concat();
        let aborted = [(7, 20)];
        assert_eq!(
            first_visible(&tail, &aborted, 20, 1 << 20),
            FirstVisible::Passed(24)
        );
        assert_eq!(first_visible(&tail, &[], 20, 1 << 20), found(20, 1000));
        let more = [tail, batch(24, 0, -1, &["d", "e"])].concat();
        assert_eq!(first_visible(&more, &aborted, 20, 1 << 20), found(24, 1000));
        for end in 0..more.len() {
            let seen = first_visible(&more[..end], &aborted, 20, 1 << 20);
            assert_ne!(seen, FirstVisible::Unreadable, "{end}");
        }
    }
}
