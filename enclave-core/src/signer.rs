//! The state of a signer and the order of its checks.
//!
//! A signature takes two steps, so that threads that share a signer hold its lock for the first only:
//! [`Signer::authorize`] checks the ticket and records its nonce, and the [`SignPermit`] it returns signs, once. There
//! is no other way to a signature.

use subtle::ConstantTimeEq as _;

use crate::declassify::declassify;
use crate::digest::Digest;
use crate::hash_seed::HashSeed;
use crate::identity::IdentityId;
use crate::key_binding::KeyBinding;
use crate::key_origin::KeyOrigin;
use crate::key_store::{KeyStore, NotStored};
use crate::nonce_ledger::{NonceLedger, NotRecorded, Recorded};
use crate::refusal::Refusal;
use crate::request::SignRequest;
use crate::schnorr::{self, Signature, SigningFailed};
use crate::secret_key::{KeyPair, SecretKey};
use crate::signature_limits::SignatureLimits;
use crate::ticket::TicketVerifier;

/// Keys, used nonces and the ticket secret.
pub struct Signer<'s> {
    keys: KeyStore<'s>,
    nonces: NonceLedger<'s>,
    tickets: TicketVerifier,
    seed: HashSeed,
    limits: SignatureLimits<'s>,
}

/// After how long a signature that was too fast is allowed: the slowest pace is one a second.
const RETRY_AFTER_S: u32 = 1;

/// One signature's worth of permission: the ticket was checked and its nonce is recorded.
#[must_use]
pub struct SignPermit {
    pair: KeyPair,
    digest: Digest,
    _nonce: Recorded,
}

impl core::fmt::Debug for Signer<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl core::fmt::Debug for SignPermit {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("SignPermit").finish_non_exhaustive()
    }
}

impl<'s> Signer<'s> {
    /// Puts a signer together; `seed` is for hashing the names in claims.
    #[must_use]
    pub fn new(keys: KeyStore<'s>, nonces: NonceLedger<'s>, tickets: TicketVerifier, seed: HashSeed) -> Self {
        Self { keys, nonces, tickets, seed, limits: SignatureLimits::default() }
    }

    /// The signer with limits.
    #[must_use]
    pub fn limited(self, limits: SignatureLimits<'s>) -> Self {
        Self { limits, ..self }
    }

    /// Decides whether a digest may be signed, and uses up the ticket's nonce if it may.
    ///
    /// The order is the API's: an unknown identity is told before the ticket is looked at, because the client then
    /// imports the backup and sends the same ticket again; and a refused ticket keeps its nonce. Limits count what may
    /// be signed and nothing else, so that nobody uses them up without good tickets; a used ticket is told as that.
    ///
    /// # Errors
    /// [`Refusal::KeyNotFound`], then [`Refusal::InvalidTicket`], [`Refusal::WrongScope`],
    /// [`Refusal::IdentityMismatch`], [`Refusal::DigestMismatch`], [`Refusal::Replay`],
    /// [`Refusal::TooManyRequests`], [`Refusal::AtCapacity`]
    pub fn authorize(&mut self, request: SignRequest<'_>, now_unix_ms: u64) -> Result<SignPermit, Refusal> {
        let SignRequest { identity, digest, ticket } = request;
        let (position, pair) = self.keys.locate(&identity).ok_or(Refusal::KeyNotFound)?;
        let claims =
            self.tickets.verify(ticket, now_unix_ms, &self.seed).map_err(|_| Refusal::InvalidTicket)?;
        if !claims.may_sign {
            return Err(Refusal::WrongScope);
        }
        if claims.identity != Some(identity) {
            return Err(Refusal::IdentityMismatch);
        }
        if claims.digest_hash != Some(&digest.hash_hex()) {
            return Err(Refusal::DigestMismatch);
        }
        if !self.limits.have_room(position, now_unix_ms) {
            return Err(match self.nonces.has_seen(claims.nonce) {
                true => Refusal::Replay,
                false => Refusal::TooManyRequests { retry_after_s: RETRY_AFTER_S },
            });
        }
        let nonce = match self.nonces.record(claims.nonce, claims.exp_unix_s, now_unix_ms / 1000) {
            Ok(recorded) => recorded,
            Err(NotRecorded::Seen) => return Err(Refusal::Replay),
            Err(NotRecorded::Full) => return Err(Refusal::AtCapacity),
            Err(NotRecorded::Forgotten) => return Err(Refusal::InvalidTicket),
        };
        self.limits.count(position, now_unix_ms);
        let vacant = KeyPair { secret: SecretKey::vacant(), public: pair.public };
        let mut permit = SignPermit { pair: vacant, digest, _nonce: nonce };
        permit.pair.secret.copy_from(&pair.secret);
        Ok(permit)
    }

    /// Whether a key could be made for `identity` and stored now.
    ///
    /// # Errors
    /// [`Refusal::KeyExists`], [`Refusal::AtCapacity`]
    pub fn has_room_for(&self, identity: &IdentityId) -> Result<(), Refusal> {
        Ok(self.keys.has_room_for(identity)?)
    }

    /// Stores a key that was made for `identity`.
    ///
    /// # Errors
    /// [`Refusal::KeyExists`], [`Refusal::AtCapacity`]
    pub fn store_generated(&mut self, identity: &IdentityId, pair: &KeyPair) -> Result<(), Refusal> {
        Ok(self.keys.insert(identity, pair, KeyOrigin::Generated)?)
    }

    /// Stores a key that came out of a backup. To have it already is fine, and makes a key that was generated here no
    /// less so; to have another is not.
    ///
    /// # Errors
    /// [`Refusal::KeyExists`], [`Refusal::AtCapacity`]
    pub fn store_imported(&mut self, identity: &IdentityId, pair: &KeyPair) -> Result<(), Refusal> {
        match self.keys.find(identity) {
            Some(stored) if declassify(stored.secret.ct_eq(&pair.secret)) => Ok(()),
            Some(_) => Err(Refusal::KeyExists),
            None => Ok(self.keys.insert(identity, pair, KeyOrigin::Imported)?),
        }
    }

    /// Whether `identity` holds a key.
    #[must_use]
    pub fn holds(&self, identity: &IdentityId) -> bool {
        self.keys.find(identity).is_some()
    }

    /// The facts that an attestation document can vouch for: the public key of `identity`, and the origin of its key.
    ///
    /// # Errors
    /// [`Refusal::KeyNotFound`]
    pub fn binding(&self, identity: &IdentityId) -> Result<KeyBinding, Refusal> {
        self.keys.binding(identity).ok_or(Refusal::KeyNotFound)
    }

    /// Copies the key of `identity` out, to be sealed.
    ///
    /// # Errors
    /// [`Refusal::KeyNotFound`]
    pub fn export(&self, identity: &IdentityId) -> Result<SecretKey, Refusal> {
        let pair = self.keys.find(identity).ok_or(Refusal::KeyNotFound)?;
        let mut secret = SecretKey::vacant();
        secret.copy_from(&pair.secret);
        Ok(secret)
    }

    /// Wipes the key of `identity`.
    ///
    /// # Errors
    /// [`Refusal::KeyNotFound`]
    pub fn destroy(&mut self, identity: &IdentityId) -> Result<(), Refusal> {
        if self.keys.remove(identity) { Ok(()) } else { Err(Refusal::KeyNotFound) }
    }
}

impl From<NotStored> for Refusal {
    fn from(error: NotStored) -> Self {
        match error {
            NotStored::Exists => Self::KeyExists,
            NotStored::Full => Self::AtCapacity,
        }
    }
}

impl SignPermit {
    /// Signs the digest the permit is for, with 32 fresh random bytes.
    ///
    /// # Errors
    /// [`SigningFailed`], once in 2^256; the nonce stays used.
    pub fn sign(self, aux: &[u8; 32]) -> Result<Signature, SigningFailed> {
        schnorr::sign(&self.pair, &self.digest, aux)
    }
}
