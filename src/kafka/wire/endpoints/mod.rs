//! Broker addresses inside responses: where they stand, and how they are replaced.
//!
//! A missed one sends a client past the sidecar. `whole` walks the responses that are held whole; `trailer` rewrites, in
//! the room that is there, the ones behind records whose frame length has already gone out. Must not decide which address
//! stands for which: the caller's closure does. `tests/wire_schemas.rs` fails on a (host, port) pair neither handled nor
//! excused.

mod trailer;
mod whole;

use std::ops::Range;

use super::{
    error::Result,
    reader::Reader,
    splice::{Splice, put_string, put_uvarint},
};

pub use trailer::{
    TrailerKind, TrailerOutcome, TrailerRewrite, neutralise_trailer, rewrite_trailer,
};
pub use whole::{
    CoordinatorSeen, DescribeClusterSeen, FindCoordinatorSeen, MetadataSeen, PartitionResult,
    PlacedResults, ProduceSeen, ShareAcknowledgeSeen, TopicMetadata, TopicsSeen, describe_cluster,
    describe_topic_partitions, find_coordinator, metadata, produce_response, produce_results,
    share_acknowledge,
};

/// Gives the (host, port) to put in the place of a (node id, host, port); `None` leaves it as it is.
pub type Rewrite<'r> = dyn FnMut(i32, &str, i32) -> Option<(String, u16)> + 'r;

/// A broker's address as a response names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Node id, kept.
    pub node_id: i32,
    /// Host name or address.
    pub host: &'a str,
    /// Port, as wide as the wire has it.
    pub port: i32,
    /// Where host and port (adjacent in every schema) stand in the body.
    pub at: Range<usize>,
}

/// The size prefix of a tagged field that holds addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TagSize {
    at: Range<usize>,
    size: usize,
}

/// All addresses of one response that is held whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints<'a> {
    /// In the order of the body.
    pub all: Vec<Endpoint<'a>>,
    flexible: bool,
    tag: Option<TagSize>,
}

impl<'a> Endpoints<'a> {
    fn new(flexible: bool) -> Self {
        Self {
            all: Vec::new(),
            flexible,
            tag: None,
        }
    }

    /// The edits that put `rewrite`'s (host, port) in the place of each address. Includes the size of the tagged field around them, where there is one. For [`super::splice::apply`].
    pub fn splices(&self, rewrite: &mut Rewrite<'_>) -> Vec<Splice<'static>> {
        let mut splices = Vec::new();
        let mut removed = 0usize;
        let mut added = 0usize;
        for endpoint in &self.all {
            let Some((host, port)) = rewrite(endpoint.node_id, endpoint.host, endpoint.port) else {
                continue;
            };
            let with = encode_address(&host, port, self.flexible);
            removed = removed.saturating_add(endpoint.at.len());
            added = added.saturating_add(with.len());
            splices.push(Splice {
                at: endpoint.at.clone(),
                with: with.into(),
            });
        }
        if let Some(tag) = &self.tag
            && removed != added
        {
            let size = tag.size.saturating_add(added).saturating_sub(removed);
            let mut with = Vec::new();
            put_uvarint(&mut with, u32::try_from(size).unwrap_or(u32::MAX));
            splices.insert(
                0,
                Splice {
                    at: tag.at.clone(),
                    with: with.into(),
                },
            );
        }
        splices
    }
}

/// Host and port as they stand next to each other in every schema.
#[must_use]
pub fn encode_address(host: &str, port: u16, flexible: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, host, flexible);
    out.extend_from_slice(&i32::from(port).to_be_bytes());
    out
}

/// Reads host and port.
fn address<'a>(r: &mut Reader<'a>, node_id: i32) -> Result<Endpoint<'a>> {
    let start = r.position();
    let host = r.string("host")?;
    let port = r.i32("port")?;
    Ok(Endpoint {
        node_id,
        host,
        port,
        at: start..r.position(),
    })
}

/// Reads a NodeEndpoint up to its port.
fn node_address<'a>(r: &mut Reader<'a>) -> Result<Endpoint<'a>> {
    let node_id = r.i32("node id")?;
    address(r, node_id)
}
