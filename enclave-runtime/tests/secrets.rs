//! Secret types: what they print, and that they are neither copied nor compared by accident. The core's are tested
//! there.

#![cfg(feature = "dev")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, unused_imports, reason = "the core tests that the checks see what they look for")]
#[path = "../../enclave-core/tests/public_api/secret_type.rs"]
mod secret_type;

use std::sync::Arc;
use std::time::Duration;

use configuration::tls_pair::PrivateKey;
use configuration::{BootFile, BootSecret, Capacity, PlainSecret, RateLimits, Role};
use enclave_runtime::acme::{AccountKey, AcmeState, CertificateKey, KeptCertificate};
use enclave_runtime::tls::{TlsFront, TlsIdentity};
use enclave_runtime::{
    ApiKey, ApiKeys, DataKey, LocalSealer, RecipientKey, Service, SoftwareNsm, TrustedClock, seed, signer,
};
use zeroize::Zeroizing;

use secret_type::{SECRET, assert_neither_clone_nor_eq, assert_prints};

fn api_key() -> ApiKey {
    ApiKey::new(&SECRET).unwrap()
}

fn plain_secret() -> PlainSecret {
    // One byte over and over would be no secret.
    let secret = Zeroizing::new([&SECRET[..], b"1"].concat());
    PlainSecret::new("INTERNAL_API_KEY", secret).unwrap()
}

fn kept_certificate() -> KeptCertificate {
    let (names, chain_pem) = (Vec::new(), String::new());
    KeptCertificate { names, obtained_unix_s: 0, chain_pem, key: Zeroizing::new(SECRET.to_vec()) }
}

fn acme_state() -> AcmeState {
    AcmeState {
        directory: String::new(),
        account_url: String::new(),
        account_key: Zeroizing::new(SECRET.to_vec()),
        certificate: Some(kept_certificate()),
    }
}

/// SEC 1, with the secret for its scalar.
fn p256_key() -> Vec<u8> {
    let curve = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20][..], &SECRET, &curve].concat()
}

fn sealer() -> LocalSealer {
    LocalSealer::from_hex(&"a7".repeat(32)).unwrap()
}

#[test]
fn what_is_printed_shows_no_secret() {
    assert_prints(&api_key(), "ApiKey { .. }");
    assert_prints(&ApiKeys::one(api_key(), Role::Sign), "ApiKeys([(ApiKey { .. }, Sign)])");
    assert_prints(&kept_certificate(), "KeptCertificate { .. }");
    assert_prints(&acme_state(), "AcmeState { .. }");
    assert_prints(&sealer(), "LocalSealer { .. }");
    assert_prints(&DataKey::alone(&SECRET, SECRET.to_vec()).unwrap(), "DataKey { .. }");
    assert_prints(&RecipientKey::generate().unwrap(), "RecipientKey { .. }");
    assert_prints(&SoftwareNsm::ephemeral().unwrap(), "SoftwareNsm { .. }");
    assert_prints(&plain_secret(), "PlainSecret { .. }");
    assert_prints(&BootSecret::Plaintext(plain_secret()), "Plaintext(PlainSecret { .. })");
    let capacity = Capacity { max_keys: 1, max_nonces: 1, max_ticket_ttl_s: 1 };
    let signer = signer(capacity, RateLimits::default(), &SECRET, Some(&SECRET)).unwrap();
    assert_prints(&signer, "Mutex { data: Some(Signer { .. }), poisoned: false, .. }");
    let nsm = Arc::new(SoftwareNsm::ephemeral().unwrap());
    let clock = TrustedClock::start(&*nsm, Duration::from_secs(5)).unwrap();
    let now = clock.unix_time();
    let service = Service::closed(nsm, Arc::new(clock));
    service.open(
        ApiKeys::one(api_key(), Role::Full),
        signer,
        sealer(),
        seed().unwrap(),
        RateLimits::default(),
    );
    assert_prints(&service, "Service { .. }");
    let identity = TlsIdentity::self_signed(&["signer".to_owned()], now).unwrap();
    assert_prints(&identity, "TlsIdentity { .. }");
    assert_prints(&TlsFront::new(identity), "TlsFront { .. }");
    assert_prints(&PrivateKey::from_pem_or_der(&p256_key()).unwrap(), "PrivateKey { .. }");
    // This type holds secrets for a moment. Before zeroize 1.9.1 it printed them.
    assert_prints(&Zeroizing::new(SECRET), "Zeroizing { .. }");
}

#[test]
fn no_secret_is_copied_unseen_or_compared_byte_by_byte() {
    assert_neither_clone_nor_eq!(
        AccountKey,
        AcmeState,
        ApiKey,
        ApiKeys,
        BootFile,
        BootSecret,
        CertificateKey,
        DataKey,
        KeptCertificate,
        LocalSealer,
        PlainSecret,
        PrivateKey,
        RecipientKey,
        Service<LocalSealer>,
        SoftwareNsm,
        TlsFront,
        TlsIdentity
    );
}
