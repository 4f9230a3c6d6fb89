//! Properties over any bytes, and the cases that a reader would ask about.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn redaction(headers: &[&str], pointers: &[&str], patterns: &[&str]) -> Redaction {
    let all = |list: &[&str]| list.iter().map(|p| Regex::new(p).unwrap()).collect();
    let pointers = pointers.iter().map(|p| (*p).to_owned()).collect();
    Redaction::new(all(headers), pointers, all(patterns))
}

fn fields(redaction: &Redaction, value: &[u8], pointers: &[&str]) -> Vec<(String, String)> {
    let pointers: Vec<String> = pointers.iter().map(|p| (*p).to_owned()).collect();
    let shown = redaction.fields(value, &pointers).into_iter();
    shown.map(|(name, text)| (name.to_owned(), text)).collect()
}

fn shown(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

#[test]
fn a_header_is_hidden_by_its_name_and_any_other_by_what_it_holds() {
    let redaction = redaction(&["(?i)authorization|cookie|token"], &[], &["[0-9]{13,19}"]);
    for name in ["Authorization", "x-csrf-token", "Set-Cookie"] {
        assert_eq!(redaction.header(name, b"anything"), REDACTED);
    }
    assert_eq!(
        redaction.header("x-note", b"card 4111111111111111 declined"),
        "card [redacted] declined"
    );
    assert_eq!(
        redaction.header("x-note", b"\xffcard 4111111111111111"),
        "\u{fffd}card [redacted]"
    );
    assert_eq!(redaction.header("", b""), "");
}

#[test]
fn fields_are_found_by_pointer_whatever_stands_in_their_names() {
    let value = json!({
        "a/b": {"m~n": "slash and tilde"},
        "items": [{"id": 1}, {"id": 2, "card": "4111"}],
        "": "nameless",
    });
    let value = value.to_string().into_bytes();
    let redaction = redaction(&[], &["/items/1/card", "/nowhere", "/items/x"], &[]);
    let pointers = [
        "/a~1b/m~0n",
        "/items/0/id",
        "/items/1",
        "/items/9",
        "/items/-",
        "/",
    ];
    assert_eq!(
        fields(&redaction, &value, &pointers),
        [
            shown("/a~1b/m~0n", "slash and tilde"),
            shown("/items/0/id", "1"),
            shown("/items/1", r#"{"card":"[redacted]","id":2}"#),
            shown("/", "nameless"),
        ]
    );
}

#[test]
fn a_redacted_field_hides_all_that_is_in_it_and_the_empty_pointer_everything() {
    let value = br#"{"payment":{"card":{"number":"4111"}},"id":7}"#;
    let inner = redaction(&[], &["/payment"], &[]);
    assert!(fields(&inner, value, &["/payment/card/number"]).is_empty());
    assert_eq!(
        fields(&inner, value, &["/payment"]),
        [shown("/payment", REDACTED)]
    );
    let whole = redaction(&[], &[""], &[]);
    assert!(fields(&whole, value, &["/id"]).is_empty());
}

#[test]
fn patterns_reach_numbers_names_escaped_texts_and_the_json_around_them() {
    let value = br#"{"o":{"n":4111111111111111,"4222222222222222":true,"t":"a\"b\u0063","k":"v"}}"#;
    let redaction = redaction(&[], &[], &["[0-9]{16}", "a\"bc", r#""k":"[^"]*""#]);
    let all = fields(&redaction, value, &["/o"]);
    assert_eq!(
        all,
        [shown(
            "/o",
            r#"{"[redacted]":true,[redacted],"n":"[redacted]","t":"[redacted]"}"#
        )]
    );
}

#[test]
fn what_is_no_json_or_too_long_is_left_out_and_never_shown_raw() {
    let redaction = redaction(&[], &[], &[]);
    for value in [
        &b"secret"[..],
        b"",
        b"{\"a\":1",
        b"\xff\xfe",
        b"{\"a\":1} x",
    ] {
        assert!(fields(&redaction, value, &["", "/a"]).is_empty());
    }
    let deep = [b"[".repeat(5_000), b"]".repeat(5_000)].concat();
    assert!(fields(&redaction, &deep, &[""]).is_empty());
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(TEXT_BYTES_MAX));
    assert!(fields(&redaction, long.as_bytes(), &["/a"]).is_empty());
}

#[test]
fn a_long_text_is_cut_behind_its_redaction_and_one_past_looking_at_not_shown() {
    let plain = redaction(&[], &[], &["SECRET"]);
    let long = format!("{}SECRET{}", "é".repeat(508), "y".repeat(4_000));
    let text = plain.text(&long);
    assert!(text.len() <= SHOWN_BYTES_MAX && text.ends_with(CUT));
    assert!(!text.contains("SEC"), "half a secret is one: {text}");
    assert_eq!(plain.text(&"x".repeat(TEXT_BYTES_MAX + 1)), REDACTED);
}

#[test]
fn a_pattern_that_matches_the_mark_itself_leaves_nothing() {
    for pattern in ["red", "[a-z]+", r"\b", ".", "(?s).+"] {
        let redaction = redaction(&[], &[], &[pattern]);
        let text = redaction.text("some text");
        assert!(!Regex::new(pattern).unwrap().is_match(&text), "{pattern}");
    }
    let empty = redaction(&[], &[], &["x*"]);
    assert_eq!(
        empty.text("axb"),
        "axb",
        "left out, for it matches nothing at all"
    );
}

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    let some = [
        "secret",
        "[0-9]{4,}",
        r"(?i)bearer\s+\S+",
        r"\[re",
        "ed]$",
        "a.c",
        r"\bkey\b",
        "^x",
        r#""p":"#,
        "…",
        "\u{fffd}",
        "d]s",
    ];
    prop::collection::vec(prop::sample::select(some.to_vec()), 0..5)
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "secret",
        "12345",
        "Bearer abc",
        "[re",
        "ed]",
        "abc",
        "key",
        "x",
        "s3cr3t",
        "{\"p\":",
        "\"",
        "}",
        " ",
    ];
    let word = prop::sample::select(words.to_vec()).prop_map(|w| w.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    let long = (100usize..400).prop_map(|n| b"abc 77 ".repeat(n));
    let piece = prop_oneof![5 => word, 3 => noise, 1 => long];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_pattern_matches_what_is_shown_of_any_bytes(patterns in patterns(), text in text()) {
        let redaction = redaction(&["^auth"], &["/a"], &patterns);
        let shown = [
            redaction.bytes(&text),
            redaction.header("note", &text),
            redaction.header("authorization", &text),
        ];
        for shown in shown {
            for pattern in &patterns {
                prop_assert!(!Regex::new(pattern).unwrap().is_match(&shown), "{pattern} in {shown:?}");
            }
            prop_assert!(shown.len() <= SHOWN_BYTES_MAX);
            prop_assert_eq!(redaction.text(&shown), &*shown, "once is enough");
        }
    }

    #[test]
    fn no_pattern_matches_what_is_shown_of_any_json(
        patterns in patterns(),
        left in text(),
        right in text(),
        number in any::<u64>(),
    ) {
        let (left, right) = (String::from_utf8_lossy(&left), String::from_utf8_lossy(&right));
        let value = json!({"a": "hidden-value", "b": [{"p": left, "q": number}, null, {&*right: right}]});
        let redaction = redaction(&[], &["/a", "/b/1"], &patterns);
        let value = value.to_string();
        for (pointer, shown) in fields(&redaction, value.as_bytes(), &["", "/a", "/b", "/b/0", "/b/0/p", "/b/0/q"]) {
            for pattern in &patterns {
                prop_assert!(!Regex::new(pattern).unwrap().is_match(&shown), "{pattern} at {pointer}: {shown:?}");
            }
            prop_assert!(!shown.contains("hidden-value"));
        }
    }

    #[test]
    fn any_bytes_and_any_pointers_give_an_answer(
        value in prop::collection::vec(any::<u8>(), 0..200),
        pointers in prop::collection::vec("[/~01a-c]{0,6}", 0..4),
    ) {
        let redaction = redaction(&[], &["/a/b", "~", "/~2"], &["x"]);
        let shown = redaction.fields(&value, &pointers);
        prop_assert!(shown.len() <= pointers.len());
    }
}
