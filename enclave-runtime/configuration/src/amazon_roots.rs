//! Amazon's roots, which issue the certificates of KMS (<https://www.amazontrust.com/repository/>).

use rustls::RootCertStore;
use sha2::{Digest as _, Sha256};
use webpki_roots::TLS_SERVER_ROOTS;

/// The SHA-256 of each root's `SubjectPublicKeyInfo`, as Amazon Trust Services publishes them. Amazon advises to pin
/// these five keys, not the certificates: a root may get another certificate for the same key.
const KEY_SHA256: [(&str, &str); 5] = [
    ("Amazon Root CA 1", "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2"),
    ("Amazon Root CA 2", "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461"),
    ("Amazon Root CA 3", "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9"),
    ("Amazon Root CA 4", "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5"),
    (
        "Starfield Services Root Certificate Authority - G2",
        "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
    ),
];

/// The roots of Amazon that Mozilla trusts for TLS servers. A test checks that the locked version of `webpki-roots` has
/// all five.
pub(super) fn amazon_roots() -> RootCertStore {
    let is_amazons = |key: &[u8]| {
        let digest = base16ct::lower::encode_string(&key_sha256(key));
        KEY_SHA256.iter().any(|(_, amazons)| *amazons == digest)
    };
    let amazons = TLS_SERVER_ROOTS.iter().filter(|root| is_amazons(&root.subject_public_key_info));
    RootCertStore { roots: amazons.cloned().collect() }
}

/// The SHA-256 of a `SubjectPublicKeyInfo` in DER. `inside` is the content of its outer SEQUENCE.
fn key_sha256(inside: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // X.690 §8.1: the tag, then the length: one byte below 128, or else a byte that counts the bytes of the length.
    let [high, low] = u16::try_from(inside.len()).unwrap_or(u16::MAX).to_be_bytes();
    match (high, low) {
        (0, ..0x80) => hash.update([0x30, low]),
        (0, _) => hash.update([0x30, 0x81, low]),
        _ => hash.update([0x30, 0x82, high, low]),
    }
    hash.update(inside);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::tests::AMAZON_ROOT_CA_3;

    #[test]
    fn the_store_holds_amazons_five_roots_and_no_others() {
        let store = amazon_roots();
        let found: BTreeSet<String> = store
            .roots
            .iter()
            .map(|root| base16ct::lower::encode_string(&key_sha256(&root.subject_public_key_info)))
            .collect();
        for (name, digest) in KEY_SHA256 {
            assert!(found.contains(digest), "webpki-roots has dropped {name}");
        }
        assert_eq!((store.len(), found.len()), (KEY_SHA256.len(), KEY_SHA256.len()));
        for root in &store.roots {
            let subject = String::from_utf8_lossy(&root.subject);
            assert!(KEY_SHA256.iter().any(|(name, _)| subject.ends_with(name)), "{subject}");
        }
        assert!(TLS_SERVER_ROOTS.len() > 100, "webpki-roots has other roots, which are left out");
    }

    #[test]
    fn a_pinned_key_is_the_key_of_the_roots_certificate() {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(AMAZON_ROOT_CA_3.as_bytes()).unwrap()).unwrap();
        let key = key_sha256(&store.roots[0].subject_public_key_info);
        assert_eq!(base16ct::lower::encode_string(&key), KEY_SHA256[2].1);
    }
}
