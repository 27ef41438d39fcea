//! The content of a key's proof, read without the product's code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::Failure;
use crate::exchange::Exchange;

/// The answer to `POST /internal/attest`.
pub struct KeyProof {
    /// The document, which nobody has verified yet.
    pub document: Vec<u8>,
    /// 66 hex digits.
    pub public_key: String,
    /// `generated` or `imported`.
    pub origin: String,
}

impl KeyProof {
    /// Reads a 200, which must have the shape of `docs/api.md`, "1. Routes".
    pub fn of(exchange: &Exchange) -> Result<Self, Failure> {
        let response = exchange.response()?;
        let member = |name| response.member(name).unwrap_or_default();
        let (document, public_key, origin) =
            (member("attestation_doc"), member("public_key"), member("origin"));
        exchange.is(
            200,
            &format!(r#"{{"attestation_doc":"{document}","public_key":"{public_key}","origin":"{origin}"}}"#),
        )?;
        Ok(Self { document: STANDARD.decode(document)?, public_key, origin })
    }

    /// The binding that the document has to hold, for these to be true of `identity`.
    pub fn binding(&self, identity: &str) -> Result<[u8; 32], Failure> {
        binding(identity, &self.public_key, &self.origin)
    }
}

/// The hash of an identity, a public key and an origin (`docs/attestation.md`, "Prove that a key was born inside").
pub fn binding(identity: &str, public_key: &str, origin: &str) -> Result<[u8; 32], Failure> {
    let mut hashed = b"nitro-signer/key/v1".to_vec();
    hashed.extend(hex::decode(identity.replace('-', ""))?);
    hashed.extend(hex::decode(public_key)?);
    hashed.extend(origin.bytes());
    Ok(Sha256::digest(&hashed).into())
}
