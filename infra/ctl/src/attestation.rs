//! Requests a signer's attestation document, on an open connection.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use verification::{Attested, Doubt, Examination, Expectation, Nonce, examine};

use crate::connection::{Connection, Unreachable};

/// Statuses that pass: the signer boots or stops, is asked too often, or cannot reach its module.
const LATER: [u16; 3] = [429, 502, 503];

/// The reason why the answering enclave is not known.
#[derive(Debug)]
pub enum NotAttested {
    /// There is no answer.
    Unreachable(Unreachable),
    /// The signer has no document now.
    Later(u16),
    /// The other end gives no documents.
    Refused(u16),
    /// The answer does not prove it.
    Doubtful(Doubt),
}

impl fmt::Display for NotAttested {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(formatter),
            Self::Later(status) => write!(formatter, "no attestation document now: status {status}"),
            Self::Refused(status) => write!(formatter, "no attestation document: status {status}"),
            Self::Doubtful(doubt) => doubt.fmt(formatter),
        }
    }
}

impl std::error::Error for NotAttested {}

impl NotAttested {
    /// Whether something answered that may be another program. The other cases do not tell.
    #[must_use]
    pub const fn is_doubt(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Doubtful(_))
    }
}

impl From<Unreachable> for NotAttested {
    fn from(error: Unreachable) -> Self {
        match error {
            Unreachable::TooLong => Self::Doubtful(Doubt::TooLong),
            other => Self::Unreachable(other),
        }
    }
}

/// A reply and its proof.
pub struct Questioned {
    /// As it came.
    pub reply: Vec<u8>,
    /// Each check.
    pub examination: Examination,
    /// The clock by which it was judged.
    pub now_unix_ms: u64,
}

/// Requests a document of the other end of `connection`, with a nonce of its own. Sends nothing secret.
///
/// # Errors
/// [`NotAttested`], of those variants that tell why there is no reply to examine.
pub async fn question(
    connection: &mut Connection,
    expectation: &Expectation,
) -> Result<Questioned, NotAttested> {
    let nonce = Nonce::random();
    let answer = connection.get(&format!("/.well-known/attestation?nonce={nonce}")).await?;
    check_status(answer.status)?;
    let now_unix_ms = now_unix_ms();
    let examination = examine(&answer.body, &nonce, connection.tls_key(), expectation, now_unix_ms);
    Ok(Questioned { reply: answer.body.to_vec(), examination, now_unix_ms })
}

/// As [`question`], and only the expected enclave will do.
///
/// # Errors
/// [`NotAttested`]
pub async fn attest(connection: &mut Connection, expectation: &Expectation) -> Result<Attested, NotAttested> {
    question(connection, expectation).await?.examination.verdict().map_err(NotAttested::Doubtful)
}

/// Whether a document may be in the body of an answer with this status.
///
/// # Errors
/// [`NotAttested::Later`], [`NotAttested::Refused`]
pub fn check_status(status: u16) -> Result<(), NotAttested> {
    match status {
        200 => Ok(()),
        status if LATER.contains(&status) => Err(NotAttested::Later(status)),
        status => Err(NotAttested::Refused(status)),
    }
}

/// This machine's clock, which documents and certificates are judged by.
#[must_use]
pub fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
