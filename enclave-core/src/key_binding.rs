//! The facts about a key that an attestation document vouches for.

use sha2::{Digest as _, Sha256};

use crate::identity::IdentityId;
use crate::key_origin::KeyOrigin;
use crate::secret_key::PublicKey;

/// Keeps these hashes apart from all others that an enclave attests.
const DOMAIN: &[u8] = b"nitro-signer/key/v1";

/// Which identity holds which key, and where the key came from. Public.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyBinding {
    /// The owner of the key.
    pub identity: IdentityId,
    /// The public half of the scalar as it was generated or imported.
    pub public_key: PublicKey,
    /// Where the key came from.
    pub origin: KeyOrigin,
}

impl KeyBinding {
    /// The 32 bytes that stand in a document: SHA-256 of `nitro-signer/key/v1`, the identity's 16 bytes, the public
    /// key's 33 and the origin's name. Only the last has no fixed length, so no two bindings are the same bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new_with_prefix(DOMAIN)
            .chain_update(self.identity.as_bytes())
            .chain_update(self.public_key.as_bytes())
            .chain_update(self.origin.name())
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyBinding, KeyOrigin};
    use crate::identity::IdentityId;
    use crate::secret_key::SecretKey;

    fn binding(origin: KeyOrigin) -> KeyBinding {
        let mut one = [0; 32];
        one[31] = 1;
        KeyBinding {
            identity: IdentityId::from_text(b"9B2F0C1E-58f4-4f0c-8d3e-0a5b6c7d8e9f").unwrap(),
            public_key: SecretKey::take(&mut one).unwrap().public_key(),
            origin,
        }
    }

    /// `(printf nitro-signer/key/v1; printf 9b2f0c1e58f44f0c8d3e0a5b6c7d8e9f | xxd -r -p; printf 0279be… | xxd -r -p;
    /// printf generated) | sha256sum`, with the public key of the scalar 1.
    #[test]
    fn the_hash_is_what_a_shell_computes() {
        for (origin, expected) in [
            (KeyOrigin::Generated, "870891be695c1bbcb5ff975ca873de4ef438d982d6e1f9680ac0af276e87ca7a"),
            (KeyOrigin::Imported, "d124771afaa09ca30a3657f7aa3a9c5f6ca4d4362e6ef19d6730bdf9777bb071"),
        ] {
            let hash = format!("{:x}", base16ct::HexDisplay(&binding(origin).hash()));
            assert_eq!(hash, expected);
        }
    }
}
