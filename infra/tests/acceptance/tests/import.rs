//! `docs/api.md`, "9. Backups": which sealed keys open, and which answers the others get. These rows speak of the
//! local form, which only `enclave-dev` knows.

use acceptance::bip340::{self, negated, public_key, random_scalar, small_scalar, x_only};
use acceptance::contract::{EXISTS, KEY_NOT_FOUND, MALFORMED_SEALED_KEY, OK, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::local_seal::{self, Sealed, seal, seal_bytes, seal_with_long_iv};
use acceptance::signer::{is_lower_hex, new_identity};
use acceptance::{Failure, Rows, Server, Signer};

/// The group order n of secp256k1.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

/// Checks that `sealed_key` is refused and that no key came of it.
fn is_refused(signer: &mut Signer<'_>, sealed_key: &str, status: u16, text: &str) -> Result<(), Failure> {
    let identity = new_identity();
    signer.import(&identity, sealed_key).is_error(status, text)?;
    signer.export(&identity).is_error(404, KEY_NOT_FOUND)
}

#[test]
fn what_is_of_no_known_form_is_400() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Import, 400");
    let blob = seal(&server.secrets.sealing_key, &random_scalar()).blob();
    let parts: Vec<&str> = blob.split(':').collect();
    for (row, sealed_key) in [
        ("a letter", "x".to_owned()),
        ("a space", " ".to_owned()),
        ("words", "not a sealed key".to_owned()),
        ("hex", parts[1].to_owned()),
        ("base64", "c2VhbGVkIGtleQ==".to_owned()),
        ("JSON", r#"{"iv":"00"}"#.to_owned()),
        ("a colon", ":".to_owned()),
        ("two parts", format!("{}:{}", parts[0], parts[1])),
        ("worker mode, iv:ct+tag", format!("{}:{}{}", parts[0], parts[1], parts[2])),
        ("four parts", format!("{blob}:00")),
        ("four parts, the last empty", format!("{blob}:")),
        ("four parts, the first empty", format!(":{blob}")),
        ("dots for colons", blob.replace(':', ".")),
        ("an Evervault string", "ev:Tk9DOg==:RFVC:abc:def:$".to_owned()),
        ("an Evervault string, debug", "ev:debug:RFVC:Qk9C:A1B2:Q0RF:$".to_owned()),
        ("an Evervault string of three parts", "ev:0011:2233".to_owned()),
        ("an Evervault prefix alone", "ev:".to_owned()),
        ("ns1 without its dot", "ns1".to_owned()),
        ("ns1 with a colon", "ns1:AAAA".to_owned()),
        ("ns2", "ns2.AAAA".to_owned()),
        ("NS1", "NS1.AAAA".to_owned()),
        ("a space before ns1", " ns1.AAAA".to_owned()),
        ("kms without its colon", "kms".to_owned()),
        ("KMS", "KMS:AAAA".to_owned()),
        ("aws:kms", "aws-kms:AAAA".to_owned()),
    ] {
        rows.check(row, is_refused(&mut signer, &sealed_key, 400, MALFORMED_SEALED_KEY));
    }
    rows.finish();
}

#[test]
fn what_does_not_open_is_500_and_says_no_more() {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Import, 500");
    let key = &server.secrets.sealing_key;
    let good = seal(key, &random_scalar());
    let blob = good.blob();
    let mut bent: Vec<(String, String)> = Vec::new();
    let mut push = |row: &str, sealed_key: String| bent.push((row.to_owned(), sealed_key));

    // The caller's own end-to-end test.
    push("aaaa:bbbb:cccc", "aaaa:bbbb:cccc".to_owned());
    push("one byte each", "00:00:00".to_owned());
    push("empty parts", "::".to_owned());
    push("empty iv", Sealed { iv: vec![], ..good.clone() }.blob());
    push("empty ciphertext", Sealed { ciphertext: vec![], ..good.clone() }.blob());
    push("empty tag", Sealed { tag: vec![], ..good.clone() }.blob());
    for length in [1, 8, 11, 13, 16, 24] {
        let iv = good.iv.iter().copied().cycle().take(length).collect();
        push(&format!("an IV of {length} bytes"), Sealed { iv, ..good.clone() }.blob());
    }
    push("an IV of 16 bytes, sealed for it", seal_with_long_iv(key, &random_scalar()).blob());
    for length in [1, 4, 8, 12, 15, 17, 32] {
        let tag = good.tag.iter().copied().cycle().take(length).collect();
        push(&format!("a tag of {length} bytes"), Sealed { tag, ..good.clone() }.blob());
    }
    for length in [1, 32, 63, 65, 128] {
        let ciphertext = good.ciphertext.iter().copied().cycle().take(length).collect();
        push(&format!("a ciphertext of {length} bytes"), Sealed { ciphertext, ..good.clone() }.blob());
    }
    for cut in [1, 2, 16, 31] {
        push(&format!("cut by {cut}"), blob[..blob.len() - cut].to_owned());
    }
    for cut in [1, 2, 23] {
        push(&format!("cut by {cut} in front"), blob[cut..].to_owned());
    }
    push("a digit more", format!("{blob}0"));
    push("a byte more", format!("{blob}00"));
    push("a space in front", format!(" {blob}"));
    push("a newline at the end", format!("{blob}\n"));
    push("a letter that is no digit", blob.replacen(':', "g:", 1));
    push("0x", format!("0x{blob}"));
    push(
        "tag and IV exchanged",
        format!("{}:{}:{}", hex::encode(&good.tag), hex::encode(&good.ciphertext), hex::encode(&good.iv)),
    );
    push("another's tag", Sealed { tag: seal(key, &random_scalar()).tag, ..good.clone() }.blob());
    push("another sealing key", seal(&rand::random(), &random_scalar()).blob());
    push("sealing key of zeros", seal(&[0; 32], &random_scalar()).blob());
    push("associated data", seal_bytes(key, hex::encode(random_scalar()).as_bytes(), b"x").blob());

    let scalar = hex::encode(random_scalar());
    for (row, plaintext) in [
        ("nothing inside", Vec::new()),
        ("raw bytes inside", random_scalar().to_vec()),
        ("63 digits inside", scalar.as_bytes()[1..].to_vec()),
        ("65 digits inside", format!("0{scalar}").into_bytes()),
        ("66 digits inside", format!("00{scalar}").into_bytes()),
        ("128 digits inside", format!("{scalar}{scalar}").into_bytes()),
        ("0x and 62 digits inside", format!("0x{}", &scalar[2..]).into_bytes()),
        ("0x and 64 digits inside", format!("0x{scalar}").into_bytes()),
        ("a newline inside", format!("{scalar}\n").into_bytes()),
        ("a newline for a digit inside", format!("{}\n", &scalar[1..]).into_bytes()),
        ("a space for a digit inside", format!(" {}", &scalar[1..]).into_bytes()),
        ("a sign for a digit inside", format!("+{}", &scalar[1..]).into_bytes()),
        ("a g inside", format!("{}g", &scalar[1..]).into_bytes()),
        ("NULs inside", vec![0; 64]),
        ("JSON inside", format!("\"{}\"", &scalar[2..]).into_bytes()),
        ("scalar 0", "0".repeat(64).into_bytes()),
        ("scalar n", ORDER.as_bytes().to_vec()),
        ("scalar n + 1", ORDER.replace("4141", "4142").into_bytes()),
        ("scalar 2^256 - 1", "f".repeat(64).into_bytes()),
        ("scalar n in upper case", ORDER.to_ascii_uppercase().into_bytes()),
    ] {
        push(row, seal_bytes(key, &plaintext, b"").blob());
    }
    for (row, sealed_key) in [
        ("ns1, empty", "ns1."),
        ("ns1, too short", "ns1.AQ"),
        (
            "ns1, zeros",
            "ns1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        (
            "ns1, version 1 with a length of 0",
            "ns1.AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        ("ns1, length past the end", "ns1.Af__AAAA"),
        ("ns1, not base64", "ns1.!!!!"),
        ("ns1, padded", "ns1.AQ=="),
        ("kms, empty", "kms:"),
        ("kms, some base64", "kms:AQICAHhJ"),
        ("kms, not base64", "kms:!!!!"),
    ] {
        push(row, sealed_key.to_owned());
    }
    for (row, sealed_key) in bent {
        rows.check(row, is_refused(&mut signer, &sealed_key, 500, UNABLE_TO_OPEN));
    }
    for (at, digit) in blob.char_indices().filter(|(_, c)| *c != ':') {
        let other = if digit == '0' { '1' } else { '0' };
        let bent = format!("{}{other}{}", &blob[..at], &blob[at + 1..]);
        rows.check(format!("digit {at}"), is_refused(&mut signer, &bent, 500, UNABLE_TO_OPEN));
    }
    let identity = new_identity();
    rows.check("after all that, the blob opens", signer.import(&identity, &blob).is(200, OK));
    rows.finish();
}

#[test]
fn what_another_sealed_is_the_same_key_here() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Import, 200");
    let key = &server.secrets.sealing_key;
    let order_less_one = negated(&small_scalar(1))?;
    let mut scalars: Vec<[u8; 32]> = (1..=20).map(small_scalar).collect();
    scalars.extend([order_less_one, negated(&small_scalar(2))?]);
    scalars.extend((0..10).map(|_| random_scalar()));
    let mut prefixes = [0, 0];
    for scalar in scalars {
        let identity = new_identity();
        let public_key = public_key(&scalar)?;
        prefixes[usize::from(public_key.starts_with("03"))] += 1;
        let row = format!("scalar {}", hex::encode(scalar));
        rows.check(
            &row,
            (|| {
                signer.imported(&identity, &seal(key, &scalar).blob())?;
                signer.signs_under(&identity, x_only(&public_key))?;
                let exported = local_seal::open(key, &signer.exported(&identity)?)?;
                ensure(exported == hex::encode(scalar), || format!("exported as {exported}"))?;
                signer.destroyed(&identity)
            })(),
        );
    }
    rows.check("both parities", ensure(prefixes.iter().all(|n| *n > 0), || format!("{prefixes:?}")));

    let scalar = random_scalar();
    let lower = seal(key, &scalar).blob();
    let inside = seal_bytes(key, hex::encode_upper(scalar).as_bytes(), b"").blob();
    for (row, blob) in [
        ("upper-case hex", lower.to_ascii_uppercase()),
        ("mixed-case hex", format!("{}{}", &lower[..100].to_ascii_uppercase(), &lower[100..])),
        ("upper-case hex inside", inside),
    ] {
        let identity = new_identity();
        rows.check(row, signer.import(&identity, &blob).is(200, OK));
        rows.check(format!("{row}, signs"), signer.signs_under(&identity, x_only(&public_key(&scalar)?)));
    }
    rows.finish();
    Ok(())
}

#[test]
fn what_is_exported_is_the_key_that_was_generated() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Import, exports");
    let key = &server.secrets.sealing_key;
    let mut prefixes = [0, 0];
    for n in 0..24 {
        let identity = new_identity();
        let public = signer.generated(&identity)?;
        prefixes[usize::from(public.starts_with("03"))] += 1;
        let (one, two) = (signer.exported(&identity)?, signer.exported(&identity)?);
        rows.check(
            format!("key {n}, {public}"),
            (|| {
                ensure(one != two, || format!("two exports are alike: {one}"))?;
                ensure(one.split(':').next() != two.split(':').next(), || format!("one IV twice: {one}"))?;
                let (plain, again) = (local_seal::open(key, &one)?, local_seal::open(key, &two)?);
                ensure(plain == again && is_lower_hex(&plain, 64), || format!("{plain}, {again}"))?;
                let mut scalar = [0; 32];
                hex::decode_to_slice(&plain, &mut scalar)?;
                let expected = bip340::public_key(&scalar)?;
                ensure(expected == public, || format!("the exported scalar's key is {expected}"))
            })(),
        );
        signer.destroyed(&identity)?;
        // Either backup restores it, under any identity: the local form is bound to none.
        let other = new_identity();
        for (row, identity, sealed) in
            [("restored", &identity, &one), ("under another identity", &other, &two)]
        {
            rows.check(
                format!("key {n}, {row}"),
                signer
                    .imported(identity, sealed)
                    .and_then(|()| signer.signs_under(identity, x_only(&public))),
            );
            signer.destroyed(identity)?;
        }
    }
    rows.check("both parities", ensure(prefixes.iter().all(|n| *n > 0), || format!("{prefixes:?}")));
    rows.finish();
    Ok(())
}

#[test]
fn a_live_identity_keeps_its_key() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Import, over a live identity");
    let key = &server.secrets.sealing_key;
    let scalar = random_scalar();
    let (generated, imported) = (new_identity(), new_identity());
    let generated_key = signer.generated(&generated)?;
    let generated_blob = signer.exported(&generated)?;
    let imported_blob = seal(key, &scalar).blob();
    signer.imported(&imported, &imported_blob)?;
    let imported_key = public_key(&scalar)?;
    let again = seal(key, &scalar).blob();
    let negated = seal(key, &negated(&scalar)?).blob();
    let other = seal(key, &random_scalar()).blob();
    let (generated_upper, imported_upper) = (generated.to_ascii_uppercase(), imported.to_ascii_uppercase());
    for (row, identity, blob) in [
        ("generated, its backup", &generated, &generated_blob),
        ("generated, its backup, upper case", &generated_upper, &generated_blob),
        ("imported, the same blob", &imported, &imported_blob),
        ("imported, the same key sealed again", &imported, &again),
        ("imported, the same key, upper case", &imported_upper, &again),
    ] {
        rows.check(row, signer.import(identity, blob).is(200, OK));
    }
    for (row, identity, blob) in [
        ("generated, another key", &generated, &other),
        ("generated, the imported key", &generated, &imported_blob),
        ("imported, another key", &imported, &other),
        ("imported, the generated key", &imported, &generated_blob),
        ("imported, its negated scalar", &imported, &negated),
        ("imported, another key, upper case", &imported_upper, &other),
    ] {
        rows.check(row, signer.import(identity, blob).is_error(409, EXISTS));
    }
    for (row, blob, status, text) in [
        ("a blob that does not open", "aaaa:bbbb:cccc", 500, UNABLE_TO_OPEN),
        ("a blob of no known form", "aaaa", 400, MALFORMED_SEALED_KEY),
    ] {
        rows.check(row, signer.import(&generated, blob).is_error(status, text));
    }
    rows.check("the generated key is as it was", signer.signs_under(&generated, x_only(&generated_key)));
    rows.check("the imported key is as it was", signer.signs_under(&imported, x_only(&imported_key)));
    let exported = local_seal::open(key, &signer.exported(&imported)?)?;
    rows.check("its export is as it was", ensure(exported == hex::encode(scalar), || exported.clone()));
    rows.finish();
    Ok(())
}
