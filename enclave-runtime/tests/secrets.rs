//! Secret types: what they print, and that they are neither copied nor compared by accident. The core's are tested
//! there.

#![cfg(feature = "dev")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, unused_imports, reason = "the core tests that the checks see what they look for")]
#[path = "../../enclave-core/tests/public_api/secret_type.rs"]
mod secret_type;

use enclave_runtime::{ApiKey, Capacity, LocalSealer, RecipientKey, Service, seed, signer};
use zeroize::Zeroizing;

use secret_type::{SECRET, assert_neither_clone_nor_eq, assert_prints};

fn api_key() -> ApiKey {
    ApiKey::new(&SECRET).unwrap()
}

fn sealer() -> LocalSealer {
    LocalSealer::from_hex(&"a7".repeat(32)).unwrap()
}

#[test]
fn what_is_printed_shows_no_secret() {
    assert_prints(&api_key(), "ApiKey { .. }");
    assert_prints(&sealer(), "LocalSealer { .. }");
    assert_prints(&RecipientKey::generate().unwrap(), "RecipientKey { .. }");
    let capacity = Capacity { max_keys: 1, max_nonces: 1, max_ticket_ttl_s: 1 };
    let signer = signer(capacity, &SECRET).unwrap();
    assert_prints(&signer, "Mutex { data: Some(Signer { .. }), poisoned: false, .. }");
    assert_prints(&Service::new(api_key(), signer, sealer(), seed().unwrap()), "Service { .. }");
    // What holds a secret for a moment. Before zeroize 1.9.1 it printed it.
    assert_prints(&Zeroizing::new(SECRET), "Zeroizing { .. }");
}

#[test]
fn no_secret_is_copied_unseen_or_compared_byte_by_byte() {
    assert_neither_clone_nor_eq!(ApiKey, LocalSealer, RecipientKey, Service<LocalSealer>);
}
