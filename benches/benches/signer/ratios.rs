//! The table at the end of a run: medians, and how many times the peer's each one is.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

/// Each measurement, and the peer that it is compared with in the same run.
const ROWS: [(&str, &str); 16] = [
    ("schnorr_sign/enclave-core", "schnorr_sign/libsecp256k1"),
    ("schnorr_sign/k256", "schnorr_sign/libsecp256k1"),
    ("keygen/enclave-core", "keygen/libsecp256k1"),
    ("keygen/k256", "keygen/libsecp256k1"),
    ("ticket_verify/enclave-core", "ticket_verify/jsonwebtoken"),
    ("ticket_verify/two_secrets", "ticket_verify/enclave-core"),
    ("request/sign", "schnorr_sign/libsecp256k1"),
    ("request/generate", "keygen/libsecp256k1"),
    ("request/nesting_bomb", "request/sign"),
    ("request/longest_ticket", "request/sign"),
    ("request/digits", "request/sign"),
    ("request/many_names", "request/sign"),
    ("key_store/look_up/1000000", "key_store/look_up/1000"),
    ("key_store/insert/1000000", "key_store/insert/1000"),
    ("nonce_ledger/look_up/1000000", "nonce_ledger/look_up/1000"),
    ("nonce_ledger/insert_and_expire/1000000", "nonce_ledger/insert_and_expire/1000"),
];

/// Prints the rows whose both sides were measured since then: estimates of earlier runs lie in the same folder.
pub(crate) fn print(since: SystemTime) {
    let mut table = String::new();
    for (name, peer) in ROWS {
        if let (Some(ours), Some(theirs)) = (median_ns(name, since), median_ns(peer, since)) {
            let ratio = ours / theirs;
            table.push_str(&format!("{name:<42} {ours:>10.0} ns  {ratio:>6.2} x {peer} ({theirs:.0} ns)\n"));
        }
    }
    // A closed terminal has no use for it.
    let _ = write!(std::io::stdout(), "\n{table}");
}

/// The median that criterion wrote.
fn median_ns(name: &str, since: SystemTime) -> Option<f64> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../criterion").join(name);
    let file = folder.join("new/estimates.json");
    if fs::metadata(&file).ok()?.modified().ok()? < since {
        return None;
    }
    let estimates = fs::read(file).ok()?;
    let estimates: serde_json::Value = serde_json::from_slice(&estimates).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
