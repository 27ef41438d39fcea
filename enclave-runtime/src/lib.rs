//! The input and output of `enclave-core`, which decides.
//!
//! ```text
//! transport::Listener ─▶ announcement ─▶ tls ─▶ http (head_gate ─ hyper ─ exchange) ─▶ service ─▶ enclave_core::Signer
//!                                                                 │  │            │
//!             nsm ◀─ attestor (document_cache, token_bucket) ◀────┘ sealer   signer_memory ─ locked_memory
//!                                                                     │ ◀─ restore: who waits behind whom
//! init ─▶ enclave: configuration ─▶ boot ─ boot_file                  ▼
//!                            │           kms_sealer ─ sealed_key, data_key_cache ─ flight ─ data_key
//!                            ▼                                │
//!                           kms ◀─────────────────────────────┘
//!                            └─▶ recipient ─ envelope, aws (credentials, signature), remote_server ─ relay ─▶ the parent
//!
//! nsm ─▶ trusted_clock ─▶ service, kms, acme, tls
//! ```
//!
//! Invariants:
//!
//! * What decides whom the enclave trusts is in `configuration`, which is measured; the parent's `boot_file` selects
//!   among that, and is refused where it says more.
//! * Nothing a client sends is acted on before it is within its limits, and no wait for a client is without a
//!   deadline.
//! * Statuses are in one table, in `http::response`.
//! * Stored keys and the ticket secret are in locked memory that core dumps leave out; a key at work is on a stack that
//!   is overwritten after. The API key is kept as its hash.
//! * Time is the NSM's, by `trusted_clock`. Log lines alone, and the header `Date`, have the system clock's.
//! * No request, and nothing of one, is ever logged; a client's address only where the parent's proxy announces it.
//! * A panic costs one connection; under the signer's lock it ends the process, since half a change to keys or nonces
//!   is worse than none.
//! * Unsafe code is in `locked_memory` and nowhere else.

#![deny(unsafe_code)]

pub mod acme;
mod announcement;
mod api_key;
mod attestor;
mod aws;
mod boot;
mod data_key;
mod data_key_cache;
mod document_cache;
mod enclave;
mod entropy;
mod envelope;
mod flight;
pub mod http;
mod init;
mod kms;
mod kms_sealer;
#[cfg(feature = "dev")]
mod local_sealer;
mod locked_memory;
mod log_port;
mod nsm;
mod outcome;
mod paced_log;
mod process;
mod recipient;
mod relay;
mod remote_server;
mod restore;
mod sealed_certificate;
mod sealed_key;
mod sealer;
mod service;
mod signer_memory;
pub mod tls;
mod token_bucket;
mod trusted_clock;

pub use api_key::{ApiKey, ApiKeys, EmptyApiKey, SameApiKey};
pub use data_key::DataKey;
pub use enclave::{Listen, Parent, Stopped, read_configuration, run};
pub use entropy::EntropyUnavailable;
pub use envelope::{Envelope, EnvelopeNotOpened};
pub use init::{InitFailed, init, is_first_process, restart};
#[cfg(feature = "dev")]
pub use local_sealer::{InvalidSealingKey, LocalSealedKey, LocalSealer};
pub use locked_memory::MemoryNotLocked;
pub use log_port::tell_unlogged;
pub use nsm::{AttestationRequest, Device, MAX_NONCE_BYTES, Nsm, NsmUnavailable, Pcr};
#[cfg(feature = "dev")]
pub use nsm::{ClockError, NoSoftwareNsm, Pcrs, SoftwareNsm};
pub use outcome::{Failure, Outcome};
pub use process::harden;
pub use recipient::{NoRecipientKey, RecipientKey};
pub use relay::{ParentCid, Relay};
pub use restore::{RestorePlaces, Standing};
pub use sealed_certificate::SealedCertificate;
pub use sealed_key::{SealedKey, SealedKeyText};
pub use sealer::{NotOpened, NotSealed, Sealer};
pub use service::Service;
pub use signer_memory::{NoSigner, seed, signer};
pub use trusted_clock::{NoTime, TrustedClock};
