//! Why there is no certificate yet, and which side causes that.

use std::fmt;
use std::time::Duration;

use super::problem::Problem;
use configuration::tls_pair::InvalidPair;

/// Why there is no certificate yet.
#[derive(Debug)]
pub enum AcmeError {
    /// The relay or the server cannot be reached; another attempt may succeed.
    Unreachable(&'static str),
    /// The server violates ACME.
    Unintelligible(&'static str),
    /// The server names a URL that the relay does not lead to.
    Elsewhere(&'static str),
    /// The server refuses.
    Refused(Problem),
    /// The server did not finish before the deadline.
    TooSlow(&'static str),
    /// The issued or stored certificate cannot be used.
    Unusable(&'static str),
    /// The issued or stored certificate must not be presented.
    UnusablePair(InvalidPair),
    /// The enclave lacks a key or randomness.
    Ourselves(&'static str),
}

impl AcmeError {
    /// How long the server asks the client to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// Whether the server issued a certificate nevertheless, and counted it.
    pub(crate) const fn is_after_issuance(&self) -> bool {
        matches!(self, Self::Unusable(_) | Self::UnusablePair(_))
    }

    /// Whether the server does not know the account.
    pub(crate) fn is_of_a_lost_account(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.is("accountDoesNotExist"))
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(formatter, "the acme server cannot be reached: {reason}"),
            Self::Unintelligible(reason) => {
                write!(formatter, "the acme server violates the protocol: {reason}")
            }
            Self::Elsewhere(what) => write!(
                formatter,
                "the acme server names a {what} that is not an https url on the host and port of acme.directory, and \
                 the relay leads nowhere else"
            ),
            Self::Refused(problem) => write!(formatter, "the acme server refuses: {problem}"),
            Self::TooSlow(what) => write!(formatter, "the acme server takes too long over {what}"),
            Self::Unusable(reason) => {
                write!(formatter, "the certificate cannot be used: {reason}")
            }
            // `InvalidPair` has the words for what an operator provides.
            Self::UnusablePair(InvalidPair::Chain(error)) => {
                write!(formatter, "the certificate cannot be used: its chain: {error}")
            }
            Self::UnusablePair(InvalidPair::Key(error)) => {
                write!(formatter, "the certificate cannot be used: its key: {error}")
            }
            Self::UnusablePair(InvalidPair::Mismatch) => {
                formatter.write_str("the certificate cannot be used: it is for another key")
            }
            Self::Ourselves(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for AcmeError {}
