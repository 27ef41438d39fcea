//! `secret seal TLS_KEY`: the pair is checked before it is sealed, and what was sealed is what the enclave presents.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::process::{run, succeed};
use crate::sealed_secrets::{Account, pipe};

const EX_USAGE: i32 = 64;
const EX_DATAERR: i32 = 65;
const EX_CONFIG: i32 = 78;

/// A server's certificate of an authority of our own, which is valid from one year to another.
struct Issued {
    authority_pem: String,
    chain_pem: String,
    key: KeyPair,
}

fn issue(from: i32, to: i32) -> Issued {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = key();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let mut server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.not_before = date_time_ymd(from, 1, 1);
    server.not_after = date_time_ymd(to, 1, 1);
    let key = key();
    let chain_pem = server.signed_by(&key, &issuer).unwrap().pem();
    Issued { authority_pem, chain_pem, key }
}

/// An account whose signers are to present certificates.
fn account() -> Account {
    let account = Account::new();
    let text = std::fs::read_to_string(account.path("sealing.toml")).unwrap();
    std::fs::write(account.path("sealing.toml"), text.replace("mode = \"off\"", "mode = \"provided\""))
        .unwrap();
    account
}

#[test]
fn the_key_that_was_sealed_is_the_one_that_is_presented() {
    let mut account = account();
    let issued = issue(2020, 2200);
    std::fs::write(account.path("chain.pem"), &issued.chain_pem).unwrap();
    std::fs::write(account.path("authority.pem"), &issued.authority_pem).unwrap();
    let certificate = ["--certificate", "chain.pem"];
    let in_pem = account.sealed("TLS_KEY", issued.key.serialize_pem().as_bytes(), &certificate);
    let in_der = account.sealed("TLS_KEY", issued.key.serialized_der(), &certificate);
    account.parent.nitro_toml.tls = "mode = \"provided\"";
    account.parent.set("TLS_CERT_CHAIN", Some(&format!("\"{}\"", issued.chain_pem)));
    for sealed in [in_pem, in_der] {
        account.parent.set("TLS_KEY_CIPHERTEXT", Some(&sealed));
        let attested = account.parent.ready().unwrap();
        let url = format!("https://localhost:{}", attested.server().address().port());
        let outcome = run(&mut account.signerctl(&["health", &url, "--ca", "authority.pem"]));
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(0), "ready\n"), "{outcome:?}");
        // A client without that authority does not trust the certificate.
        let outcome = run(&mut account.signerctl(&["health", &url]));
        assert!(outcome.stderr.contains("TLS handshake failed: invalid peer certificate"), "{outcome:?}");
    }
}

#[test]
fn each_error_of_a_pair_has_its_own_words() {
    let account = account();
    let good = issue(2020, 2200);
    let (pem, other) = (good.key.serialize_pem(), issue(2020, 2200));
    let file = |name: &str, bytes: &[u8]| std::fs::write(account.path(name), bytes).unwrap();
    let openssl = |arguments: &str| {
        succeed(Command::new("openssl").args(arguments.split(' ')).current_dir(account.path(""))).into_bytes()
    };
    file("good.pem", good.chain_pem.as_bytes());
    file("key.pem", pem.as_bytes());
    file("expired.pem", issue(2020, 2021).chain_pem.as_bytes());
    file("future.pem", issue(2199, 2200).chain_pem.as_bytes());
    file("authority.pem", good.authority_pem.as_bytes());
    file("garbage.pem", b"no certificate");
    file("with-key.pem", format!("{}{pem}", good.chain_pem).as_bytes());
    let encrypted = openssl("pkcs8 -topk8 -passout pass:secret -in key.pem");
    let legacy = openssl("ec -aes256 -passout pass:secret -in key.pem");
    let wrong_curve = openssl("ecparam -name secp256k1 -genkey -noout");
    let small_rsa = openssl("genrsa -traditional 1024");
    let other_key = other.key.serialize_pem();
    let twice = format!("{pem}{pem}");
    const KINDS: &str = "P-256, P-384";
    let rows: [(&str, &str, &[u8], &str); 14] = [
        ("expired", "expired.pem", pem.as_bytes(), "TLS_CERT_CHAIN: certificate 1 has expired"),
        ("not yet valid", "future.pem", pem.as_bytes(), "TLS_CERT_CHAIN: certificate 1 is not valid yet"),
        (
            "an authority's",
            "authority.pem",
            pem.as_bytes(),
            "TLS_CERT_CHAIN: certificate 1 is that of an authority",
        ),
        ("garbage", "garbage.pem", pem.as_bytes(), "TLS_CERT_CHAIN: not certificates in PEM"),
        ("with the key", "with-key.pem", pem.as_bytes(), "TLS_CERT_CHAIN: has a private key in it"),
        (
            "mismatched",
            "good.pem",
            other_key.as_bytes(),
            "TLS_KEY: not the key of certificate 1 of TLS_CERT_CHAIN",
        ),
        ("a password, PKCS #8", "good.pem", &encrypted, "TLS_KEY: protected by a password"),
        ("a password, SEC 1", "good.pem", &legacy, "TLS_KEY: protected by a password"),
        ("wrong curve", "good.pem", &wrong_curve, "TLS_KEY: a key of an unsupported kind"),
        ("small RSA", "good.pem", &small_rsa, "TLS_KEY: a key of an unsupported kind"),
        ("two keys", "good.pem", twice.as_bytes(), "TLS_KEY: not one private key and nothing else"),
        (
            "a certificate as the key",
            "good.pem",
            good.chain_pem.as_bytes(),
            "TLS_KEY: not a private key in PEM or DER",
        ),
        ("no key", "good.pem", b"garbage", "TLS_KEY: not a private key in PEM or DER"),
        ("nothing", "good.pem", b"", "TLS_KEY: not a private key in PEM or DER"),
    ];
    account.parent.kms.forget_calls().unwrap();
    for (row, chain, key, line) in rows {
        let outcome = account.seal("TLS_KEY", key, &["--certificate", chain]);
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(EX_DATAERR), ""), "{row}: {outcome:?}");
        assert!(outcome.stderr.starts_with(&format!("signerctl: {line}")), "{row}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{row}: {outcome:?}");
        assert!(!line.ends_with("another kind") || outcome.stderr.contains(KINDS), "{row}: {outcome:?}");
    }
    assert!(account.parent.kms.calls().unwrap().is_empty());

    let without = pipe(&mut account.sealing("TLS_KEY", &[]), pem.as_bytes());
    assert_eq!(without.code, Some(EX_USAGE), "{without:?}");
    account
        .seal("TICKET_SIGNING_SECRET", b"0mEyH5c7nPzQ81ka", &["--certificate", "good.pem"])
        .refuses(EX_USAGE, "--certificate is for TLS_KEY");
    account.configure("kms", "kms", &account.parent.kms.authority_pem);
    account.seal("TLS_KEY", pem.as_bytes(), &["--certificate", "good.pem"]).refuses(
        EX_CONFIG,
        "sealing.toml: has not tls.mode = \"provided\": the signer would refuse a ciphertext",
    );
}
