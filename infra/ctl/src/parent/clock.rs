//! The error of the parent's clock, as chrony reports it.

use std::fmt;

/// Why `chronyc tracking` says nothing of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTracking;

impl fmt::Display for NotTracking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("expected a line `System time : N seconds fast of NTP time` and a line `Leap status`")
    }
}

impl std::error::Error for NotTracking {}

/// The state of the clock as chrony reports it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tracking {
    /// How many seconds the clock is ahead of the time servers; behind them if negative.
    Synchronized {
        /// In seconds.
        offset_s: f64,
    },
    /// No time server was reached.
    NotSynchronized,
}

impl Tracking {
    /// Reads the output of `chronyc tracking`.
    ///
    /// # Errors
    /// [`NotTracking`]
    pub fn read(text: &str) -> Result<Self, NotTracking> {
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim())
            })
        };
        let leap = value("Leap status").ok_or(NotTracking)?;
        if leap == "Not synchronised" {
            return Ok(Self::NotSynchronized);
        }
        if !matches!(leap, "Normal" | "Insert second" | "Delete second") {
            return Err(NotTracking);
        }
        let words: Vec<&str> = value("System time").ok_or(NotTracking)?.split(' ').collect();
        let [seconds, "seconds", direction, "of", "NTP", "time"] = words[..] else { return Err(NotTracking) };
        let seconds: f64 = seconds.parse().map_err(|_| NotTracking)?;
        match direction {
            "fast" => Ok(Self::Synchronized { offset_s: seconds }),
            "slow" => Ok(Self::Synchronized { offset_s: -seconds }),
            _ => Err(NotTracking),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NotTracking, Tracking};

    const NORMAL: &str = include_str!("../../../tests/transcripts/parent/chronyc-tracking.txt");
    const FAST: &str = include_str!("../../../tests/transcripts/parent/chronyc-tracking-fast.txt");
    const UNSYNCHRONIZED: &str =
        include_str!("../../../tests/transcripts/parent/chronyc-tracking-unsynchronized.txt");

    #[test]
    fn the_offset_has_a_sign() {
        assert_eq!(Tracking::read(NORMAL), Ok(Tracking::Synchronized { offset_s: -0.000_000_626 }));
        assert_eq!(Tracking::read(FAST), Ok(Tracking::Synchronized { offset_s: 0.000_072_261 }));
        assert_eq!(Tracking::read(UNSYNCHRONIZED), Ok(Tracking::NotSynchronized));
    }

    #[test]
    fn another_text_is_refused() {
        for text in ["", "506 Cannot talk to daemon\n", "<html></html>", &NORMAL.replace("slow", "late")] {
            assert_eq!(Tracking::read(text), Err(NotTracking), "{text}");
        }
        // The last line is the one about leaps.
        let end = NORMAL.trim_end().len();
        for length in 0..end {
            assert_eq!(Tracking::read(&NORMAL[..length]), Err(NotTracking), "{length}");
        }
    }
}
