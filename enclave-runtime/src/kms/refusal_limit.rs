//! Limits how often KMS refuses ciphertexts of clients. A holder of the API key can send ciphertexts that KMS does not
//! open. Each costs a call, an attestation document and a line of the log, which honest clients need too.
//!
//! A ciphertext takes a place before KMS is asked. If KMS opens it, the place is free at once, so restores are not
//! limited. If KMS refuses it, the place is free a second later. A ciphertext without a place waits, in the order of
//! arrival. One that KMS has just refused is refused again without a call.
//!
//! A client whose last backup opened needs no place. It needs a good backup for each refusal, so it cannot send more of
//! one than of the other. A client whose backups are refused gets half of the places at most, so a client that begins a
//! restore waits for half of them and not for everything that the others have sent.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::EncryptionContext;
use super::error::KmsError;
use crate::restore::Lane;

/// Ciphertexts that KMS is asked about at one time, and refusals in a second. At the 60 ms that KMS takes for a call,
/// refusals use half of the calls in flight and leave the other half to honest clients.
const PLACES: usize = 64;

/// Of these places, those for clients whose backups KMS refuses.
const PLACES_FOR_REFUSED: usize = PLACES / 2;

/// From a refusal until its place is free.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The longest wait for a place. 96 requests of clients whose backups KMS refuses may wait by default. In their
/// half of the places, that takes 3 s.
const PLACE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a refusal is remembered: a client that repeats a ciphertext costs one call in this time.
const MEMORY_TIME: Duration = Duration::from_secs(10);

/// Refusals that are remembered, in 48 KiB. The places allow 640 of them in [`MEMORY_TIME`].
const MAX_REMEMBERED: usize = 1024;

/// The limit, and what KMS refused.
pub(super) struct RefusalLimit {
    places: Arc<Semaphore>,
    places_for_refused: Arc<Semaphore>,
    /// With the time until which each is remembered, the oldest first.
    refused: Mutex<VecDeque<(Instant, CiphertextName)>>,
}

/// The SHA-256 of a ciphertext and of the context that it is to be decrypted with. Without the context, a client could
/// have a good ciphertext remembered as refused: it would send it in a backup of the other form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CiphertextName([u8; 32]);

impl CiphertextName {
    fn of(ciphertext: &[u8], context: EncryptionContext<'_>) -> Self {
        let mut hash = Sha256::new();
        // With the lengths, no ciphertext can begin like a context.
        hash.update(context.len().to_be_bytes());
        for text in context.iter().flat_map(|(name, value)| [name, value]) {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        hash.update(ciphertext);
        Self(hash.finalize().into())
    }
}

impl RefusalLimit {
    /// A limit that nothing has counted against.
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            places_for_refused: Arc::new(Semaphore::new(PLACES_FOR_REFUSED)),
            refused: Mutex::default(),
        }
    }

    /// The result of `decrypt` on `ciphertext` with `context`, when `lane` has a place for it.
    ///
    /// # Errors
    /// That of `decrypt`; [`KmsError::InvalidCiphertext`] for a ciphertext that KMS has just refused, and
    /// [`KmsError::Crowded`] if no place was free in time.
    pub(super) async fn ask<T>(
        &self,
        lane: Lane,
        ciphertext: &[u8],
        context: EncryptionContext<'_>,
        decrypt: impl Future<Output = Result<T, KmsError>>,
    ) -> Result<T, KmsError> {
        let name = CiphertextName::of(ciphertext, context);
        self.check(name)?;
        let places = timeout(PLACE_PATIENCE, self.places(lane)).await.map_err(|_| KmsError::Crowded)?;
        // While it waited, the same ciphertext may have been refused.
        self.check(name)?;
        let outcome = decrypt.await;
        if let Err(error) = &outcome {
            if error.is_of_ciphertext() {
                self.remember(name);
            }
            if error.is_refusal() {
                tokio::spawn(async move {
                    tokio::time::sleep(REFUSAL_TIME).await;
                    drop(places);
                });
            }
        }
        outcome
    }

    /// The places that a ciphertext takes in `lane`. No semaphore is ever closed, so each place comes.
    async fn places(&self, lane: Lane) -> [Option<OwnedSemaphorePermit>; 2] {
        let place = async |places: &Arc<Semaphore>| Arc::clone(places).acquire_owned().await.ok();
        match lane {
            Lane::Proven => [None, None],
            Lane::Unknown => [place(&self.places).await, None],
            // The rarer one first: a client that waits for it holds nothing that others wait for.
            Lane::Refused => [place(&self.places_for_refused).await, place(&self.places).await],
        }
    }

    fn check(&self, name: CiphertextName) -> Result<(), KmsError> {
        let mut refused = self.refused();
        let now = Instant::now();
        while refused.front().is_some_and(|(until, _)| *until <= now) {
            refused.pop_front();
        }
        let was_refused = refused.iter().any(|(_, remembered)| *remembered == name);
        if was_refused { Err(KmsError::InvalidCiphertext) } else { Ok(()) }
    }

    fn remember(&self, name: CiphertextName) {
        let mut refused = self.refused();
        if refused.len() == MAX_REMEMBERED {
            refused.pop_front();
        }
        refused.push_back((Instant::now() + MEMORY_TIME, name));
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<(Instant, CiphertextName)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::{
        CiphertextName, MAX_REMEMBERED, MEMORY_TIME, PLACE_PATIENCE, PLACES, REFUSAL_TIME, RefusalLimit,
    };
    use crate::kms::{EncryptionContext, KmsError};
    use crate::restore::Lane;

    const CONTEXT: EncryptionContext<'static> = &[("nitro-signer", "sealed-key")];

    const LATENCY: Duration = Duration::from_millis(60);

    /// A KMS that answers everything alike, and counts.
    #[derive(Clone)]
    struct Kms {
        limit: Arc<RefusalLimit>,
        outcome: Result<(), KmsError>,
        lane: Lane,
        calls: Arc<AtomicU32>,
    }

    impl Kms {
        fn that(outcome: Result<(), KmsError>) -> Self {
            let (limit, calls) = (Arc::new(RefusalLimit::new()), Arc::default());
            Self { limit, outcome, lane: Lane::Unknown, calls }
        }

        async fn ask(&self, ciphertext: &[u8], context: EncryptionContext<'_>) -> Result<(), KmsError> {
            let decrypt = async {
                self.calls.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(LATENCY).await;
                self.outcome.clone()
            };
            self.limit.ask(self.lane, ciphertext, context, decrypt).await
        }

        /// Asks about so many ciphertexts at once, no two of them alike; gives how long the last took.
        async fn ask_at_once(&self, count: usize) -> Duration {
            let started = Instant::now();
            let mut asking = JoinSet::new();
            for ciphertext in 0..count {
                let kms = self.clone();
                asking.spawn(async move { kms.ask(&ciphertext.to_be_bytes(), CONTEXT).await });
            }
            while let Some(asked) = asking.join_next().await {
                assert_eq!(asked.unwrap(), self.outcome);
            }
            started.elapsed()
        }

        fn calls(&self) -> u32 {
            self.calls.load(Ordering::SeqCst)
        }
    }

    fn refused() -> KmsError {
        KmsError::Refused { kind: "AccessDeniedException".to_owned(), message: String::new() }
    }

    fn troubled() -> KmsError {
        KmsError::Troubled { kind: "ThrottlingException".to_owned(), message: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_kms_opens_and_what_fails_by_chance_is_not_limited() {
        for outcome in [Ok(()), Err(troubled()), Err(KmsError::Resting), Err(KmsError::NotAttested)] {
            let kms = Kms::that(outcome);
            let took = kms.ask_at_once(10 * PLACES).await;
            assert!(took < 11 * LATENCY, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_so_many_in_a_second() {
        for outcome in [KmsError::InvalidCiphertext, KmsError::ForeignKey, refused()] {
            let kms = Kms::that(Err(outcome));
            let took = kms.ask_at_once(10 * PLACES).await;
            assert!(took >= 9 * REFUSAL_TIME, "{took:?}");
            assert!(took < 10 * (REFUSAL_TIME + LATENCY), "{took:?}");
            assert_eq!(kms.calls() as usize, 10 * PLACES);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_ciphertext_costs_one_call_for_a_while() {
        for outcome in [KmsError::InvalidCiphertext, KmsError::ForeignKey] {
            let kms = Kms::that(Err(outcome.clone()));
            assert_eq!(kms.ask(b"garbage", CONTEXT).await, Err(outcome));
            assert!(kms.ask(b"other garbage", CONTEXT).await.is_err());
            assert!(kms.ask(b"garbage", &[]).await.is_err());
            assert_eq!(kms.calls(), 3);
            tokio::time::advance(MEMORY_TIME - 3 * LATENCY).await;
            for _ in 0..1000 {
                assert_eq!(kms.ask(b"garbage", CONTEXT).await, Err(KmsError::InvalidCiphertext));
            }
            assert_eq!(kms.calls(), 3);
            tokio::time::advance(LATENCY).await;
            assert!(kms.ask(b"garbage", CONTEXT).await.is_err());
            assert_eq!(kms.calls(), 4);
        }
    }

    /// Garbage of known senders fills its half. A newcomer is asked about within the second, a proven client at once.
    #[tokio::test(start_paused = true)]
    async fn an_honest_client_does_not_wait_for_all_the_garbage() {
        let mut garbage = Kms::that(Err(refused()));
        garbage.lane = Lane::Refused;
        let sending = {
            let garbage = garbage.clone();
            tokio::spawn(async move { garbage.ask_at_once(10 * PLACES).await })
        };
        tokio::time::sleep(Duration::from_secs(3)).await;
        for (lane, longest) in [(Lane::Proven, LATENCY), (Lane::Unknown, LATENCY)] {
            let honest = Kms { lane, outcome: Ok(()), ..garbage.clone() };
            let started = Instant::now();
            assert_eq!(honest.ask(b"a backup", CONTEXT).await, Ok(()));
            assert!(started.elapsed() <= longest, "{lane:?} waited {:?}", started.elapsed());
        }
        assert!(!sending.is_finished());
        sending.abort();
    }

    /// KMS may answer otherwise in a moment: a policy has changed, or KMS is back.
    #[tokio::test(start_paused = true)]
    async fn no_other_failure_is_remembered() {
        for outcome in [
            refused(),
            troubled(),
            KmsError::Unreachable("gone"),
            KmsError::NotAttested,
            KmsError::Resting,
            KmsError::ClockCorrected,
            KmsError::Unintelligible,
            KmsError::NoPlace,
            KmsError::Lost,
        ] {
            let kms = Kms::that(Err(outcome.clone()));
            for _ in 0..3 {
                assert_eq!(kms.ask(b"a backup", CONTEXT).await, Err(outcome.clone()));
            }
            assert_eq!(kms.calls(), 3, "{outcome}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let limit = Arc::new(RefusalLimit::new());
        let mut hanging = JoinSet::new();
        for ciphertext in 0..PLACES {
            let limit = Arc::clone(&limit);
            hanging.spawn(async move {
                let hangs = std::future::pending::<Result<(), _>>();
                limit.ask(Lane::Unknown, &ciphertext.to_be_bytes(), CONTEXT, hangs).await
            });
        }
        while limit.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        let outcome = limit.ask(Lane::Unknown, b"one more", CONTEXT, async { Ok(()) }).await;
        assert_eq!(outcome, Err(KmsError::Crowded));
        assert!(started.elapsed() >= PLACE_PATIENCE);
        hanging.shutdown().await;
        assert_eq!(limit.ask(Lane::Unknown, b"one more", CONTEXT, async { Ok(()) }).await, Ok(()));
    }

    #[tokio::test]
    async fn only_so_many_refusals_are_remembered() {
        let limit = RefusalLimit::new();
        let name = |number: usize| CiphertextName::of(&number.to_be_bytes(), CONTEXT);
        for number in 0..=MAX_REMEMBERED {
            limit.remember(name(number));
        }
        assert_eq!(limit.refused().len(), MAX_REMEMBERED);
        assert_eq!(limit.check(name(0)), Ok(()));
        assert!(limit.check(name(1)).is_err() && limit.check(name(MAX_REMEMBERED)).is_err());
    }

    #[test]
    fn no_ciphertext_has_the_name_of_another_with_another_context() {
        let whole = CiphertextName::of(b"ciphertext", CONTEXT);
        let mut hashed = 1_usize.to_be_bytes().to_vec();
        for text in ["nitro-signer", "sealed-key"] {
            hashed.extend(text.len().to_be_bytes());
            hashed.extend(text.as_bytes());
        }
        hashed.extend(b"ciphertext");
        for context in [&[][..], &[("", "")]] {
            for start in 0..hashed.len() {
                assert_ne!(CiphertextName::of(&hashed[start..], context), whole, "{context:?}, {start}");
            }
        }
    }
}
