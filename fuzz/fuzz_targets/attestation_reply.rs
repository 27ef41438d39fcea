//! A reply, or a file that was kept, has the document that a second reader finds; none that anybody makes up is that of
//! an expected enclave, or authentic but AWS's own.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use verification::{
    Doubt, Expectation, Nonce, Root, authenticate_at_its_time, document_in, examine, examine_key,
    read_unverified,
};

/// A document of AWS's hardware.
const GENUINE: &[u8] = include_bytes!("../seeds/attestation/genuine");

static EXPECTATION: LazyLock<Expectation> = LazyLock::new(|| Expectation::any_image().accepting_http());
static ROOT: LazyLock<Root> = LazyLock::new(Root::aws_g1);

fuzz_target!(|file: &[u8]| {
    let ours = document_in(file);
    assert_eq!(ours.clone().ok(), fuzz::verification::document(file), "{ours:?}");
    let now_unix_ms = verification::Document::parse(GENUINE).map_or(0, |document| document.timestamp_unix_ms);
    let nonce = Nonce::from_bytes([0; 32]);
    is_doubted(examine(file, &nonce, None, &EXPECTATION, now_unix_ms).verdict().err());
    is_doubted(examine_key(file, [0; 16], &nonce, None, &EXPECTATION, now_unix_ms).verdict().err());
    if let Ok(document) = ours {
        // QEMU's can be read and are not authentic; all else that is authentic can be read.
        let read = read_unverified(&document);
        match authenticate_at_its_time(&document, &ROOT) {
            Ok(authentic) => {
                assert_eq!(
                    Ok(&authentic),
                    verification::Document::parse(GENUINE).as_ref(),
                    "what nobody signed"
                );
                assert_eq!(read, Ok(authentic));
            }
            Err(doubt) => is_doubted(Some(doubt)),
        }
    }
});

fn is_doubted(doubt: Option<Doubt>) {
    let line = doubt.expect("not the answer to this request").to_string();
    assert!(line.len() < 200 && !line.contains(char::is_control), "{line:?}");
}
