//! Why a request was not done.

use crate::validation::ValidationErrors;

/// Each variant has one text that clients may read, in `reply`, and one status, in the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The body is not JSON, or repeats a name.
    InvalidJson,
    /// The body is JSON, but not this request.
    Invalid(ValidationErrors),
    /// The identity holds a key, or on import another key.
    KeyExists,
    /// The identity holds no key.
    KeyNotFound,
    /// Malformed, forged, expired, not yet valid or too long-lived.
    InvalidTicket,
    /// The ticket's scope is not `sign`.
    WrongScope,
    /// The ticket is for another identity.
    IdentityMismatch,
    /// The ticket is for another digest.
    DigestMismatch,
    /// The ticket's nonce was used.
    Replay,
    /// No room for another key or nonce.
    AtCapacity,
    /// A rate limit is used up. Nothing else was.
    TooManyRequests {
        /// When to come back; 1 or more.
        retry_after_s: u32,
    },
}
