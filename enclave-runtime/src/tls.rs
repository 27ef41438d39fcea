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
//! What holds here:
//!
//! * What is spoken is said in `policy`, and nowhere else.
//! * A connection keeps the identity that it was accepted with, whatever is put in front later, and documents that it
//!   asks for name that identity's key. Sessions are remembered for each identity in itself.
//! * No key of RSA is presented: `public_key` says why that would open KMS to whoever has a copy of it.
//! * A pair is checked before it is presented, so that no client finds out what is wrong with it.
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
