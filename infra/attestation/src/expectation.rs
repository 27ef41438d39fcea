//! The content that a document has to have.

use std::time::Duration;

use crate::document::Document;
use crate::refused::Refused;

/// Oldest document unless told otherwise: one is made for each question, and AWS says no limit of its own.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_mins(5);

/// How far a document may be ahead by default: the usual difference of maintained clocks.
pub const DEFAULT_MAX_AHEAD: Duration = Duration::from_mins(1);

/// The expectations of a document beyond being authentic. A document whose PCR0 is all zeros is always refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation<'a> {
    /// The time, for certificates and age.
    pub now_unix_ms: u64,
    /// How old the document may be.
    pub max_age: Duration,
    /// How far in the future the document may be.
    pub max_ahead: Duration,
    /// The nonce that it has to have; with none, any or none.
    pub nonce: Option<&'a [u8]>,
    /// Registers, by index, that it has to have; there may be others.
    pub pcrs: Vec<(u8, Vec<u8>)>,
}

impl Expectation<'_> {
    /// Expects a document of about `now_unix_ms`, with any nonce and any enclave's registers.
    #[must_use]
    pub const fn at(now_unix_ms: u64) -> Self {
        Self {
            now_unix_ms,
            max_age: DEFAULT_MAX_AGE,
            max_ahead: DEFAULT_MAX_AHEAD,
            nonce: None,
            pcrs: Vec::new(),
        }
    }

    pub(crate) fn check(&self, document: &Document) -> Result<(), Refused> {
        self.check_time(document.timestamp_unix_ms)?;
        // Nothing here is secret, so comparisons take the time that they take.
        match document.pcrs.get(0) {
            None => return Err(Refused::PcrMissing(0)),
            Some(pcr0) if pcr0.iter().all(|byte| *byte == 0) => return Err(Refused::DebugMode),
            Some(_) => {}
        }
        if self.nonce.is_some() && self.nonce != document.nonce.as_deref() {
            return Err(Refused::WrongNonce);
        }
        for (index, expected) in &self.pcrs {
            match document.pcrs.get(*index) {
                None => return Err(Refused::PcrMissing(*index)),
                Some(value) if value != expected => return Err(Refused::PcrMismatch(*index)),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_time(&self, timestamp_unix_ms: u64) -> Result<(), Refused> {
        let age = Duration::from_millis(self.now_unix_ms.saturating_sub(timestamp_unix_ms));
        let ahead = Duration::from_millis(timestamp_unix_ms.saturating_sub(self.now_unix_ms));
        if age > self.max_age {
            return Err(Refused::Stale);
        }
        if ahead > self.max_ahead {
            return Err(Refused::FromTheFuture);
        }
        Ok(())
    }
}
