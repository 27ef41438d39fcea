//! Certificates by ACME (RFC 8555), with TLS-ALPN-01 (RFC 8737): the keys are made in the enclave, and kept with the
//! parent under a data key of ours.
//!
//! ```text
//! keeper ─▶ store ─ state, sealed_certificate ─▶ relays ─▶ a file of the parent's
//!    │ └──▶ TlsFront ◀─ challenge ◀─ challenge_port ◀─ who validates
//!    └─ order ─ account ─▶ client ─ account_key ─▶ server ─▶ relay ─▶ the ACME server
//!          └ resource ◀─ answer ◀──┘
//! ```
//!
//! What holds here:
//!
//! * Whom it asks, for which names, and in whose certificate it trusts, is measured. TLS with the server ends here.
//! * What the server says is bounded, waited for with deadlines, and leads nowhere but to the server: every URL has to
//!   be on the host and port of the directory.
//! * What the parent keeps is believed as far as it opens. It may be lost, held back or older than it could be, which
//!   costs an order, or leaves a certificate in use that is still valid; it is never a reason to stop.
//! * A certificate is presented only if it is for our key and names, and valid now.
//!
//! It speaks ACME itself. `instant-acme` keeps the account's key in strings that nobody wipes, drops the server's
//! `Retry-After` with its refusals, and brings a second version of `base64`.

mod account;
mod account_key;
mod answer;
mod certificate_key;
mod challenge;
mod challenge_port;
mod client;
mod fault;
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
pub use self::fault::AcmeFault;
pub use self::keeper::AcmeRelays;
pub(crate) use self::keeper::{Keeper, RESTORE_PATIENCE};
pub use self::problem::Problem;
pub use self::resource::{Authorization, AuthorizationStatus, Challenge, Directory, Order, OrderStatus};
#[cfg(test)]
pub(crate) use self::state::tests::state as state_of_a_test;
pub use self::state::{AcmeState, KeptCertificate, MAX_STATE_BYTES};
