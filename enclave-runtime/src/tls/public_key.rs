//! The kinds of keys that TLS is served with.

use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// The least that clients take, and aws-lc-rs signs with.
pub const MIN_RSA_BITS: usize = 2048;

/// A signature with twice as many takes seven times as long, and whoever opens a connection asks for one.
pub const MAX_RSA_BITS: usize = 4096;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// What is said of keys that are of none of the kinds.
pub(super) const KINDS: &str = "only P-256, P-384, Ed25519 and RSA of 2048 to 4096 bits are served";

/// Whether a `SubjectPublicKeyInfo` is of a kind that TLS is served with.
pub(super) fn is_served(spki: &[u8]) -> bool {
    let Ok(spki) = SubjectPublicKeyInfoRef::from_der(spki) else { return false };
    let Some(key) = spki.subject_public_key.as_bytes() else { return false };
    match spki.algorithm.oid {
        EC => spki.algorithm.parameters_oid().is_ok_and(|curve| curve == P256 || curve == P384),
        ED25519 => true,
        RSA => rsa_bits(key).is_some_and(|bits| (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits)),
        _ => false,
    }
}

/// Of `RSAPublicKey` (RFC 8017 A.1.1).
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let numbers = Vec::<UintRef<'_>>::from_der(key).ok()?;
    let [modulus, _exponent] = numbers[..] else { return None };
    let bytes = modulus.as_bytes();
    let first = bytes.first()?;
    Some(bytes.len() * 8 - first.leading_zeros() as usize)
}
