use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use sha2::Sha256;

use super::TicketVerifier;
use crate::hash_seed::HashSeed;

const SECRET: &[u8] = b"a ticket secret for tests";
const SEED: HashSeed = HashSeed::new([3; 16]);
const NOW_S: u64 = 1_800_000_000;
const MAX_TTL_S: u32 = 3600;

fn segment(bytes: &[u8]) -> String {
    let mut encoded = vec![0; Base64UrlUnpadded::encoded_len(bytes)];
    Base64UrlUnpadded::encode(bytes, &mut encoded).unwrap().to_owned()
}

fn mint(header: &[u8], claims: &[u8]) -> String {
    seal(&format!("{}.{}", segment(header), segment(claims)))
}

/// Adds the MAC that `signed` should have.
fn seal(signed: &str) -> String {
    seal_under(SECRET, signed)
}

fn seal_under(secret: &[u8], signed: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", segment(&mac.finalize().into_bytes()))
}

fn accepts(ticket: &str) -> bool {
    let verifier = TicketVerifier::new(SECRET, MAX_TTL_S).unwrap();
    verifier.verify(&mut ticket.as_bytes().to_vec(), NOW_S * 1000, &SEED).is_ok()
}

const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

fn with_claims(claims: &str) -> String {
    mint(HEADER, claims.as_bytes())
}

#[test]
fn reads_the_claims_of_a_good_ticket() {
    let ticket = with_claims(
        r#"{"scope":"sign","identity_id":"9B2F0C1E-58F4-4F0C-8D3E-0A5B6C7D8E9F","digest_hash":"ab","nonce":"n","exp":1800000089.5}"#,
    );
    let verifier = TicketVerifier::new(SECRET, MAX_TTL_S).unwrap();
    let mut bytes = ticket.into_bytes();
    let claims = verifier.verify(&mut bytes, NOW_S * 1000, &SEED).unwrap();
    assert!(claims.may_sign);
    assert_eq!(claims.identity.unwrap().as_bytes()[..2], [0x9B, 0x2F]);
    assert_eq!(claims.digest_hash, Some(&b"ab"[..]));
    assert_eq!(claims.nonce, b"n");
    assert_eq!(claims.exp_unix_s, NOW_S + 90);
}

#[test]
fn judges_times_to_the_millisecond() {
    for (claims, good) in [
        (r#""exp":1800000000.001"#, true),
        (r#""exp":1800000000"#, false),
        (r#""exp":1799999999"#, false),
        (r#""exp":1.8000001e9"#, true),
        (r#""exp":1800003600"#, true),
        (r#""exp":1800003600.5"#, false),
        (r#""exp":1e300"#, false),
        (r#""exp":1e999"#, false),
        (r#""exp":-1"#, false),
        (r#""exp":"1800000090""#, false),
        (r#""exp":null"#, false),
        (r#""iat":1"#, false),
        (r#""exp":1800000090,"nbf":1800000000"#, true),
        (r#""exp":1800000090,"nbf":1800000005"#, true),
        (r#""exp":1800000090,"nbf":1800000005.001"#, false),
        (r#""exp":1800000090,"nbf":"0""#, false),
        (r#""exp":1800000090,"nbf":null"#, false),
        (r#""exp":1800000090,"iat":9e9"#, true),
        (r#""exp":1800000090,"iat":"0""#, false),
    ] {
        assert_eq!(accepts(&with_claims(&format!(r#"{{"nonce":"n",{claims}}}"#))), good, "{claims}");
    }
}

#[test]
fn asks_for_a_nonce_of_bounded_length() {
    let long = "x".repeat(128);
    let too_long = "x".repeat(129);
    let escaped = "\\u0078".repeat(128);
    for (nonce, good) in [
        ("\"n\"", true),
        ("\"\"", false),
        ("1", false),
        ("null", false),
        ("[\"n\"]", false),
        (format!("\"{long}\"").as_str(), true),
        (format!("\"{too_long}\"").as_str(), false),
        (format!("\"{escaped}\"").as_str(), true),
    ] {
        assert_eq!(
            accepts(&with_claims(&format!(r#"{{"exp":1800000090,"nonce":{nonce}}}"#))),
            good,
            "{nonce}"
        );
    }
    assert!(!accepts(&with_claims(r#"{"exp":1800000090}"#)));
}

#[test]
fn refuses_other_headers() {
    let claims = br#"{"exp":1800000090,"nonce":"n"}"#;
    for (header, good) in [
        (r#"{"alg":"HS256"}"#, true),
        (r#"{"typ":"anything","kid":[1],"alg":"HS256"}"#, true),
        (r#"{"alg":"hs256"}"#, false),
        (r#"{"alg":"none"}"#, false),
        (r#"{"alg":"HS512"}"#, false),
        (r#"{"alg":["HS256"]}"#, false),
        (r#"{}"#, false),
        (r#"{"alg":"HS256","alg":"HS256"}"#, false),
        (r#"{"alg":"HS256","crit":[]}"#, false),
        (r#"{"alg":"HS256","b64":true}"#, false),
        (r#"["HS256"]"#, false),
        (r#""HS256""#, false),
        ("", false),
        ("{", false),
    ] {
        assert_eq!(accepts(&mint(header.as_bytes(), claims)), good, "{header}");
    }
}

#[test]
fn refuses_other_shapes_with_a_right_mac() {
    let header = segment(HEADER);
    let claims = segment(br#"{"exp":1800000090,"nonce":"n"}"#);
    let good = seal(&format!("{header}.{claims}"));
    assert!(accepts(&good));
    for bad in [
        seal(&header),
        seal(&format!("{header}.{claims}.")),
        seal(&format!("{header}.{claims}.{claims}")),
        seal(&format!(".{header}.{claims}")),
        seal(&format!("{header}.")),
        seal(&format!(".{claims}")),
        seal("."),
        seal(&format!("{header}=.{claims}")),
        seal(&format!("{header}.{claims}=")),
        seal(&format!("{header}.{claims} ")),
        seal(&format!("{header}\n.{claims}")),
        seal(&format!("{header}.{}", segment(b"[]"))),
        seal(&format!("{header}.{}", segment(br#"{"exp":1800000090,"nonce":"n","exp":1800000090}"#))),
        seal(&format!("{header}.{}", segment(b"{\"exp\":1800000090,\"nonce\":\"n\",\"x\":\"\xff\"}"))),
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        format!(" {good}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}"),
        String::new(),
        "..".into(),
    ] {
        assert!(!accepts(&bad), "{bad}");
    }
}

/// 32 bytes take 43 characters, the last of which carries two bits that must be zero.
#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn refuses_spare_bits() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let good = with_claims(r#"{"exp":1800000090,"nonce":"n"}"#).into_bytes();
    let last = *good.last().unwrap();
    let accepted = ALPHABET.iter().filter(|byte| {
        let mut ticket = good.clone();
        *ticket.last_mut().unwrap() = **byte;
        accepts(core::str::from_utf8(&ticket).unwrap())
    });
    assert_eq!(accepted.collect::<Vec<_>>(), [&last]);

    // The same in a claims segment whose MAC covers the bent text.
    let claims = segment(br#"{"exp":1800000090,"nonce":"nn"}"#);
    let (stem, _) = claims.split_at(claims.len() - 1);
    let accepted = ALPHABET
        .iter()
        .filter(|byte| accepts(&seal(&format!("{}.{stem}{}", segment(HEADER), char::from(**byte)))));
    assert_eq!(accepted.count(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes under Miri")]
fn refuses_every_flipped_bit() {
    let good = with_claims(r#"{"exp":1800000090,"nonce":"n"}"#).into_bytes();
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bent = good.clone();
            bent[position] ^= 1 << bit;
            let verifier = TicketVerifier::new(SECRET, MAX_TTL_S).unwrap();
            assert!(verifier.verify(&mut bent, NOW_S * 1000, &SEED).is_err(), "{position} {bit}");
        }
    }
}

#[test]
fn an_empty_secret_is_no_secret() {
    assert!(TicketVerifier::new(b"", MAX_TTL_S).is_err());
    assert!(TicketVerifier::new(SECRET, MAX_TTL_S).unwrap().accepting_previous(b"").is_err());
}

#[test]
fn takes_tickets_of_the_previous_secret_and_of_no_third_one() {
    const PREVIOUS: &[u8] = b"the ticket secret before";
    let signed = format!("{}.{}", segment(HEADER), segment(br#"{"exp":1800000090,"nonce":"n"}"#));
    let alone = TicketVerifier::new(SECRET, MAX_TTL_S).unwrap();
    let both = TicketVerifier::new(SECRET, MAX_TTL_S).unwrap().accepting_previous(PREVIOUS).unwrap();
    for (secret, by_one, by_both) in
        [(SECRET, true, true), (PREVIOUS, false, true), (&b"a third ticket secret"[..], false, false)]
    {
        let verdict = |verifier: &TicketVerifier| {
            let mut ticket = seal_under(secret, &signed).into_bytes();
            verifier.verify(&mut ticket, NOW_S * 1000, &SEED).is_ok_and(|claims| claims.nonce == b"n")
        };
        assert_eq!((verdict(&alone), verdict(&both)), (by_one, by_both), "{}", secret.escape_ascii());
    }
}

fn their_verdict(ticket: &str) -> bool {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<serde_json::Value>(ticket, &DecodingKey::from_secret(SECRET), &validation).is_ok()
}

proptest! {
    /// An independent library accepts every ticket that is accepted here. The tickets are made of odd pieces under a
    /// right MAC, and then changed.
    #[test]
    fn accepts_only_what_jsonwebtoken_accepts(
        alg in prop_oneof![Just("HS256"), Just("HS384"), Just("none"), Just("hs256")],
        extra_header in prop_oneof![Just(""), Just(r#","typ":"JWT""#), Just(r#","kid":"1""#), Just(r#","alg":"HS256""#)],
        exp in prop_oneof![Just("1800000090".to_owned()), Just("1.80000009e9".to_owned()), (0_u64..4_000_000_000).prop_map(|exp| exp.to_string())],
        nonce in "[a-z\\\\\"]{0,6}",
        extra in prop_oneof![Just(""), Just(r#","iat":1"#), Just(r#","sub":null"#), Just(r#","aud":["x"]"#), Just(",")],
        bend in prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0x20_u8..0x7F)),
    ) {
        let header = format!(r#"{{"alg":"{alg}"{extra_header}}}"#);
        let claims = format!(r#"{{"exp":{exp},"nonce":"{nonce}"{extra}}}"#);
        let mut ticket = mint(header.as_bytes(), claims.as_bytes()).into_bytes();
        if let Some((position, byte)) = bend {
            let position = position.index(ticket.len());
            ticket[position] = byte;
        }
        let ticket = String::from_utf8(ticket).unwrap();
        if accepts(&ticket) {
            prop_assert!(their_verdict(&ticket), "{header} {claims}");
        }
    }
}
