//! A token bucket: so many uses at once, and again at an even pace.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bucket that is full at first. Each use takes a token, and the pace brings one back.
///
/// It stores the moment at which it is full again, and not the number of tokens. So no task has to fill it.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    pace: Duration,
    /// How far ahead the moment may be at which it is full, for there to be a token left.
    slack: Duration,
    full_at: Mutex<Instant>,
}

impl TokenBucket {
    /// A bucket of `tokens`, one of which comes back every `pace`.
    pub(crate) fn full(tokens: u32, pace: Duration) -> Self {
        let slack = pace * tokens.saturating_sub(1);
        Self { pace, slack, full_at: Mutex::new(Instant::now()) }
    }

    /// Takes a token, or tells how long it takes until there is one.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (*full_at).max(now);
        match (from - now).checked_sub(self.slack) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_at = from + self.pace;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::TokenBucket;

    const PACE: Duration = Duration::from_millis(250);

    fn take_all(bucket: &TokenBucket) -> usize {
        (0..1000).filter(|_| bucket.take().is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_what_it_holds_and_then_what_comes_back() {
        let bucket = TokenBucket::full(5, PACE);
        assert_eq!(take_all(&bucket), 5);
        assert_eq!(bucket.take(), Err(PACE));
        tokio::time::advance(PACE - Duration::from_millis(1)).await;
        assert_eq!(bucket.take(), Err(Duration::from_millis(1)));
        assert_eq!(take_all(&bucket), 0, "what was refused cost nothing, and brought nothing");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(take_all(&bucket), 1);
        tokio::time::advance(3 * PACE).await;
        assert_eq!(take_all(&bucket), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_holds_more_than_it_did_at_first() {
        let bucket = TokenBucket::full(5, PACE);
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert_eq!(take_all(&bucket), 5);
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert_eq!(take_all(&bucket), 5);
    }
}
