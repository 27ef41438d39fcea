//! The gate's verdict on a head, on its way to the service that answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The gate's verdict on the head of the present request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeadVerdict {
    /// The request is the client's own.
    Accepted,
    /// The request is a stand-in for a head that breaks the rules: 400, close.
    Malformed,
    /// The request is a stand-in for a head that is too large: 431, close.
    TooLarge,
}

/// The service's end of a connection's one-slot cell. Clones share the slot.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    slot: Arc<AtomicU8>,
}

const EMPTY: u8 = 0;
const ACCEPTED: u8 = 1;
const MALFORMED: u8 = 2;
const TOO_LARGE: u8 = 3;

impl Verdicts {
    /// Takes the verdict on the request at hand; to be called once for each request.
    ///
    /// An empty slot reads as [`HeadVerdict::Malformed`]: a mistake in the wiring refuses, it does not serve.
    #[must_use]
    pub fn take(&self) -> HeadVerdict {
        match self.slot.swap(EMPTY, Ordering::AcqRel) {
            ACCEPTED => HeadVerdict::Accepted,
            TOO_LARGE => HeadVerdict::TooLarge,
            _ => HeadVerdict::Malformed,
        }
    }

    /// Puts a verdict into the empty slot; `false` when the one before was not taken.
    pub(super) fn put(&self, verdict: HeadVerdict) -> bool {
        let code = match verdict {
            HeadVerdict::Accepted => ACCEPTED,
            HeadVerdict::Malformed => MALFORMED,
            HeadVerdict::TooLarge => TOO_LARGE,
        };
        self.slot.compare_exchange(EMPTY, code, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
