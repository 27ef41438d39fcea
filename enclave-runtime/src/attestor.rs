//! Attestation documents for clients, at most as many as the NSM can spare.
//!
//! The NSM makes one document at a time, and a call to KMS needs one too. So there are turns: the public has at most
//! one document in the making, and so have the holders of the API key, however many of them wait. A call to KMS waits
//! for these two and no more. Signing needs no document at all.

use std::sync::Arc;
use std::time::Duration;

use enclave_core::KeyBinding;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::document_cache::DocumentCache;
use crate::nsm::{AttestationRequest, Nsm};
use crate::outcome::Failure;
use crate::token_bucket::TokenBucket;

/// Documents with a nonce that the public may have at once, for a fleet of clients that starts: each wants its own.
const PUBLIC_BURST: u32 = 32;

/// After these, one each quarter of a second. The time of real hardware for a document is not known here. If it is a
/// tenth of a second, the public leaves the NSM idle for more than half of the time.
const PUBLIC_PACE: Duration = Duration::from_millis(250);

/// The longest wait for a document, and for the turn before it: the NSM takes milliseconds, so whole bursts are through
/// by then. One that hangs keeps no connection for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the NSM on behalf of clients.
pub(crate) struct Attestor {
    nsm: Arc<dyn Nsm>,
    with_nonce: TokenBucket,
    without_nonce: DocumentCache,
    turn_of_the_public: Arc<Mutex<()>>,
    turn_of_key_proofs: Arc<Mutex<()>>,
}

impl Attestor {
    pub(crate) fn new(nsm: Arc<dyn Nsm>) -> Self {
        Self {
            nsm,
            with_nonce: TokenBucket::full(PUBLIC_BURST, PUBLIC_PACE),
            without_nonce: DocumentCache::default(),
            turn_of_the_public: Arc::default(),
            turn_of_key_proofs: Arc::default(),
        }
    }

    /// A document for the public, which vouches for the TLS key `tls_spki` (DER). With a nonce it is made for the
    /// client that chose the nonce. Without one it may be a minute old.
    ///
    /// # Errors
    /// [`Failure::Busy`] when too many asked for one with a nonce, [`Failure::KeyServiceUnavailable`]
    pub(crate) async fn endpoint(
        &self,
        nonce: Option<Vec<u8>>,
        tls_spki: Option<Arc<[u8]>>,
    ) -> Result<Vec<u8>, Failure> {
        let is_shared = nonce.is_none();
        if !is_shared && self.with_nonce.take().is_err() {
            return Err(Failure::Busy);
        }
        let content = Content {
            user_data: tls_spki.as_ref().map(|tls_spki| Sha256::digest(tls_spki).into()),
            tls_spki: tls_spki.clone(),
            nonce,
        };
        let made = made(Arc::clone(&self.nsm), Arc::clone(&self.turn_of_the_public), content);
        if is_shared { self.without_nonce.get(tls_spki, made).await } else { made.await }
    }

    /// A document that vouches for `binding`, and for the TLS key `tls_spki` (DER).
    ///
    /// # Errors
    /// [`Failure::KeyServiceUnavailable`]
    pub(crate) async fn key_proof(
        &self,
        binding: &KeyBinding,
        nonce: Option<Vec<u8>>,
        tls_spki: Option<Arc<[u8]>>,
    ) -> Result<Vec<u8>, Failure> {
        let content = Content { tls_spki, user_data: Some(binding.hash()), nonce };
        made(Arc::clone(&self.nsm), Arc::clone(&self.turn_of_key_proofs), content).await
    }
}

/// The content of a requested document.
struct Content {
    tls_spki: Option<Arc<[u8]>>,
    user_data: Option<[u8; 32]>,
    nonce: Option<Vec<u8>>,
}

async fn made(nsm: Arc<dyn Nsm>, turn: Arc<Mutex<()>>, content: Content) -> Result<Vec<u8>, Failure> {
    timeout(PATIENCE, made_in_turn(nsm, turn, content)).await.unwrap_or_else(|_| {
        tracing::error!("no attestation document: the nsm takes too long");
        Err(Failure::KeyServiceUnavailable)
    })
}

async fn made_in_turn(nsm: Arc<dyn Nsm>, turn: Arc<Mutex<()>>, content: Content) -> Result<Vec<u8>, Failure> {
    let turn = turn.lock_owned().await;
    let attest = move || {
        // Held until it is done, even if the client has gone.
        let _turn = turn;
        nsm.attest(&AttestationRequest {
            public_key: content.tls_spki.as_deref(),
            user_data: content.user_data.as_ref().map(<[u8; 32]>::as_slice),
            nonce: content.nonce.as_deref(),
        })
    };
    match tokio::task::spawn_blocking(attest).await {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => {
            tracing::error!(%error, "no attestation document");
            Err(Failure::KeyServiceUnavailable)
        }
        Err(_) => Err(Failure::KeyServiceUnavailable),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use enclave_core::{IdentityId, KeyBinding, KeyOrigin, SecretKey};
    use sha2::{Digest as _, Sha256};
    use zeroize::Zeroizing;

    use super::{Attestor, PATIENCE, PUBLIC_BURST, PUBLIC_PACE};
    use crate::nsm::{AttestationRequest, Nsm, NsmUnavailable, Pcr};
    use crate::outcome::Failure;

    /// A test NSM. Its documents hold the requested content. While it is shut, it makes none with a nonce of one byte.
    #[derive(Default)]
    struct PlainNsm {
        shut: Mutex<bool>,
        opened: Condvar,
        refuses: AtomicBool,
        asked: AtomicU32,
        made: AtomicU32,
        in_the_making: AtomicU32,
        most_in_the_making: AtomicU32,
    }

    impl PlainNsm {
        fn shut(&self, shut: bool) {
            *self.shut.lock().unwrap() = shut;
            self.opened.notify_all();
        }
    }

    impl Nsm for PlainNsm {
        fn attest(&self, request: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.refuses.load(Ordering::SeqCst) {
                return Err(NsmUnavailable::Refused("InternalError"));
            }
            let in_the_making = self.in_the_making.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_in_the_making.fetch_max(in_the_making, Ordering::SeqCst);
            if request.nonce.is_some_and(|nonce| nonce.len() == 1) {
                drop(self.opened.wait_while(self.shut.lock().unwrap(), |shut| *shut).unwrap());
            }
            self.made.fetch_add(1, Ordering::SeqCst);
            self.in_the_making.fetch_sub(1, Ordering::SeqCst);
            Ok(held(request.public_key, request.user_data, request.nonce))
        }

        fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
            Err(NsmUnavailable::Refused("InternalError"))
        }

        fn describe_pcr(&self, _: u16) -> Result<Pcr, NsmUnavailable> {
            Err(NsmUnavailable::Refused("InternalError"))
        }
    }

    fn held(public_key: Option<&[u8]>, user_data: Option<&[u8]>, nonce: Option<&[u8]>) -> Vec<u8> {
        format!("{public_key:?} {user_data:?} {nonce:?}").into_bytes()
    }

    fn attestor() -> (Arc<PlainNsm>, Arc<Attestor>) {
        let nsm = Arc::new(PlainNsm::default());
        (Arc::clone(&nsm), Arc::new(Attestor::new(nsm)))
    }

    fn spki(bytes: &[u8]) -> Option<Arc<[u8]>> {
        Some(Arc::from(bytes))
    }

    fn binding() -> KeyBinding {
        KeyBinding {
            identity: IdentityId::from_text(b"9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f").unwrap(),
            public_key: SecretKey::take(&mut [7; 32]).unwrap().public_key(),
            origin: KeyOrigin::Generated,
        }
    }

    #[tokio::test]
    async fn a_document_holds_what_it_vouches_for() {
        let (_, attestor) = attestor();
        let hash = Sha256::digest(b"a tls key");
        for given in [None, Some(vec![0, 255])] {
            let bytes = given.as_deref();
            assert_eq!(attestor.endpoint(given.clone(), None).await, Ok(held(None, None, bytes)));
            let document = attestor.endpoint(given.clone(), spki(b"a tls key")).await;
            assert_eq!(document, Ok(held(Some(b"a tls key"), Some(&hash), bytes)));

            let proof = attestor.key_proof(&binding(), given.clone(), None).await;
            assert_eq!(proof, Ok(held(None, Some(&binding().hash()), bytes)));
            let proof = attestor.key_proof(&binding(), given.clone(), spki(b"a tls key")).await;
            assert_eq!(proof, Ok(held(Some(b"a tls key"), Some(&binding().hash()), bytes)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_nonces_is_told_to_come_back_and_costs_nobody_else_a_document() {
        let (nsm, attestor) = attestor();
        for _ in 0..PUBLIC_BURST {
            assert!(attestor.endpoint(Some(vec![0, 1]), None).await.is_ok());
        }
        for _ in 0..1000 {
            assert_eq!(attestor.endpoint(Some(vec![0, 1]), None).await, Err(Failure::Busy));
        }
        assert!(attestor.endpoint(None, None).await.is_ok());
        assert!(attestor.key_proof(&binding(), Some(vec![0, 1]), None).await.is_ok());
        assert_eq!(nsm.made.load(Ordering::SeqCst), PUBLIC_BURST + 2);

        tokio::time::advance(PUBLIC_PACE).await;
        assert!(attestor.endpoint(Some(vec![0, 1]), None).await.is_ok());
        assert_eq!(attestor.endpoint(Some(vec![0, 1]), None).await, Err(Failure::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn those_without_a_nonce_share_a_document_of_their_tls_key() {
        let (nsm, attestor) = attestor();
        for _ in 0..1000 {
            assert_eq!(attestor.endpoint(None, None).await, Ok(held(None, None, None)));
        }
        assert_eq!(nsm.made.load(Ordering::SeqCst), 1);
        for key in [b"a", b"b"] {
            let hash = Sha256::digest(key);
            assert_eq!(attestor.endpoint(None, spki(key)).await, Ok(held(Some(key), Some(&hash), None)));
        }
        assert_eq!(nsm.made.load(Ordering::SeqCst), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(attestor.endpoint(None, None).await.is_ok());
        assert_eq!(nsm.made.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_nsm_that_refuses_is_a_key_service_that_cannot_be_had() {
        let (nsm, attestor) = attestor();
        nsm.refuses.store(true, Ordering::SeqCst);
        let refused = Err(Failure::KeyServiceUnavailable);
        assert_eq!(attestor.endpoint(None, None).await, refused);
        assert_eq!(attestor.endpoint(Some(vec![1, 2]), None).await, refused);
        assert_eq!(attestor.key_proof(&binding(), None, None).await, refused);
        nsm.refuses.store(false, Ordering::SeqCst);
        assert!(attestor.endpoint(Some(vec![1, 2]), None).await.is_ok());
        assert!(attestor.key_proof(&binding(), None, None).await.is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(attestor.endpoint(None, None).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_requests_asks_an_nsm_that_refuses_once_a_second() {
        let (nsm, attestor) = attestor();
        nsm.refuses.store(true, Ordering::SeqCst);
        for seconds in 1..=5 {
            for _ in 0..1000 {
                assert_eq!(attestor.endpoint(None, None).await, Err(Failure::KeyServiceUnavailable));
            }
            assert_eq!(nsm.asked.load(Ordering::SeqCst), seconds);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        nsm.refuses.store(false, Ordering::SeqCst);
        assert_eq!(attestor.endpoint(None, None).await, Ok(held(None, None, None)));
    }

    /// The first is in the making. The others wait for their turn, or for the shared document.
    #[tokio::test(start_paused = true)]
    async fn an_nsm_that_hangs_keeps_nobody_for_ever() {
        let (nsm, attestor) = attestor();
        nsm.shut(true);
        let ask = |nonce| {
            let attestor = Arc::clone(&attestor);
            tokio::spawn(async move { attestor.endpoint(nonce, None).await })
        };
        let mut asking = vec![ask(Some(vec![0]))];
        while nsm.in_the_making.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        asking.extend([ask(Some(vec![0])), ask(None), ask(None)]);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(asking.iter().all(|asked| !asked.is_finished()));
        tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
        for asked in asking {
            assert_eq!(asked.await.unwrap(), Err(Failure::KeyServiceUnavailable));
        }
        assert_eq!(nsm.in_the_making.load(Ordering::SeqCst), 1);
        nsm.shut(false);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(attestor.endpoint(None, None).await.is_ok());
    }

    /// The NSM hangs with one document of the public in the making, and more of them wait.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_public_has_one_document_in_the_making_and_proofs_do_not_wait_for_it() {
        let (nsm, attestor) = attestor();
        nsm.shut(true);
        let ask = |_| {
            let attestor = Arc::clone(&attestor);
            tokio::spawn(async move { attestor.endpoint(Some(vec![0]), None).await })
        };
        let asking: Vec<_> = (0..8).map(ask).collect();
        while nsm.in_the_making.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert!(attestor.key_proof(&binding(), Some(vec![0, 1]), None).await.is_ok());
        }
        assert_eq!(nsm.in_the_making.load(Ordering::SeqCst), 1);
        nsm.shut(false);
        for asked in asking {
            assert_eq!(asked.await.unwrap(), Ok(held(None, None, Some(&[0]))));
        }
        assert_eq!(nsm.most_in_the_making.load(Ordering::SeqCst), 2, "one of the public and one proof");
    }
}
