//! Performs each operation: a body in, an [`Outcome`] or a [`Failure`] out. Knows no HTTP. Waits only for the sealer
//! and for attestation documents.
//!
//! Code that sees a signing key runs inside [`with_burnt_stack`], because moving a secret leaves its bytes behind in
//! dead frames. It waits for nothing.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use enclave_core::{
    AttestRequest, GenerateRequest, HashSeed, IdentityRequest, ImportRequest, KeyPair, Refusal, SignRequest,
    Signer, with_burnt_stack,
};

use crate::api_key::ApiKeys;
use crate::attestor::Attestor;
use crate::entropy;
use crate::nsm::Nsm;
use crate::outcome::{Failure, Outcome};
use crate::restore::{RestorePlaces, Standing};
use crate::sealer::Sealer;
use crate::token_bucket::TokenBucket;
use crate::trusted_clock::TrustedClock;
use configuration::{Operation, RateLimits, Role};

/// A signer that answers requests, from the moment it [opens](Self::open).
pub struct Service<S> {
    attestor: Attestor,
    clock: Arc<TrustedClock>,
    duty: OnceLock<Duty<S>>,
    draining: AtomicBool,
}

/// The parts that requests need.
struct Duty<S> {
    api_keys: ApiKeys,
    /// In locked memory; `None` once wiped. A holder of the lock never waits.
    signer: &'static Mutex<Option<Signer<'static>>>,
    sealer: S,
    seed: HashSeed,
    /// How often keys are generated, if that is limited.
    generation_limit: Option<TokenBucket>,
}

/// A second or more, since what was refused at once is asked again at once.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

impl<S> std::fmt::Debug for Service<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

impl<S: Sealer> Service<S> {
    /// A service that has no secrets yet, and answers that it is not ready. `nsm` tells clients what it is, and `clock`
    /// tells when a ticket has expired.
    #[must_use]
    pub fn closed(nsm: Arc<dyn Nsm>, clock: Arc<TrustedClock>) -> Self {
        let (duty, draining) = (OnceLock::new(), AtomicBool::new(false));
        Self { attestor: Attestor::new(nsm), clock, duty, draining }
    }

    /// The clock that judges tickets.
    pub(crate) fn clock(&self) -> &TrustedClock {
        &self.clock
    }

    /// Takes up its duty; `seed` is for hashing the names in bodies.
    ///
    /// # Panics
    /// If it is open already: a signer has one set of secrets for life.
    pub fn open(
        &self,
        api_keys: ApiKeys,
        signer: &'static Mutex<Option<Signer<'static>>>,
        sealer: S,
        seed: HashSeed,
        rate_limits: RateLimits,
    ) {
        const MINUTE: Duration = Duration::from_secs(60);
        let bucket = |keys: NonZeroU32| TokenBucket::full(keys.get(), MINUTE / keys.get());
        let generation_limit = rate_limits.keys_generated_per_minute.map(bucket);
        let is_first = self.duty.set(Duty { api_keys, signer, sealer, seed, generation_limit }).is_ok();
        assert!(is_first, "a service opens once");
    }

    /// The role of the API key that a client `presented`.
    ///
    /// # Errors
    /// [`Failure::InvalidApiKey`], and [`Failure::KeyServiceUnavailable`] before it is open.
    pub fn admit(&self, presented: Option<&[u8]>) -> Result<Role, Failure> {
        let duty = self.duty()?;
        presented.and_then(|presented| duty.api_keys.role_of(presented)).ok_or(Failure::InvalidApiKey)
    }

    /// Whether requests are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.duty.get().is_some() && !self.draining.load(Ordering::Acquire)
    }

    /// Says that the service is about to stop. What is asked until then is still done.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Wipes every key and the ticket secret. Nothing can be asked any more.
    pub fn wipe(&self) {
        self.drain();
        if let Some(duty) = self.duty.get() {
            // Dropped where it is: taken out first, its bytes would stay behind.
            *duty.signer() = None;
        }
    }

    /// Does what `operation` and `body` ask for. What attests vouches for the key of the connection's TLS too,
    /// `tls_spki` in DER. An import that has to wait for a key service takes one of `restore_places`, as the `standing`
    /// of its connection allows.
    ///
    /// # Errors
    /// [`Failure`]: nothing was done. Should a signature fail, once in 2^256, its ticket is used up all the same.
    pub async fn perform(
        &self,
        operation: Operation,
        body: &mut [u8],
        tls_spki: Option<Arc<[u8]>>,
        restore_places: &RestorePlaces,
        standing: &Standing,
    ) -> Result<Outcome, Failure> {
        let duty = self.duty()?;
        match operation {
            Operation::Generate => with_burnt_stack(|| duty.generate(body)),
            Operation::Sign => with_burnt_stack(|| duty.sign(body, &self.clock)),
            Operation::Destroy => with_burnt_stack(|| duty.destroy(body)),
            Operation::Export => duty.export(body).await,
            Operation::Import => duty.import(body, restore_places, standing).await,
            Operation::Attest => duty.attest(&self.attestor, body, tls_spki).await,
        }
    }

    /// An attestation document that holds `nonce` and vouches for the key of the connection's TLS, `tls_spki` in DER.
    ///
    /// # Errors
    /// [`Failure::Busy`], [`Failure::KeyServiceUnavailable`]
    pub async fn attest(
        &self,
        nonce: Option<Vec<u8>>,
        tls_spki: Option<Arc<[u8]>>,
    ) -> Result<Outcome, Failure> {
        let document = self.attestor.endpoint(nonce, tls_spki).await?;
        Ok(Outcome::Attested(document))
    }

    fn duty(&self) -> Result<&Duty<S>, Failure> {
        self.duty.get().ok_or(Failure::KeyServiceUnavailable)
    }
}

impl<S: Sealer> Duty<S> {
    fn generate(&self, body: &mut [u8]) -> Result<Outcome, Failure> {
        let request = GenerateRequest::parse(body, &self.seed)?;
        // Before the work of making a key, and before it counts; decided again when it is stored.
        self.with_signer(|signer| Ok(signer.has_room_for(&request.identity)?))?;
        if let Some(limit) = &self.generation_limit {
            limit.take().map_err(|wait| Refusal::TooManyRequests { retry_after_s: whole_seconds(wait) })?;
        }
        let pair = KeyPair::generate(entropy::fill)?;
        self.with_signer(|signer| Ok(signer.store_generated(&request.identity, &pair)?))?;
        Ok(Outcome::Generated(*pair.public_key()))
    }

    fn sign(&self, body: &mut [u8], clock: &TrustedClock) -> Result<Outcome, Failure> {
        let request = SignRequest::parse(body, &self.seed)?;
        let now_unix_ms = clock.now_unix_ms();
        // Drawn first: a permit that cannot sign would have cost its ticket.
        let mut aux = [0; 32];
        entropy::fill(&mut aux)?;
        let permit = self.with_signer(|signer| Ok(signer.authorize(request, now_unix_ms)?))?;
        let signature = permit.sign(&aux).map_err(|_| Failure::KeyServiceUnavailable)?;
        Ok(Outcome::Signed(signature))
    }

    fn destroy(&self, body: &mut [u8]) -> Result<Outcome, Failure> {
        let request = IdentityRequest::parse(body, &self.seed)?;
        self.with_signer(|signer| Ok(signer.destroy(&request.identity)?))?;
        Ok(Outcome::Destroyed)
    }

    async fn export(&self, body: &mut [u8]) -> Result<Outcome, Failure> {
        let request = IdentityRequest::parse(body, &self.seed)?;
        // Before a key service is troubled; looked up again when there is something to seal it with.
        if !self.with_signer(|signer| Ok(signer.holds(&request.identity)))? {
            return Err(Refusal::KeyNotFound.into());
        }
        let sealing = self.sealer.prepare_seal().await?;
        with_burnt_stack(|| {
            let key = self.with_signer(|signer| Ok(signer.export(&request.identity)?))?;
            let sealed_key = self.sealer.seal(sealing, &request.identity, &key)?;
            Ok(Outcome::Exported(sealed_key))
        })
    }

    async fn import(
        &self,
        body: &mut [u8],
        places: &RestorePlaces,
        standing: &Standing,
    ) -> Result<Outcome, Failure> {
        let request = ImportRequest::parse(body, &self.seed)?;
        let opening = self.sealer.prepare_open(request.sealed_key, places, standing).await?;
        with_burnt_stack(|| {
            let key = self.sealer.open(opening, &request.identity)?;
            let pair = KeyPair::from(key);
            self.with_signer(|signer| Ok(signer.store_imported(&request.identity, &pair)?))?;
            Ok(Outcome::Imported)
        })
    }

    async fn attest(
        &self,
        attestor: &Attestor,
        body: &mut [u8],
        tls_spki: Option<Arc<[u8]>>,
    ) -> Result<Outcome, Failure> {
        let AttestRequest { identity, nonce } = AttestRequest::parse(body, &self.seed)?;
        let nonce = nonce.map(|nonce| nonce.as_bytes().to_vec());
        // Should the key be destroyed from here on, it is still true where it came from.
        let binding = self.with_signer(|signer| Ok(signer.binding(&identity)?))?;
        let document = attestor.key_proof(&binding, nonce, tls_spki).await?;
        Ok(Outcome::KeyAttested { document, binding })
    }

    fn with_signer<T>(
        &self,
        decide: impl FnOnce(&mut Signer<'static>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut signer = self.signer();
        let _half_changed = AbortOnPanic;
        decide(signer.as_mut().ok_or(Failure::Busy)?)
    }

    fn signer(&self) -> MutexGuard<'_, Option<Signer<'static>>> {
        self.signer.lock().unwrap_or_else(|_| std::process::abort())
    }
}

/// Ends the process if it is dropped by a panic: half a change to keys or nonces is worse than none of them.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::{AbortOnPanic, Duration, Duty, Outcome, Refusal, TokenBucket, whole_seconds};
    use crate::api_key::ApiKeys;
    use crate::outcome::Failure;
    use crate::restore::{RestorePlaces, Standing};
    use crate::sealer::{NotOpened, NotSealed, Sealer};
    use crate::signer_memory::{seed, signer};
    use configuration::{Capacity, RateLimits};
    use enclave_core::{IdentityId, SecretKey};

    struct NoSealer;

    impl Sealer for NoSealer {
        type Sealing = ();
        type Opening = ();

        async fn prepare_seal(&self) -> Result<(), NotSealed> {
            Err(NotSealed)
        }

        async fn prepare_open(&self, _: &[u8], _: &RestorePlaces, _: &Standing) -> Result<(), NotOpened> {
            Err(NotOpened::UnknownForm)
        }

        fn seal(&self, (): (), _: &IdentityId, _: &SecretKey) -> Result<String, NotSealed> {
            Err(NotSealed)
        }

        fn open(&self, (): (), _: &IdentityId) -> Result<SecretKey, NotOpened> {
            Err(NotOpened::UnknownForm)
        }
    }

    /// With room for one key.
    fn duty(generation_limit: Option<TokenBucket>) -> Duty<NoSealer> {
        let capacity = Capacity { max_keys: 1, max_nonces: 1, max_ticket_ttl_s: 1 };
        Duty {
            api_keys: ApiKeys::default(),
            signer: signer(capacity, RateLimits::default(), b"secret", None).unwrap(),
            sealer: NoSealer,
            seed: seed().unwrap(),
            generation_limit,
        }
    }

    const IN_CHILD: &str = "PANIC_UNDER_THE_LOCK";

    /// The test runs itself in a process of its own, which has to die.
    #[test]
    fn a_panic_under_the_lock_ends_the_process() {
        if std::env::var_os(IN_CHILD).is_some() {
            let duty = duty(None);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                duty.with_signer(|_| -> Result<(), Failure> { panic!("half way") })
            }));
            // Reached only if the process survives.
            assert!(outcome.is_ok());
            return;
        }
        let outcome = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "service::tests::a_panic_under_the_lock_ends_the_process", "--test-threads=1"])
            .env(IN_CHILD, "1")
            .output()
            .unwrap();
        const SIGABRT: i32 = 6;
        assert_eq!(outcome.status.signal(), Some(SIGABRT), "{outcome:?}");
    }

    #[test]
    fn a_key_that_does_not_fit_costs_nothing_of_the_limit() {
        let duty = duty(Some(TokenBucket::full(2, Duration::from_secs(3600))));
        let identity = |number: u8| format!("00000000-0000-4000-8000-0000000000{number:02}");
        let generate = |number| {
            let body = format!(r#"{{"identity_id":"{}","alg":"secp256k1"}}"#, identity(number));
            duty.generate(&mut body.into_bytes())
        };
        let destroy = |number| {
            let body = format!(r#"{{"identity_id":"{}"}}"#, identity(number));
            assert!(matches!(duty.destroy(&mut body.into_bytes()), Ok(Outcome::Destroyed)));
        };
        assert!(matches!(generate(1), Ok(Outcome::Generated(_))));
        for _ in 0..5 {
            assert!(matches!(generate(1), Err(Failure::Refused(Refusal::KeyExists))));
            assert!(matches!(generate(2), Err(Failure::Refused(Refusal::AtCapacity))));
        }
        destroy(1);
        assert!(matches!(generate(2), Ok(Outcome::Generated(_))));
        destroy(2);
        assert!(matches!(generate(3), Err(Failure::Refused(Refusal::TooManyRequests { .. }))));
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        for (wait_ms, told_s) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_001, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait_ms)), told_s);
        }
    }

    #[test]
    fn without_a_panic_nothing_ends() {
        drop(AbortOnPanic);
    }
}
