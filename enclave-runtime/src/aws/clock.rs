//! The time that requests to AWS are signed with. KMS refuses a signature that is more than five minutes off, and an
//! enclave has no time service.
//!
//! Only signatures go by the correction. Tickets and certificates are judged by the system's clock: KMS is no reason to
//! take a ticket for valid.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock further off than this is not slow or fast but wrong, and hides something that an operator should see.
const MAX_CORRECTION_S: u64 = 24 * 60 * 60;

/// Less is no reason for a refusal, so it is not what the refusal is about: KMS accepts five minutes.
const MIN_CORRECTION_S: u64 = 4 * 60;

/// The system's clock and what has to be added to it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    correction_s: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> SystemTime {
        self.corrected(SystemTime::now())
    }

    fn corrected(&self, system_time: SystemTime) -> SystemTime {
        let correction_s = self.correction_s.load(Ordering::Relaxed);
        let correction = Duration::from_secs(correction_s.unsigned_abs());
        let corrected = if correction_s < 0 {
            system_time.checked_sub(correction)
        } else {
            system_time.checked_add(correction)
        };
        corrected.unwrap_or(system_time)
    }

    /// Goes by `date` from now on, what the service says the time is, if that could be why it refused a signature.
    /// Says whether it does.
    pub(crate) fn correct(&self, date: SystemTime) -> bool {
        self.correct_at(SystemTime::now(), date)
    }

    fn correct_at(&self, system_time: SystemTime, date: SystemTime) -> bool {
        let off_s = seconds_between(self.corrected(system_time), date);
        let correction_s = seconds_between(system_time, date);
        if off_s.unsigned_abs() < MIN_CORRECTION_S || correction_s.unsigned_abs() > MAX_CORRECTION_S {
            return false;
        }
        self.correction_s.store(correction_s, Ordering::Relaxed);
        true
    }
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
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::Clock;

    const NOW_UNIX_S: u64 = 1_800_000_000;

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
            let clock = Clock::default();
            assert_eq!(clock.correct_at(at(0), at(date_s)), corrected, "{date_s}");
            let expected = if corrected { at(date_s) } else { at(0) };
            assert_eq!(clock.corrected(at(0)), expected, "{date_s}");
        }
    }

    #[test]
    fn a_correction_is_corrected_and_never_adds_up() {
        let clock = Clock::default();
        assert!(clock.correct_at(at(0), at(80_000)));
        assert!(!clock.correct_at(at(0), at(160_000)));
        assert!(!clock.correct_at(at(10), at(80_011)), "it is right already");
        assert!(clock.correct_at(at(0), at(0)), "and back");
        assert_eq!(clock.corrected(at(5)), at(5));
    }
}
