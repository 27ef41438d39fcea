//! How connections end, and what a signer that stops owes to the clients that it has accepted.

#![cfg(feature = "dev")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use configuration::{Capacity, Limits, Operation, RateLimits, Role};
use enclave_core::{IdentityId, SecretKey};
use enclave_runtime::http::serve;
use enclave_runtime::{
    ApiKey, ApiKeys, NotOpened, NotSealed, Outcome, RestorePlaces, Sealer, Service, SoftwareNsm, Standing,
    TrustedClock, seed, signer,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use transport::{Address, Listener};

const API_KEY: &str = "an-api-key-for-tests";
const TICKET_SECRET: &str = "a-ticket-secret-for-tests";
const IDENTITY: &str = "6c5f1b0e-8a55-4f7c-9d0a-3f1d1f6c2b9e";
const DIGEST: [u8; 32] = [7; 32];

/// Newcomers are accepted in its first second.
const DRAIN: Duration = Duration::from_secs(5);

/// A key service that never answers.
struct Hanging;

impl Sealer for Hanging {
    type Sealing = ();
    type Opening = ();

    async fn prepare_seal(&self) -> Result<(), NotSealed> {
        pending().await
    }

    async fn prepare_open(&self, _: &[u8], _: &RestorePlaces, _: &Standing) -> Result<(), NotOpened> {
        pending().await
    }

    fn seal(&self, (): (), _: &IdentityId, _: &SecretKey) -> Result<String, NotSealed> {
        Err(NotSealed)
    }

    fn open(&self, (): (), _: &IdentityId) -> Result<SecretKey, NotOpened> {
        Err(NotOpened::Unavailable)
    }
}

/// A signer that serves, with one key.
struct Serving {
    address: SocketAddr,
    service: Arc<Service<Hanging>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Serving {
    async fn start() -> Self {
        let nsm = Arc::new(SoftwareNsm::ephemeral().unwrap());
        let clock = Arc::new(TrustedClock::start(&*nsm, Duration::from_secs(5)).unwrap());
        let service = Arc::new(Service::closed(nsm, clock));
        let capacity = Capacity { max_keys: 1, max_nonces: 100_000, max_ticket_ttl_s: 3600 };
        let signer = signer(capacity, RateLimits::default(), TICKET_SECRET.as_bytes(), None).unwrap();
        let api_keys = ApiKeys::one(ApiKey::new(API_KEY.as_bytes()).unwrap(), Role::Full);
        service.open(api_keys, signer, Hanging, seed().unwrap(), RateLimits::default());
        let key = format!(r#"{{"identity_id":"{IDENTITY}","alg":"secp256k1"}}"#);
        perform(&service, Operation::Generate, &key).await.unwrap();
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Address::Tcp { port, .. } = *listener.local_address() else { panic!("not TCP") };
        let (stop, stopped) = oneshot::channel();
        let limits = Limits { drain_deadline: DRAIN, ..Limits::default() };
        let stop_signal = async { stopped.await.unwrap() };
        let serving = serve(listener, Arc::clone(&service), None, limits, false, stop_signal);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { address, service, stop, served: tokio::spawn(serving) }
    }

    async fn sends(&self, bytes: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(bytes).await.unwrap();
        client
    }
}

async fn perform(service: &Service<Hanging>, operation: Operation, body: &str) -> Option<Outcome> {
    let (places, standing) = (RestorePlaces::new(2), Standing::default());
    service.perform(operation, &mut body.to_owned().into_bytes(), None, &places, &standing).await.ok()
}

fn request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-internal-api-key: {API_KEY}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// The body of a sign request with a ticket that no other has.
fn sign_body() -> String {
    static NONCES: AtomicU64 = AtomicU64::new(0);
    let nonce = NONCES.fetch_add(1, Ordering::Relaxed);
    let expiry_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 90;
    let claims = serde_json::json!({
        "scope": "sign",
        "identity_id": IDENTITY,
        "digest_hash": hex::encode(Sha256::digest(DIGEST)),
        "nonce": nonce.to_string(),
        "exp": expiry_s,
    })
    .to_string();
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, TICKET_SECRET.as_bytes());
    let mac = encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    let digest = hex::encode(DIGEST);
    format!(r#"{{"identity_id":"{IDENTITY}","digest":"{digest}","ticket":"{signed}.{mac}"}}"#)
}

/// The bytes until the server closes; empty if it resets the connection.
async fn answer(client: &mut TcpStream) -> String {
    let mut answer = String::new();
    match timeout(2 * DRAIN, client.read_to_string(&mut answer)).await.expect("it closes") {
        Ok(_) => answer,
        Err(_) => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_waited_for_is_refused_before_the_cut() {
    let serving = Serving::start().await;
    let whole = request("/internal/sign", &sign_body());
    let late = sign_body();
    let half = request("/internal/sign", &late);
    let export = request("/internal/backup/export", &format!(r#"{{"identity_id":"{IDENTITY}"}}"#));
    let mut signs = serving.sends(whole.as_bytes()).await;
    assert!(signs.read_u8().await.is_ok());
    let mut waits_for_key_service = serving.sends(export.as_bytes()).await;
    let mut waits_for_body = serving.sends(&half.as_bytes()[..half.len() - 9]).await;
    let mut half_a_head = serving.sends(&half.as_bytes()[..20]).await;
    let mut silent = serving.sends(b"").await;
    // The server has read what was sent.
    sleep(Duration::from_millis(200)).await;
    let stopped = Instant::now();
    serving.stop.send(()).unwrap();
    for client in [&mut waits_for_key_service, &mut waits_for_body] {
        let answer = answer(client).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
        for part in ["connection: close", "retry-after: 1\r\n", "{\"error\":\"Signer is at capacity\"}"] {
            assert!(answer.contains(part), "{part}: {answer:?}");
        }
    }
    for client in [&mut half_a_head, &mut silent] {
        assert_eq!(answer(client).await, "");
    }
    serving.served.await.unwrap();
    assert!(stopped.elapsed() < DRAIN, "{:?}", stopped.elapsed());
    assert!(perform(&serving.service, Operation::Sign, &late).await.is_some(), "its ticket is used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_uses_up_no_ticket_without_its_signature() {
    let serving = Serving::start().await;
    let mut clients = JoinSet::new();
    for n in 0..16 {
        let address = serving.address;
        clients.spawn(async move {
            let (mut signed, mut unanswered) = (0, Vec::new());
            // It comes over and over until nobody accepts it.
            while let Ok(mut client) = TcpStream::connect(address).await {
                let body = sign_body();
                let request = request("/internal/sign", &body);
                let (first, second) = request.as_bytes().split_at(request.len() - 9);
                let sent = async {
                    client.write_all(first).await?;
                    // Some of them are late with the rest.
                    sleep(Duration::from_millis(n * 10)).await;
                    client.write_all(second).await?;
                    client.shutdown().await
                };
                // A server that has refused already takes no more.
                let _ = sent.await;
                if answer(&mut client).await.starts_with("HTTP/1.1 200 ") {
                    signed += 1;
                } else {
                    unanswered.push(body);
                }
            }
            (signed, unanswered)
        });
    }
    sleep(Duration::from_millis(200)).await;
    let stopped = Instant::now();
    serving.stop.send(()).unwrap();
    serving.served.await.unwrap();
    assert!(stopped.elapsed() < DRAIN, "{:?}", stopped.elapsed());
    let mut all_signed = 0;
    while let Some(outcome) = clients.join_next().await {
        let (signed, unanswered) = outcome.unwrap();
        all_signed += signed;
        for body in unanswered {
            assert!(perform(&serving.service, Operation::Sign, &body).await.is_some(), "a ticket is used up");
        }
    }
    assert!(all_signed > 100, "{all_signed}");
}

/// A client in the middle of sending gets its answer: closing over unread bytes would reset the connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_header_does_not_spoil_the_end() {
    let serving = Serving::start().await;
    let upgrade = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
    let too_large = request("/internal/sign", &"x".repeat(500_000));
    for first in ["", upgrade] {
        let mut client = serving.sends(format!("{first}{too_large}").as_bytes()).await;
        // Long enough for a reset to arrive.
        sleep(Duration::from_millis(300)).await;
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.expect("no reset");
        assert_eq!(answers.contains("HTTP/1.1 200 "), !first.is_empty(), "{answers:?}");
        assert!(answers.contains("HTTP/1.1 413 "), "{answers:?}");
    }
}
