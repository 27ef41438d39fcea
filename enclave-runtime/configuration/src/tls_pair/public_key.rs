//! The kinds of keys that can serve TLS.
//!
//! RSA must stay excluded. An attestation document names the TLS key, and KMS encrypts its answers to an RSA key in a
//! document. Suppose that the parent provides an RSA key and keeps a copy. It could request a document, show it to KMS,
//! and decrypt the answer in the enclave's place. KMS encrypts to no other kind of key.

use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// The end of the error for other kinds of keys.
pub(super) const KINDS: &str =
    "only P-256, P-384 and Ed25519 are served, and never RSA, since KMS encrypts to an attested key of RSA";

/// Whether a `SubjectPublicKeyInfo` has a supported kind of key.
pub(super) fn is_served(spki: &[u8]) -> bool {
    let Ok(spki) = SubjectPublicKeyInfoRef::from_der(spki) else { return false };
    match spki.algorithm.oid {
        EC => spki.algorithm.parameters_oid().is_ok_and(|curve| curve == P256 || curve == P384),
        ED25519 => true,
        _ => false,
    }
}
