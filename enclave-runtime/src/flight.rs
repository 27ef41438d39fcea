//! One fetch for all callers of the same thing: a caller that comes during a fetch waits for it and shares its result,
//! good or bad. A caller that comes after a failed fetch begins another.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Something that is fetched once and then at hand.
pub(crate) struct Flight<T, E> {
    value: Value<T>,
    /// The turn to fetch, and how the last fetch failed.
    error: Arc<Turn<Option<E>>>,
    /// Fetches that have ended.
    ended: Arc<AtomicU64>,
}

/// A holder of the lock never waits.
type Value<T> = Arc<Mutex<Option<Arc<T>>>>;

impl<T, E> Default for Flight<T, E> {
    fn default() -> Self {
        Self { value: Arc::default(), error: Arc::default(), ended: Arc::default() }
    }
}

impl<T, E> Flight<T, E> {
    /// The result of the last fetch.
    pub(crate) fn at_hand(&self) -> Option<Arc<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Send + Sync + 'static, E: Clone + Send + 'static> Flight<T, E> {
    /// One that brought `value` already.
    pub(crate) fn landed(value: Arc<T>) -> Self {
        Self { value: Arc::new(Mutex::new(Some(value))), ..Self::default() }
    }

    /// The value at hand, if it still `serves`; otherwise the result of `fetch`. A fetch goes on to its end even if
    /// every caller that waited for it has gone.
    ///
    /// # Errors
    /// The fetch's own.
    pub(crate) async fn get(
        &self,
        serves: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, E>> + Send + 'static,
        lost: E,
    ) -> Result<Arc<T>, E> {
        let ended_before = self.ended.load(Ordering::Acquire);
        let error = Arc::clone(&self.error).lock_owned().await;
        if let Some(value) = self.at_hand().filter(|value| serves(value)) {
            return Ok(value);
        }
        if self.ended.load(Ordering::Acquire) != ended_before
            && let Some(error) = &*error
        {
            return Err(error.clone());
        }
        let (value, ended) = (Arc::clone(&self.value), Arc::clone(&self.ended));
        let value = tokio::spawn(land(value, error, ended, fetch)).await.unwrap_or(Err(lost.clone()))?;
        // It counts this use too.
        if serves(&value) { Ok(value) } else { Err(lost) }
    }
}

async fn land<T, E: Clone>(
    value: Value<T>,
    mut error: OwnedMutexGuard<Option<E>>,
    ended: Arc<AtomicU64>,
    fetch: impl Future<Output = Result<T, E>>,
) -> Result<Arc<T>, E> {
    let outcome = fetch.await.map(Arc::new);
    *value.lock().unwrap_or_else(PoisonError::into_inner) = outcome.as_ref().ok().map(Arc::clone);
    *error = outcome.as_ref().err().cloned();
    ended.fetch_add(1, Ordering::Release);
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::Flight;

    async fn fetch(calls: Arc<AtomicU32>, outcome: Result<u32, &'static str>) -> Result<u32, &'static str> {
        calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        outcome
    }

    async fn ask_at_once(
        flight: &Arc<Flight<u32, &'static str>>,
        calls: &Arc<AtomicU32>,
        outcome: Result<u32, &'static str>,
    ) -> Vec<Result<u32, &'static str>> {
        let mut asking = Vec::new();
        for _ in 0..100 {
            let (flight, calls) = (Arc::clone(flight), Arc::clone(calls));
            asking.push(tokio::spawn(async move {
                flight.get(|_| true, fetch(calls, outcome), "lost").await.map(|value| *value)
            }));
        }
        let mut answers = Vec::new();
        for asked in asking {
            answers.push(asked.await.unwrap());
        }
        answers
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_one_fetch_and_its_outcome() {
        let (flight, calls) = (Arc::new(Flight::default()), Arc::new(AtomicU32::new(0)));
        let answers = ask_at_once(&flight, &calls, Err("down")).await;
        assert!(answers.iter().all(|answer| *answer == Err("down")));
        assert_eq!(calls.load(Ordering::SeqCst), 1);

        let answers = ask_at_once(&flight, &calls, Ok(7)).await;
        assert!(answers.iter().all(|answer| *answer == Ok(7)));
        assert_eq!(calls.load(Ordering::SeqCst), 2, "a failure is not kept");

        ask_at_once(&flight, &calls, Ok(8)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2, "a success is");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_longer_serves_is_fetched_anew() {
        let (flight, calls) = (Flight::default(), Arc::new(AtomicU32::new(0)));
        for (value, serves) in [(1, 1), (2, 2)] {
            let got = flight.get(|held| *held == serves, fetch(Arc::clone(&calls), Ok(value)), "lost").await;
            assert_eq!(got, Ok(Arc::new(value)));
        }
        let got = flight.get(|_| false, fetch(Arc::clone(&calls), Ok(3)), "lost").await;
        assert_eq!(got, Err("lost"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_outlives_who_began_it() {
        let (flight, calls) = (Arc::new(Flight::default()), Arc::new(AtomicU32::new(0)));
        let first = flight.get(|_| true, fetch(Arc::clone(&calls), Ok(1)), "lost");
        assert!(tokio::time::timeout(Duration::from_millis(1), first).await.is_err());
        assert_eq!(flight.at_hand(), None);
        let second = flight.get(|_| true, fetch(Arc::clone(&calls), Ok(2)), "lost").await;
        assert_eq!(second, Ok(Arc::new(1)));
        assert_eq!(flight.at_hand(), Some(Arc::new(1)));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
