use proptest::prelude::*;
use rustls::pki_types::UnixTime;

use super::check_pair;
use super::test_ca::{AUTHORITY, Issued, P256, SERVER, TestCa, in_days};
use super::{MAX_CHAIN_BYTES, MAX_KEY_BYTES};

fn at(days: i64, chain: &str, key: impl AsRef<[u8]>) -> Result<u64, String> {
    check_pair(chain.as_bytes(), key.as_ref(), in_days(days))
        .map(|(chain, key)| {
            assert_eq!(chain.spki(), key.spki());
            chain.not_after_unix_s()
        })
        .map_err(|error| error.to_string())
}

fn outcome(chain: &str, key: impl AsRef<[u8]>) -> Result<(), String> {
    at(0, chain, key).map(drop)
}

fn refusal(chain: &str, key: impl AsRef<[u8]>) -> String {
    outcome(chain, key).unwrap_err()
}

/// A root, an intermediate and a server; each is issued by the one before.
struct Line {
    ca: TestCa,
    root: Issued,
    intermediate: Issued,
    server: Issued,
}

impl Line {
    fn new() -> Self {
        let ca = TestCa::new();
        let root = ca.issue(P256, "root", AUTHORITY, None);
        let intermediate = ca.issue(P256, "intermediate", AUTHORITY, Some(&root));
        let server = ca.issue(P256, "server", SERVER, Some(&intermediate));
        Self { ca, root, intermediate, server }
    }

    /// A server's certificate with these extensions, and its key.
    fn other(&self, kind: &[&str], extensions: &str) -> Issued {
        self.ca.issue(kind, "other", extensions, Some(&self.intermediate))
    }
}

const KINDS: &str =
    "only P-256, P-384 and Ed25519 are served, and never RSA, since KMS encrypts to an attested key of RSA";

#[test]
fn every_supported_kind_of_key_is_accepted() {
    let line = Line::new();
    for kind in [P256, &["EC", "ec_paramgen_curve:P-384"], &["ED25519"]] {
        let Issued { certificate, key } = line.other(kind, SERVER);
        assert_eq!(outcome(&certificate, &key), Ok(()), "{kind:?}");
    }
}

#[test]
fn an_unsupported_kind_of_key_is_named() {
    let line = Line::new();
    for kind in [
        &["EC", "ec_paramgen_curve:secp256k1"][..],
        &["EC", "ec_paramgen_curve:P-521"],
        &["RSA", "rsa_keygen_bits:2048"],
        &["ED448"],
        &["RSA-PSS", "rsa_keygen_bits:2048"],
    ] {
        let Issued { certificate, key } = line.other(kind, SERVER);
        assert_eq!(
            refusal(&certificate, &key),
            format!("TLS_CERT_CHAIN: certificate 1 has a key of an unsupported kind: {KINDS}"),
            "{kind:?}"
        );
        assert_eq!(
            refusal(&line.server.certificate, &key),
            format!("TLS_KEY: a key of an unsupported kind: {KINDS}"),
            "{kind:?}"
        );
    }
    // As PKCS#1 too, which has only RSA keys.
    let rsa = line.other(&["RSA", "rsa_keygen_bits:2048"], SERVER);
    let path = line.ca.write("key.pem", &rsa.key);
    let traditional = line.ca.openssl(&["rsa", "-traditional", "-in", &path]);
    assert_eq!(
        refusal(&line.server.certificate, traditional),
        format!("TLS_KEY: a key of an unsupported kind: {KINDS}")
    );
}

#[test]
fn a_key_is_accepted_in_each_encoding() {
    let line = Line::new();
    let ec = &line.server;
    let path = line.ca.write("key.pem", &ec.key);
    let mut forms: Vec<Vec<u8>> = vec![ec.key.clone().into()];
    for outform in ["PEM", "DER"] {
        for command in ["pkey", "ec"] {
            forms.push(line.ca.openssl(&[command, "-in", &path, "-outform", outform]));
        }
    }
    for form in forms {
        assert_eq!(outcome(&ec.certificate, &form), Ok(()), "{}", form.escape_ascii());
    }
    // The form of `openssl ecparam -genkey`.
    let traditional = line.ca.openssl(&["ecparam", "-genkey", "-name", "prime256v1"]);
    assert!(traditional.starts_with(b"-----BEGIN EC PARAMETERS-----"));
    assert_eq!(
        refusal(&ec.certificate, traditional),
        "TLS_KEY: not the key of certificate 1 of TLS_CERT_CHAIN"
    );
}

#[test]
fn an_invalid_key_has_its_error() {
    let line = Line::new();
    let Issued { certificate, key } = &line.server;
    let path = line.ca.write("key.pem", key);
    let encrypted =
        |options: &[&str]| line.ca.openssl(&[options, &["-in", &path, "-passout", "pass:word"]].concat());
    let password = "TLS_KEY: protected by a password: remove the password, since KMS protects the key";
    assert_eq!(refusal(certificate, encrypted(&["pkcs8", "-topk8"])), password);
    assert_eq!(refusal(certificate, encrypted(&["pkcs8", "-topk8", "-outform", "DER"])), password);
    assert_eq!(refusal(certificate, encrypted(&["ec", "-aes128"])), password);

    let alone = "TLS_KEY: not one private key and nothing else";
    assert_eq!(refusal(certificate, key.repeat(2)), alone);
    assert_eq!(refusal(certificate, format!("{key}{certificate}")), alone);

    let no_key = "TLS_KEY: not a private key in PEM or DER";
    let public = line.ca.openssl(&["pkey", "-in", &path, "-pubout"]);
    for other in [&b""[..], b"garbage", b"\x30\x00", b"\xff\xfe", certificate.as_bytes(), &public] {
        assert_eq!(refusal(certificate, other), no_key, "{}", other.escape_ascii());
    }
    for bent in
        [key.replacen('M', "*", 1), key.replacen("KEY-----", "KEY", 1), key[..key.len() / 2].to_owned()]
    {
        assert_eq!(refusal(certificate, bent), no_key);
    }
    assert_eq!(
        refusal(certificate, "x".repeat(MAX_KEY_BYTES + 1)),
        "TLS_KEY: longer than 4096 bytes, which is all that KMS encrypts"
    );

    let others = line.other(P256, SERVER).key;
    assert_eq!(refusal(certificate, others), "TLS_KEY: not the key of certificate 1 of TLS_CERT_CHAIN");
}

#[test]
fn a_chain_leads_from_the_server_to_its_issuers() {
    let Line { ca, root, intermediate, server } = Line::new();
    let [root_pem, intermediate_pem, server_pem] =
        [&root, &intermediate, &server].map(|it| it.certificate.as_str());
    for good in [
        server_pem.to_owned(),
        format!("{server_pem}{intermediate_pem}"),
        format!("{server_pem}{intermediate_pem}{root_pem}"),
        format!("subject=server\n{server_pem}\n\n{intermediate_pem}").replace('\n', "\r\n"),
    ] {
        assert_eq!(outcome(&good, &server.key), Ok(()));
    }
    // A self-signed certificate that is not an authority's is accepted.
    let own = ca.issue(P256, "own", SERVER, None);
    assert_eq!(outcome(&own.certificate, &own.key), Ok(()));

    let line = |chain: &str| refusal(chain, &server.key).strip_prefix("TLS_CERT_CHAIN: ").unwrap().to_owned();
    assert_eq!(line(&format!("{server_pem}{root_pem}")), "certificate 1 is not issued by certificate 2");
    assert_eq!(
        line(&format!("{server_pem}{root_pem}{intermediate_pem}")),
        "certificate 1 is not issued by certificate 2"
    );
    let authority = "certificate 1 is that of an authority: the server's comes first";
    assert_eq!(line(&format!("{intermediate_pem}{server_pem}")), authority);
    let twice = "certificate 2 is not that of an authority: only the first is a server's";
    assert_eq!(line(&format!("{server_pem}{server_pem}{intermediate_pem}")), twice);
    // Another authority with the same name.
    let stranger = ca.issue(P256, "intermediate", AUTHORITY, None);
    assert_eq!(
        line(&format!("{server_pem}{}", stranger.certificate)),
        "certificate 1 is not issued by certificate 2"
    );
    assert_eq!(
        line(&format!("{server_pem}{intermediate_pem}{}", stranger.certificate)),
        "certificate 2 is not issued by certificate 3"
    );
    // A certificate that is not part of the path.
    assert_eq!(
        line(&format!("{server_pem}{intermediate_pem}{intermediate_pem}")),
        "certificate 2 is not issued by certificate 3"
    );
    // An authority for other purposes.
    let for_mail =
        ca.issue(P256, "mail", &format!("{AUTHORITY}extendedKeyUsage=emailProtection\n"), Some(&root));
    let under_it = ca.issue(P256, "under it", SERVER, Some(&for_mail));
    assert_eq!(
        refusal(&format!("{}{}{root_pem}", under_it.certificate, for_mail.certificate), &under_it.key),
        "TLS_CERT_CHAIN: certificate 2 is not for servers: its extended key usage leaves it out"
    );
    // A SHA-1 signature.
    let sha1 = ca.issue_with(P256, "sha1", SERVER, Some(&intermediate), &["-sha1"]);
    assert_eq!(
        refusal(&format!("{}{intermediate_pem}", sha1.certificate), &sha1.key),
        "TLS_CERT_CHAIN: certificate 1 is signed with an algorithm that clients do not take"
    );
}

#[test]
fn an_invalid_chain_has_its_error() {
    let Line { server, intermediate, .. } = Line::new();
    let line = |chain: &str| refusal(chain, &server.key).strip_prefix("TLS_CERT_CHAIN: ").unwrap().to_owned();
    let pem = &server.certificate;
    let not_pem = "not certificates in PEM";
    for other in
        ["", "garbage", "-----BEGIN CERTIFICATE-----\n", &pem[..pem.len() / 2], &pem.replacen('M', "*", 1)]
    {
        assert_eq!(line(other), not_pem, "{other}");
    }
    // systemd's reading of a value with `
    // ` in it.
    assert_eq!(line(&pem.replace('\n', "\\n")), not_pem);
    let not_utf8 = check_pair(b"\xff", server.key.as_bytes(), UnixTime::now()).unwrap_err();
    assert_eq!(not_utf8.to_string(), format!("TLS_CERT_CHAIN: {not_pem}"));
    assert_eq!(
        line(&format!("{pem}{}", server.key)),
        "has a private key in it, which every reader of the file now knows: make a new key"
    );
    assert_eq!(
        line(&format!("{pem}-----BEGIN X509 CRL-----\nAQID\n-----END X509 CRL-----\n")),
        "has a section that is not a certificate: remove it"
    );
    let shape = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    assert_eq!(line(shape), "certificate 1 is not one of X.509");
    assert_eq!(line(&format!("{pem}{shape}")), "certificate 2 is not one of X.509");
    assert_eq!(line(&format!("{pem}{}", intermediate.certificate.repeat(8))), "has more than 8 certificates");
    assert_eq!(line(&"x".repeat(MAX_CHAIN_BYTES + 1)), "longer than 32 KiB");
}

#[test]
fn dates_of_every_certificate_are_checked() {
    let Line { ca, root, intermediate, server } = Line::new();
    let chain = format!("{}{}{}", server.certificate, intermediate.certificate, root.certificate);
    assert!(at(89, &chain, &server.key).is_ok());
    assert_eq!(at(90, &chain, &server.key).unwrap_err(), "TLS_CERT_CHAIN: certificate 1 has expired");
    assert_eq!(at(-1, &chain, &server.key).unwrap_err(), "TLS_CERT_CHAIN: certificate 1 is not valid yet");
    let short = ca.issue_with(P256, "short", AUTHORITY, Some(&root), &["-days", "10"]);
    let under_it = ca.issue(P256, "under it", SERVER, Some(&short));
    let chain = format!("{}{}", under_it.certificate, short.certificate);
    assert_eq!(at(10, &chain, &under_it.key).unwrap_err(), "TLS_CERT_CHAIN: certificate 2 has expired");
    // The earliest expiry is the one that the signer watches.
    let ends = at(0, &chain, &under_it.key).unwrap();
    assert!(ends.abs_diff(in_days(10).as_secs()) < 3600, "{ends}");
}

#[test]
fn chains_that_clients_would_refuse_are_refused() {
    let line = Line::new();
    for (extensions, told) in [
        (
            "basicConstraints=CA:FALSE\n".to_owned(),
            "certificate 1 names no server: it has no subjectAltName of a name or address",
        ),
        (
            SERVER.replace("DNS:signer.example.com", "email:me@example.com"),
            "certificate 1 names no server: it has no subjectAltName of a name or address",
        ),
        (
            SERVER.replace("serverAuth", "clientAuth"),
            "certificate 1 is not for servers: its extended key usage leaves it out",
        ),
        (
            SERVER.replace("digitalSignature", "keyAgreement"),
            "certificate 1 may not sign handshakes: its key usage leaves digitalSignature out",
        ),
        (
            SERVER.replace("CA:FALSE", "CA:TRUE"),
            "certificate 1 is that of an authority: the server's comes first",
        ),
    ] {
        let other = line.other(P256, &extensions);
        assert_eq!(refusal(&other.certificate, &other.key), format!("TLS_CERT_CHAIN: {told}"));
    }
    for extensions in [
        "subjectAltName=IP:192.0.2.1\n".to_owned(),
        SERVER.replace("serverAuth", "anyExtendedKeyUsage"),
        SERVER.replace("serverAuth", "clientAuth,serverAuth"),
    ] {
        let other = line.other(P256, &extensions);
        assert_eq!(outcome(&other.certificate, &other.key), Ok(()), "{extensions}");
    }
}

proptest! {
    #[test]
    fn never_panics(chain in any::<Vec<u8>>(), key in any::<Vec<u8>>()) {
        prop_assert!(check_pair(&chain, &key, UnixTime::now()).is_err());
    }
}
