//! The time, and the time as a signature is judged by.

use std::sync::atomic::{AtomicI64, Ordering};

use time::{Duration, OffsetDateTime};

/// The machine's clock, beside one that tests shift.
///
/// Only the age of signatures and the `Date` of replies go by the shifted one: a client whose clock is wrong has
/// attestation documents whose time, which is the hypervisor's, is right all the same.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_s: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    pub(crate) fn now_unix_ms(&self) -> u64 {
        u64::try_from(self.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
    }

    /// The time that signatures are compared with and that replies carry.
    pub(crate) fn shifted_now(&self) -> OffsetDateTime {
        let offset = Duration::seconds(self.offset_s.load(Ordering::Relaxed));
        self.now().saturating_add(offset)
    }

    pub(crate) fn shift(&self, offset_s: i64) {
        self.offset_s.store(offset_s, Ordering::Relaxed);
    }
}
