//! The `tracestate` header: a list of members, one per tracer.
//!
//! W3C Trace Context level 2, section 3.3. Members keep their order and bytes; ours goes to the front. Must not know what a
//! member of another tracer means.

use super::SENT_MEMBER;

/// Most members the specification allows.
pub const TRACESTATE_MEMBERS_MAX: usize = 32;
/// A list of so many characters is passed on by everyone (section 3.3.1.5).
const PASSED_ON_BYTES: usize = 512;
/// Longest key, and longest value, the specification allows.
const PART_BYTES_MAX: usize = 256;

/// A parsed `tracestate`: (key, value), newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracestate<'a> {
    first: Option<Member<'a>>,
    others: Vec<Member<'a>>,
}

/// Key and value.
type Member<'a> = (&'a str, &'a str);

impl<'a> Tracestate<'a> {
    /// Reads header values in their order, as one list. `None` where a member breaks the grammar or there are too many: the
    /// specification then drops the whole list and keeps the `traceparent`. Empty members are allowed. Of a key that stands
    /// there twice the first counts.
    pub fn parse(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        values.into_iter().try_fold(Self::default(), Self::and)
    }

    /// The list with the members of one more header value.
    pub(super) fn and(mut self, value: &'a [u8]) -> Option<Self> {
        if self.first.is_none()
            && let Some(sent) = only_ours(value)
        {
            self.first = Some((SENT_MEMBER, sent));
            return Some(self);
        }
        let mut rest = Some(str::from_utf8(value).ok()?);
        while let Some(list) = rest {
            let member;
            (member, rest) = match cut(list, b',') {
                Some((member, more)) => (member, Some(more)),
                None => (list, None),
            };
            let member = trimmed(member);
            if member.is_empty() {
                continue;
            }
            let (key, value) = cut(member, b'=')?;
            if !is_key(key) || !is_value(value) {
                return None;
            }
            if self.members().any(|(known, _)| known == key) {
                continue;
            }
            if self.first.is_none() {
                self.first = Some((key, value));
                continue;
            }
            if self.others.len().saturating_add(1) == TRACESTATE_MEMBERS_MAX {
                return None;
            }
            self.others.push((key, value));
        }
        Some(self)
    }

    /// All of them; nearly always one, which needs no memory of its own.
    fn members(&self) -> impl Iterator<Item = Member<'a>> {
        self.first.into_iter().chain(self.others.iter().copied())
    }

    /// The value of a member.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&'a str> {
        let found = self.members().find(|(known, _)| *known == key);
        found.map(|(_, value)| value)
    }

    /// The list without these members, for what comes from the record: the newest members that are together no longer than
    /// everyone passes on, with room left for as many as were taken out. `None` where that is nothing.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Option<String> {
        let others = self.members().filter(|(known, _)| !keys.contains(known));
        let mut out = String::new();
        for (key, value) in others.take(TRACESTATE_MEMBERS_MAX.saturating_sub(keys.len())) {
            let comma = usize::from(!out.is_empty());
            let member = key.len().saturating_add(value.len()).saturating_add(1);
            if out.len().saturating_add(comma).saturating_add(member) > PASSED_ON_BYTES {
                break;
            }
            if comma > 0 {
                out.push(',');
            }
            out.push_str(key);
            out.push('=');
            out.push_str(value);
        }
        (!out.is_empty()).then_some(out)
    }

    /// Writes the list with this member at the front and without an older one of the same key; the last members fall off where
    /// there would be too many.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> String {
        let mut out = format!("{key}={value}");
        let others = self.members().filter(|(known, _)| *known != key);
        for (key, value) in others.take(TRACESTATE_MEMBERS_MAX.saturating_sub(1)) {
            out.push(',');
            out.push_str(key);
            out.push('=');
            out.push_str(value);
        }
        out
    }
}

/// The value of our member where the list is that and nothing else, as it nearly always is.
fn only_ours(list: &[u8]) -> Option<&str> {
    let value = list
        .strip_prefix(SENT_MEMBER.as_bytes())?
        .strip_prefix(b"=")?;
    let value = str::from_utf8(value).ok()?;
    is_value(value).then_some(value)
}

/// Without the spaces and tabs around it; nearly never are there any.
fn trimmed(member: &str) -> &str {
    let is_space = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let bytes = member.as_bytes();
    if is_space(bytes.first()) || is_space(bytes.last()) {
        return member.trim_matches([' ', '\t']);
    }
    member
}

/// What stands before and behind the first such byte, which is ASCII.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    if !text.as_bytes().contains(&at) {
        return None;
    }
    let position = text.bytes().position(|byte| byte == at)?;
    Some((
        text.get(..position)?,
        text.get(position.saturating_add(1)..)?,
    ))
}

/// Level 2: a lower-case letter or digit, then those and `_ - * / @`, 256 at most.
fn is_key(key: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_mark = |b: u8| matches!(b, b'_' | b'-' | b'*' | b'/' | b'@');
    let mut bytes = key.bytes();
    key.len() <= PART_BYTES_MAX
        && bytes.next().is_some_and(is_plain)
        && bytes.all(|b| is_plain(b) || is_mark(b))
}

/// 1 to 256 printable ASCII characters without comma and equals sign, the last no space. Looked at all at once, which is
/// quicker than to stop at the first fault.
fn is_value(value: &str) -> bool {
    let is_allowed = |b: u8| (b.wrapping_sub(0x20) < 0x5f) & (b != b',') & (b != b'=');
    (1..=PART_BYTES_MAX).contains(&value.len())
        && !value.ends_with(' ')
        && value.bytes().fold(true, |all, b| all & is_allowed(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Tracestate<'_>> {
        Tracestate::parse([text.as_bytes()])
    }

    #[test]
    fn our_member_alone_is_read_as_it_is_among_others() {
        for list in [
            "tl=x",
            "tl= x",
            "tl=x ",
            " tl=x",
            "tl=\tx",
            "tl=x\t",
            "tl=",
            "tl=a=b",
            "tl=x,tl=y",
            "tl=x, ",
            "tl=\u{e4}",
        ] {
            let among = format!("z=1,{list}");
            let among = parse(&among).map(|state| state.member("tl").map(str::to_owned));
            let alone = parse(list).map(|state| state.member("tl").map(str::to_owned));
            assert_eq!(alone, among, "{list:?}");
        }
    }

    #[test]
    fn several_headers_are_one_list_in_order() {
        let state = Tracestate::parse([&b"a=1,b=2"[..], b" c=3 , ,d=4"]).unwrap();
        assert_eq!(state.member("c"), Some("3"));
        assert_eq!(state.with("tl", "x"), "tl=x,a=1,b=2,c=3,d=4");
        assert_eq!(state.with("b", "5"), "b=5,a=1,c=3,d=4");
    }

    #[test]
    fn members_of_others_are_passed_on_up_to_what_everyone_passes_on() {
        let state = parse("a=1,tl=x,b=2,ot=th:8").unwrap();
        assert_eq!(state.without(&["tl", "ot"]).as_deref(), Some("a=1,b=2"));
        assert_eq!(parse("tl=x").unwrap().without(&["tl", "ot"]), None);
        let (long, rest) = ("x".repeat(250), "y".repeat(7));
        let state = format!("a={long},b={long},c={rest},d=1");
        let passed = parse(&state).unwrap().without(&[]).unwrap();
        assert_eq!(passed, format!("a={long},b={long}"));
        let many: Vec<String> = (0..32).map(|i| format!("k{i}=v")).collect();
        let passed = parse(&many.join(",")).unwrap().without(&["tl", "ot"]);
        assert_eq!(passed.unwrap(), many[..30].join(","));
    }

    #[test]
    fn the_last_members_fall_off() {
        let full: Vec<String> = (0..TRACESTATE_MEMBERS_MAX)
            .map(|i| format!("k{i}=v"))
            .collect();
        let full = full.join(",");
        let state = parse(&full).unwrap();
        let written = state.with("tl", "x");
        assert!(written.starts_with("tl=x,k0=v,"));
        assert!(written.ends_with(",k30=v"));
        assert_eq!(parse(&format!("{full},k32=v")), None, "too many");
    }

    #[test]
    fn what_the_grammar_forbids_is_no_list() {
        let long = "x".repeat(257);
        for text in [
            "foo",
            "=1",
            "foo=",
            "foo@=1,bar",
            "Foo=1",
            "-a=1",
            "foo=1=2",
            "foo=\u{7f}",
            "f oo=1",
            "foo=\t1\u{1}",
            &format!("{long}=1"),
            &format!("a={long}"),
            "föo=1",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(Tracestate::parse([&b"a=\xff"[..]]), None);
        for text in ["", ",", "foo=1,", "foo=1,foo=2", "0a@b=c d", "t@-_*/=!~"] {
            assert!(parse(text).is_some(), "{text:?}");
        }
        assert_eq!(parse("foo=1,foo=2").unwrap().member("foo"), Some("1"));
    }
}
