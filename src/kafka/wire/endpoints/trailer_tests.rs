//! Every way a trailer can be made to fit: byte count kept, addresses replaced or gone, everything else as it was.

use super::{super::super::splice::put_string, *};

struct Given {
    host: String,
    rack: Option<String>,
    tags: Vec<u8>,
}

fn given(host: &str, rack: Option<&str>) -> Given {
    Given {
        host: host.to_owned(),
        rack: rack.map(str::to_owned),
        tags: vec![0],
    }
}

fn node_array(nodes: &[Given]) -> Vec<u8> {
    let mut out = Vec::new();
    put_count(&mut out, nodes.len());
    for (id, node) in (1i32..).zip(nodes) {
        out.extend_from_slice(&id.to_be_bytes());
        put_string(&mut out, &node.host, true);
        out.extend_from_slice(&9092i32.to_be_bytes());
        match &node.rack {
            None => out.push(0),
            Some(rack) => put_string(&mut out, rack, true),
        }
        out.extend_from_slice(&node.tags);
    }
    out
}

fn tagged(fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_uvarint(&mut out, u32::try_from(fields.len()).unwrap());
    for (tag, body) in fields {
        put_uvarint(&mut out, *tag);
        put_uvarint(&mut out, u32::try_from(body.len()).unwrap());
        out.extend_from_slice(body);
    }
    out
}

fn trailer(kind: TrailerKind, nodes: &[Given], others: &[(u32, Vec<u8>)]) -> Vec<u8> {
    match kind {
        TrailerKind::Fetch => {
            let mut fields = vec![(0, node_array(nodes))];
            fields.extend_from_slice(others);
            tagged(&fields)
        }
        TrailerKind::ShareFetch => [node_array(nodes), tagged(others)].concat(),
    }
}

type Address = (i32, String, i32, Option<String>);

/// An independent reading of a trailer: endpoints, and the other tagged fields.
fn read(kind: TrailerKind, bytes: &[u8]) -> (Vec<Address>, Vec<(u32, Vec<u8>)>) {
    fn array(r: &mut Reader<'_>, out: &mut Vec<Address>) -> Result<()> {
        r.array("nodes", |r| {
            out.push((
                r.i32("id")?,
                r.string("host")?.to_owned(),
                r.i32("port")?,
                r.nullable_string("rack")?.map(str::to_owned),
            ));
            r.skip_tagged()
        })
    }
    let mut r = Reader::new(bytes, true);
    let mut nodes = Vec::new();
    let mut others = Vec::new();
    if kind == TrailerKind::ShareFetch {
        array(&mut r, &mut nodes).unwrap();
    }
    r.tagged(|tag, body| {
        if kind == TrailerKind::Fetch && tag == 0 {
            return array(body, &mut nodes);
        }
        others.push((tag, body.rest().to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(r.remaining(), 0);
    assert!(others.is_sorted_by_key(|(tag, _)| *tag), "{others:?}");
    (nodes, others)
}

fn to(host: &str) -> impl FnMut(i32, &str, i32) -> Option<(String, u16)> {
    let host = host.to_owned();
    move |id, _, _| Some((host.clone(), u16::try_from(20_000 + id).unwrap()))
}

/// Rewrites, checks what always holds, and gives the outcome and the racks that are left.
fn check(
    kind: TrailerKind,
    nodes: &[Given],
    others: &[(u32, Vec<u8>)],
    host: &str,
) -> (TrailerOutcome, Vec<Option<String>>) {
    let before = trailer(kind, nodes, others);
    let after = rewrite_trailer(kind, &before, &mut to(host)).unwrap();
    assert_eq!(after.bytes.len(), before.len());
    let (seen, tags) = read(kind, &after.bytes);
    assert_eq!(&tags[..others.len()], others, "foreign tags are kept");
    assert!(tags.len() <= others.len() + 1);
    if after.outcome == TrailerOutcome::Neutralised {
        assert_eq!(seen, vec![]);
    } else {
        assert_eq!(seen.len(), nodes.len());
        for (id, (node, seen)) in (1..).zip(nodes.iter().zip(&seen)) {
            assert_eq!((seen.0, seen.1.as_str(), seen.2), (id, host, 20_000 + id));
            assert!(seen.3.is_none() || seen.3 == node.rack);
        }
    }
    (after.outcome, seen.into_iter().map(|s| s.3).collect())
}

const BOTH: [TrailerKind; 2] = [TrailerKind::Fetch, TrailerKind::ShareFetch];

#[test]
fn every_shorter_name_fits_whatever_the_difference() {
    for kind in BOTH {
        for shorter_by in 0..400 {
            let original = "h".repeat(shorter_by + 9);
            for count in 1..4 {
                let nodes: Vec<_> = (0..count).map(|_| given(&original, None)).collect();
                for others in [
                    vec![],
                    vec![(5, vec![1, 2, 3])],
                    vec![(127, vec![]), (1 << 22, vec![9; 130])],
                ] {
                    let (outcome, _) = check(kind, &nodes, &others, "127.0.0.1");
                    assert_eq!(outcome, TrailerOutcome::Rewritten, "{kind:?} {shorter_by}");
                }
            }
        }
    }
}

#[test]
fn a_name_one_byte_shorter_keeps_its_rack() {
    for kind in BOTH {
        let (outcome, racks) = check(kind, &[given("abcdefghij", Some("r1"))], &[], "127.0.0.1");
        assert_eq!(outcome, TrailerOutcome::Rewritten);
        assert_eq!(racks, [Some("r1".to_owned())]);
    }
}

#[test]
fn a_longer_name_takes_only_as_many_racks_as_it_needs() {
    for kind in BOTH {
        let nodes = [
            given("kafka-1", Some("zone-a")),
            given("kafka-2", Some("zone-b")),
            given("kafka-3", Some("zone-c")),
        ];
        // Three times two bytes more, six in each rack.
        let (outcome, racks) = check(kind, &nodes, &[], "127.0.0.1");
        assert_eq!(outcome, TrailerOutcome::RackDropped);
        let zone = |s: &str| Some(s.to_owned());
        assert_eq!(racks, [None, zone("zone-b"), zone("zone-c")]);
    }
}

#[test]
fn a_longer_name_without_room_is_neutralised_and_foreign_tags_stay() {
    for kind in BOTH {
        for longer_by in [1, 2, 200] {
            let host = "h".repeat(7 + longer_by);
            for others in [vec![], vec![(3, vec![7; 20]), (20_000, vec![8])]] {
                let nodes = [given("kafka-1", None), given("kafka-2", Some(""))];
                let (outcome, _) = check(kind, &nodes, &others, &host);
                assert_eq!(outcome, TrailerOutcome::Neutralised);
            }
        }
        let (outcome, _) = check(
            kind,
            &[given("kafka-1", Some("zone-a"))],
            &[],
            &"h".repeat(207),
        );
        assert_eq!(outcome, TrailerOutcome::Neutralised);
    }
}

#[test]
fn an_equal_length_changes_only_the_address() {
    for kind in BOTH {
        let before = trailer(kind, &[given("127.0.0.9", Some("r"))], &[(4, vec![1])]);
        let after = rewrite_trailer(kind, &before, &mut to("127.0.0.1")).unwrap();
        let differing = before.iter().zip(&after.bytes).filter(|(a, b)| a != b);
        assert_eq!(differing.count(), 3, "one digit, two bytes of the port");
    }
}

#[test]
fn tagged_fields_inside_an_endpoint_are_kept() {
    for kind in BOTH {
        let mut node = given("broker.example.org", None);
        node.tags = vec![1, 7, 2, 0xca, 0xfe];
        let before = trailer(kind, &[node], &[]);
        let after = rewrite_trailer(kind, &before, &mut to("127.0.0.1")).unwrap();
        assert!(after.bytes.windows(5).any(|w| w == [1, 7, 2, 0xca, 0xfe]));
    }
}

#[test]
fn nothing_to_change_gives_the_same_bytes() {
    for kind in BOTH {
        let full = trailer(kind, &[given("kafka-1", None)], &[(9, vec![1])]);
        let none = match kind {
            TrailerKind::Fetch => tagged(&[(9, vec![1])]),
            TrailerKind::ShareFetch => trailer(kind, &[], &[(9, vec![1])]),
        };
        for bytes in [full, none] {
            let after = rewrite_trailer(kind, &bytes, &mut |_, _, _| None).unwrap();
            assert_eq!(after.outcome, TrailerOutcome::Untouched);
            assert_eq!(after.bytes, bytes);
        }
    }
    let same = rewrite_trailer(TrailerKind::Fetch, &[0], &mut to("x")).unwrap();
    assert_eq!(same.outcome, TrailerOutcome::Untouched);
}

#[test]
fn only_some_endpoints_may_change() {
    for kind in BOTH {
        let before = trailer(
            kind,
            &[
                given("kafka-one.local", None),
                given("kafka-two.local", None),
            ],
            &[],
        );
        let after = rewrite_trailer(kind, &before, &mut |id, _, _| {
            (id == 2).then(|| ("127.0.0.1".to_owned(), 9194))
        })
        .unwrap();
        let hosts: Vec<_> = read(kind, &after.bytes)
            .0
            .into_iter()
            .map(|n| n.1)
            .collect();
        assert_eq!(hosts, ["kafka-one.local", "127.0.0.1"]);
        assert_eq!(after.bytes.len(), before.len());
    }
}

#[test]
fn endpoints_can_be_taken_out_on_request() {
    for kind in BOTH {
        let before = trailer(kind, &[given("kafka-1", None)], &[(9, vec![1])]);
        let after = neutralise_trailer(kind, &before).unwrap();
        assert_eq!(after.bytes.len(), before.len());
        assert_eq!(after.outcome, TrailerOutcome::Neutralised);
        assert_eq!(read(kind, &after.bytes).0, vec![]);
    }
}

#[test]
fn bytes_left_over_are_a_fault() {
    let err = rewrite_trailer(TrailerKind::Fetch, &[0, 0], &mut to("x")).unwrap_err();
    assert_eq!(err.kind, DecodeErrorKind::Value);
}
