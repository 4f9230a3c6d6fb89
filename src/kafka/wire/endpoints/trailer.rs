//! Addresses behind records: rewritten without changing the number of bytes, because the frame length has already gone out.
//!
//! A shorter name leaves room, which an unknown tagged field fills (clients skip what they do not know, KIP-482). Room for
//! less than a tagged field (one byte, or two behind other unknown tags) goes into the length prefix of the first host,
//! written longer than it need be: Java's `ByteUtils.readUnsignedVarint` and librdkafka's `rd_uvarint_dec` take that as
//! written. A longer name takes the bytes of the racks, first to last. Where that is not enough, the endpoints are taken
//! out, and clients go on by Metadata.

use super::{
    super::{
        error::{DecodeErrorKind, Result},
        reader::Reader,
        splice::put_uvarint,
    },
    Rewrite, node_address,
};

/// Whose end it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailerKind {
    /// FetchResponse from version 16 on: the tagged section behind the responses array, endpoints in tag 0. Older
    /// versions have no endpoints; there tag 0 would be something else.
    Fetch,
    /// ShareFetchResponse: NodeEndpoints, then the tagged section.
    ShareFetch,
}

/// What became of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrailerOutcome {
    /// There are none, or none was to change.
    Untouched,
    /// All replaced.
    Rewritten,
    /// All replaced, at the price of one or more rack ids.
    RackDropped,
    /// Taken out: there was no room.
    Neutralised,
}

/// The bytes to send, exactly as many as there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailerRewrite {
    /// To send in the place of the original.
    pub bytes: Vec<u8>,
    /// What became of the addresses.
    pub outcome: TrailerOutcome,
}

struct Node<'a> {
    node_id: i32,
    /// Original host and port, as they stand.
    original: &'a [u8],
    replacement: Option<(String, u16)>,
    rack: &'a [u8],
    tagged: &'a [u8],
}

struct Trailer<'a> {
    kind: TrailerKind,
    total: usize,
    /// `None`: a FetchResponse without tag 0.
    nodes: Option<Vec<Node<'a>>>,
    /// Tagged fields, tag 0 of Fetch included.
    tag_count: u32,
    highest_tag: Option<u32>,
    before: &'a [u8],
    after: &'a [u8],
}

/// Puts `rewrite`'s (host, port) in the place of each (node id, host, port); `None` leaves one as it is. `bytes` is
/// everything after the responses array, to the end of the frame.
///
/// # Errors
/// What the fields give; `Value` where bytes are left over; `Limit` where not even the removal fits, which takes tag numbers
/// at the end of their range. The caller then sends the original and counts.
pub fn rewrite_trailer(
    kind: TrailerKind,
    bytes: &[u8],
    rewrite: &mut Rewrite<'_>,
) -> Result<TrailerRewrite> {
    let (trailer, changed) = Trailer::read(kind, bytes, rewrite)?;
    if !changed {
        return Ok(TrailerRewrite {
            bytes: bytes.to_vec(),
            outcome: TrailerOutcome::Untouched,
        });
    }
    if let Some(bytes) = trailer.fit(0) {
        return Ok(TrailerRewrite {
            bytes,
            outcome: TrailerOutcome::Rewritten,
        });
    }
    if let Some(bytes) = trailer.racks_to_drop().and_then(|n| trailer.fit(n)) {
        return Ok(TrailerRewrite {
            bytes,
            outcome: TrailerOutcome::RackDropped,
        });
    }
    trailer.neutralised()
}

/// Takes the endpoints out, for a caller that has nothing to put in their place.
///
/// # Errors
/// As [`rewrite_trailer`].
pub fn neutralise_trailer(kind: TrailerKind, bytes: &[u8]) -> Result<TrailerRewrite> {
    let (trailer, _) = Trailer::read(kind, bytes, &mut |_, _, _| None)?;
    if trailer.nodes.as_ref().is_none_or(Vec::is_empty) {
        return Ok(TrailerRewrite {
            bytes: bytes.to_vec(),
            outcome: TrailerOutcome::Untouched,
        });
    }
    trailer.neutralised()
}

impl<'a> Trailer<'a> {
    /// Reads, and asks `rewrite` for each endpoint. True = at least one address changes.
    fn read(kind: TrailerKind, bytes: &'a [u8], rewrite: &mut Rewrite<'_>) -> Result<(Self, bool)> {
        let r = &mut Reader::new(bytes, true);
        let mut changed = false;
        let mut trailer = Self {
            kind,
            total: bytes.len(),
            nodes: None,
            tag_count: 0,
            highest_tag: None,
            before: &[],
            after: &[],
        };
        if kind == TrailerKind::ShareFetch {
            trailer.nodes = Some(nodes(r, bytes, &mut changed, rewrite)?);
        }
        trailer.tag_count = r.uvarint("tagged fields")?;
        let section = r.position();
        let mut after = section;
        for _ in 0..trailer.tag_count {
            let start = r.position();
            let tag = r.uvarint("tag")?;
            let raw = r.uvarint("tag size")?;
            let size =
                usize::try_from(raw).map_err(|_| r.fault(DecodeErrorKind::Limit, "tag size"))?;
            if kind == TrailerKind::Fetch && tag == 0 {
                let end = r.position().saturating_add(size);
                if trailer.nodes.is_some() {
                    return Err(r.fault(DecodeErrorKind::Value, "tag"));
                }
                trailer.before = bytes.get(section..start).unwrap_or_default();
                trailer.nodes = Some(nodes(r, bytes, &mut changed, rewrite)?);
                if r.position() != end {
                    return Err(r.fault(DecodeErrorKind::Value, "node endpoints"));
                }
                after = end;
            } else {
                r.take(size, "tag body")?;
                trailer.highest_tag = trailer.highest_tag.max(Some(tag));
            }
        }
        if r.remaining() != 0 {
            return Err(r.fault(DecodeErrorKind::Value, "trailer"));
        }
        trailer.after = bytes.get(after..).unwrap_or_default();
        Ok((trailer, changed))
    }

    fn nodes(&self) -> &[Node<'a>] {
        self.nodes.as_deref().unwrap_or_default()
    }

    /// Everything but a filler. The racks of the first `dropped` nodes are null; the first host's length prefix is `widened`
    /// bytes longer than needed; the count of tagged fields includes `fillers`.
    fn encode(&self, dropped: usize, widened: usize, fillers: u32) -> Vec<u8> {
        let mut array = Vec::new();
        put_count(&mut array, self.nodes().len());
        let mut widened = widened;
        for (i, node) in self.nodes().iter().enumerate() {
            array.extend_from_slice(&node.node_id.to_be_bytes());
            match &node.replacement {
                None => array.extend_from_slice(node.original),
                Some((host, port)) => {
                    put_host(&mut array, host, widened);
                    widened = 0;
                    array.extend_from_slice(&i32::from(*port).to_be_bytes());
                }
            }
            if i < dropped {
                array.push(0);
            } else {
                array.extend_from_slice(node.rack);
            }
            array.extend_from_slice(node.tagged);
        }
        let mut out = Vec::new();
        let count = self.tag_count.saturating_add(fillers);
        match self.kind {
            TrailerKind::Fetch => {
                put_uvarint(&mut out, count);
                out.extend_from_slice(self.before);
                put_uvarint(&mut out, 0);
                put_uvarint(&mut out, u32::try_from(array.len()).unwrap_or(u32::MAX));
                out.append(&mut array);
            }
            TrailerKind::ShareFetch => {
                out.append(&mut array);
                put_uvarint(&mut out, count);
            }
        }
        out.extend_from_slice(self.after);
        out
    }

    /// The whole trailer in exactly the original number of bytes, or `None`.
    fn fit(&self, dropped: usize) -> Option<Vec<u8>> {
        let plain = self.encode(dropped, 0, 0);
        let missing = self.total.checked_sub(plain.len())?;
        if missing == 0 {
            return Some(plain);
        }
        let mut with_filler = self.encode(dropped, 0, 1);
        if let Some(filler) = self
            .total
            .checked_sub(with_filler.len())
            .and_then(|room| filler(room, self.highest_tag))
        {
            with_filler.extend_from_slice(&filler);
            return Some(with_filler);
        }
        // Up to four: with the one byte of an ordinary host that makes five, all that a varint may have. The size of Fetch's
        // tagged field may itself grow by a byte on the way.
        (1..=missing.min(4))
            .map(|widened| self.encode(dropped, widened, 0))
            .find(|bytes| bytes.len() == self.total)
    }

    /// How many nodes have to give up their rack, first to last; `None` where all together do not free enough.
    fn racks_to_drop(&self) -> Option<usize> {
        let excess = self.encode(0, 0, 0).len().checked_sub(self.total)?;
        let mut freed = 0usize;
        for (i, node) in self.nodes().iter().enumerate() {
            freed = freed.saturating_add(node.rack.len().saturating_sub(1));
            if freed >= excess {
                return Some(i.saturating_add(1));
            }
        }
        None
    }

    fn neutralised(&self) -> Result<TrailerRewrite> {
        let mut bytes = Vec::new();
        match self.kind {
            // A filler takes the place of tag 0, at the end because tags ascend.
            TrailerKind::Fetch => put_uvarint(&mut bytes, self.tag_count),
            TrailerKind::ShareFetch => {
                put_count(&mut bytes, 0);
                put_uvarint(&mut bytes, self.tag_count.saturating_add(1));
            }
        }
        bytes.extend_from_slice(self.before);
        bytes.extend_from_slice(self.after);
        let filler = self
            .total
            .checked_sub(bytes.len())
            .and_then(|room| filler(room, self.highest_tag))
            .ok_or(Reader::new(&[], true).fault(DecodeErrorKind::Limit, "trailer"))?;
        bytes.extend_from_slice(&filler);
        Ok(TrailerRewrite {
            bytes,
            outcome: TrailerOutcome::Neutralised,
        })
    }
}

fn nodes<'a>(
    r: &mut Reader<'a>,
    bytes: &'a [u8],
    changed: &mut bool,
    rewrite: &mut Rewrite<'_>,
) -> Result<Vec<Node<'a>>> {
    let mut all = Vec::new();
    r.array("node endpoints", |r| {
        let endpoint = node_address(r)?;
        let rack_start = r.position();
        r.nullable_string_bytes("rack")?;
        let tagged_start = r.position();
        r.skip_tagged()?;
        let replacement = rewrite(endpoint.node_id, endpoint.host, endpoint.port)
            .filter(|(host, port)| host != endpoint.host || i32::from(*port) != endpoint.port);
        *changed |= replacement.is_some();
        all.push(Node {
            node_id: endpoint.node_id,
            original: bytes.get(endpoint.at).unwrap_or_default(),
            replacement,
            rack: bytes.get(rack_start..tagged_start).unwrap_or_default(),
            tagged: bytes.get(tagged_start..r.position()).unwrap_or_default(),
        });
        Ok(())
    })?;
    Ok(all)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_uvarint(
        out,
        u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1),
    );
}

/// A COMPACT_STRING whose length prefix is `widened` bytes longer than needed.
fn put_host(out: &mut Vec<u8>, host: &str, widened: usize) {
    let mut prefix = Vec::new();
    put_count(&mut prefix, host.len());
    if widened > 0 {
        if let Some(last) = prefix.last_mut() {
            *last |= 0x80;
        }
        prefix.extend(std::iter::repeat_n(0x80, widened.saturating_sub(1)));
        prefix.push(0);
    }
    out.append(&mut prefix);
    out.extend_from_slice(host.as_bytes());
}

/// Tags far from those that Kafka gives out, by preference. They differ in the bytes they take: one byte for the least room;
/// the others where a higher tag is already there, or where the size of the body would fall between two widths of its
/// prefix.
const FILLER_TAGS: [u32; 5] = [9_999, 99, 999_999, 99_999_999, 999_999_999];

/// A tagged field of exactly `room` bytes whose tag is above `highest`.
fn filler(room: usize, highest: Option<u32>) -> Option<Vec<u8>> {
    let floor = highest.map_or(Some(0), |tag| tag.checked_add(1))?;
    FILLER_TAGS.into_iter().find_map(|tag| {
        let mut head = Vec::new();
        put_uvarint(&mut head, tag.max(floor));
        let rest = room.checked_sub(head.len())?;
        (1..=5usize).find_map(|width| {
            let body = rest.checked_sub(width)?;
            let mut out = head.clone();
            put_uvarint(&mut out, u32::try_from(body).ok()?);
            out.resize(out.len().checked_add(body)?, 0);
            (out.len() == room).then_some(out)
        })
    })
}

#[cfg(test)]
#[path = "trailer_tests.rs"]
mod tests;
