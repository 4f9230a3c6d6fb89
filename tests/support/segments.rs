//! A broker's log as its files hold it: the ground truth for batches and their bytes.
//!
//! Reads only the fixed header of each batch (format 2), by hand, so that it shares no code with the program under test.

use std::fs;
use std::path::Path;

const HEADER: usize = 61;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// One batch in the log.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base_offset: i64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) producer: i64,
    pub(crate) transactional: bool,
    /// A marker; true where it commits.
    pub(crate) marker: Option<bool>,
}

/// Every batch of partition `partition`, in the order of the log; `directory` is a broker's data directory.
#[track_caller]
pub(crate) fn batches(directory: &Path, topic: &str, partition: u32) -> Vec<Batch> {
    let folder = directory.join(format!("{topic}-{partition}"));
    let entries = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let bytes = fs::read(file)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
            segment(&bytes)
        })
        .collect()
}

/// Of the batches that a transaction did not abort, and that are no markers.
pub(crate) fn visible(batches: &[Batch]) -> Vec<&Batch> {
    let mut kept = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        if batch.marker.is_some() {
            continue;
        }
        let ends = |later: &&Batch| later.marker.is_some() && later.producer == batch.producer;
        let end = batches[at..].iter().find(ends).and_then(|end| end.marker);
        if !batch.transactional || end == Some(true) {
            kept.push(batch);
        }
    }
    kept
}

fn segment(mut rest: &[u8]) -> Vec<Batch> {
    let mut all = Vec::new();
    while rest.len() >= HEADER {
        let long = |at: usize| i64::from_be_bytes(rest[at..at + 8].try_into().expect("8 bytes"));
        let int = |at: usize| i32::from_be_bytes(rest[at..at + 4].try_into().expect("4 bytes"));
        let short = |at: usize| i16::from_be_bytes([rest[at], rest[at + 1]]);
        let size = usize::try_from(int(8)).expect("a length") + 12;
        let attributes = short(21);
        let is_control = attributes & CONTROL != 0;
        all.push(Batch {
            base_offset: long(0),
            bytes: size as u64,
            records: u64::try_from(int(57)).expect("a count"),
            producer: long(43),
            transactional: attributes & TRANSACTIONAL != 0,
            // Behind the header: length, attributes, two deltas, length of the key, its version, its type.
            marker: is_control.then(|| short(HEADER + 7) == 1),
        });
        rest = &rest[size..];
    }
    all
}
