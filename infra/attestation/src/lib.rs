//! Checks attestation documents of the Nitro Security Module.
//!
//! ```text
//! verify ─▶ envelope (COSE_Sign1) ─▶ payload (CBOR) ─▶ Document
//!    │         └ signature ◀─ leaf's key ◀─ path (webpki) ◀─ Root
//!    └ expectation: age, PCR0, nonce, PCRs
//! ```
//!
//! Invariants:
//!
//! * Nothing a document says is believed, and no expectation looked at, before its signature is verified over the
//!   bytes as they came, with the key of a certificate that leads to the pinned root.
//! * The root is the caller's. The one that a document brings along, first in its `cabundle`, is not looked at but to
//!   tell why a path was not found.
//! * An envelope has one spelling for one payload and signature. The payload may be spelled in any way that
//!   `serde_cbor` reads (other key orders, longer integers, indefinite lengths, tags, which it drops): it is what was
//!   signed, and has one reading.
//! * A field that is not known is refused: it may limit what the others mean.
//! * There is no revocation: AWS's rules switch it off, and a leaf lives three hours.
//! * ECDSA signatures are malleable: from (r, s) anybody makes (r, n − s), which verifies as well. So a document is no
//!   key to remember it by; its nonce is.

#![forbid(unsafe_code)]

mod certificate;
mod document;
mod envelope;
mod expectation;
mod field;
mod path;
mod payload;
mod pcrs;
mod refused;
mod root;
mod verify;

pub use document::Document;
pub use envelope::MAX_DOCUMENT_BYTES;
pub use expectation::{DEFAULT_MAX_AGE, DEFAULT_MAX_AHEAD, Expectation};
pub use field::Field;
pub use path::NOT_BEFORE_TOLERANCE;
pub use pcrs::{PCR_BYTES, Pcrs};
pub use refused::Refused;
pub use root::{InvalidRoot, Root};
pub use verify::{authenticate, verify};
