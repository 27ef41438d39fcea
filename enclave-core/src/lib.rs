//! Decides what a remote signer signs.
//!
//! ```text
//! body bytes ─▶ request ─▶ Signer::authorize ─▶ SignPermit::sign ─▶ Reply::write ─▶ reply bytes
//!              (json)      key_store: is it there?      (schnorr,
//!                                                        generator)
//!                          ticket: MAC, exp, scope, identity, digest
//!                          signature_limits: not too fast?
//!                          nonce_ledger: unseen? recorded
//! ```
//!
//! Invariants:
//!
//! * Time, randomness, bytes and storage are arguments. Nothing here knows a socket, a clock, an environment, an HTTP
//!   status, KMS, a log or a development mode.
//! * No allocator is linked, and no unsafe code is allowed.
//! * A signature comes from a [`SignPermit`], and a permit only from a ticket that was checked and a nonce that was
//!   recorded.
//! * The origin of a key is decided when the key is stored. Only its removal changes it.
//! * A full store or ledger refuses; it never evicts. How full it is changes no operation's cost.
//! * Nothing that a client sends makes this crate panic.
//! * No branch and no address depends on a key, a nonce, the ticket secret or a MAC, except in `declassify`.
//! * A secret is wiped in its place, and so is the stack that computed with it. A moved value leaves its bytes behind,
//!   so a caller runs each whole operation inside [`with_burnt_stack`].

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::panic, clippy::expect_used))]

mod attestation_nonce;
mod declassify;
mod digest;
mod generator;
mod hash_seed;
mod identity;
mod json;
mod key_binding;
mod key_origin;
mod key_store;
mod nonce_ledger;
mod refusal;
mod reply;
mod request;
mod schnorr;
mod secret_key;
mod signature_limits;
mod signer;
mod slot_table;
mod stack;
mod ticket;
mod validation;
mod xyzz;

pub use attestation_nonce::AttestationNonce;
pub use digest::Digest;
pub use hash_seed::HashSeed;
pub use identity::IdentityId;
pub use json::{MAX_DEPTH, MAX_TEXT_BYTES};
pub use key_binding::KeyBinding;
pub use key_origin::KeyOrigin;
pub use key_store::{KeySlot, KeyStore, NotStored, StoredKey};
pub use nonce_ledger::{
    ExpirySecond, FORGOTTEN_PER_RECORD, NonceLedger, NonceSlot, NotRecorded, Recorded, RecordedNonce,
    wheel_seconds,
};
pub use refusal::Refusal;
pub use reply::{BufferTooSmall, MAX_REPLY_BYTES, Reply};
pub use request::{AttestRequest, GenerateRequest, IdentityRequest, ImportRequest, SignRequest};
pub use schnorr::{Signature, SigningFailed};
pub use secret_key::{InvalidSecretKey, KeyPair, PublicKey, SecretKey};
pub use signature_limits::{Pace, PaceSlot, SignatureLimits};
pub use signer::{SignPermit, Signer};
pub use slot_table::Slot;
pub use stack::with_burnt_stack;
pub use ticket::{EmptyTicketSecret, MAX_NONCE_BYTES, TicketVerifier};
pub use validation::{FieldError, Kind, MAX_FIELDS, ValidationErrors};
