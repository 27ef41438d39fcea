//! TLS to clients: it ends here, in the enclave, and an attestation document vouches for the key of each connection.
//!
//! ```text
//! self_signed ─────────────┐            (made at boot, in every mode but off)
//! boot file, KMS ─▶ pair ──┴▶ TlsIdentity ─▶ TlsFront ─▶ http::serve
//!                   │ chain ─ pem          │     └ policy: versions, suites, groups
//!                   └ private_key          └ expiry
//! provided: reads the boot file again and puts a new identity in front
//! ```
//!
//! Invariants:
//!
//! * `policy` alone decides the versions, suites and groups.
//! * A connection keeps the identity that it was accepted with, whatever is put in front later, and documents that it
//!   asks for name that identity's key. Sessions are remembered for each identity in itself.
//! * No RSA key is presented: `public_key` gives the reason, that a copy of it would open answers of KMS.
//! * A pair is checked before it is presented, so that no client meets its error.
//! * No private key is in the clear anywhere but in aws-lc-rs, and in memory that is wiped on the way there.

mod expiry;
mod front;
mod identity;
mod policy;
pub(crate) mod provided;
mod replayed;
mod self_signed;
#[cfg(test)]
#[path = "../configuration/src/tls_pair/test_ca.rs"]
pub(crate) mod test_ca;

pub(crate) use expiry::Expiry;
pub use front::TlsFront;
pub(crate) use front::{HANDSHAKE_DEADLINE, Received};
pub use identity::{TlsIdentity, UnusableIdentity};
pub(crate) use policy::validation_config;
