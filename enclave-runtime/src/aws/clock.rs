//! The time in signatures of requests to AWS: the trusted clock's, unless KMS refuses a signature for it. KMS refuses
//! signatures that are more than five minutes off.
//!
//! Only signatures use the correction. The trusted clock alone judges tickets and certificates, so KMS cannot make a
//! ticket valid. A difference of the two is counted and logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::token_bucket::TokenBucket;
use crate::trusted_clock::{MAX_DISAGREEMENT_MS, TrustedClock, unix_ms};

/// A clock that is further off is wrong, and hides an error that an operator should see.
const MAX_CORRECTION_S: u64 = 24 * 60 * 60;

/// A smaller difference does not cause a refusal: KMS accepts five minutes.
const MIN_CORRECTION_S: u64 = 4 * 60;

/// Each answer may disagree, so it is logged once an hour.
const LINE_PACE: Duration = Duration::from_hours(1);

/// A `Date` leaves out the fraction of its second.
const DATE_GRANULARITY_MS: u64 = 1000;

/// The trusted clock and what has to be added to it.
#[derive(Debug)]
pub(crate) struct Clock {
    trusted: Arc<TrustedClock>,
    correction_s: AtomicI64,
    disagreements: AtomicU64,
    lines: TokenBucket,
}

impl Clock {
    pub(crate) fn new(trusted: Arc<TrustedClock>) -> Self {
        Self {
            trusted,
            correction_s: AtomicI64::new(0),
            disagreements: AtomicU64::new(0),
            lines: TokenBucket::full(1, LINE_PACE),
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.corrected(self.trusted.now())
    }

    /// Milliseconds since 1970, without the correction.
    pub(crate) fn trusted_unix_ms(&self) -> u64 {
        self.trusted.now_unix_ms()
    }

    /// Compares the trusted clock with `date`, of an answer that has just come to a request sent at `sent_unix_ms`.
    pub(crate) fn compare(&self, sent_unix_ms: u64, date: SystemTime) {
        let ahead_ms = ahead_ms(sent_unix_ms, self.trusted_unix_ms(), unix_ms(date));
        if ahead_ms.unsigned_abs() <= MAX_DISAGREEMENT_MS {
            return;
        }
        let disagreements = self.disagreements.fetch_add(1, Ordering::Relaxed) + 1;
        if self.lines.take().is_ok() {
            tracing::warn!(ahead_ms, disagreements, "the clock and the Date of KMS differ by more than 2 s");
        }
    }

    fn corrected(&self, trusted: SystemTime) -> SystemTime {
        let correction_s = self.correction_s.load(Ordering::Relaxed);
        let correction = Duration::from_secs(correction_s.unsigned_abs());
        let corrected =
            if correction_s < 0 { trusted.checked_sub(correction) } else { trusted.checked_add(correction) };
        corrected.unwrap_or(trusted)
    }

    /// Uses `date`, the time of the service, from now on, if the difference can be why it refused a signature. Whether
    /// it does.
    pub(crate) fn correct(&self, date: SystemTime) -> bool {
        self.correct_at(self.trusted.now(), date)
    }

    fn correct_at(&self, trusted: SystemTime, date: SystemTime) -> bool {
        let off_s = seconds_between(self.corrected(trusted), date);
        let correction_s = seconds_between(trusted, date);
        if off_s.unsigned_abs() < MIN_CORRECTION_S || correction_s.unsigned_abs() > MAX_CORRECTION_S {
            return false;
        }
        self.correction_s.store(correction_s, Ordering::Relaxed);
        true
    }
}

/// How far the clock is ahead of `date_unix_ms` at least, negative if it is behind: the service wrote the date between
/// the two.
fn ahead_ms(sent_unix_ms: u64, received_unix_ms: u64, date_unix_ms: u64) -> i64 {
    let ahead = sent_unix_ms.saturating_sub(date_unix_ms + DATE_GRANULARITY_MS);
    let behind = date_unix_ms.saturating_sub(received_unix_ms);
    ahead.cast_signed() - behind.cast_signed()
}

/// From `earlier` to `later`, negative if it is the other way round.
fn seconds_between(earlier: SystemTime, later: SystemTime) -> i64 {
    let since_epoch = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or(0)
    };
    since_epoch(later).saturating_sub(since_epoch(earlier))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{Clock, ahead_ms};
    use crate::trusted_clock::TrustedClock;

    const NOW_UNIX_S: u64 = 1_800_000_000;

    fn clock() -> Clock {
        Clock::new(TrustedClock::of_tests().into())
    }

    fn at(offset_s: i64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW_UNIX_S.checked_add_signed(offset_s).unwrap())
    }

    #[test]
    fn goes_by_the_service_within_bounds() {
        for (date_s, corrected) in [
            (0, false),
            (200, false),
            (-200, false),
            (301, true),
            (-301, true),
            (3600, true),
            (-86_400, true),
            (86_400, true),
            (86_401, false),
            (-86_401, false),
            (-1_800_000_000, false),
        ] {
            let clock = clock();
            assert_eq!(clock.correct_at(at(0), at(date_s)), corrected, "{date_s}");
            let expected = if corrected { at(date_s) } else { at(0) };
            assert_eq!(clock.corrected(at(0)), expected, "{date_s}");
        }
    }

    #[test]
    fn a_date_says_that_the_clock_is_off_when_no_flight_explains_it() {
        let now = NOW_UNIX_S * 1000;
        for (sent, received, off_ms) in [
            (0, 0, 0),
            (999, 999, 0),
            (-30_000, 30_000, 0),
            (-5, 1005, 0),
            (3001, 3100, 2001),
            (-2100, -2001, -2001),
            (-60_000, -1, -1),
        ] {
            let at = |offset_ms| now.checked_add_signed(offset_ms).unwrap();
            assert_eq!(ahead_ms(at(sent), at(received), now), off_ms, "{sent} {received}");
        }
    }

    #[test]
    fn disagreements_are_counted() {
        let clock = clock();
        let now = clock.trusted.now();
        for (date, disagreements) in [
            (now, 0),
            (now - Duration::from_secs(2), 0),
            (now + Duration::from_secs(2), 0),
            (now - Duration::from_secs(60), 1),
            (now + Duration::from_secs(60), 2),
        ] {
            clock.compare(clock.trusted_unix_ms(), date);
            assert_eq!(clock.disagreements.load(Ordering::Relaxed), disagreements, "{date:?}");
        }
    }

    #[test]
    fn a_correction_is_corrected_and_never_adds_up() {
        let clock = clock();
        assert!(clock.correct_at(at(0), at(80_000)));
        assert!(!clock.correct_at(at(0), at(160_000)));
        assert!(!clock.correct_at(at(10), at(80_011)), "it is right already");
        assert!(clock.correct_at(at(0), at(0)), "and back");
        assert_eq!(clock.corrected(at(5)), at(5));
    }
}
