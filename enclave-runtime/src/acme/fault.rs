//! Why there is no certificate yet, and whose fault that is.

use std::fmt;
use std::time::Duration;

use super::problem::Problem;
use configuration::tls_pair::InvalidPair;

/// Why there is no certificate yet.
#[derive(Debug)]
pub enum AcmeFault {
    /// The way to the server, or the server itself, is not there; another try may find it.
    Unreachable(&'static str),
    /// Who answers does not speak ACME as it is written down.
    Unintelligible(&'static str),
    /// The server names a URL that the relay does not lead to.
    Elsewhere(&'static str),
    /// The server says no.
    Refused(Problem),
    /// The server did not come to an end in the time that it was given.
    TooSlow(&'static str),
    /// What was issued, or kept, cannot be used.
    Unusable(&'static str),
    /// What was issued, or kept, is not to be presented.
    UnusablePair(InvalidPair),
    /// We lack a key or randomness.
    Ourselves(&'static str),
}

impl AcmeFault {
    /// How long the server asks not to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// Whether the server has issued something all the same, and counted it.
    pub(crate) const fn is_after_issuance(&self) -> bool {
        matches!(self, Self::Unusable(_) | Self::UnusablePair(_))
    }

    /// Whether the server knows nothing of the account.
    pub(crate) fn is_of_a_lost_account(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.is("accountDoesNotExist"))
    }
}

impl fmt::Display for AcmeFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(formatter, "the acme server is not reached: {reason}"),
            Self::Unintelligible(reason) => write!(formatter, "the acme server is not understood: {reason}"),
            Self::Elsewhere(what) => write!(
                formatter,
                "the acme server names a {what} that is not an https url on the host and port of acme.directory, and \
                 the relay leads nowhere else"
            ),
            Self::Refused(problem) => write!(formatter, "the acme server refuses: {problem}"),
            Self::TooSlow(what) => write!(formatter, "the acme server takes too long over {what}"),
            Self::Unusable(reason) => {
                write!(formatter, "the certificate is of no use: {reason}")
            }
            // `InvalidPair` has the words for what an operator provides.
            Self::UnusablePair(InvalidPair::Chain(fault)) => {
                write!(formatter, "the certificate is of no use: its chain: {fault}")
            }
            Self::UnusablePair(InvalidPair::Key(fault)) => {
                write!(formatter, "the certificate is of no use: its key: {fault}")
            }
            Self::UnusablePair(InvalidPair::Mismatch) => {
                formatter.write_str("the certificate is of no use: it is for another key")
            }
            Self::Ourselves(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for AcmeFault {}
