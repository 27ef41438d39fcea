use proptest::prelude::*;

use super::{Document, MAX_DEPTH, MAX_TEXT_BYTES, NotJson, Value, read, utf16_length};
use crate::hash_seed::HashSeed;

const SEED: HashSeed = HashSeed::new([9; 16]);

/// The string member `a`, unescaped, if the text is JSON.
fn member(text: &str) -> Result<Option<Vec<u8>>, NotJson> {
    let mut bytes = text.as_bytes().to_vec();
    match read(&mut bytes, [b"a"], &SEED)? {
        Document::Object([Value::String(range)]) => Ok(Some(bytes[range].to_vec())),
        _ => Ok(None),
    }
}

fn is_json(text: &[u8]) -> bool {
    read(&mut text.to_vec(), [b"a"], &SEED).is_ok()
}

#[test]
fn finds_the_members_asked_for() {
    let mut text =
        br#" { "x" : [1,{"a":"no"}] , "b":-1.5e+3,"\u0061":"\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00" } "#
            .to_vec();
    let Document::Object([a, b, c]) = read(&mut text, [b"a", b"b", b"c"], &SEED).unwrap() else { panic!() };
    let Value::String(a) = a else { panic!("{a:?}") };
    assert_eq!(core::str::from_utf8(&text[a]).unwrap(), "\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{20ac}\u{1f600}");
    let Value::Number(b) = b else { panic!("{b:?}") };
    assert_eq!(&text[b], b"-1.5e+3");
    assert_eq!(c, Value::Undefined);
}

#[test]
fn tells_what_stands_where_an_object_should() {
    for (text, expected) in
        [("[]", Value::Array), (" null", Value::Null), ("true ", Value::Boolean), ("-0", Value::Number(0..2))]
    {
        let Document::Other(value) = read(&mut text.as_bytes().to_vec(), [b"a"], &SEED).unwrap() else {
            panic!("{text}")
        };
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn accepts_json() {
    for text in [
        "{}",
        "[]",
        "0",
        "-0",
        "0.0",
        "1e9",
        "1E-9",
        "-12.5e+10",
        "\"\"",
        "null",
        "true",
        "false",
        " \t\r\n{} \t\r\n",
        r#"{"a":{}}"#,
        r#"{"a":[[],{},[{}],1,"x",null]}"#,
        r#"{"":0}"#,
        "{\"\u{7f}\u{e9}\":\"\u{1f600}\"}",
        r#"{"n":{"a":1,"a":2}}"#,
        "1e999",
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800\u0041"}"#,
        r#"{"a":"\ud800\n"}"#,
    ] {
        assert!(is_json(text.as_bytes()), "{text}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "{}{}",
        "{} x",
        "[1,]",
        "[,1]",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "nulll",
        "True",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"\u{0}\"",
        "\u{feff}{}",
        "// x\n{}",
        "{}/**/",
        "\u{a0}{}",
        "\u{b}{}",
        "[\"\\ud800\\x\"]",
        "[\"\\ud800\\u12\"]",
        "[1}",
        "{\"a\":[}",
        "undefined",
    ] {
        assert!(!is_json(text.as_bytes()), "{text}");
    }
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xc0\x80\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\"\xe2\x82\"",
        b"\xff",
    ] {
        assert!(!is_json(bytes), "{bytes:x?}");
    }
}

#[test]
fn nesting_ends_at_its_limit() {
    let limit = MAX_DEPTH as usize;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"b\":[", "]}")] {
        let levels = open.matches(['{', '[']).count();
        for depth in [1, limit / levels, limit / levels + 1, 10_000] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(is_json(text.as_bytes()), depth * levels <= limit, "{open} {depth}");
        }
    }
    assert!(!is_json("[".repeat(MAX_TEXT_BYTES).as_bytes()));
}

#[test]
fn a_name_may_stand_once() {
    for (text, once) in [
        (r#"{"a":1,"b":2}"#, true),
        (r#"{"a":1,"a":1}"#, false),
        (r#"{"a":1,"\u0061":1}"#, false),
        (r#"{"x":1,"y":2,"x":3}"#, false),
        (r#"{"":1,"":1}"#, false),
        (r#"{"\ud800":1,"\uD800":1}"#, false),
        (r#"{"a":1,"A":1}"#, true),
        (r#"{"\\u0061":1,"a":1}"#, true),
    ] {
        assert_eq!(is_json(text.as_bytes()), once, "{text}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn a_name_may_stand_once_among_thousands() {
    for count in [1_usize, 8, 9, 10, 100, 5000] {
        for repeated in [None, Some(0), Some(count / 2), Some(count - 1)] {
            let mut members: Vec<String> = (0..count).map(|name| format!("\"k{name}\":0")).collect();
            members.extend(repeated.map(|name| format!("\"k{name}\":1")));
            members.push("\"a\":\"found\"".into());
            let text = format!("{{{}}}", members.join(","));
            let expected = if repeated.is_some() { Err(NotJson) } else { Ok(Some(b"found".to_vec())) };
            assert_eq!(member(&text), expected, "{count} {repeated:?}");
        }
    }
}

#[test]
fn long_texts_are_refused_unread() {
    assert!(is_json(format!("\"{}\"", "x".repeat(MAX_TEXT_BYTES - 2)).as_bytes()));
    assert!(!is_json(format!("\"{}\"", "x".repeat(MAX_TEXT_BYTES - 1)).as_bytes()));
    assert!(is_json("7".repeat(32_768).as_bytes()));
}

#[test]
fn lengths_are_counted_as_javascript_does() {
    for (text, length) in
        [("", 0), ("abc", 3), ("\u{e9}", 1), ("\u{20ac}", 1), ("\u{1f600}", 2), ("a\u{1f600}\u{e9}", 4)]
    {
        assert_eq!(utf16_length(text.as_bytes()), length, "{text}");
    }
    let lone = member(r#"{"a":"\ud800x"}"#).unwrap().unwrap();
    assert_eq!(utf16_length(&lone), 2);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map("[a-c]|.*", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_serde_json_writes(value in any_json()) {
        let text = value.to_string();
        let mut bytes = text.clone().into_bytes();
        let document = read(&mut bytes, [b"a"], &SEED).unwrap();
        if let (Document::Object([Value::String(range)]), Some(expected)) = (document, value.get("a")) {
            prop_assert_eq!(core::str::from_utf8(&bytes[range]).unwrap(), expected.as_str().unwrap());
        }
    }

    /// Bytes changed at random: both readers agree on what is JSON, except where one of them is stricter.
    #[test]
    fn agrees_with_serde_json_on_damaged_texts(
        value in any_json(),
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut text = value.to_string().into_bytes();
        for (position, byte) in bends {
            let position = position.index(text.len());
            text[position] = byte;
        }
        let theirs: Result<serde_json::Value, _> = serde_json::from_slice(&text);
        if let Err(error) = &theirs {
            // They refuse lone surrogates and numbers outside f64; JSON itself does not.
            let message = error.to_string();
            prop_assume!(!message.contains("surrogate") && !message.contains("out of range") && !message.contains("unexpected end of hex escape"));
        }
        let ours = is_json(&text);
        if ours {
            prop_assert!(theirs.is_ok(), "{:?}", String::from_utf8_lossy(&text));
        } else if let Ok(serde_json::Value::Object(members)) = theirs {
            // The one thing that is stricter here: names that stand twice, which they fold into one.
            let quotes = text.iter().filter(|byte| **byte == b'"').count();
            prop_assert!(quotes > 2 * members.len(), "{:?}", String::from_utf8_lossy(&text));
        } else {
            prop_assert!(theirs.is_err(), "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        is_json(&bytes);
    }
}
