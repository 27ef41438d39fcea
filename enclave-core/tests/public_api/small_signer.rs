//! A small signer and the tickets for it.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use enclave_core::{
    ExpirySecond, HashSeed, IdentityId, KeyPair, KeySlot, KeyStore, NonceLedger, NonceSlot, Refusal,
    SecretKey, SignPermit, SignRequest, Signer, TicketVerifier, wheel_seconds,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

pub(crate) const SECRET: &[u8] = b"a ticket secret for tests";
pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const SEED: HashSeed = HashSeed::new([8; 16]);
pub(crate) const MAX_TTL_S: u32 = 3600;

/// A signer for this many keys and nonces, in storage that lives as long as the test process.
pub(crate) fn signer(max_keys: usize, max_nonces: usize) -> Signer<'static> {
    signer_with(TicketVerifier::new(SECRET, MAX_TTL_S).unwrap(), max_keys, max_nonces)
}

pub(crate) fn signer_with(tickets: TicketVerifier, max_keys: usize, max_nonces: usize) -> Signer<'static> {
    fn storage<T>(count: usize, vacant: impl FnMut() -> T) -> &'static mut [T] {
        std::iter::repeat_with(vacant).take(count).collect::<Vec<T>>().leak()
    }
    let keys = KeyStore::new(storage(max_keys, || KeySlot::VACANT), HashSeed::new([1; 16]));
    let nonces = NonceLedger::new(
        storage(max_nonces, || NonceSlot::VACANT),
        storage(wheel_seconds(MAX_TTL_S), || ExpirySecond::VACANT),
        HashSeed::new([2; 16]),
        HashSeed::new([3; 16]),
    );
    Signer::new(keys, nonces, tickets, HashSeed::new([4; 16]))
}

pub(crate) fn identity_text(number: u32) -> String {
    format!("7b1cf0a2-0000-4000-8000-{number:012x}")
}

pub(crate) fn identity(number: u32) -> IdentityId {
    IdentityId::from_text(identity_text(number).as_bytes()).unwrap()
}

pub(crate) fn pair(mut secret: [u8; 32]) -> KeyPair {
    KeyPair::from(SecretKey::take(&mut secret).unwrap())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Claims of a good ticket. A test changes some of them.
#[derive(Clone)]
pub(crate) struct Claims {
    pub(crate) identity: String,
    pub(crate) digest_hash: String,
    pub(crate) scope: String,
    pub(crate) nonce: String,
    pub(crate) exp_s: u64,
}

impl Claims {
    pub(crate) fn good(identity: u32, digest: [u8; 32], nonce: &str) -> Self {
        Self {
            identity: identity_text(identity),
            digest_hash: hex(&Sha256::digest(digest)),
            scope: "sign".into(),
            nonce: nonce.into(),
            exp_s: NOW_S + 90,
        }
    }

    pub(crate) fn ticket(&self) -> String {
        self.ticket_under(SECRET)
    }

    pub(crate) fn ticket_under(&self, secret: &[u8]) -> String {
        let Self { identity, digest_hash, scope, nonce, exp_s } = self;
        let segment =
            |text: &str| Base64UrlUnpadded::encode(text.as_bytes(), &mut [0; 1024]).unwrap().to_owned();
        let signed = format!(
            "{}.{}",
            segment(r#"{"alg":"HS256"}"#),
            segment(&format!(
                r#"{{"identity_id":"{identity}","digest_hash":"{digest_hash}","scope":"{scope}","nonce":"{nonce}","exp":{exp_s}}}"#
            ))
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        let tag = mac.finalize().into_bytes();
        format!("{signed}.{}", Base64UrlUnpadded::encode(&tag, &mut [0; 64]).unwrap())
    }
}

pub(crate) fn sign_body(identity: u32, digest: [u8; 32], ticket: &str) -> Vec<u8> {
    let (identity, digest) = (identity_text(identity), hex(&digest));
    format!(r#"{{"identity_id":"{identity}","digest":"{digest}","ticket":"{ticket}"}}"#).into_bytes()
}

/// Requests a permit now.
pub(crate) fn authorize(
    signer: &mut Signer<'_>,
    identity: u32,
    digest: [u8; 32],
    claims: &Claims,
) -> Result<SignPermit, Refusal> {
    let mut body = sign_body(identity, digest, &claims.ticket());
    signer.authorize(SignRequest::parse(&mut body, &SEED)?, NOW_S * 1000)
}
