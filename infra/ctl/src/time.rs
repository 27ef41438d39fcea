//! Times for people.

use x509_parser::time::ASN1Time;

/// A day, in seconds.
pub const DAY_S: u64 = 24 * 3600;

/// UTC in the form of RFC 3339, to the second: `2026-11-26T02:19:13Z`. A time outside the calendar is in seconds.
#[must_use]
pub fn utc(unix_s: u64) -> String {
    match i64::try_from(unix_s).map(ASN1Time::from_timestamp) {
        Ok(Ok(time)) => {
            let time = time.to_datetime();
            let (date, clock) = ((time.year(), u8::from(time.month()), time.day()), time.to_hms());
            format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", date.0, date.1, date.2, clock.0, clock.1, clock.2)
        }
        _ => format!("{unix_s} s after 1970"),
    }
}

/// How long ago `then` was, or how far ahead.
#[must_use]
pub fn distance(now_unix_ms: u64, then_unix_ms: u64) -> String {
    let text = |ms: u64| match ms / 1000 {
        s if s < 60 => format!("{}.{} s", s, ms % 1000 / 100),
        s if s < 3600 => format!("{} min", s / 60),
        s if s < 2 * DAY_S => format!("{} h", s / 3600),
        s => format!("{} days", s / DAY_S),
    };
    if then_unix_ms > now_unix_ms {
        format!("{} ahead", text(then_unix_ms - now_unix_ms))
    } else {
        format!("{} ago", text(now_unix_ms - then_unix_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY_S, distance, utc};

    /// As `date -u -d @… +%FT%TZ` tells them.
    #[test]
    fn times_are_those_of_date() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(utc(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(utc(u64::MAX), format!("{} s after 1970", u64::MAX));
    }

    #[test]
    fn distances_are_short() {
        assert_eq!(distance(10_000, 9749), "0.2 s ago");
        assert_eq!(distance(0, 59_999), "59.9 s ahead");
        assert_eq!(distance(DAY_S * 1000, 0), "24 h ago");
        assert_eq!(distance(3_600_000, 60_000), "59 min ago");
        assert_eq!(distance(DAY_S * 3000, 0), "3 days ago");
    }
}
