//! The parts that every AWS client needs: HTTP, credentials, signatures, the right time.
//!
//! ```text
//! kms ─▶ signature ◀─ credentials ◀─ imds ─▶ relay ─▶ 169.254.169.254
//!   │        ▲
//!   │      clock ◀─ trusted_clock
//!   └─▶ http_client (over TLS) ─▶ relay ─▶ kms.<region>.amazonaws.com
//! ```

pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod credentials;
pub(crate) mod http_client;
pub(crate) mod imds;
pub(crate) mod signature;
