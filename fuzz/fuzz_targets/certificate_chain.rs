//! An accepted chain and its key are those that rustls reads, and belong together. A refusal is one line.

#![no_main]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use configuration::tls_pair::{CertificateChain, MAX_CHAIN_CERTIFICATES, PrivateKey, check_pair};
use enclave_runtime::tls::TlsIdentity;
use libfuzzer_sys::fuzz_target;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

/// 2030-01-01, when the certificates among the seeds that should be are valid.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));

/// Between the chain and the key.
const BORDER: &[u8] = b"\n====\n";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "\n-----END CERTIFICATE-----\n";

fuzz_target!(|data: &[u8]| {
    let at = data.windows(BORDER.len()).position(|window| window == BORDER);
    let (chain, key) = at.map_or((data, &b""[..]), |at| (&data[..at], &data[at + BORDER.len()..]));
    check_chain(chain);
    check_key(key);
    // As a certificate in DER, so that no base64 stands in the fuzzer's way.
    check_chain(format!("{BEGIN}{}{END}", STANDARD.encode(data)).as_bytes());
    match check_pair(chain, key, NOW) {
        Err(error) => is_one_line(&error.to_string()),
        Ok((certificates, key)) => {
            assert_eq!(certificates.spki(), key.spki());
            let not_after_unix_s = certificates.not_after_unix_s();
            let identity =
                TlsIdentity::new((certificates, key)).expect("what is accepted can be served with");
            assert!(not_after_unix_s >= NOW.as_secs() && identity.not_after_unix_s() == not_after_unix_s);
        }
    }
});

fn check_chain(pem: &[u8]) {
    match CertificateChain::from_pem(pem, NOW) {
        Err(error) => is_one_line(&error.to_string()),
        Ok(chain) => {
            assert!((1..=MAX_CHAIN_CERTIFICATES).contains(&chain.certificates().len()));
            let read: Vec<_> =
                CertificateDer::pem_slice_iter(pem).map(|read| read.expect("ours reads it")).collect();
            assert_eq!(read, chain.certificates());
        }
    }
}

fn check_key(bytes: &[u8]) {
    match PrivateKey::from_pem_or_der(bytes) {
        Err(error) => is_one_line(&error.to_string()),
        Ok(key) => {
            // In this order: attributes of a key in DER may hold anything, PEM too.
            let read =
                PrivateKeyDer::try_from(bytes.to_vec()).or_else(|_| PrivateKeyDer::from_pem_slice(bytes));
            // A key in DER may be labelled in PEM as another kind of container; rustls goes by the label.
            let Some(read) = read.ok().and_then(|read| any_supported_type(&read).ok()) else { return };
            assert_eq!(read.public_key().as_deref(), Some(key.spki()));
        }
    }
}

fn is_one_line(line: &str) {
    assert!(line.len() < 200 && !line.contains(char::is_control), "{line:?}");
}
