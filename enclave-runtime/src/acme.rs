//! Certificates by ACME (RFC 8555) with TLS-ALPN-01 (RFC 8737). The keys are made in the enclave. The parent stores
//! them, sealed under a data key of the enclave.
//!
//! ```text
//! keeper ─▶ store ─ state, sealed_certificate ─▶ relays ─▶ a file of the parent's
//!    │ └──▶ TlsFront ◀─ challenge ◀─ challenge_port ◀─ an ACME validator
//!    └─ order ─ account ─▶ client ─ account_key ─▶ server ─▶ relay ─▶ the ACME server
//!          └ resource ◀─ answer ◀──┘
//! ```
//!
//! Properties:
//!
//! * The ACME server, the names and the trusted roots are measured. TLS with the server ends in the enclave.
//! * Answers of the server are bounded and have deadlines. Every URL must have the host and port of the directory.
//! * The parent's copy is used if it opens. The parent may lose it, withhold it or return an older one. That costs an
//!   order, or leaves an older certificate in use that is still valid. The signer never stops for it.
//! * A certificate is presented only if it has the signer's key and names, and is valid now.
//!
//! This is a client of its own. `instant-acme` keeps the account key in strings that it does not wipe, drops the
//! server's `Retry-After` on refusals, and adds a second version of `base64`.

mod account;
mod account_key;
mod answer;
mod certificate_key;
mod challenge;
mod challenge_port;
mod client;
mod error;
mod keeper;
mod order;
mod problem;
mod resource;
mod server;
mod state;
mod store;

pub use self::account_key::AccountKey;
pub use self::answer::Answer;
pub use self::certificate_key::CertificateKey;
pub(crate) use self::challenge::is_asked_for as is_a_challenge;
#[cfg(test)]
pub(crate) use self::challenge::tests::answer_of_a_test;
pub(crate) use self::challenge_port::answer_challenges;
pub use self::error::AcmeError;
pub use self::keeper::AcmeRelays;
pub(crate) use self::keeper::{Keeper, RESTORE_PATIENCE};
pub use self::problem::Problem;
pub use self::resource::{Authorization, AuthorizationStatus, Challenge, Directory, Order, OrderStatus};
#[cfg(test)]
pub(crate) use self::state::tests::state as state_of_a_test;
pub use self::state::{AcmeState, KeptCertificate, MAX_STATE_BYTES};
