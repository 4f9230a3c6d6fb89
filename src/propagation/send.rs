//! Our `tracestate` member: when a record was sent, from which span, and how its parent was found.
//!
//! `tl=` and 26 characters. 15 bytes in unpadded base64url (RFC 4648 section 5): 4 bits version, 4 bits evidence, 48 bits
//! send time in ms since the Unix epoch, 8 bytes parent span id (zero = the record is a root). Then the last 6 hexadecimal
//! digits of the record's own span id: another tracer that reads a record hands its list on with what it sends, where the
//! member is about a record that it is not on. They are digits because `traceparent` has the same ones, so that compression
//! folds them. The member is what lets a tree be rebuilt from records alone. Must not be required by anyone: a record without
//! it is still a record of its trace.

use super::traceparent::{SpanId, put_hex};

/// Key of the member.
pub const SENT_MEMBER: &str = "tl";
/// Characters of the value.
pub(super) const SENT_CHARACTERS: usize = PACKED + OWN_DIGITS;
/// Those in base64url.
pub(super) const PACKED: usize = 20;
const BYTES: usize = 15;
/// Of the record's own span id.
pub(super) const OWN_DIGITS: usize = 6;
/// The layout described above; 1 did not say whose it is.
const VERSION: u8 = 2;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How the parent of a record was found, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// There is no parent.
    Root,
    /// The record carried its parent's context, correlation id or event id.
    Header,
    /// A configured business id was equal.
    BusinessId,
    /// The key was equal, and one candidate had it.
    Key,
    /// Exactly one delivered record was unsettled.
    SoleInFlight,
    /// Only the time fits.
    Window,
    /// The parent's offsets were committed in the transaction that wrote the record.
    Transaction,
}

impl Evidence {
    /// All of them, strongest first, behind "no parent".
    pub const ALL: [Self; 7] = [
        Self::Root,
        Self::Header,
        Self::BusinessId,
        Self::Key,
        Self::SoleInFlight,
        Self::Window,
        Self::Transaction,
    ];

    /// The span attribute and metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Header => "header",
            Self::BusinessId => "business_id",
            Self::Key => "key",
            Self::SoleInFlight => "sole_in_flight",
            Self::Window => "window",
            Self::Transaction => "transaction",
        }
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The member's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sent {
    /// When the record was sent, ms since the Unix epoch.
    pub at_ms: i64,
    /// The span that is its parent.
    pub parent: Option<SpanId>,
    /// How that was found.
    pub evidence: Evidence,
}

impl Sent {
    /// Reads the member's value on the record whose span is `own`; `None` for what was written for another record, for what
    /// another version wrote, and for damage.
    #[must_use]
    pub fn parse(value: &str, own: SpanId) -> Option<Self> {
        let (packed, of) = value.as_bytes().split_at_checked(PACKED)?;
        if of != own_digits(own) {
            return None;
        }
        let mut bytes = [0; BYTES];
        let quads = packed.as_chunks::<4>().0;
        for (three, four) in bytes.as_chunks_mut::<3>().0.iter_mut().zip(quads) {
            let mut bits = 0u32;
            for character in four {
                bits = bits << 6 | u32::from(digit(*character)?);
            }
            let [_, first, second, third] = bits.to_be_bytes();
            *three = [first, second, third];
        }
        let [kind, a, b, c, d, e, f, parent @ ..] = bytes;
        if kind >> 4 != VERSION {
            return None;
        }
        Some(Self {
            at_ms: i64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            parent: SpanId::new(parent),
            evidence: Evidence::of(kind & 0x0f)?,
        })
    }

    /// The member's value, for the record whose span is `own`. A time before 1970 or after the year 10000 is written as the
    /// nearest that fits.
    #[must_use]
    pub fn encode(self, own: SpanId) -> [u8; SENT_CHARACTERS] {
        let place = Evidence::ALL.iter().position(|e| *e == self.evidence);
        let number = place.and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        let [_, _, time @ ..] = self.at_ms.clamp(0, (1 << 48) - 1).to_be_bytes();
        let [a, b, c, d, e, f] = time;
        let [p, q, r, s, t, u, v, w] = self.parent.map_or([0; 8], SpanId::bytes);
        let bytes: [u8; BYTES] = [
            VERSION << 4 | number,
            a,
            b,
            c,
            d,
            e,
            f,
            p,
            q,
            r,
            s,
            t,
            u,
            v,
            w,
        ];
        let mut out = [b'A'; SENT_CHARACTERS];
        let quads = out.as_chunks_mut::<4>().0.iter_mut();
        for (four, [first, second, third]) in quads.zip(bytes.as_chunks::<3>().0) {
            let bits = u32::from_be_bytes([0, *first, *second, *third]);
            for (room, shift) in four.iter_mut().zip([18, 12, 6, 0]) {
                let index = usize::try_from(bits >> shift & 0x3f).unwrap_or(0);
                *room = ALPHABET.get(index).copied().unwrap_or(b'A');
            }
        }
        let rest = out.iter_mut().skip(PACKED);
        for (room, digit) in rest.zip(own_digits(own)) {
            *room = digit;
        }
        out
    }
}

fn own_digits(own: SpanId) -> [u8; OWN_DIGITS] {
    let mut digits = [0; OWN_DIGITS];
    let [.., a, b, c] = own.bytes();
    put_hex(&mut digits, 0, &[a, b, c]);
    digits
}

fn digit(character: u8) -> Option<u8> {
    let at = ALPHABET.iter().position(|known| *known == character)?;
    u8::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::Tracestate;

    fn own() -> SpanId {
        SpanId::new([0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10]).unwrap()
    }

    fn text(sent: Sent) -> String {
        String::from_utf8(sent.encode(own()).to_vec()).unwrap()
    }

    fn parse(text: &str) -> Option<Sent> {
        Sent::parse(text, own())
    }

    #[test]
    fn every_content_comes_back_and_fits_into_a_tracestate() {
        for evidence in Evidence::ALL {
            for parent in [
                None,
                SpanId::new([0xff; 8]),
                SpanId::new([0, 1, 2, 3, 4, 5, 6, 7]),
            ] {
                for at_ms in [0, 1, 1_795_000_000_000, (1 << 48) - 1] {
                    let sent = Sent {
                        at_ms,
                        parent,
                        evidence,
                    };
                    let text = text(sent);
                    assert_eq!(text.len(), SENT_CHARACTERS);
                    let header = format!("{SENT_MEMBER}={text}");
                    let state = Tracestate::parse([header.as_bytes()]).unwrap();
                    assert_eq!(state.member(SENT_MEMBER).and_then(parse), Some(sent));
                }
            }
        }
    }

    #[test]
    fn the_layout_does_not_change_unnoticed() {
        let sent = Sent {
            at_ms: 1_795_000_000_000,
            parent: SpanId::new([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]),
            evidence: Evidence::Key,
        };
        // Python: base64.urlsafe_b64encode(bytes([0x23]) + (1795000000000).to_bytes(6, "big") + bytes.fromhex("00f067aa0ba902b7"))
        assert_eq!(text(sent), "IwGh7lZeAADwZ6oLqQK3543210");
    }

    #[test]
    fn other_versions_and_damage_are_nothing() {
        let good = text(Sent {
            at_ms: 1,
            parent: None,
            evidence: Evidence::Root,
        });
        assert!(parse(&good).is_some());
        for bad in [
            "",
            "A",
            good.split_at(1).1,
            &format!("{good}A"),
            &good.replacen('I', "E", 1),
            &good.replacen('A', "=", 1),
            &good.replacen('A', "é", 1),
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        // Evidence 15 of version 2 is not known.
        assert_eq!(parse(&good.replacen("IA", "Lw", 1)), None);
    }

    #[test]
    fn what_was_written_for_another_span_is_nothing() {
        let text = text(Sent {
            at_ms: 1,
            parent: None,
            evidence: Evidence::Root,
        });
        let mut other = own().bytes();
        other[7] ^= 1;
        let other = SpanId::new(other).unwrap();
        assert_eq!(Sent::parse(&text, other), None);
    }

    #[test]
    fn times_that_do_not_fit_are_the_nearest_that_do() {
        let at = |at_ms| {
            let text = text(Sent {
                at_ms,
                parent: None,
                evidence: Evidence::Root,
            });
            parse(&text).unwrap().at_ms
        };
        assert_eq!(at(-1), 0);
        assert_eq!(at(i64::MAX), (1 << 48) - 1);
    }
}
