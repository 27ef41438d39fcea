//! Warns in time that a certificate expires.

use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// The days before the end at which a warning is due: from "plan it" to "now".
const WARNING_DAYS: [u32; 5] = [30, 14, 7, 3, 1];

/// The warnings that one certificate has had.
#[derive(Debug)]
pub(crate) struct Expiry {
    not_after_unix_s: u64,
    said: Option<Notice>,
}

/// The warnings; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// It ends within so many days (of [`WARNING_DAYS`]).
    Within(std::cmp::Reverse<u32>),
    /// It has ended.
    Expired,
}

impl Expiry {
    pub(crate) const fn of(not_after_unix_s: u64) -> Self {
        Self { not_after_unix_s, said: None }
    }

    /// Logs what there is to say at `now_unix_s`, if that has not been said yet.
    pub(crate) fn watch(&mut self, now_unix_s: u64) {
        match self.due(now_unix_s) {
            None => {}
            Some(Notice::Within(std::cmp::Reverse(days))) => {
                tracing::warn!(
                    not_after_unix_s = self.not_after_unix_s,
                    "the TLS certificate expires within {days} days"
                );
            }
            Some(Notice::Expired) => {
                tracing::error!(
                    not_after_unix_s = self.not_after_unix_s,
                    "the TLS certificate has expired, and clients refuse it"
                );
            }
        }
    }

    fn due(&mut self, now_unix_s: u64) -> Option<Notice> {
        let notice = self.notice(now_unix_s).filter(|notice| self.said.is_none_or(|said| said < *notice))?;
        self.said = Some(notice);
        Some(notice)
    }

    fn notice(&self, now_unix_s: u64) -> Option<Notice> {
        if now_unix_s > self.not_after_unix_s {
            return Some(Notice::Expired);
        }
        let left = Duration::from_secs(self.not_after_unix_s - now_unix_s);
        let days = WARNING_DAYS.into_iter().rev().find(|days| left <= DAY * *days)?;
        Some(Notice::Within(std::cmp::Reverse(days)))
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::{Expiry, Notice};

    const DAY_S: u64 = 86_400;

    #[test]
    fn each_thing_is_said_once_and_in_time() {
        let end = 1000 * DAY_S;
        let mut expiry = Expiry::of(end);
        let mut said = Vec::new();
        for hour in 0..24 * 1002 {
            if let Some(notice) = expiry.due(hour * 3600) {
                said.push((notice, (hour * 3600).abs_diff(end) / 3600));
            }
        }
        let within = |days| Notice::Within(Reverse(days));
        assert_eq!(
            said,
            [
                (within(30), 720),
                (within(14), 336),
                (within(7), 168),
                (within(3), 72),
                (within(1), 24),
                (Notice::Expired, 1)
            ]
        );
    }

    /// Started late, it says the one thing that counts; and a clock that goes back makes it repeat nothing.
    #[test]
    fn only_what_is_true_now_is_said() {
        let mut expiry = Expiry::of(1000 * DAY_S);
        assert_eq!(expiry.due(995 * DAY_S), Some(Notice::Within(Reverse(7))));
        assert_eq!(expiry.due(980 * DAY_S), None);
        assert_eq!(expiry.due(1001 * DAY_S), Some(Notice::Expired));
        assert_eq!(expiry.due(2000 * DAY_S), None);
    }
}
