//! An enclave's answers, made with certificates of our own, of today.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::cbor;
use crate::chain::{Chain, NOW_UNIX_S, Plan};
use crate::draft::Draft;
use crate::server::Answer;

/// An enclave's certificates: they are made for seconds before now, and live three hours.
pub(crate) static CHAIN: LazyLock<Chain> = LazyLock::new(|| Chain::bent(|plans| of_today(plans, 0)));

/// Of a root that nobody asked for.
pub(crate) static STRANGER: LazyLock<Chain> = LazyLock::new(|| Chain::bent(|plans| of_today(plans, 0)));

/// The leaf has ended.
pub(crate) static EXPIRED: LazyLock<Chain> = LazyLock::new(|| {
    Chain::bent(|plans| {
        of_today(plans, 0);
        plans[4].validity_unix_s = (now_unix_s() - 7200, now_unix_s() - 3600);
    })
});

/// The leaf has expired eight days ago.
pub(crate) static LONG_EXPIRED: LazyLock<Chain> = LazyLock::new(|| {
    Chain::bent(|plans| {
        of_today(plans, 0);
        let end = now_unix_s() - 8 * 24 * 3600;
        plans[4].validity_unix_s = (end - 3600, end);
    })
});

/// The leaf begins in an hour.
pub(crate) static EARLY: LazyLock<Chain> = LazyLock::new(|| {
    Chain::bent(|plans| {
        of_today(plans, 0);
        plans[4].validity_unix_s = (now_unix_s() + 3600, now_unix_s() + 7200);
    })
});

/// The leaf has lived for an hour.
pub(crate) static OLD: LazyLock<Chain> = LazyLock::new(|| Chain::bent(|plans| of_today(plans, 3600)));

fn of_today(plans: &mut [Plan; 5], leaf_age_s: u64) {
    let now_unix_s = now_unix_s();
    for plan in plans.iter_mut() {
        let (start, end) = plan.validity_unix_s;
        plan.validity_unix_s = (start + now_unix_s - NOW_UNIX_S, end + now_unix_s - NOW_UNIX_S);
    }
    plans[4].validity_unix_s.0 -= leaf_age_s;
}

pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// The payload of an endpoint's document.
pub(crate) fn payload(chain: &Chain, nonce: &[u8], spki: Option<&[u8]>) -> Draft {
    let bytes_or_null = |bytes: Option<&[u8]>| bytes.map_or(cbor::NULL.to_vec(), cbor::bytes);
    Draft::good(chain)
        .with("timestamp", cbor::uint(now_unix_s() * 1000))
        .with("nonce", cbor::bytes(nonce))
        .with("public_key", bytes_or_null(spki))
        .with("user_data", bytes_or_null(spki.map(sha256).as_deref()))
}

/// A status 200 with a document.
pub(crate) fn reply(document: &[u8]) -> Answer {
    let body = format!(r#"{{"attestation_doc":"{}"}}"#, Base64::encode_string(document));
    Answer { status: 200, body: body.into_bytes() }
}

/// The answer of the expected enclave.
pub(crate) fn good(nonce: &[u8], spki: Option<&[u8]>) -> Answer {
    reply(&CHAIN.document(&payload(&CHAIN, nonce, spki).payload()))
}

pub(crate) fn not_found() -> Answer {
    Answer { status: 404, body: br#"{"error":"Not found"}"#.to_vec() }
}

/// A folder with what a client is told to expect.
pub(crate) struct Notes {
    folder: TempDir,
}

impl Notes {
    pub(crate) fn new() -> Self {
        let notes = Self { folder: tempfile::tempdir().unwrap() };
        let pcrs = [(0, 1), (1, 2), (2, 3)];
        let toml: String = pcrs.iter().map(|(i, byte)| format!("PCR{i} = \"{}\"\n", hex(*byte))).collect();
        notes.write("nitro.toml", format!("version = 1\n\n[pcr]\n{toml}"));
        notes.write("measurements.json", measurements([1, 2, 3]));
        notes.write("old.json", measurements([9, 2, 3]));
        notes.write("older.json", measurements([8, 2, 3]));
        notes.write("root.pem", pem(&CHAIN.cabundle()[0]));
        notes.write("expired-root.pem", pem(&EXPIRED.cabundle()[0]));
        notes.write("long-expired-root.pem", pem(&LONG_EXPIRED.cabundle()[0]));
        notes.write("early-root.pem", pem(&EARLY.cabundle()[0]));
        notes.write("old-root.pem", pem(&OLD.cabundle()[0]));
        notes.write("api-key", "the key of the API\n");
        notes
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

/// As an image's build prints them.
fn measurements(pcrs: [u8; 3]) -> String {
    let [pcr0, pcr1, pcr2] = pcrs.map(hex);
    format!(
        r#"{{"Measurements":{{"HashAlgorithm":"Sha384 {{ ... }}","PCR0":"{pcr0}","PCR1":"{pcr1}","PCR2":"{pcr2}"}}}}"#
    )
}

/// A register filled with this byte.
pub(crate) fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(48)
}

fn pem(der: &[u8]) -> String {
    let base64 = Base64::encode_string(der);
    let lines = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.collect::<Vec<_>>().join("\n")
    )
}
