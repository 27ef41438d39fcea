//! A document says what a second reader reads in it, and verifies only if it says what AWS signed.

#![no_main]

use std::sync::LazyLock;

use attestation::{Document, Expectation, Root, verify};
use fuzz::attestation::{Said, enclose, read};
use libfuzzer_sys::fuzz_target;

/// A document of AWS's hardware.
const GENUINE: &[u8] = include_bytes!("../seeds/attestation/genuine");

static ROOT: LazyLock<Root> = LazyLock::new(Root::aws_g1);
static GENUINE_DOCUMENT: LazyLock<Document> =
    LazyLock::new(|| Document::parse(GENUINE).expect("the tests of the crate verify it"));

fuzz_target!(|data: &[u8]| {
    check(data);
    // As a payload, so that no length before it stands in the fuzzer's way.
    check(&enclose(data));
    if let Ok(root) = Root::from_der(data) {
        let _ = verify(GENUINE, &root, &Expectation::at(GENUINE_DOCUMENT.timestamp_unix_ms));
    }
});

fn check(document: &[u8]) {
    let ours = Document::parse(document);
    assert_eq!(ours.clone().ok().map(Said::from), read(document), "{ours:?}");
    let verified = verify(document, &ROOT, &Expectation::at(GENUINE_DOCUMENT.timestamp_unix_ms));
    match verified {
        Ok(document) => assert_eq!(document, *GENUINE_DOCUMENT, "what nobody signed"),
        Err(refused) => assert!(ours.is_ok() || ours == Err(refused), "{ours:?} {refused:?}"),
    }
}
