//! The scanner says the same however the frame is cut, and agrees with `kafka-protocol`.
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{FetchResponse, ProduceRequest, TopicName, fetch_response, produce_request},
    protocol::{Encodable, StrBytes},
};
use proptest::prelude::*;

use super::*;

/// Writes down what it is told.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Log {
    lines: Vec<String>,
    want: bool,
    bytes: Vec<u8>,
}

impl Sink for Log {
    fn head(&mut self, head: Head) {
        self.lines.push(format!("{head:?}"));
    }
    fn topic(&mut self, topic: TopicRef<'_>) {
        self.lines.push(format!("{topic:?}"));
    }
    fn partition(&mut self, head: PartitionHead) {
        self.lines.push(format!("{head:?}"));
    }
    fn aborted(&mut self, producer_id: i64, first_offset: i64) {
        self.lines
            .push(format!("aborted {producer_id} {first_offset}"));
    }
    fn batch(&mut self, header: &BatchHeader, marker: Option<ControlType>) -> bool {
        self.lines.push(format!(
            "{} {} {marker:?}",
            header.base_offset, header.record_count
        ));
        self.want
    }
    fn batch_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    fn batch_end(&mut self) {
        self.lines.push("end of batch".into());
    }
    fn old_format(&mut self, bytes: usize) {
        self.lines.push(format!("old {bytes}"));
    }
    fn cut_off(&mut self, damaged: bool) {
        self.lines.push(format!("cut off {damaged}"));
    }
    fn acquired(&mut self, first: i64, last: i64, delivery_count: i16) {
        self.lines
            .push(format!("acquired {first} {last} {delivery_count}"));
    }
    fn partition_end(&mut self) {
        self.lines.push("end of partition".into());
    }
}

/// A v2 batch with a body of `body` bytes that nobody opens.
fn batch(base_offset: i64, count: i32, attributes: i16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(base_offset.to_be_bytes());
    out.extend((49 + i32::try_from(body.len()).unwrap()).to_be_bytes());
    out.extend(7i32.to_be_bytes());
    out.push(2);
    out.extend(0u32.to_be_bytes());
    out.extend(attributes.to_be_bytes());
    out.extend((count - 1).to_be_bytes());
    out.extend(1_000i64.to_be_bytes());
    out.extend(2_000i64.to_be_bytes());
    out.extend(42i64.to_be_bytes());
    out.extend(3i16.to_be_bytes());
    out.extend(0i32.to_be_bytes());
    out.extend(count.to_be_bytes());
    out.extend(body);
    out
}

fn abort_marker(base_offset: i64) -> Vec<u8> {
    // length 16, attributes, timestamp delta, offset delta, key length 4, version 0, type 0 (abort), value length 6, ...
    batch(
        base_offset,
        1,
        0x30,
        &[32, 0, 0, 0, 8, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0],
    )
}

fn scan(message: Message, version: i16, body: &[u8], cuts: &[usize], want: bool) -> (Log, usize) {
    let mut log = Log {
        want,
        ..Log::default()
    };
    let mut scanner = Scanner::new(message, version);
    let (mut at, mut before) = (0, 0);
    for cut in cuts.iter().copied().chain([body.len()]) {
        let cut = cut.clamp(at, body.len());
        before += scanner.feed(&body[at..cut], &mut log).unwrap();
        at = cut;
    }
    assert!(scanner.at_trailer(), "not at the trailer: {scanner:?}");
    (log, before)
}

fn fetch_body(version: i16) -> (Vec<u8>, usize) {
    let mut records = batch(10, 3, 0, &[1; 100]);
    records.extend(batch(13, 2, 0x10, &[2; 300]));
    records.extend(abort_marker(15));
    records.extend(&batch(16, 5, 0, &[3; 200])[..90]);
    let partition = |index: i32, records: Vec<u8>| {
        let mut p = fetch_response::PartitionData::default();
        p.partition_index = index;
        p.high_watermark = 99;
        p.last_stable_offset = 98;
        p.log_start_offset = if version >= 5 { 1 } else { -1 };
        if index == 0 {
            let mut aborted = fetch_response::AbortedTransaction::default();
            aborted.producer_id = 42.into();
            aborted.first_offset = 13;
            p.aborted_transactions = Some(vec![aborted]);
        }
        p.records = Some(Bytes::from(records));
        p
    };
    let mut topic = fetch_response::FetchableTopicResponse::default();
    if version >= 13 {
        topic.topic_id = uuid::Uuid::from_u128(77);
    } else {
        topic.topic = TopicName(StrBytes::from_static_str("orders"));
    }
    topic.partitions = vec![partition(0, records), partition(1, Vec::new())];
    let mut response = FetchResponse::default();
    if version >= 7 {
        response.session_id = 5;
    }
    response.responses = vec![topic];
    let mut out = BytesMut::new();
    response.encode(&mut out, version).unwrap();
    let trailer = usize::from(version >= 12);
    (out.to_vec(), trailer)
}

#[test]
fn a_fetch_response_is_read_in_every_version() {
    for version in 4..=17 {
        let (body, trailer) = fetch_body(version);
        let (log, before) = scan(Message::FetchResponse, version, &body, &[], false);
        assert_eq!(body.len() - before, trailer, "version {version}");
        let text = log.lines.join("\n");
        assert!(text.contains("aborted 42 13"), "{text}");
        assert!(
            text.contains("10 3 None\nend of batch\n13 2 None\nend of batch\n15 1 Some(Abort)"),
            "{text}"
        );
        assert!(text.contains("cut off false\nend of partition"), "{text}");
        assert_eq!(text.matches("high_watermark: 99").count(), 2);
    }
}

#[test]
fn a_produce_request_is_read_in_every_version() {
    for version in 3..=12 {
        let mut partition = produce_request::PartitionProduceData::default();
        partition.index = 4;
        partition.records = Some(Bytes::from(batch(0, 9, 0, &[0; 33])));
        let mut topic = produce_request::TopicProduceData::default();
        topic.name = TopicName(StrBytes::from_static_str("orders"));
        topic.partition_data = vec![partition];
        let mut request = ProduceRequest::default();
        request.acks = -1;
        request.topic_data = vec![topic];
        let mut out = BytesMut::new();
        request.encode(&mut out, version).unwrap();
        let (log, _) = scan(Message::ProduceRequest, version, &out, &[], true);
        assert!(log.lines.join("\n").contains("0 9 None"), "{log:?}");
        assert_eq!(log.bytes, batch(0, 9, 0, &[0; 33]));
    }
}

#[test]
fn lengths_that_lie_skip_the_partition_and_nothing_else() {
    let mut body = Vec::new();
    body.extend([0, 0, 0, 0]); // throttle
    body.extend(1i32.to_be_bytes()); // one topic
    body.extend([0, 1, b't']);
    body.extend(1i32.to_be_bytes()); // one partition
    body.extend(0i32.to_be_bytes());
    body.extend(0i16.to_be_bytes());
    body.extend(9i64.to_be_bytes());
    body.extend(9i64.to_be_bytes());
    body.extend((-1i32).to_be_bytes());
    let mut damaged = batch(0, 1, 0, &[]);
    damaged[8..12].copy_from_slice(&(-5i32).to_be_bytes());
    body.extend(i32::try_from(damaged.len()).unwrap().to_be_bytes());
    body.extend(damaged);
    let (log, _) = scan(Message::FetchResponse, 4, &body, &[], false);
    assert!(
        log.lines
            .join("\n")
            .ends_with("cut off true\nend of partition"),
        "{log:?}"
    );
}

proptest! {
    #[test]
    fn where_a_frame_is_cut_changes_nothing(version in 4i16..=17, mut cuts in prop::collection::vec(0usize..1200, 0..40), want: bool) {
        cuts.sort_unstable();
        let (body, _) = fetch_body(version);
        prop_assert_eq!(
            scan(Message::FetchResponse, version, &body, &cuts, want),
            scan(Message::FetchResponse, version, &body, &[], want)
        );
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(kind in 0usize..3, version in 0i16..20, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let message = [Message::ProduceRequest, Message::FetchResponse, Message::ShareFetchResponse][kind];
        let mut scanner = Scanner::new(message, version);
        scanner.feed(&bytes, &mut Log::default()).ok();
        prop_assert!(scanner.carry.len() <= ELEMENT_BYTES_MAX);
    }
}
