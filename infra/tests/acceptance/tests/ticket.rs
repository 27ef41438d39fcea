//! `docs/api.md`, "8. Sign": what a signature is given for, once.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use acceptance::bip340::{self, x_only};
use acceptance::contract::{DIGEST_MISMATCH, IDENTITY_MISMATCH, REPLAY, SCOPE, TICKET};
use acceptance::failure::{ensure, fail};
use acceptance::signer::{new_identity, sign_body};
use acceptance::ticket::{
    HEADER, encode, hmac_sha256, hmac_sha512, mint_bytes, now_s, sign_input, with_spare_bits,
};
use acceptance::{Failure, Request, Rows, Server, Signer, Ticket};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// The ticket's greatest lifetime, unless the server is started with another.
const MAX_TTL_S: u64 = 3600;

/// How far ahead `nbf` may be.
const NBF_TOLERANCE_S: u64 = 5;

/// One identity with a key, and one digest that it is asked to sign.
struct KeyedIdentity<'a> {
    signer: Signer<'a>,
    identity: String,
    digest: [u8; 32],
    x_only: String,
}

impl<'a> KeyedIdentity<'a> {
    fn new(server: &'a Server) -> Result<Self, Failure> {
        let mut signer = server.signer();
        let identity = new_identity();
        let x_only = x_only(&signer.generated(&identity)?).to_owned();
        Ok(Self { signer, identity, digest: rand::random(), x_only })
    }

    fn good(&self) -> Ticket {
        Ticket::new(&self.identity, &self.digest)
    }

    /// Checks that the ticket is refused, and then that its nonce is still free.
    fn refuses(&mut self, ticket: &str, nonce: Option<&str>, status: u16, text: &str) -> Result<(), Failure> {
        let digest = hex::encode(self.digest);
        self.signer.sign(&self.identity, &digest, ticket).is_error(status, text)?;
        let Some(nonce) = nonce else { return Ok(()) };
        let good = self.good().claim("nonce", nonce).mint(self.signer.secret());
        self.accepts(&good)
            .map_err(|why| Failure::new(format!("its nonce was used up by the {status}: {why}")))
    }

    /// Checks that the ticket is good for one signature, which is valid, and for no second one.
    fn accepts(&mut self, ticket: &str) -> Result<(), Failure> {
        let signature = self.signer.signed(&self.identity, &self.digest, ticket)?;
        bip340::verify(&signature, &self.digest, &self.x_only)?;
        let digest = hex::encode(self.digest);
        self.signer.sign(&self.identity, &digest, ticket).is_error(409, REPLAY)
    }

    /// Tries a table of claims: each row bends a good ticket.
    fn refuse_claims(&mut self, rows: &mut Rows, table: Vec<(String, Ticket)>, status: u16, text: &str) {
        for (row, ticket) in table {
            let nonce = ticket.claim_json("nonce").filter(|json| is_usable_nonce(json)).map(str::to_owned);
            let compact = ticket.mint(self.signer.secret());
            let outcome = self.refuses(&compact, nonce.as_deref(), status, text);
            rows.check(format!("{row}: {}", ticket.claims_json()), outcome);
        }
    }
}

/// Whether a nonce from a bent ticket can stand in a good one.
fn is_usable_nonce(json: &str) -> bool {
    serde_json::from_str::<String>(json).is_ok_and(|nonce| (1..=128).contains(&nonce.len()))
}

fn nonce_of(ticket: &Ticket) -> Option<String> {
    ticket.claim_json("nonce").map(str::to_owned)
}

/// JSON values that are no number.
const NOT_NUMBERS: [&str; 8] =
    ["null", "true", "false", r#""""#, r#""4102444800""#, "[]", "[4102444800]", "{}"];

/// JSON values that are no string.
const NOT_STRINGS: [&str; 8] = ["null", "true", "false", "0", "1", "[]", r#"["sign"]"#, "{}"];

#[test]
fn a_ticket_is_three_segments_of_strict_base64url() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut rows = Rows::new("Ticket, 401, the compact form");
    let count = bent_segments("abcd", "abcdefghi", &encode(&[0; 32])).len();
    for n in 0..count {
        let ticket = keyed.good();
        let input = ticket.signing_input();
        let (header, claims) = input.split_once('.').ok_or_else(|| Failure::new("no dot"))?;
        let mac = encode(&hmac_sha256(&input, secret));
        let (row, [header, claims, mac]) = bent_segments(header, claims, &mac).swap_remove(n);
        let compact = if mac.is_empty() {
            sign_input(&format!("{header}.{claims}"), secret)
        } else {
            format!("{header}.{claims}.{mac}")
        };
        rows.check(row, keyed.refuses(&compact, nonce_of(&ticket).as_deref(), 401, TICKET));
    }

    for (row, segment) in [("header", 0), ("claims", 1)] {
        // Spaces in the JSON move the segment's length until there are spare bits to set.
        for pad in 0..3 {
            let ticket = keyed.good();
            let header = format!("{HEADER}{}", " ".repeat(pad));
            let claims = format!("{}{}", ticket.claims_json(), " ".repeat(pad));
            let mut parts = [encode(header.as_bytes()), encode(claims.as_bytes())];
            let Some(bent) = with_spare_bits(&parts[segment]) else { continue };
            let sound = sign_input(&parts.join("."), secret);
            parts[segment] = bent;
            let compact = sign_input(&parts.join("."), secret);
            rows.check(
                format!("spare bits in the {row}, {pad} spaces"),
                keyed.refuses(&compact, None, 401, TICKET),
            );
            rows.check(format!("no spare bits in the {row}, {pad} spaces, works"), keyed.accepts(&sound));
        }
    }

    // The other alphabet: a nonce that encodes to `-` and `_`, sent as `+` and `/`.
    let ticket = keyed.good().header(r#"{"alg":"HS256","kid":"???>>>~~~"}"#);
    let input = ticket.signing_input();
    let other = input.replace('-', "+").replace('_', "/");
    rows.check("the row has + or / to show", ensure(other != input, || input.clone()));
    rows.check("+ and / in the header", keyed.refuses(&sign_input(&other, secret), None, 401, TICKET));
    rows.check("- and _ in the header work", keyed.accepts(&sign_input(&input, secret)));
    loop {
        let ticket = keyed.good();
        let compact = ticket.mint(secret);
        let (input, mac) = compact.rsplit_once('.').ok_or_else(|| Failure::new("no dot"))?;
        if mac.contains('-') && mac.contains('_') {
            let other = format!("{input}.{}", mac.replace('-', "+").replace('_', "/"));
            rows.check(
                "+ and / in the MAC",
                keyed.refuses(&other, nonce_of(&ticket).as_deref(), 401, TICKET),
            );
            break;
        }
    }

    let ticket = keyed.good();
    let compact = ticket.mint(secret);
    let input = ticket.signing_input();
    let parts: Vec<&str> = compact.split('.').collect();
    for (row, bent) in [
        ("one segment", "a".repeat(64)),
        ("two segments", input.clone()),
        ("two segments, no header", format!("{}.{}", parts[1], parts[2])),
        ("four segments", format!("{compact}.{}", parts[2])),
        ("five segments, as JWE", format!("{compact}.{}.{}", parts[1], parts[2])),
        ("a dot at the end", format!("{compact}.")),
        ("a dot at the start", format!(".{compact}")),
        ("two dots in the middle", compact.replacen('.', "..", 1)),
        ("no MAC", format!("{input}.")),
        ("only dots", ".".repeat(40)),
        ("commas for dots", compact.replace('.', ",")),
        ("Bearer", format!("Bearer {compact}")),
        ("quotes", format!("\"{compact}\"")),
        (
            "JSON form of JWS",
            format!(r#"{{"protected":"{}","payload":"{}","signature":"{}"}}"#, parts[0], parts[1], parts[2]),
        ),
        ("words", "this is no ticket, whatever its length is".to_owned()),
        ("4,096 letters", "a".repeat(4096)),
        ("4,096 dots", ".".repeat(4096)),
        ("replacement characters", "\u{fffd}".repeat(40)),
    ] {
        rows.check(row, keyed.refuses(&bent, None, 401, TICKET));
    }
    rows.check("after all that, its nonce is free", keyed.accepts(&compact));
    rows.finish();
    Ok(())
}

/// The segments of a good ticket, bent in one way each. An empty MAC stands for the right one of
/// the text as sent, so that only the text's form is at fault.
fn bent_segments(h: &str, c: &str, m: &str) -> Vec<(&'static str, [String; 3])> {
    vec![
        ("padding in the header", [format!("{h}="), c.to_owned(), String::new()]),
        ("two paddings in the header", [format!("{h}=="), c.to_owned(), String::new()]),
        ("padding in the claims", [h.to_owned(), format!("{c}="), String::new()]),
        ("two paddings in the claims", [h.to_owned(), format!("{c}=="), String::new()]),
        ("space before the header", [format!(" {h}"), c.to_owned(), String::new()]),
        ("space after the header", [format!("{h} "), c.to_owned(), String::new()]),
        ("space in the header", [format!("{} {}", &h[..4], &h[4..]), c.to_owned(), String::new()]),
        ("newline in the header", [format!("{}\n{}", &h[..4], &h[4..]), c.to_owned(), String::new()]),
        ("space before the claims", [h.to_owned(), format!(" {c}"), String::new()]),
        ("newline in the claims", [h.to_owned(), format!("{}\n{}", &c[..8], &c[8..]), String::new()]),
        ("CRLF after the claims", [h.to_owned(), format!("{c}\r\n"), String::new()]),
        ("tab in the claims", [h.to_owned(), format!("{}\t{}", &c[..8], &c[8..]), String::new()]),
        ("NUL after the claims", [h.to_owned(), format!("{c}\0"), String::new()]),
        ("a letter outside the alphabet", [h.to_owned(), format!("{}!{}", &c[..8], &c[8..]), String::new()]),
        ("a letter outside ASCII", [h.to_owned(), format!("{}é{}", &c[..8], &c[8..]), String::new()]),
        ("percent-encoding", [h.to_owned(), format!("{c}%3D"), String::new()]),
        ("an impossible length of the header", [impossible(h), c.to_owned(), String::new()]),
        ("an impossible length of the claims", [h.to_owned(), impossible(c), String::new()]),
        ("an empty header", [String::new(), c.to_owned(), String::new()]),
        ("empty claims", [h.to_owned(), String::new(), String::new()]),
        ("padding in the MAC", [h.to_owned(), c.to_owned(), format!("{m}=")]),
        ("space after the MAC", [h.to_owned(), c.to_owned(), format!("{m} ")]),
        ("space before the MAC", [h.to_owned(), c.to_owned(), format!(" {m}")]),
        ("newline after the MAC", [h.to_owned(), c.to_owned(), format!("{m}\n")]),
        ("NUL after the MAC", [h.to_owned(), c.to_owned(), format!("{m}\0")]),
        ("space in the MAC", [h.to_owned(), c.to_owned(), format!("{} {}", &m[..9], &m[9..])]),
        ("an impossible length of the MAC", [h.to_owned(), c.to_owned(), format!("{m}AA")]),
        (
            "spare bits in the MAC",
            [h.to_owned(), c.to_owned(), with_spare_bits(m).expect("43 letters have two spare bits")],
        ),
        ("the MAC in hex", [h.to_owned(), c.to_owned(), hex::encode(m)]),
    ]
}

/// `segment` with letters added until its length is one that base64 never has.
fn impossible(segment: &str) -> String {
    let mut segment = segment.to_owned();
    while segment.len() % 4 != 1 {
        segment.push('A');
    }
    segment
}

#[test]
fn the_header_names_hs256_and_nothing_that_changes_its_meaning() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut rows = Rows::new("Ticket, 401, header");
    for header in [
        "",
        " ",
        "null",
        "true",
        "1",
        r#""HS256""#,
        "[]",
        r#"["HS256"]"#,
        r#"[{"alg":"HS256"}]"#,
        "{}",
        "{",
        r#"{"alg":"HS256"} x"#,
        r#"{"alg":"HS256"}{}"#,
        r#"{"alg":"HS256",}"#,
        "{'alg':'HS256'}",
        "{alg:\"HS256\"}",
        "\u{feff}{\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\"}\0",
        "{\"alg\":\"HS256\",\"kid\":\"\n\"}",
        r#"{"alg":"HS256","n":01}"#,
        r#"{"alg":"HS256","n":NaN}"#,
        r#"{"alg":null}"#,
        r#"{"alg":true}"#,
        r#"{"alg":256}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":{"alg":"HS256"}}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"Hs256"}"#,
        r#"{"alg":"HS256 "}"#,
        r#"{"alg":" HS256"}"#,
        r#"{"alg":"HS256\u0000"}"#,
        r#"{"alg":"HS2566"}"#,
        r#"{"alg":"HS25"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"dir"}"#,
        r#"{"ALG":"HS256"}"#,
        r#"{"Alg":"HS256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"crit":[],"alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0063rit":[]}"#,
        r#"{"alg":"HS256","b64":true}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","b64":null}"#,
        r#"{"alg":"HS256","b64":"x"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"a"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
        r#"{"alg":"HS256","":1,"":2}"#,
    ] {
        let ticket = keyed.good().header(header);
        let outcome = keyed.refuses(&ticket.mint(secret), nonce_of(&ticket).as_deref(), 401, TICKET);
        rows.check(header.escape_debug().to_string(), outcome);
    }
    let ticket = keyed.good().header(b"{\"alg\":\"HS256\",\"kid\":\"\xff\"}");
    rows.check(
        "invalid UTF-8",
        keyed.refuses(&ticket.mint(secret), nonce_of(&ticket).as_deref(), 401, TICKET),
    );
    for (alg, mac) in [
        ("HS512", hmac_sha512 as fn(&str, &str) -> Vec<u8>),
        ("HS384", |input, secret| hmac_sha512(input, secret)[..48].to_vec()),
        ("none", |_, _| Vec::new()),
    ] {
        let ticket = keyed.good().header(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        let input = ticket.signing_input();
        let compact = format!("{input}.{}", encode(&mac(&input, secret)));
        let outcome = keyed.refuses(&compact, nonce_of(&ticket).as_deref(), 401, TICKET);
        rows.check(format!("{alg} with its own MAC"), outcome);
    }
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#" { "alg" : "HS256" } "#,
        "{\r\n\t\"alg\":\"HS256\"\r\n}",
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":null}"#,
        r#"{"alg":"HS256","typ":1}"#,
        r#"{"alg":"HS256","kid":"key-1"}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"HS256","kid":["a"]}"#,
        r#"{"alg":"HS256","cty":"JWT"}"#,
        r#"{"alg":"HS256","jku":"https://example.com"}"#,
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#,
        r#"{"alg":"HS256","x5c":[]}"#,
        r#"{"alg":"HS256","enc":"A256GCM"}"#,
        r#"{"alg":"HS256","ALG":"none","Crit":[],"B64":false}"#,
        r#"{"\u0061lg":"\u0048S256"}"#,
        r#"{"alg":"HS256","kid":"clé"}"#,
    ] {
        let compact = keyed.good().header(header).mint(secret);
        rows.check(format!("{header} works"), keyed.accepts(&compact));
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_wrong_mac_is_401() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut rows = Rows::new("Ticket, 401, MAC");
    let ticket = keyed.good();
    let input = ticket.signing_input();
    let mac = hmac_sha256(&input, secret);
    let with = |mac: &[u8]| format!("{input}.{}", encode(mac));
    for bit in 0..256 {
        let mut bent = mac;
        bent[bit / 8] ^= 1 << (bit % 8);
        rows.check(format!("bit {bit}"), keyed.refuses(&with(&bent), None, 401, TICKET));
    }
    let reversed: Vec<u8> = mac.iter().rev().copied().collect();
    let inverted: Vec<u8> = mac.iter().map(|byte| !byte).collect();
    for (row, bent) in [
        ("empty", Vec::new()),
        ("one byte", mac[..1].to_vec()),
        ("half", mac[..16].to_vec()),
        ("31 bytes", mac[..31].to_vec()),
        ("33 bytes", [&mac[..], &[0]].concat()),
        ("twice", [mac, mac].concat()),
        ("reversed", reversed),
        ("inverted", inverted),
        ("zeros", vec![0; 32]),
        ("ones", vec![255; 32]),
        ("HMAC-SHA-512", hmac_sha512(&input, secret)),
        ("HMAC-SHA-512, cut", hmac_sha512(&input, secret)[..32].to_vec()),
        ("plain SHA-256", Sha256::digest(&input).to_vec()),
        ("SHA-256 with the secret", Sha256::digest(format!("{secret}{input}")).to_vec()),
        ("of the header", hmac_sha256(input.split('.').next().unwrap_or_default(), secret).to_vec()),
        ("of the claims' text", hmac_sha256(&ticket.claims_json(), secret).to_vec()),
        ("of another ticket", hmac_sha256(&keyed.good().signing_input(), secret).to_vec()),
    ] {
        rows.check(row, keyed.refuses(&with(&bent), None, 401, TICKET));
    }
    let upper = secret.to_ascii_uppercase();
    let longer = format!("{secret}x");
    let with_newline = format!("{secret}\n");
    let with_zero = format!("{secret}\0x");
    let digest_of_secret = hex::encode(Sha256::digest(secret));
    for (row, other) in [
        ("an empty secret", ""),
        ("another secret", "another secret"),
        ("the API key", server.api_key()),
        ("the secret, one short", &secret[..secret.len() - 1]),
        ("the secret, one long", &longer),
        ("the secret and a newline", &with_newline),
        ("the secret, a NUL and more", &with_zero),
        ("the secret in upper case", &upper),
        ("the secret's hash", &digest_of_secret),
    ] {
        rows.check(row, keyed.refuses(&ticket.mint(other), None, 401, TICKET));
    }
    // A claim read before the MAC would answer 403 here.
    let foreign = keyed.good().text("scope", "none").mint("another secret");
    rows.check("before 403", keyed.refuses(&foreign, None, 401, TICKET));
    let compact = ticket.mint(secret);
    rows.check("after all that, its nonce is free", keyed.accepts(&compact));
    let used = format!("{}A", &compact[..compact.len() - 1]);
    let used = if used == compact { format!("{}E", &compact[..compact.len() - 1]) } else { used };
    rows.check("before 409", keyed.refuses(&used, None, 401, TICKET));
    rows.finish();
    Ok(())
}

#[test]
fn the_claims_are_one_json_object_without_duplicates() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut rows = Rows::new("Ticket, 401, claims");
    let object = keyed.good().claims_json();
    let text = serde_json::Value::from(object.as_str()).to_string();
    for (row, claims) in [
        ("empty", String::new()),
        ("null", "null".to_owned()),
        ("true", "true".to_owned()),
        ("a number", "4102444800".to_owned()),
        ("a string", text),
        ("an array", format!("[{object}]")),
        ("an empty object", "{}".to_owned()),
        ("two objects", format!("{object}{object}")),
        ("trailing letter", format!("{object}x")),
        ("trailing NUL", format!("{object}\0")),
        ("BOM", format!("\u{feff}{object}")),
        ("cut", object[..object.len() - 1].to_owned()),
        ("trailing comma", object.replace('}', ",}")),
        ("single quotes", object.replace('"', "'")),
        ("comment", object.replace('{', "{/**/")),
        ("NaN in an unknown claim", object.replace('}', r#","x":NaN}"#)),
        ("leading zero in an unknown claim", object.replace('}', r#","x":01}"#)),
        ("a newline in a string", object.replace('}', ",\"x\":\"\n\"}")),
        ("a bad escape", object.replace('}', r#","x":"\x"}"#)),
        ("words", "these are no claims at all".to_owned()),
    ] {
        let compact = mint_bytes(HEADER.as_bytes(), claims.as_bytes(), secret);
        rows.check(row, keyed.refuses(&compact, None, 401, TICKET));
    }
    for (row, inner) in [
        ("invalid UTF-8", &b"\xff"[..]),
        ("an encoded surrogate", b"\xed\xa0\x80"),
        ("an overlong", b"\xc0\xaf"),
    ] {
        let claims = [object.trim_end_matches('}').as_bytes(), b",\"x\":\"", inner, b"\"}"].concat();
        let compact = mint_bytes(HEADER.as_bytes(), &claims, secret);
        rows.check(row, keyed.refuses(&compact, None, 401, TICKET));
    }
    let compact = mint_bytes(HEADER.as_bytes(), object.as_bytes(), secret);
    rows.check("after all that, its nonce is free", keyed.accepts(&compact));

    let exp = (now_s() + 60).to_string();
    let duplicates = vec![
        ("exp, the same".to_owned(), keyed.good().claim("exp", &exp).also("exp", &exp)),
        ("exp, later".to_owned(), keyed.good().also("exp", &exp)),
        ("nonce".to_owned(), keyed.good().also("nonce", r#""other""#)),
        ("scope".to_owned(), keyed.good().also("scope", r#""sign""#)),
        ("identity_id".to_owned(), keyed.good().also("identity_id", r#""x""#)),
        ("digest_hash".to_owned(), keyed.good().also("digest_hash", r#""x""#)),
        ("an unknown claim".to_owned(), keyed.good().also("x", "1").also("x", "1")),
        ("sub".to_owned(), keyed.good().also("sub", r#""a""#).also("sub", r#""a""#)),
        ("nonce, escaped".to_owned(), keyed.good().also(r"\u006eonce", r#""other""#)),
        ("exp, escaped".to_owned(), keyed.good().also(r"e\u0078p", &exp)),
        ("empty names".to_owned(), keyed.good().also("", "1").also("", "2")),
        ("a letter and its escape".to_owned(), keyed.good().also("é", "1").also(r"\u00e9", "2")),
    ];
    keyed.refuse_claims(&mut rows, duplicates, 401, TICKET);
    rows.finish();
    Ok(())
}

#[test]
fn times_and_nonce_are_of_the_right_type_and_in_range() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let mut rows = Rows::new("Ticket, 401, times and nonce");
    let now = now_s();
    let mut table: Vec<(String, Ticket)> = Vec::new();
    let good = || Ticket::new(&keyed.identity, &keyed.digest);
    for name in ["exp", "nonce"] {
        table.push((format!("{name} missing"), good().without(name)));
        let other_case = good().without(name).also(&name.to_ascii_uppercase(), "4102444800");
        table.push((format!("{name} in upper case"), other_case));
    }
    for json in NOT_NUMBERS {
        for name in ["exp", "nbf", "iat"] {
            table.push((format!("{name} not a number"), good().claim(name, json)));
        }
    }
    for json in ["1e400", "-1e400", "1e999999", "0", "-0", "-1", "1", "0.5", "1e-400", "-4102444800"] {
        table.push(("exp not a time to come".to_owned(), good().claim("exp", json)));
    }
    for s in [now, now - 1, now - 60, now - 86_400] {
        table.push(("exp not after now".to_owned(), good().claim("exp", &s.to_string())));
        table.push((
            "exp not after now, a fraction".to_owned(),
            good().claim("exp", &format!("{}.999", s - 1)),
        ));
    }
    for ahead in [MAX_TTL_S + 5, MAX_TTL_S + 60, 86_400, 1 << 31, 1 << 32, 1 << 53] {
        table.push(("exp too far ahead".to_owned(), good().claim("exp", &(now + ahead).to_string())));
    }
    for json in [
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775808",
        "1e18",
        "1e19",
        "1e38",
        "1e39",
        "1e308",
    ] {
        table.push(("exp too far ahead".to_owned(), good().claim("exp", json)));
    }
    // Milliseconds, as a careless caller may write them.
    table.push(("exp in ms".to_owned(), good().claim("exp", &((now + 60) * 1000).to_string())));
    for json in ["1e400", "1e308", "1e18", "18446744073709551615", "18446744073709551616"] {
        table.push(("nbf too far ahead".to_owned(), good().claim("nbf", json)));
    }
    // Time passes while the rows are tried.
    for ahead in [NBF_TOLERANCE_S + 5, 60, 3600] {
        table.push(("nbf too far ahead".to_owned(), good().claim("nbf", &(now + ahead).to_string())));
        table.push((
            "nbf too far ahead, a fraction".to_owned(),
            good().claim("nbf", &format!("{}.5", now + ahead)),
        ));
    }
    for json in NOT_STRINGS {
        table.push(("nonce not a string".to_owned(), good().claim("nonce", json)));
    }
    table.push(("nonce empty".to_owned(), good().text("nonce", "")));
    for (row, nonce) in [
        ("129 letters", "n".repeat(129)),
        ("65 of two bytes", "é".repeat(65)),
        ("43 of three bytes", "€".repeat(43)),
        ("33 of four bytes", "\u{1f511}".repeat(33)),
        ("1,000 letters", "n".repeat(1000)),
    ] {
        table.push((format!("nonce of {row}"), good().text("nonce", &nonce)));
    }
    table.push((
        "nonce of 129 bytes by escapes".to_owned(),
        good().claim("nonce", &format!(r#""{}""#, r"\u006e".repeat(129))),
    ));
    keyed.refuse_claims(&mut rows, table, 401, TICKET);
    rows.finish();
    Ok(())
}

#[test]
fn what_the_contract_ignores_or_allows_is_accepted() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut rows = Rows::new("Ticket, 200");
    let now = now_s();
    let unique = || new_identity();
    let good = || Ticket::new(&keyed.identity, &keyed.digest);
    let mut table: Vec<(String, Ticket)> = vec![
        ("90 s to live".to_owned(), good()),
        ("exp with a fraction".to_owned(), good().claim("exp", &format!("{}.5", now + 60))),
        (
            "exp with a long fraction".to_owned(),
            good().claim("exp", &format!("{}.123456789012345678901234567890", now + 60)),
        ),
        ("exp with .0".to_owned(), good().claim("exp", &format!("{}.0", now + 60))),
        ("exp with an exponent".to_owned(), good().claim("exp", &format!("{}e0", now + 60))),
        (
            "exp with a large exponent".to_owned(),
            good().claim("exp", &format!("{}.{:03}E+3", (now + 60) / 1000, (now + 60) % 1000)),
        ),
        ("exp just within the limit".to_owned(), good().claim("exp", &(now + MAX_TTL_S - 10).to_string())),
        (
            "identity in upper case".to_owned(),
            good().text("identity_id", &keyed.identity.to_ascii_uppercase()),
        ),
        ("scope with an escape".to_owned(), good().claim("scope", r#""\u0073ign""#)),
        ("a name with an escape".to_owned(), good().without("scope").also(r"\u0073cope", r#""sign""#)),
        (
            "an unknown claim that holds anything".to_owned(),
            good().also("x", r#"{"a":[1,{"b":null}],"c":"\ud800"}"#),
        ),
        ("names in other cases".to_owned(), good().also("EXP", "0").also("Nonce", "1").also("Scope", "2")),
        ("names one level down".to_owned(), good().also("x", r#"{"exp":0,"scope":"none","nonce":1}"#)),
    ];
    for (row, json) in [
        ("0", "0".to_owned()),
        ("a minute ago", (now - 60).to_string()),
        ("now", now.to_string()),
        ("5 s ahead", (now + NBF_TOLERANCE_S).to_string()),
        ("a minute ago, a fraction", format!("{}.5", now - 60)),
        ("an exponent", "1e9".to_owned()),
        ("below zero", "-1".to_owned()),
    ] {
        table.push((format!("nbf {row}"), good().claim("nbf", &json)));
    }
    for (row, json) in [
        ("now", now.to_string()),
        ("in an hour", (now + 3600).to_string()),
        ("in a century", (now + 3_155_760_000).to_string()),
        ("with a fraction", format!("{}.5", now)),
        ("0", "0".to_owned()),
        ("below zero", "-1".to_owned()),
    ] {
        table.push((format!("iat {row}"), good().claim("iat", &json)));
    }
    for name in ["aud", "iss", "sub", "jti", "typ", "kid", "alg", "crit", "b64"] {
        for json in [r#""anything""#, "null", "1", "true", r#"["a","b"]"#, r#"{"a":1}"#] {
            table.push((format!("{name} = {json}"), good().claim(name, json)));
        }
    }
    let longest = |unit: &str, units: usize, bytes: usize| {
        let random = unique();
        let rest = unit.repeat(units);
        let fill = "x".repeat(bytes - rest.len() - random.len());
        format!("{random}{fill}{rest}")
    };
    for (row, nonce) in [
        (
            "one letter of many",
            char::from_u32(0x4e00 + rand::random_range(0..20_000)).unwrap_or('a').to_string(),
        ),
        ("128 letters", longest("n", 10, 128)),
        ("128 bytes in twos", longest("é", 40, 128)),
        ("128 bytes in fours", longest("\u{1f511}", 20, 128)),
        ("spaces", format!(" {} ", unique())),
        ("NUL", format!("{}\0", unique())),
        ("quotes and backslashes", format!("\"\\{}", unique())),
    ] {
        table.push((format!("nonce of {row}"), good().text("nonce", &nonce)));
    }
    let escaped: String = unique().bytes().take(20).map(|b| format!(r"\u00{b:02x}")).collect();
    table.push(("nonce of escapes".to_owned(), good().claim("nonce", &format!(r#""{escaped}""#))));
    let spaced = good().claims_json().replace(':', " : ").replace(',', "\r\n,\t");
    for (row, ticket) in table {
        rows.check(format!("{row}: {}", ticket.claims_json()), keyed.accepts(&ticket.mint(secret)));
    }
    let compact = mint_bytes(HEADER.as_bytes(), spaced.as_bytes(), secret);
    rows.check("white space between claims", keyed.accepts(&compact));
    let longest = {
        let room = 4096 - keyed.good().mint(secret).len();
        // Three bytes of JSON are four letters; the rest is the new claim's own frame.
        keyed.good().text("x", &"a".repeat(room / 4 * 3 - 20)).mint(secret)
    };
    rows.check(
        "nearly 4,096 letters",
        ensure((4000..=4096).contains(&longest.len()), || longest.len().to_string()),
    );
    rows.check("a ticket of nearly 4,096 letters", keyed.accepts(&longest));
    rows.finish();
    Ok(())
}

#[test]
fn scope_identity_and_digest_are_checked_in_this_order() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let mut rows = Rows::new("Ticket, 403");
    let good = || Ticket::new(&keyed.identity, &keyed.digest);
    let identity = keyed.identity.clone();
    let digest_hash = hex::encode(Sha256::digest(keyed.digest));
    let bend = |name: &'static str, texts: &[String]| {
        let mut table = vec![(format!("{name} missing"), good().without(name))];
        table.extend(NOT_STRINGS.map(|json| (format!("{name} not a string"), good().claim(name, json))));
        table.extend(texts.iter().map(|text| (name.to_owned(), good().text(name, text))));
        table
    };
    let scopes = [
        "",
        "Sign",
        "SIGN",
        "sign ",
        " sign",
        "sign sign",
        "sign export",
        "signs",
        "sig",
        "export",
        "*",
        "sign\0",
        "sign\n",
        "ſign",
    ];
    let scopes = bend("scope", &scopes.map(str::to_owned));
    let identities = bend(
        "identity_id",
        &[
            String::new(),
            new_identity(),
            format!("{{{identity}}}"),
            format!("urn:uuid:{identity}"),
            format!("{identity} "),
            format!(" {identity}"),
            format!("{identity}\n"),
            format!("{identity}\0"),
            identity.replace('-', ""),
            identity[..35].to_owned(),
            "00000000-0000-0000-0000-000000000000".to_owned(),
        ],
    );
    let digests = bend(
        "digest_hash",
        &[
            String::new(),
            digest_hash.to_ascii_uppercase(),
            format!("0x{digest_hash}"),
            format!("{digest_hash} "),
            format!("{digest_hash}\n"),
            digest_hash[..63].to_owned(),
            format!("{digest_hash}00"),
            hex::encode(keyed.digest),
            hex::encode(Sha256::digest(hex::encode(keyed.digest))),
            hex::encode(Sha256::digest(format!("0x{}", hex::encode(keyed.digest)))),
            hex::encode(Sha256::digest(Sha256::digest(keyed.digest))),
            hex::encode(Sha256::digest(rand::random::<[u8; 32]>())),
            encode(&Sha256::digest(keyed.digest)),
        ],
    );
    let order = [
        (
            "all three wrong",
            good().text("scope", "x").text("identity_id", "x").text("digest_hash", "x"),
            SCOPE,
        ),
        ("scope and digest wrong", good().text("scope", "x").text("digest_hash", "x"), SCOPE),
        ("scope and identity wrong", good().text("scope", "x").text("identity_id", &new_identity()), SCOPE),
        (
            "identity and digest wrong",
            good().text("identity_id", &new_identity()).text("digest_hash", "x"),
            IDENTITY_MISMATCH,
        ),
    ];
    let times = [
        ("expired", good().claim("exp", &(now_s() - 1).to_string()).text("scope", "x")),
        ("no nonce", good().without("nonce").text("scope", "x")),
        ("nbf to come", good().claim("nbf", &(now_s() + 60).to_string()).text("identity_id", "x")),
        ("iat a string", good().claim("iat", r#""x""#).text("digest_hash", "x")),
    ];
    keyed.refuse_claims(&mut rows, scopes, 403, SCOPE);
    keyed.refuse_claims(&mut rows, identities, 403, IDENTITY_MISMATCH);
    keyed.refuse_claims(&mut rows, digests, 403, DIGEST_MISMATCH);
    for (row, ticket, text) in order {
        keyed.refuse_claims(&mut rows, vec![(row.to_owned(), ticket)], 403, text);
    }
    for (row, ticket) in times {
        let row = format!("401 before 403, {row}");
        keyed.refuse_claims(&mut rows, vec![(row, ticket)], 401, TICKET);
    }

    // 403 before 409: a used nonce in a ticket of another scope.
    let used = keyed.good();
    let secret = keyed.signer.secret();
    keyed.accepts(&used.mint(secret))?;
    for (name, text) in
        [("scope", SCOPE), ("identity_id", IDENTITY_MISMATCH), ("digest_hash", DIGEST_MISMATCH)]
    {
        let compact = used.clone().text(name, "x").mint(secret);
        rows.check(format!("403 before 409, {name}"), keyed.refuses(&compact, None, 403, text));
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_nonce_is_used_once_by_any_identity() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Ticket, 409");
    let (one, two) = (new_identity(), new_identity());
    signer.generated(&one)?;
    signer.generated(&two)?;
    let digest: [u8; 32] = rand::random();
    let text = hex::encode(digest);
    let ticket = Ticket::new(&one, &digest).text("nonce", &format!("abc-{}", new_identity()));
    let nonce = ticket.claim_json("nonce").unwrap_or_default().to_owned();
    signer.signed(&one, &digest, &ticket.mint(signer.secret()))?;

    let other_digest: [u8; 32] = rand::random();
    let escaped = nonce.replacen('a', r"\u0061", 1);
    let shortened = format!("{}\"", &nonce[..nonce.len() - 2]);
    for (row, identity, digest, again) in [
        ("the same ticket", &one, digest, ticket.clone()),
        ("another header", &one, digest, ticket.clone().header(r#"{"alg":"HS256","typ":"JWT"}"#)),
        ("a later expiry", &one, digest, ticket.clone().claim("exp", &(now_s() + 120).to_string())),
        ("the nonce escaped", &one, digest, ticket.clone().claim("nonce", &escaped)),
        ("another digest", &one, other_digest, Ticket::new(&one, &other_digest).claim("nonce", &nonce)),
        ("another identity", &two, digest, Ticket::new(&two, &digest).claim("nonce", &nonce)),
    ] {
        let exchange = signer.sign(identity, &hex::encode(digest), &again.mint(signer.secret()));
        rows.check(row, exchange.is_error(409, REPLAY));
    }
    for (row, nonce) in [
        ("another case", nonce.to_ascii_uppercase()),
        ("a space more", nonce.replacen('"', "\" ", 1)),
        ("a letter less", shortened),
        ("a NUL more", format!("{}\\u0000\"", &nonce[..nonce.len() - 1])),
    ] {
        let other = Ticket::new(&one, &digest).claim("nonce", &nonce).mint(signer.secret());
        rows.check(format!("{row} is another nonce"), signer.signed(&one, &digest, &other).map(drop));
    }

    let same = ticket.mint(signer.secret());
    let sealed = signer.exported(&one)?;
    signer.destroyed(&one)?;
    signer.imported(&one, &sealed)?;
    rows.check("after destroy and import", signer.sign(&one, &text, &same).is_error(409, REPLAY));
    signer.destroyed(&one)?;
    signer.generated(&one)?;
    rows.check("after destroy and generate", signer.sign(&one, &text, &same).is_error(409, REPLAY));
    rows.finish();
    Ok(())
}

#[test]
fn after_its_expiry_a_ticket_is_401() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let expiry = now_s() + 3;
    let used = keyed.good().claim("exp", &expiry.to_string()).mint(secret);
    let unused = keyed.good().claim("exp", &format!("{expiry}.25")).mint(secret);
    keyed.accepts(&used)?;
    while now_s() <= expiry {
        thread::sleep(Duration::from_millis(50));
    }
    let mut rows = Rows::new("Ticket, after expiry");
    rows.check("used", keyed.refuses(&used, None, 401, TICKET));
    rows.check("never used", keyed.refuses(&unused, None, 401, TICKET));
    rows.finish();
    Ok(())
}

#[test]
fn the_greatest_lifetime_is_an_option() -> Result<(), Failure> {
    let server = Server::own(&["--max-ticket-ttl-s", "60"]);
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut rows = Rows::new("Ticket, --max-ticket-ttl-s 60");
    for ahead in [65, 90, 3000] {
        let ticket = keyed.good().claim("exp", &(now_s() + ahead).to_string());
        // The nonce is tried again with a shorter life.
        let short = ticket.clone().claim("exp", &(now_s() + 30).to_string()).mint(secret);
        rows.check(format!("{ahead} s"), keyed.refuses(&ticket.mint(secret), None, 401, TICKET));
        rows.check(format!("{ahead} s: its nonce is free"), keyed.accepts(&short));
    }
    let ticket = keyed.good().claim("exp", &(now_s() + 55).to_string()).mint(secret);
    rows.check("55 s", keyed.accepts(&ticket));
    rows.finish();
    Ok(())
}

#[test]
fn of_many_uses_at_once_one_succeeds() -> Result<(), Failure> {
    const USES: usize = 20;
    let server = Server::any();
    let keyed = KeyedIdentity::new(&server)?;
    for round in 0..5 {
        let ticket = keyed.good().mint(keyed.signer.secret());
        let body = sign_body(&keyed.identity, &hex::encode(keyed.digest), &ticket);
        let request = Request::post("/internal/sign", server.api_key(), body).bytes();
        let barrier = Barrier::new(USES);
        let statuses = thread::scope(|scope| {
            let uses: Vec<_> = (0..USES)
                .map(|_| {
                    scope.spawn(|| -> Result<u16, Failure> {
                        let connection = server.connect();
                        barrier.wait();
                        let mut connection = connection?;
                        connection.send(&request)?;
                        Ok(connection.receive()?.status)
                    })
                })
                .collect();
            uses.into_iter()
                .map(|used| used.join().expect("a use does not panic"))
                .collect::<Result<Vec<u16>, Failure>>()
        })?;
        let count = |status| statuses.iter().filter(|s| **s == status).count();
        ensure(count(200) == 1 && count(409) == USES - 1, || format!("round {round}: {statuses:?}"))?;
    }
    Ok(())
}

#[test]
fn two_signatures_of_one_digest_differ_and_verify() -> Result<(), Failure> {
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let mut signatures = Vec::new();
    for digest in [keyed.digest, [0; 32], [255; 32]] {
        for _ in 0..4 {
            let ticket = keyed.signer.ticket(&keyed.identity, &digest);
            let signature = keyed.signer.signed(&keyed.identity, &digest, &ticket)?;
            bip340::verify(&signature, &digest, &keyed.x_only)?;
            // Not even the nonce point may repeat.
            signatures.push(signature[..64].to_owned());
        }
    }
    signatures.sort();
    signatures.dedup();
    ensure(signatures.len() == 12, || format!("{} of 12 differ", signatures.len()))
}

/// Bends a good ticket at random, in its claims, its header or its letters.
fn mutated(rng: &mut StdRng, good: &Ticket, secret: &str) -> String {
    // Only values which both read: the library cannot hold a lone half or 1e400 even unused, nor a
    // time before 1970, where `docs/api.md` has no lower bound.
    const VALUES: [&str; 13] = [
        "null",
        "0",
        "1e3",
        "true",
        r#""""#,
        r#""sign""#,
        "[]",
        "{}",
        "4102444800",
        r#""4102444800""#,
        "0.5",
        "1e18",
        "01",
    ];
    const HEADERS: [&str; 8] = [
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"HS256","kid":"a"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["x"]}"#,
        r#"{ "alg" : "HS256" }"#,
        r#"{"alg":"HS256"}x"#,
    ];
    let names = ["exp", "nbf", "iat", "nonce", "scope", "identity_id", "digest_hash", "jti", "x"];
    let name = names[rng.random_range(0..names.len())];
    let value = VALUES[rng.random_range(0..VALUES.len())];
    let header = HEADERS[rng.random_range(0..HEADERS.len())];
    let near = (now_s() + rng.random_range(0..180)).saturating_sub(60).to_string();
    let letters: Vec<char> = "abcXYZ019-_=+/. \n.".chars().collect();
    let letter = letters[rng.random_range(0..letters.len())];
    let kind = rng.random_range(0..12);
    let ticket = match kind {
        0 | 1 => good.clone().claim(name, value),
        2 => good.clone().also(name, value),
        3 => good.clone().without(name),
        4 => good.clone().claim("exp", &near),
        5 => good.clone().claim("nbf", &near),
        6 | 7 => good.clone().header(header),
        _ => good.clone(),
    };
    let mut text: Vec<char> = ticket.mint(secret).chars().collect();
    let at = rng.random_range(0..text.len());
    match kind {
        8 => text[at] = letter,
        9 => text.insert(at, letter),
        10 => drop(text.remove(at)),
        _ => {}
    }
    text.into_iter().collect()
}

#[test]
fn what_the_signer_accepts_another_library_accepts_too() -> Result<(), Failure> {
    const CASES: usize = 400;
    let server = Server::any();
    let mut keyed = KeyedIdentity::new(&server)?;
    let secret = keyed.signer.secret();
    let mut exp = Validation::new(Algorithm::HS256);
    exp.leeway = 0;
    exp.validate_aud = false;
    exp.set_required_spec_claims(&["exp"]);
    // Its leeway is for `exp` too: so each of the two is judged alone.
    let mut nbf = exp.clone();
    nbf.leeway = NBF_TOLERANCE_S;
    nbf.validate_nbf = true;
    nbf.validate_exp = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let seed: u64 = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rows = Rows::new("Ticket, against jsonwebtoken");
    let (mut accepted, mut refused) = (0, 0);
    for case in 0..CASES {
        let ticket = mutated(&mut rng, &keyed.good(), secret);
        let decode = || {
            let decode = |validation| jsonwebtoken::decode::<serde_json::Value>(&*ticket, &key, validation);
            decode(&exp).and(decode(&nbf))
        };
        // Asked before the signer and after it: a ticket may begin or end in between.
        let before = decode();
        let exchange = keyed.signer.sign(&keyed.identity, &hex::encode(keyed.digest), &ticket);
        let status = exchange.response()?.status;
        let row = format!("seed {seed}, case {case}, {ticket}");
        match (status, before.or_else(|_| decode())) {
            // A mutation may repeat a nonce: 409 says that all before it was accepted.
            (200 | 409, Ok(_)) => accepted += 1,
            (200 | 409, Err(why)) => {
                rows.check(row, fail(format!("the signer takes it; jsonwebtoken: {why}")));
            }
            (400 | 401 | 403, _) => refused += 1,
            (status, _) => rows.check(row, fail(format!("status {status}"))),
        }
    }
    rows.check(
        "enough of both kinds",
        ensure(accepted > 40 && refused > 40, || {
            format!("seed {seed}: {accepted} accepted, {refused} refused")
        }),
    );
    rows.finish();
    Ok(())
}
