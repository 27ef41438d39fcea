//! Reports about documents, as text and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use signerctl::attestation::Questioned;
use signerctl::certificate::Certificate;
use signerctl::printable::{MAX_WORDS_CHARS, printable};
use signerctl::time::{DAY_S, distance, utc};
use verification::{Check, Document, Exposure, Finding, Image};

use super::expected_enclave::Expected;

/// A certificate of TLS is to be renewed before this. Those of ACME authorities are renewed a third of their life
/// before their end, and the shortest live six days.
const TLS_EXPIRY_WARNING_S: u64 = 2 * DAY_S;

pub(super) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Each check on a line.
pub(super) fn findings_text(questioned: &Questioned, expected: &Expected) -> String {
    let mut text = String::new();
    for (check, finding) in questioned.examination.findings() {
        let (label, words) = match finding {
            Finding::Good => ("ok", good_words(check, questioned, expected)),
            Finding::Waived => ("WAIVED", waived_words(check).to_owned()),
            Finding::Doubtful(doubt) => ("FAILED", doubt.to_string()),
            Finding::NotReached => ("-", "not checked: the document is not authentic".to_owned()),
        };
        // A String takes all of it.
        let _ = writeln!(text, "{label:<8}{:<14}{words}", check.name());
    }
    text
}

fn good_words(check: Check, questioned: &Questioned, expected: &Expected) -> String {
    match check {
        Check::Reply => format!("{} bytes of json with a document", questioned.reply.len()),
        Check::Form => "a document as the security module writes it".to_owned(),
        Check::Certificates => format!("lead to {}", expected.root),
        Check::Signature => "is the module's, over this document".to_owned(),
        Check::DebugMode => "is off".to_owned(),
        Check::Freshness => match questioned.examination.document() {
            Some(document) => {
                format!("made {}", distance(questioned.now_unix_ms, document.timestamp_unix_ms))
            }
            None => String::new(),
        },
        Check::Nonce => "is that of this request".to_owned(),
        Check::Image => {
            let found = questioned.examination.document();
            let image = found.and_then(|document| expected.expectation.image_of(document).ok());
            format!("is that of {}", image.and_then(|image| expected.name_of(image)).unwrap_or_default())
        }
        Check::TlsKey => "is that of this connection".to_owned(),
        Check::Statement => "is the endpoint's".to_owned(),
    }
}

const fn waived_words(check: Check) -> &'static str {
    match check {
        Check::Image => "any program is accepted: the document does not show what it does with secrets",
        _ => "http is accepted: the document proves that such an enclave exists, not that you talk to it",
    }
}

pub(super) fn findings_json(questioned: &Questioned) -> Value {
    let mut checks = Map::new();
    for (check, finding) in questioned.examination.findings() {
        let value = match finding {
            Finding::Good => json!("ok"),
            Finding::Waived => json!("waived"),
            Finding::Doubtful(doubt) => json!({ "failed": doubt.to_string() }),
            Finding::NotReached => json!("not reached"),
        };
        checks.insert(check.name().to_owned(), value);
    }
    Value::Object(checks)
}

/// The content of `document`, one fact a line. The verdict stands before it.
pub(super) fn document_text(document: &Document, now_unix_ms: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("module", &printable(&document.module_id, MAX_WORDS_CHARS));
    let made = utc(document.timestamp_unix_ms / 1000);
    line("made", &format!("{made}, {}", distance(now_unix_ms, document.timestamp_unix_ms)));
    for (index, value) in document.pcrs.iter() {
        let value = if value.iter().all(|byte| *byte == 0) { "zeros".to_owned() } else { hex(value) };
        line(&format!("pcr{index}"), &value);
    }
    for (name, value) in optional_fields(document) {
        match value {
            None => line(name, "none"),
            // --json prints all of it.
            Some(bytes) if bytes.len() > 64 => {
                line(name, &format!("{} bytes, SHA-256 {}", bytes.len(), sha256(bytes)));
            }
            Some(bytes) => line(name, &hex(bytes)),
        }
    }
    for der in document.cabundle.iter().chain([&document.certificate]) {
        match Certificate::from_der(der) {
            None => line("certificate", "cannot be read"),
            Some(certificate) => line(
                "certificate",
                &format!(
                    "{} to {}: {}",
                    utc(certificate.not_before_unix_s),
                    utc(certificate.not_after_unix_s),
                    certificate.subject
                ),
            ),
        }
    }
    text
}

fn optional_fields(document: &Document) -> [(&'static str, Option<&[u8]>); 3] {
    [
        ("public_key", document.public_key.as_deref()),
        ("user_data", document.user_data.as_deref()),
        ("nonce", document.nonce.as_deref()),
    ]
}

pub(super) fn document_json(document: &Document) -> Value {
    let pcrs = document.pcrs.iter().map(|(index, value)| (format!("PCR{index}"), json!(hex(value))));
    let certificates = document.cabundle.iter().chain([&document.certificate]).map(|der| {
        Certificate::from_der(der).map_or(Value::Null, |certificate| {
            json!({
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "not_before": utc(certificate.not_before_unix_s),
                "not_after": utc(certificate.not_after_unix_s),
                "sha256": sha256(der),
            })
        })
    });
    let mut said = json!({
        "module_id": document.module_id,
        "timestamp_unix_ms": document.timestamp_unix_ms,
        "made": utc(document.timestamp_unix_ms / 1000),
        "pcrs": pcrs.collect::<Map<_, _>>(),
        "certificates": certificates.collect::<Vec<_>>(),
    });
    for (name, value) in optional_fields(document) {
        said[name] = value.map_or(Value::Null, |bytes| json!(hex(bytes)));
    }
    said
}

/// The checks of the other end that were waived. With any of them the verdict is less than the full one.
pub(super) fn limits(image: Image, has_tls: bool, expected: &Expected) -> Vec<&'static str> {
    let mut limits = limits_of_document(image, expected);
    if !has_tls {
        limits.push("no tls: such an enclave exists, but its answers may be relayed; you may not talk to it");
    }
    if expected.exposures_of(image).contains(&Exposure::TlsKeyMadeOutside) {
        limits.push(Exposure::TlsKeyMadeOutside.description());
    }
    limits
}

/// Checks that were not made of a document, and settings by which the image gives trust away.
pub(super) fn limits_of_document(image: Image, expected: &Expected) -> Vec<&'static str> {
    let mut limits = Vec::new();
    if image == Image::Any {
        limits.push(
            "an unknown enclave: no image was expected, so the document does not show which program runs",
        );
    }
    if expected.has_other_root {
        limits.push("another root than aws's: the holder of its key made the document");
    }
    // The owner of the TLS key concerns the connection, and no document by itself.
    let given_away = expected.exposures_of(image).iter().filter(|it| it.is_for_tests());
    limits.extend(given_away.map(|exposure| exposure.description()));
    limits
}

/// A warning of a certificate that expires soon.
pub(super) fn tls_expiry_warning(certificate: &Certificate, now_unix_ms: u64) -> Option<String> {
    let (now_unix_s, end_unix_s) = (now_unix_ms / 1000, certificate.not_after_unix_s);
    let end = utc(end_unix_s);
    if now_unix_s > end_unix_s {
        Some(format!("the tls certificate expired at {end}: clients that look at dates refuse it"))
    } else if now_unix_s < certificate.not_before_unix_s {
        let start = utc(certificate.not_before_unix_s);
        Some(format!("the tls certificate begins at {start}: clients that look at dates refuse it"))
    } else if end_unix_s - now_unix_s < TLS_EXPIRY_WARNING_S {
        Some(format!("the tls certificate expires soon, at {end}"))
    } else {
        None
    }
}

pub(super) fn warn(line: &str) {
    // A closed terminal cannot be told about.
    let _ = writeln!(io::stderr(), "signerctl: WARNING: {line}");
}
