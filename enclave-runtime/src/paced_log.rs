//! Log lines about clients' actions, so few that no client can fill the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::token_bucket::TokenBucket;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Tells when a line may be written about events of one kind.
#[derive(Debug)]
pub(crate) struct PacedLog {
    lines: TokenBucket,
    /// Events since the last line.
    events: AtomicU64,
}

impl PacedLog {
    /// Up to `burst` lines at once, and one more in each [`INTERVAL`].
    pub(crate) fn new(burst: u32) -> Self {
        Self { lines: TokenBucket::full(burst, INTERVAL), events: AtomicU64::new(0) }
    }

    /// Counts an event. If a line is due, gives how many events it stands for, this one included.
    pub(crate) fn due(&self) -> Option<u64> {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.lines.take().ok().map(|()| self.events.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{INTERVAL, PacedLog};

    #[tokio::test(start_paused = true)]
    async fn a_line_stands_for_all_events_since_the_one_before() {
        let log = PacedLog::new(1);
        assert_eq!(log.due(), Some(1));
        for _ in 0..5 {
            assert_eq!(log.due(), None);
        }
        tokio::time::advance(INTERVAL).await;
        assert_eq!(log.due(), Some(6));
        assert_eq!(log.due(), None);
    }
}
