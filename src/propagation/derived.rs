//! Context for records that carry none.
//!
//! The producer's sidecar learns a record's offset from the Produce response, the consumer's from the Fetch response: both
//! derive the same ids from its position, without a byte changed. Must not use anything that only one of them knows.

use super::traceparent::{SpanId, TraceId};

/// Trace id and send span id of the record at this position: the first 16 and the next 8 bytes of the SHA-256 over the four
/// fields, each behind its length in bytes (big-endian, 4 bytes): cluster id, topic name (never the id, which old clients do
/// not see), partition (big-endian, 4 bytes) and offset (big-endian, 8 bytes).
///
/// `None` without a cluster id, for an offset below zero, and where a field is too long to count.
#[must_use]
pub fn derive(
    cluster_id: &str,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Option<(TraceId, SpanId)> {
    if cluster_id.is_empty() || offset < 0 {
        return None;
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let (partition, offset) = (partition.to_be_bytes(), offset.to_be_bytes());
    for field in [cluster_id.as_bytes(), topic.as_bytes(), &partition, &offset] {
        digest.update(&u32::try_from(field.len()).ok()?.to_be_bytes());
        digest.update(field);
    }
    let digest = digest.finish();
    let (trace_id, rest) = digest.as_ref().split_first_chunk::<16>()?;
    let span_id = rest.first_chunk::<8>()?;
    Some((TraceId::new(*trace_id)?, SpanId::new(*span_id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's hashlib and struct, not with this code.
    #[test]
    fn ids_match_vectors_made_elsewhere() {
        for (cluster, topic, partition, offset, trace_id, span_id) in VECTORS {
            let (trace, span) = derive(cluster, topic, partition, offset).unwrap();
            assert_eq!(trace.to_string(), trace_id, "{topic} {partition} {offset}");
            assert_eq!(span.to_string(), span_id);
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert_ne!(derive("ab", "c", 0, 0), derive("a", "bc", 0, 0));
        assert_ne!(derive("a", "b", 0, 1), derive("a", "b", 1, 0));
    }

    #[test]
    fn nothing_is_derived_without_a_cluster_or_a_place() {
        assert_eq!(derive("", "orders", 0, 0), None);
        assert_eq!(derive("cluster", "orders", 0, -1), None);
    }

    const VECTORS: [(&str, &str, i32, i64, &str, &str); 4] = [
        (
            "MkU3OEVBNTcwNTJENDM2Qk",
            "orders",
            0,
            0,
            "63965ca46c36a86143d61300da4b854f",
            "1483f15aa7639933",
        ),
        (
            "MkU3OEVBNTcwNTJENDM2Qk",
            "orders",
            5,
            9223372036854775807,
            "14fbd1fe6ce86a692702b074542a2224",
            "adfdba6c43cae24d",
        ),
        (
            "MkU3OEVBNTcwNTJENDM2Qk",
            "größe",
            2147483647,
            42,
            "a02f9d5176f362f4f44430d2882fe779",
            "def40488b7d313fe",
        ),
        (
            "lkc-1",
            "",
            1,
            1,
            "65db7e6090433f2360346866eba380ad",
            "5f195f1f8afa263d",
        ),
    ];
}
