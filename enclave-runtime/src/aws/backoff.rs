//! How long to wait before trying again: full jitter, so that clients that failed together do not come back together
//! (AWS Architecture Blog, "Exponential Backoff And Jitter").

use std::time::Duration;

use crate::entropy;

/// Waits between tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The longest first wait.
    pub(crate) base: Duration,
    /// The longest wait of all.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// The wait after `failures` tries that failed: anything from nothing to the base doubled as often, or the cap.
    pub(crate) fn wait(&self, failures: u32) -> Duration {
        let longest = self.longest(failures);
        let mut random = [0; 8];
        // Without randomness the longest wait does no harm.
        if entropy::fill(&mut random).is_err() {
            return longest;
        }
        let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(u64::from_le_bytes(random) % nanoseconds.saturating_add(1))
    }

    fn longest(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

    #[test]
    fn doubles_up_to_its_cap() {
        let longest: Vec<u128> = (1..8).map(|failures| BACKOFF.longest(failures).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(BACKOFF.longest(u32::MAX), BACKOFF.cap);
    }

    #[test]
    fn waits_anything_from_nothing_to_the_longest() {
        let waits: Vec<Duration> = (0..1000).map(|_| BACKOFF.wait(2)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(200)));
        // Each fails by chance once in 10^45 or more runs.
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(20)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(180)));
    }
}
