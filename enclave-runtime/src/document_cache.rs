//! The attestation documents without a nonce: one for each TLS key, shared by all requests within a minute. A failure
//! to make one is shared too, for a second.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::flight::Flight;
use crate::outcome::Failure;

/// A document is not given out when it is older. Long enough that a crowd costs the NSM nothing; and short beside the
/// five minutes after which verifiers call a document stale.
const MAX_AGE: Duration = Duration::from_secs(60);

/// How long a failure is shared. Anybody may ask, so an NSM that refuses is asked once in this time, and the log has
/// one line of it. Short, so that clients get a document soon after the NSM makes them again.
const FAILURE_TIME: Duration = Duration::from_secs(1);

/// TLS keys at one time. A signer has one; for as long as connections last that were made before it was replaced, two.
/// With more, documents are made again before their time.
const MAX_KEYS: usize = 8;

/// Documents by the public key they vouch for; `None` is no TLS.
#[derive(Default)]
pub(crate) struct DocumentCache(Mutex<Vec<Entry>>);

struct Entry {
    tls_spki: Option<Arc<[u8]>>,
    flight: Arc<Flight<Outcome, Failure>>,
}

/// The NSM's answer to one request.
struct Outcome {
    document: Result<Vec<u8>, Failure>,
    /// Of a document, from before it was made, so that its age is never taken for less than it is. Of a failure, from
    /// when it was known.
    since: Instant,
}

impl Outcome {
    fn may_be_shared(&self) -> bool {
        let time = if self.document.is_ok() { MAX_AGE } else { FAILURE_TIME };
        self.since.elapsed() < time
    }
}

impl DocumentCache {
    /// The document for `tls_spki`: the one at hand, or the one that `attest` makes. Requests meanwhile wait for it
    /// too.
    ///
    /// # Errors
    /// The error of `attest`, of this call or of one within the last second. [`Failure::KeyServiceUnavailable`] if it
    /// took so long that the document is too old.
    pub(crate) async fn get(
        &self,
        tls_spki: Option<Arc<[u8]>>,
        attest: impl Future<Output = Result<Vec<u8>, Failure>> + Send + 'static,
    ) -> Result<Vec<u8>, Failure> {
        let fetch = async move {
            let asked = Instant::now();
            let document = attest.await;
            let since = if document.is_ok() { asked } else { Instant::now() };
            Ok(Outcome { document, since })
        };
        let flight = self.flight(tls_spki);
        let outcome = flight.get(Outcome::may_be_shared, fetch, Failure::KeyServiceUnavailable).await?;
        outcome.document.clone()
    }

    fn flight(&self, tls_spki: Option<Arc<[u8]>>) -> Arc<Flight<Outcome, Failure>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The last is the one that was asked for last.
        let entry = match entries.iter().position(|entry| entry.tls_spki == tls_spki) {
            Some(position) => entries.remove(position),
            None => Entry { tls_spki, flight: Arc::default() },
        };
        let flight = Arc::clone(&entry.flight);
        if entries.len() == MAX_KEYS {
            entries.remove(0);
        }
        entries.push(entry);
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::Duration;

    use super::{DocumentCache, FAILURE_TIME, MAX_AGE, MAX_KEYS};
    use crate::outcome::Failure;

    /// Documents that are numbered.
    #[derive(Default)]
    struct Maker(Arc<AtomicU8>);

    impl Maker {
        async fn ask(&self, cache: &DocumentCache, key: Option<u8>) -> Result<u8, Failure> {
            let made = Arc::clone(&self.0);
            let attest = async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(vec![made.fetch_add(1, Ordering::SeqCst) + 1])
            };
            let tls_spki = key.map(|key| Arc::from([key]));
            cache.get(tls_spki, attest).await.map(|document| document[0])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_shared_for_a_minute_and_not_longer() {
        let (cache, maker) = (DocumentCache::default(), Maker::default());
        assert_eq!(maker.ask(&cache, None).await, Ok(1));
        tokio::time::advance(MAX_AGE - Duration::from_millis(21)).await;
        assert_eq!(maker.ask(&cache, None).await, Ok(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(maker.ask(&cache, None).await, Ok(2), "the time that it took is part of its age");
        tokio::time::advance(2 * MAX_AGE).await;
        assert_eq!(maker.ask(&cache, None).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_one() {
        let (cache, maker) = (DocumentCache::default(), Maker::default());
        let (first, second, third) =
            tokio::join!(maker.ask(&cache, None), maker.ask(&cache, None), maker.ask(&cache, None));
        assert_eq!([first, second, third], [Ok(1); 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_tls_key_has_its_own() {
        let (cache, maker) = (DocumentCache::default(), Maker::default());
        for key in [None, Some(1), Some(2)] {
            assert_eq!(maker.ask(&cache, key).await, Ok(key.map_or(1, |key| key + 1)));
        }
        for key in [Some(2), None, Some(1)] {
            assert_eq!(maker.ask(&cache, key).await, Ok(key.map_or(1, |key| key + 1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_key_that_was_not_asked_for_the_longest_makes_room() {
        let (cache, maker) = (DocumentCache::default(), Maker::default());
        let keys = u8::try_from(MAX_KEYS).unwrap();
        for key in 1..=keys {
            assert_eq!(maker.ask(&cache, Some(key)).await, Ok(key));
        }
        assert_eq!(maker.ask(&cache, Some(1)).await, Ok(1));
        assert_eq!(maker.ask(&cache, None).await, Ok(keys + 1));
        assert_eq!(maker.ask(&cache, Some(1)).await, Ok(1));
        assert_eq!(maker.ask(&cache, Some(2)).await, Ok(keys + 2), "had made room");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_for_a_second_by_those_who_want_the_same() {
        let (cache, maker) = (DocumentCache::default(), Maker::default());
        let refused = || async { Err(Failure::KeyServiceUnavailable) };
        assert_eq!(cache.get(None, refused()).await, Err(Failure::KeyServiceUnavailable));
        assert_eq!(maker.ask(&cache, Some(1)).await, Ok(1));
        tokio::time::advance(FAILURE_TIME - Duration::from_millis(50)).await;
        assert_eq!(maker.ask(&cache, None).await, Err(Failure::KeyServiceUnavailable));
        tokio::time::advance(Duration::from_millis(50)).await;
        assert_eq!(maker.ask(&cache, None).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_comes_too_late_is_not_given() {
        let (cache, maker) = (DocumentCache::default(), Maker::default());
        let late = async {
            tokio::time::sleep(MAX_AGE).await;
            Ok(vec![0])
        };
        assert_eq!(cache.get(None, late).await, Err(Failure::KeyServiceUnavailable));
        assert_eq!(maker.ask(&cache, None).await, Ok(1));
    }
}
