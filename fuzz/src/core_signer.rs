//! All of `enclave-core`, from body bytes to reply bytes, wired as the runtime wires it; without HTTP, and with a
//! sealer that writes hex.

use enclave_core::{
    AttestRequest, ExpirySecond, GenerateRequest, HashSeed, IdentityRequest, ImportRequest, KeyPair, KeySlot,
    KeyStore, MAX_REPLY_BYTES, NonceLedger, NonceSlot, Refusal, Reply, SecretKey, SignRequest, Signer,
    TicketVerifier, wheel_seconds,
};

use crate::identity::{hex, to_hex};
use crate::script::MAX_TICKET_TTL_S;
use crate::ticket::SECRET;

/// Few enough to be full often.
pub const MAX_KEYS: usize = 3;

/// More than are forgotten at once, so that a ledger can lag behind.
pub const MAX_NONCES: usize = 6;

const SEED: HashSeed = HashSeed::new([7; 16]);

/// The memory of a signer.
pub struct Storage {
    keys: [KeySlot; MAX_KEYS],
    nonces: [NonceSlot; MAX_NONCES],
    wheel: [ExpirySecond; wheel_seconds(MAX_TICKET_TTL_S)],
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            keys: [const { KeySlot::VACANT }; MAX_KEYS],
            nonces: [const { NonceSlot::VACANT }; MAX_NONCES],
            wheel: [ExpirySecond::VACANT; _],
        }
    }
}

/// A signer whose time and randomness come from its caller.
pub struct CoreSigner<'s>(Signer<'s>);

impl<'s> CoreSigner<'s> {
    /// An empty signer.
    #[must_use]
    pub fn new(storage: &'s mut Storage) -> Self {
        let keys = KeyStore::new(&mut storage.keys, HashSeed::new([1; 16]));
        let nonces = NonceLedger::new(
            &mut storage.nonces,
            &mut storage.wheel,
            HashSeed::new([2; 16]),
            HashSeed::new([3; 16]),
        );
        let tickets = TicketVerifier::new(SECRET, MAX_TICKET_TTL_S).expect("a secret");
        Self(Signer::new(keys, nonces, tickets, HashSeed::new([4; 16])))
    }

    /// `POST /internal/generate`; `draws` are what the random source gives.
    pub fn generate(&mut self, body: &[u8], draws: &[[u8; 32]]) -> String {
        written(|| {
            let request = GenerateRequest::parse(&mut body.to_vec(), &SEED)?;
            self.0.has_room_for(&request.identity)?;
            let mut draws = draws.iter();
            let pair = KeyPair::generate(|draw| draws.next().map(|next| *draw = *next).ok_or(()))
                .expect("a draw that is a key");
            self.0.store_generated(&request.identity, &pair)?;
            Ok(text(&Reply::PublicKey(pair.public_key())))
        })
    }

    /// `POST /internal/backup/import` of a sealed key that is the key's hex.
    pub fn import(&mut self, body: &[u8]) -> String {
        written(|| {
            let mut body = body.to_vec();
            let request = ImportRequest::parse(&mut body, &SEED)?;
            let mut key = hex(request.sealed_key).and_then(|key| key.try_into().ok()).expect("a sealed key");
            let pair = KeyPair::from(SecretKey::take(&mut key).expect("a key"));
            assert_eq!(key, [0; 32], "taken");
            self.0.store_imported(&request.identity, &pair)?;
            Ok(text(&Reply::Done))
        })
    }

    /// `POST /internal/backup/export`
    pub fn export(&mut self, body: &[u8]) -> String {
        written(|| {
            let request = IdentityRequest::parse(&mut body.to_vec(), &SEED)?;
            Ok(text(&Reply::SealedKey(&to_hex(self.0.export(&request.identity)?.secret_bytes()))))
        })
    }

    /// `POST /internal/attest`, up to the hash that a document is to hold, which stands for the document.
    pub fn attest(&mut self, body: &[u8]) -> String {
        written(|| {
            let binding = self.0.binding(&AttestRequest::parse(&mut body.to_vec(), &SEED)?.identity)?;
            let public_key = text(&Reply::PublicKey(&binding.public_key));
            Ok(format!("{public_key} {} {}", binding.origin.name(), to_hex(&binding.hash())))
        })
    }

    /// `POST /internal/destroy`
    pub fn destroy(&mut self, body: &[u8]) -> String {
        written(|| {
            let request = IdentityRequest::parse(&mut body.to_vec(), &SEED)?;
            self.0.destroy(&request.identity)?;
            Ok(text(&Reply::Done))
        })
    }

    /// `POST /internal/sign`; without randomness the permit is thrown away, and the reply is empty.
    pub fn sign(&mut self, body: &[u8], now_unix_ms: u64, aux: Option<&[u8; 32]>) -> String {
        written(|| {
            let mut body = body.to_vec();
            let permit = self.0.authorize(SignRequest::parse(&mut body, &SEED)?, now_unix_ms)?;
            Ok(aux.map_or_else(String::new, |aux| {
                text(&Reply::Signature(&permit.sign(aux).expect("a nonce that is not zero")))
            }))
        })
    }
}

fn written(perform: impl FnOnce() -> Result<String, Refusal>) -> String {
    perform().unwrap_or_else(|refusal| text(&Reply::Refused(&refusal)))
}

fn text(reply: &Reply<'_>) -> String {
    let mut buffer = [0; MAX_REPLY_BYTES];
    let reply = reply.write(&mut buffer).expect("MAX_REPLY_BYTES is enough");
    String::from_utf8(reply.to_vec()).expect("JSON is UTF-8")
}
