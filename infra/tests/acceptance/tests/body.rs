//! `docs/api.md`, "5. Body": what is JSON. And "6. Fields": what each field may hold.

use acceptance::contract::{
    INVALID_JSON, KEY_NOT_FOUND, MALFORMED_SEALED_KEY, MAX_BODY_BYTES, NONCE, ROUTES, not_an_object_body,
    validation_body,
};
use acceptance::failure::fail;
use acceptance::signer::new_identity;
use acceptance::{Failure, Request, Rows, Server, Signer};

const UUID: &str = "Invalid UUID";
const ALG: &str = r#"Invalid input: expected "secp256k1""#;
const DIGEST: &str = "Invalid string: must match pattern /^([a-fA-F0-9]{64}|0x[a-fA-F0-9]{64})$/";
const TICKET_SHORT: &str = "Too small: expected string to have >=32 characters";
const TICKET_LONG: &str = "Too big: expected string to have <=4096 characters";
const SEALED_KEY_EMPTY: &str = "Too small: expected string to have >=1 characters";

/// A route that answers 404 for a good body with a fresh identity, and so shows that it was good.
const PROBE: &str = "/internal/backup/export";

/// Values that are no string, with the name the message gives them. `None` is a missing field.
const NOT_STRINGS: [(Option<&str>, &str); 13] = [
    (None, "undefined"),
    (Some("null"), "null"),
    (Some("0"), "number"),
    (Some("-1.5e3"), "number"),
    (Some("1e400"), "number"),
    (Some("true"), "boolean"),
    (Some("false"), "boolean"),
    (Some("[]"), "array"),
    (Some(r#"["secp256k1"]"#), "array"),
    (Some("[null,{}]"), "array"),
    (Some("{}"), "object"),
    (Some(r#"{"a":1}"#), "object"),
    (Some(r#"{"length":40}"#), "object"),
];

fn good(field: &str) -> String {
    match field {
        "identity_id" => format!(r#""{}""#, new_identity()),
        "alg" => r#""secp256k1""#.to_owned(),
        "digest" => format!(r#""{}""#, "0".repeat(64)),
        "ticket" => format!(r#""{}""#, "t".repeat(40)),
        "nonce" => r#""00ff""#.to_owned(),
        _ => r#""sealed""#.to_owned(),
    }
}

/// Strings each field refuses, as JSON, with the message.
fn bad_strings(field: &str) -> Vec<(String, &'static str)> {
    let quoted = |text: &str| format!(r#""{text}""#);
    match field {
        "identity_id" => vec![(quoted(""), UUID), (quoted("x"), UUID)],
        "alg" => [
            "",
            "secp256k",
            "secp256k11",
            "SECP256K1",
            "Secp256k1",
            " secp256k1",
            "secp256k1 ",
            "secp256r1",
            "ed25519",
            "undefined",
        ]
        .iter()
        .map(|text| (quoted(text), ALG))
        .collect(),
        "digest" => vec![(quoted(""), DIGEST), (quoted("00"), DIGEST)],
        "ticket" => vec![
            (quoted(""), TICKET_SHORT),
            (quoted(&"t".repeat(31)), TICKET_SHORT),
            (quoted(&"t".repeat(4097)), TICKET_LONG),
        ],
        "nonce" => [
            "",
            "0",
            "AA==",
            "Zh",
            "a+b/",
            "00 ",
            " 00",
            r"00\n",
            r"00\u0000",
            r"\ud800",
            "0x0g!",
            "\u{ff10}0",
            "%30%31",
        ]
        .iter()
        .map(|text| quoted(text))
        .chain([quoted(&"00".repeat(513)), quoted(&"abc_".repeat(171)), quoted(&"a".repeat(10_000))])
        .map(|json| (json, NONCE))
        .collect(),
        _ => vec![(quoted(""), SEALED_KEY_EMPTY)],
    }
}

/// Every fault a field can have: its JSON (or none) and its message.
fn faults(field: &str) -> Vec<(Option<String>, String)> {
    // The one that may be absent.
    let wrong_type = NOT_STRINGS.iter().filter(|(json, _)| field != "nonce" || json.is_some());
    let wrong_type = wrong_type.map(|(json, received)| {
        let message = if field == "alg" {
            ALG.to_owned()
        } else {
            format!("Invalid input: expected string, received {received}")
        };
        (json.map(str::to_owned), message)
    });
    let wrong_text = bad_strings(field).into_iter().map(|(json, message)| (Some(json), message.to_owned()));
    wrong_type.chain(wrong_text).collect()
}

fn object(members: &[(&str, Option<String>)]) -> String {
    let members: Vec<String> = members
        .iter()
        .filter_map(|(name, json)| json.as_ref().map(|json| format!(r#""{name}":{json}"#)))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn each_field_of_each_route_is_checked() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, one bad field");
    for (path, fields) in ROUTES {
        for bad in fields {
            for (json, message) in faults(bad) {
                let members: Vec<_> = fields
                    .iter()
                    .map(|field| (*field, if field == bad { json.clone() } else { Some(good(field)) }))
                    .collect();
                let exchange = signer.post(path, object(&members));
                let row = format!("{path}, {bad} = {}", json.as_deref().unwrap_or("nothing"));
                rows.check(row, exchange.is(400, &validation_body(&[(bad, &message)])));
            }
        }
    }
    rows.finish();
}

#[test]
fn all_bad_fields_are_listed_in_the_order_of_the_schema() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, several bad fields");
    for (path, fields) in ROUTES {
        // Every set of bad fields, each set with faults of several kinds.
        for set in 1..1_usize << fields.len() {
            for kind in 0..20 {
                let mut members = Vec::new();
                let mut expected = Vec::new();
                for (bit, field) in fields.iter().enumerate() {
                    if set & (1 << bit) == 0 {
                        members.push((*field, Some(good(field))));
                        continue;
                    }
                    let mut faults = faults(field);
                    let (json, message) = faults.swap_remove((kind * (bit + 1)) % faults.len());
                    members.push((*field, json));
                    expected.push((*field, message));
                }
                let expected: Vec<(&str, &str)> =
                    expected.iter().map(|(field, message)| (*field, message.as_str())).collect();
                let expected = validation_body(&expected);
                let row = format!("{path}, set {set:#b}, kind {kind}");
                rows.check(&row, signer.post(path, object(&members)).is(400, &expected));
                members.reverse();
                let exchange = signer.post(path, object(&members));
                rows.check(format!("{row}, sent backwards"), exchange.is(400, &expected));
            }
        }
    }
    rows.finish();
}

#[test]
fn an_empty_object_lacks_every_field() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, no field at all");
    for (path, fields) in ROUTES {
        let expected: Vec<(&str, &str)> = fields
            .iter()
            .filter(|field| **field != "nonce")
            .map(|field| match *field {
                "alg" => ("alg", ALG),
                field => (field, "Invalid input: expected string, received undefined"),
            })
            .collect();
        for body in ["{}", " { } ", r#"{"other":1}"#, r#"{"IDENTITY_ID":"x","Alg":"secp256k1"}"#] {
            let exchange = signer.post(path, body);
            rows.check(format!("{path} {body}"), exchange.is(400, &validation_body(&expected)));
        }
    }
    rows.finish();
}

#[test]
fn a_body_that_is_no_object_is_named() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, not an object");
    for (path, _) in ROUTES {
        for (body, received) in [
            ("[]", "array"),
            ("[{}]", "array"),
            (r#"[{"identity_id":"x","identity_id":"y"}]"#, "array"),
            ("null", "null"),
            (" null\n", "null"),
            (r#""""#, "string"),
            (r#""{}""#, "string"),
            (r#""\ud800""#, "string"),
            ("0", "number"),
            ("-0", "number"),
            ("-1.5e+3", "number"),
            ("1e400", "number"),
            ("true", "boolean"),
            ("false", "boolean"),
        ] {
            let exchange = signer.post(path, body);
            rows.check(format!("{path} {body}"), exchange.is(400, &not_an_object_body(received)));
        }
    }
    rows.finish();
}

fn is_read(signer: &mut Signer<'_>, body: impl AsRef<[u8]>) -> Result<(), Failure> {
    signer.post(PROBE, body).is_error(404, KEY_NOT_FOUND)
}

fn is_not_json(signer: &mut Signer<'_>, body: impl AsRef<[u8]>) -> Result<(), Failure> {
    signer.post(PROBE, body).is_error(400, INVALID_JSON)
}

/// The JSON of a member `identity_id` that is fresh.
fn fresh() -> String {
    format!(r#""identity_id":"{}""#, new_identity())
}

#[test]
fn identities_are_uuids_and_nothing_like_them() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, identity_id");
    let good = new_identity();
    // Other tests may have made the nil or max identity on a server that is shared: both 200 and
    // 404 show that it was taken for a UUID.
    let mut accepted = |signer: &mut Signer<'_>, row: String, text: &str| {
        let exchange = signer.post(PROBE, format!(r#"{{"identity_id":"{text}"}}"#));
        let outcome = match exchange.response() {
            Ok(response) if response.status == 200 => Ok(()),
            _ => exchange.is_error(404, KEY_NOT_FOUND),
        };
        rows.check(row, outcome);
    };
    let with = |version: char, variant: char| {
        let mut text: Vec<char> = good.chars().collect();
        text[14] = version;
        text[19] = variant;
        text.into_iter().collect::<String>()
    };
    for version in '1'..='8' {
        for variant in ['8', '9', 'a', 'b', 'A', 'B'] {
            let text = with(version, variant);
            accepted(&mut signer, format!("version {version}, variant {variant}"), &text);
        }
    }
    for text in [
        good.to_ascii_uppercase(),
        format!("{}{}", &good[..18].to_ascii_uppercase(), &good[18..]),
        "00000000-0000-0000-0000-000000000000".to_owned(),
        "ffffffff-ffff-ffff-ffff-ffffffffffff".to_owned(),
        "ffffffff-ffff-8fff-bfff-ffffffffffff".to_owned(),
        "FFFFFFFF-FFFF-8FFF-BFFF-FFFFFFFFFFFF".to_owned(),
        "00000000-0000-1000-8000-000000000000".to_owned(),
        good.replace('-', r"\u002d"),
    ] {
        accepted(&mut signer, text.clone(), &text);
    }

    let mut refused: Vec<String> = "09abcdefABCDEF"
        .chars()
        .map(|version| with(version, '8'))
        .chain("01234567cdefCDEF".chars().map(|variant| with('4', variant)))
        .collect();
    let bare = good.replace('-', "");
    refused.extend([
        "00000000-0000-0000-0000-000000000001".to_owned(),
        "00000000-0000-0000-8000-000000000000".to_owned(),
        "ffffffff-ffff-ffff-ffff-fffffffffffe".to_owned(),
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF".to_owned(),
        "FFFFffff-ffff-ffff-ffff-ffffffffffff".to_owned(),
        format!("{{{good}}}"),
        format!("({good})"),
        format!("urn:uuid:{good}"),
        format!(" {good}"),
        format!("{good} "),
        format!(r"{good}\n"),
        format!(r"\n{good}"),
        format!(r"{good}\u0000"),
        format!(r"{good}\r\n"),
        format!("{good}0"),
        good[..35].to_owned(),
        good[1..].to_owned(),
        bare.clone(),
        format!("{}-{}", &bare[..16], &bare[16..]),
        good.replace('-', "_"),
        good.replace('-', " "),
        good.replace('-', "\u{2010}"),
        format!("{}-{}", &good[..9], &good[9..]),
        format!("g{}", &good[1..]),
        format!("{}g", &good[..35]),
        format!("0x{}", &good[2..]),
        format!("\u{ff11}{}", &good[1..]),
        format!("{good},{good}"),
        r"\ud800".to_owned(),
        "x".repeat(36),
        "-".repeat(36),
        "null".to_owned(),
    ]);
    for (path, fields) in ROUTES {
        for text in &refused {
            let members: Vec<_> = fields
                .iter()
                .map(|field| match *field {
                    "identity_id" => (*field, Some(format!(r#""{text}""#))),
                    field => (field, Some(self::good(field))),
                })
                .collect();
            let exchange = signer.post(path, object(&members));
            rows.check(
                format!("{path} {text}"),
                exchange.is(400, &validation_body(&[("identity_id", UUID)])),
            );
        }
    }
    rows.finish();
}

fn sign_with(signer: &mut Signer<'_>, digest: &str, ticket: &str) -> acceptance::Exchange {
    let body = format!(r#"{{{},"digest":"{digest}","ticket":"{ticket}"}}"#, fresh());
    signer.post("/internal/sign", body)
}

#[test]
fn digests_are_64_hex_digits_with_or_without_0x() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, digest");
    let ticket = "t".repeat(32);
    let (lower, upper) = ("0a".repeat(32), "0A".repeat(32));
    let mixed = "aB".repeat(32);
    for digest in [
        lower.clone(),
        upper.clone(),
        mixed.clone(),
        format!("0x{lower}"),
        format!("0x{upper}"),
        format!("0x{mixed}"),
        "0".repeat(64),
        "f".repeat(64),
        lower.replacen("0a", r"\u0030\u0061", 1),
    ] {
        let exchange = sign_with(&mut signer, &digest, &ticket);
        rows.check(format!("{digest} works"), exchange.is_error(404, KEY_NOT_FOUND));
    }
    for digest in [
        String::new(),
        "0".to_owned(),
        "0x".to_owned(),
        lower[1..].to_owned(),
        lower[2..].to_owned(),
        format!("{lower}0"),
        format!("{lower}00"),
        format!("0X{lower}"),
        format!("0x{}", &lower[1..]),
        format!("0x{}", &lower[2..]),
        format!("0x{lower}0"),
        format!("0x0x{}", &lower[4..]),
        format!("1x{lower}"),
        format!("x{lower}"),
        format!("00{lower}"),
        format!("g{}", &lower[1..]),
        format!("{}g", &lower[1..]),
        format!("+{}", &lower[1..]),
        format!("-{}", &lower[1..]),
        format!(" {lower}"),
        format!("{lower} "),
        format!(r"{lower}\n"),
        format!(r"\n{lower}"),
        format!(r"{lower}\u0000"),
        format!(r"{}\n", &lower[1..]),
        format!(r"0x{lower}\n"),
        format!("{}\u{ff10}", &lower[1..]),
        format!("{}\u{e9}", &lower[2..]),
        r"\ud800".repeat(64),
        "A".repeat(44),
    ] {
        let exchange = sign_with(&mut signer, &digest, &ticket);
        rows.check(digest, exchange.is(400, &validation_body(&[("digest", DIGEST)])));
    }
    rows.finish();
}

#[test]
fn a_ticket_is_measured_in_utf_16_units() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, ticket");
    let digest = "0".repeat(64);
    let astral = "\u{1f511}";
    for (row, ticket) in [
        ("32 letters", "t".repeat(32)),
        ("4,096 letters", "t".repeat(4096)),
        ("32 of two bytes", "é".repeat(32)),
        ("4,096 of three bytes", "€".repeat(4096)),
        ("16 astral characters", astral.repeat(16)),
        ("2,048 astral characters", astral.repeat(2048)),
        ("32 escaped letters", r"\u0061".repeat(32)),
        ("4,096 escaped letters", r"\u0061".repeat(4096)),
        ("16 escaped pairs", r"\ud83d\udd11".repeat(16)),
        ("2,048 escaped pairs", r"\uD83D\uDD11".repeat(2048)),
        ("32 short escapes", r"\n".repeat(32)),
        ("32 NULs", r"\u0000".repeat(32)),
        ("32 lone high halves", r"\ud83d".repeat(32)),
        ("32 lone low halves", r"\udd11".repeat(32)),
        ("16 pairs the wrong way round", r"\udd11\ud83d".repeat(16)),
        ("32 spaces", " ".repeat(32)),
    ] {
        rows.check(row, sign_with(&mut signer, &digest, &ticket).is_error(404, KEY_NOT_FOUND));
    }
    for (row, ticket, message) in [
        ("31 letters", "t".repeat(31), TICKET_SHORT),
        ("31 of two bytes", "é".repeat(31), TICKET_SHORT),
        ("31 of three bytes", "€".repeat(31), TICKET_SHORT),
        ("15 astral characters", astral.repeat(15), TICKET_SHORT),
        ("15 astral and one letter", format!("{}a", astral.repeat(15)), TICKET_SHORT),
        ("31 escaped letters", r"\u0061".repeat(31), TICKET_SHORT),
        ("15 escaped pairs and a letter", format!("{}a", r"\ud83d\udd11".repeat(15)), TICKET_SHORT),
        ("31 lone halves", r"\ud83d".repeat(31), TICKET_SHORT),
        ("4,097 letters", "t".repeat(4097), TICKET_LONG),
        ("2,048 astral and one letter", format!("{}a", astral.repeat(2048)), TICKET_LONG),
        ("4,097 of two bytes", "é".repeat(4097), TICKET_LONG),
        ("4,097 escaped letters", r"\u0061".repeat(4097), TICKET_LONG),
        ("30,000 letters", "t".repeat(30_000), TICKET_LONG),
    ] {
        let exchange = sign_with(&mut signer, &digest, &ticket);
        rows.check(row, exchange.is(400, &validation_body(&[("ticket", message)])));
    }
    rows.finish();
}

#[test]
fn a_sealed_key_has_no_greatest_length_but_the_bodys() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, sealed_key");
    for (row, sealed_key) in [
        ("one letter", "x".to_owned()),
        ("a space", " ".to_owned()),
        ("30,000 letters", "x".repeat(30_000)),
        ("a lone half", r"\ud800".to_owned()),
    ] {
        let body = format!(r#"{{{},"alg":"secp256k1","sealed_key":"{sealed_key}"}}"#, fresh());
        let exchange = signer.post("/internal/backup/import", body);
        rows.check(row, exchange.is_error(400, MALFORMED_SEALED_KEY));
    }
    rows.finish();
}

/// JSON values that are sound, whatever one thinks of them; each is put in an unknown field.
const SOUND_VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "0.0",
    "-0.5",
    "1e5",
    "1E5",
    "1e+5",
    "1e-5",
    "1.5e05",
    "0e0",
    "1e400",
    "-1e400",
    "1e-400",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901234567890",
    r#""""#,
    r#""a""#,
    r#""\"""#,
    r#""\\""#,
    r#""\/""#,
    r#""\b\f\n\r\t""#,
    r#""\u0000""#,
    r#""\u00e9""#,
    r#""\uFFFF""#,
    r#""\ud83d\udd11""#,
    r#""\ud800""#,
    r#""\udc00""#,
    r#""\udc00\ud800""#,
    r#""\ud800\ud800""#,
    r#""\ud800a""#,
    r#""\ud800\n""#,
    "\"\u{7f}\"",
    "\"\u{80}\"",
    "\"é\"",
    "\"\u{2028}\"",
    "\"\u{feff}\"",
    "\"\u{1f511}\"",
    "\"\u{ffff}\"",
    "\"\u{10ffff}\"",
    "[]",
    "{}",
    "[ ]",
    "{ }",
    "[1]",
    "[1,2]",
    "[[],{}]",
    r#"{"a":1}"#,
    r#"{"":1}"#,
    r#"{"a":1,"a":2}"#,
    r#"[{"a":1,"a":2}]"#,
    r#"{"identity_id":1,"identity_id":2}"#,
    r#"{"a":{"b":[1,{"c":null}]}}"#,
    r#"{"__proto__":{"x":1}}"#,
];

/// Values that no JSON parser may take.
const UNSOUND_VALUES: &[&str] = &[
    "",
    "NaN",
    "-NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "nul",
    "nulll",
    "NULL",
    "True",
    "tru",
    "falsey",
    "01",
    "-01",
    "00",
    "1.",
    "-1.",
    ".5",
    "-.5",
    "+1",
    "--1",
    "-",
    "1e",
    "1e+",
    "1.e5",
    "1e5.5",
    "0x10",
    "0b1",
    "0o7",
    "1_000",
    "1,5",
    "1 2",
    "1n",
    "１",
    "'a'",
    "`a`",
    "a",
    "\"a",
    "a\"",
    r#""a" "b""#,
    r#""a""b""#,
    r#""\x41""#,
    r#""\a""#,
    r#""\'""#,
    r#""\0""#,
    r#""\v""#,
    r#""\ ""#,
    r#""\u""#,
    r#""\u1""#,
    r#""\u123""#,
    r#""\u{41}""#,
    r#""\u00g0""#,
    r#""\U0041""#,
    r#""\u+041""#,
    r#""\u 041""#,
    r#""\""#,
    "\"\n\"",
    "\"\t\"",
    "\"\r\"",
    "\"\u{0}\"",
    "\"\u{1}\"",
    "\"\u{1f}\"",
    "\"\u{8}\"",
    "[",
    "]",
    "{",
    "}",
    "[1",
    "1]",
    "[1,]",
    "[,1]",
    "[,]",
    "[1 2]",
    "[1,,2]",
    "[1;2]",
    "(1)",
    r#"{"a"}"#,
    r#"{"a":}"#,
    r#"{"a":1,}"#,
    r#"{,"a":1}"#,
    r#"{"a":1,,"b":2}"#,
    r#"{"a"1}"#,
    r#"{"a"=1}"#,
    r#"{"a";1}"#,
    r#"{"a"::1}"#,
    "{a:1}",
    "{1:1}",
    "{'a':1}",
    "{null:1}",
    r#"{"a":1 "b":2}"#,
    r#"{"a":1;"b":2}"#,
    r#"[1}"#,
    r#"{"a":1]"#,
    "/**/1",
    "1/**/",
    "1//x",
    "1#x",
    "1\u{a0}",
    "\u{b}1",
    "\u{c}1",
    "\u{85}1",
    "\u{2003}1",
    "\u{2028}1",
    "\u{feff}1",
    "\u{0}1",
];

#[test]
fn json_is_json_and_unknown_fields_are_ignored() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, JSON");
    for value in SOUND_VALUES {
        let body = format!(r#"{{{},"other":{value}}}"#, fresh());
        rows.check(format!("{} works", value.escape_debug()), is_read(&mut signer, body));
        let body = format!(r#"{{"other":{value},{}}}"#, fresh());
        rows.check(format!("{} works, before", value.escape_debug()), is_read(&mut signer, body));
    }
    for value in UNSOUND_VALUES {
        let body = format!(r#"{{{},"other":{value}}}"#, fresh());
        rows.check(value.escape_debug().to_string(), is_not_json(&mut signer, body));
        let body = format!(r#"{{"other":{value},{}}}"#, fresh());
        rows.check(format!("{}, before", value.escape_debug()), is_not_json(&mut signer, body));
        let body = format!(r#"{{{},"other":[{{"deep":{value}}}]}}"#, fresh());
        rows.check(format!("{}, nested", value.escape_debug()), is_not_json(&mut signer, body));
    }
    rows.finish();
}

#[test]
fn a_body_is_one_json_text_in_utf_8() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, the whole of it");
    let good = || format!("{{{}}}", fresh());
    for (row, body) in [
        ("every white space of JSON", format!(" \t\r\n{} \t\r\n", good())),
        ("white space inside", good().replace(':', " \t\r\n:\n").replace('{', "{\r")),
        ("a key with escapes", good().replace("identity_id", r"\u0069dentity\u005Fid")),
        ("a value with escapes", good().replace('-', r"\u002D")),
    ] {
        rows.check(row, is_read(&mut signer, body));
    }
    let utf_16: Vec<u8> = good().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let around = |before: &[u8], after: &[u8]| [before, good().as_bytes(), after].concat();
    let inside = |bytes: &[u8]| [format!(r#"{{{},"other":""#, fresh()).as_bytes(), bytes, b"\"}"].concat();
    for (row, body) in [
        ("empty", Vec::new()),
        ("white space only", b" \r\n".to_vec()),
        ("BOM", around(b"\xef\xbb\xbf", b"")),
        ("UTF-16 with BOM", [b"\xff\xfe".to_vec(), utf_16.clone()].concat()),
        ("UTF-16", utf_16),
        ("trailing letter", around(b"", b"x")),
        ("trailing brace", around(b"", b"}")),
        ("trailing comma", around(b"", b",")),
        ("trailing NUL", around(b"", b"\0")),
        ("trailing form feed", around(b"", b"\x0c")),
        ("trailing no-break space", around(b"", b"\xc2\xa0")),
        ("trailing BOM", around(b"", b"\xef\xbb\xbf")),
        ("leading NUL", around(b"\0", b"")),
        ("leading vertical tab", around(b"\x0b", b"")),
        ("leading comment", around(b"//x\n", b"")),
        ("leading JSON guard", around(b")]}',\n", b"")),
        ("two objects", [good(), good()].concat().into_bytes()),
        ("two lines of objects", [good(), good()].join("\n").into_bytes()),
        ("not closed", good().trim_end_matches('}').as_bytes().to_vec()),
        ("a form", b"identity_id=x&alg=secp256k1".to_vec()),
        ("words", b"not json".to_vec()),
        ("a lone continuation byte", inside(b"\x80")),
        ("a cut sequence", inside(b"\xc3")),
        ("a cut sequence of three", inside(b"\xe2\x82")),
        ("an overlong slash", inside(b"\xc0\xaf")),
        ("an overlong NUL", inside(b"\xc0\x80")),
        ("an overlong of three", inside(b"\xe0\x80\xaf")),
        ("an encoded surrogate", inside(b"\xed\xa0\x80")),
        ("past U+10FFFF", inside(b"\xf4\x90\x80\x80")),
        ("0xff", inside(b"\xff")),
        ("latin-1", inside(b"caf\xe9")),
        ("0xff in a key", [format!("{{{},\"", fresh()).as_bytes(), b"\xff\":1}"].concat()),
    ] {
        rows.check(row, is_not_json(&mut signer, body));
    }
    let no_body = Request::new("POST", PROBE)
        .header("content-type", "application/json")
        .header("x-internal-api-key", server.api_key());
    rows.check("no length and no body", server.send(&no_body).is_error(400, INVALID_JSON));
    rows.check("an empty chunked body", server.send(&no_body.chunked(1)).is_error(400, INVALID_JSON));
    rows.finish();
}

#[test]
fn a_key_twice_at_the_top_level_is_not_json() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, duplicate keys");
    let member = fresh();
    for (row, members) in [
        ("the same member twice", format!("{member},{member}")),
        ("another value", format!("{member},{}", fresh())),
        ("the second escaped", format!(r#"{member},"\u0069dentity_id":1"#)),
        ("the first escaped", format!(r#""identity\u005fid":1,{member}"#)),
        ("escapes in two cases", format!(r#"{member},"\u00e9":1,"\u00E9":2"#)),
        ("unknown keys", format!(r#"{member},"a":1,"a":1"#)),
        ("unknown keys, far apart", format!(r#""a":1,{member},"b":1,"c":1,"a":1"#)),
        ("unknown keys, one escaped", format!(r#"{member},"digest":1,"\u0064igest":1"#)),
        ("empty keys", format!(r#"{member},"":1,"":2"#)),
        ("a letter and its escape", format!(r#"{member},"é":1,"\u00e9":2"#)),
        ("an astral key and its escape", format!("{member},\"\u{1f511}\":1,\"\\ud83d\\udd11\":2")),
        ("a slash and its escape", format!(r#"{member},"/":1,"\/":2"#)),
        ("a newline in two escapes", format!(r#"{member},"\n":1,"\u000a":2"#)),
        ("a lone half twice", format!(r#"{member},"\ud800":1,"\ud800":2"#)),
        ("__proto__ twice", format!(r#"{member},"__proto__":1,"__proto__":2"#)),
        ("a long key twice", format!(r#"{member},"{0}":1,"{0}":2"#, "k".repeat(1000))),
    ] {
        rows.check(row, is_not_json(&mut signer, format!("{{{members}}}")));
    }
    for (row, members) in [
        ("keys that differ in case", format!(r#"{member},"a":1,"A":2,"Identity_id":3"#)),
        ("one key starts the other", format!(r#"{member},"a":1,"aa":2,"":3"#)),
        ("a key and its escape spelled out", format!(r#"{member},"a":1,"\\u0061":2"#)),
        ("other lone halves", format!(r#"{member},"\ud800":1,"\ud801":2,"\udc00":3"#)),
        ("a lone half and U+FFFD", format!("{member},\"\\ud800\":1,\"\u{fffd}\":2")),
        ("composed and decomposed", format!("{member},\"\u{e9}\":1,\"e\u{301}\":2")),
        ("a duplicate one level down", format!(r#"{member},"a":{{"a":1,"a":2}}"#)),
        ("the name one level down", format!(r#"{member},"a":{{"identity_id":1}}"#)),
        ("names of Object", format!(r#"{member},"__proto__":1,"constructor":2,"toString":3"#)),
    ] {
        rows.check(format!("{row} works"), is_read(&mut signer, format!("{{{members}}}")));
    }
    rows.finish();
}

#[test]
fn nesting_is_32_deep_at_most() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, depth");
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    // The object itself is one level.
    for (kind, nested) in [("arrays", arrays(31)), ("objects", objects(31))] {
        let body = format!(r#"{{{},"other":{nested}}}"#, fresh());
        rows.check(format!("32 levels of {kind} work"), is_read(&mut signer, body));
    }
    for (kind, nested) in [
        ("33 levels of arrays", arrays(32)),
        ("33 levels of objects", objects(32)),
        ("1,000 levels of arrays", arrays(1000)),
        ("4,000 levels of objects", objects(4000)),
        ("10,000 levels, never closed", "[".repeat(10_000)),
        ("33 levels, never closed", "[".repeat(32)),
    ] {
        let body = format!(r#"{{{},"other":{nested}}}"#, fresh());
        rows.check(kind, is_not_json(&mut signer, body));
    }
    let wide = vec![arrays(10); 1000].join(",");
    let body = format!(r#"{{{},"other":[{wide}]}}"#, fresh());
    rows.check("wide and not deep works", is_read(&mut signer, body));
    let exchange = signer.post(PROBE, arrays(32));
    rows.check("an array of 32 levels", exchange.is(400, &not_an_object_body("array")));
    rows.check("an array of 33 levels", is_not_json(&mut signer, arrays(33)));
    rows.finish();
}

#[test]
fn a_body_may_be_as_large_as_the_limit_whatever_fills_it() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Body, 32,768 bytes");
    let padded = |before: &str, unit: &str, after: &str| {
        let member = fresh();
        let rest = MAX_BODY_BYTES - member.len() - before.len() - after.len() - 3;
        let filling = unit.repeat(rest / unit.len());
        let spaces = " ".repeat(rest % unit.len());
        format!("{{{member},{before}{filling}{after}{spaces}}}")
    };
    for (row, body) in [
        ("spaces", padded(r#""other":1"#, " ", "")),
        ("digits", padded(r#""other":"#, "1", "")),
        ("digits after the point", padded(r#""other":0."#, "1", "")),
        ("digits of an exponent", padded(r#""other":1e"#, "1", "")),
        ("a string", padded(r#""other":""#, "a", "\"")),
        ("escapes", padded(r#""other":""#, r"\u0061", "\"")),
        ("a key", padded("\"", "k", "\":1")),
        ("an array", padded(r#""other":[1"#, ",1", "]")),
        ("objects", padded(r#""other":[{}"#, ",{}", "]")),
        ("nested keys, all alike", padded(r#""other":{"a":1"#, r#","a":1"#, "}")),
    ] {
        if body.len() != MAX_BODY_BYTES {
            rows.check(row, fail(format!("the test made {} bytes", body.len())));
            continue;
        }
        rows.check(row, is_read(&mut signer, body));
    }
    // As many different keys as fit.
    let letters: Vec<char> = ('!'..='~').filter(|c| !matches!(c, '"' | '\\')).collect();
    let keys: Vec<String> = letters
        .iter()
        .flat_map(|a| letters.iter().map(move |b| format!(r#""{a}{b}":1"#)))
        .take(4600)
        .collect();
    let body = format!("{{{},{}}}", fresh(), keys.join(","));
    rows.check("4,600 unknown keys", is_read(&mut signer, &body));
    let body = format!("{{{},{},{}}}", fresh(), keys[..4_500].join(","), keys[0]);
    rows.check("4,501 unknown keys, one twice", is_not_json(&mut signer, &body));
    rows.finish();
}

#[test]
fn a_bad_body_is_told_before_the_state_is_looked_at() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let identity = new_identity();
    signer.generated(&identity)?;
    let mut rows = Rows::new("Body, before State");
    let exchange = signer.post("/internal/generate", format!(r#"{{"identity_id":"{identity}"}}"#));
    rows.check("generate, identity exists", exchange.is(400, &validation_body(&[("alg", ALG)])));
    let body = format!(r#"{{"identity_id":"{identity}","digest":"00","ticket":"{}"}}"#, "t".repeat(40));
    let exchange = signer.post("/internal/sign", body);
    rows.check("sign, bad digest", exchange.is(400, &validation_body(&[("digest", DIGEST)])));
    let body = format!(r#"{{"identity_id":"{identity}","identity_id":"{identity}"}}"#);
    rows.check("destroy, duplicate", signer.post("/internal/destroy", body).is_error(400, INVALID_JSON));
    rows.check("the key is still there", signer.exported(&identity).map(drop));
    rows.finish();
    Ok(())
}
