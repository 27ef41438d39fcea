//! The local sealer opens what another AES-GCM opens, and names the same error in all else.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use enclave_core::IdentityId;
use enclave_runtime::{LocalSealedKey, LocalSealer, Sealer as _};
use fuzz::identity::to_hex;
use fuzz::sealed_key::{self, Draft, SEALING_KEY};
use libfuzzer_sys::fuzz_target;

static SEALER: LazyLock<LocalSealer> =
    LazyLock::new(|| LocalSealer::from_hex(&to_hex(&SEALING_KEY)).expect("64 hex digits"));

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Ok(draft) = Draft::arbitrary_take_rest(Unstructured::new(data)) {
        let (good, bent) = draft.blobs();
        check(&good);
        // A blob has no other spelling than its case.
        assert!(!check(&bent) || bent.eq_ignore_ascii_case(&good), "{}", bent.escape_ascii());
    }
});

/// Whether the blob opens.
fn check(blob: &[u8]) -> bool {
    let identity = IdentityId::from_text(b"00000000-0000-0000-0000-000000000000").expect("the nil UUID");
    let opening = LocalSealedKey::parse(blob);
    let ours = opening.and_then(|opening| SEALER.open(opening, &identity)).map(|key| *key.secret_bytes());
    assert_eq!(ours, sealed_key::open(blob), "{}", blob.escape_ascii());
    ours.is_ok()
}
