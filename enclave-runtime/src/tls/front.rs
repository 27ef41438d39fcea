//! The front of the server: it tells TLS from everything else, and does the handshakes.
//!
//! A handshake computes in a few steps, each when the client has sent what the step takes. A step needs a turn, and
//! gives it back before the handshake waits for the client again. So a client that stalls holds nothing that others
//! need. Turns go round in the order of arrival, and a client that has gone leaves the queue.
//!
//! tokio computes as many steps at a time as it has workers, with or without turns. Turns protect the clients that are
//! served already: the workers take tasks in order, and only handshakes with a turn are among those. A stalled
//! handshake costs the memory of a connection, and the server limits connections.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::TlsIdentity;
use super::replayed::Replayed;
use crate::acme::is_a_challenge;

/// From the start of a connection to the end of its handshake: as long as a head may take afterwards.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Steps of handshakes that are due at one time. A step takes some tenths of a millisecond of a core, so a client that
/// is served already waits for these a few milliseconds on two cores. With fewer, a thousand busy clients would slow
/// handshakes down.
const HANDSHAKE_TURNS: usize = 32;

/// The same for validators, whose port is open to everybody: they never keep a second core busy.
const VALIDATION_TURNS: usize = 1;

/// The type of a record that a handshake begins with (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// The identity that is presented to the next client.
pub struct TlsFront {
    current: watch::Sender<Arc<TlsIdentity>>,
    /// How to speak with who validates our name for a certificate, while somebody may.
    challenge: watch::Sender<Option<Arc<ServerConfig>>>,
    handshake_turns: Semaphore,
    /// On the port for validators.
    validation_turns: Semaphore,
}

impl std::fmt::Debug for TlsFront {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsFront").finish_non_exhaustive()
    }
}

/// The kind of a connection.
pub(crate) enum Received<S> {
    /// TLS, with the identity that the client was shown.
    Secured(Box<TlsStream<Replayed<S>>>, Arc<TlsIdentity>),
    /// Bytes in the clear, perhaps HTTP.
    Clear(Replayed<S>),
}

impl TlsFront {
    /// Presents `identity`.
    #[must_use]
    pub fn new(identity: TlsIdentity) -> Self {
        Self {
            current: watch::Sender::new(Arc::new(identity)),
            challenge: watch::Sender::new(None),
            handshake_turns: Semaphore::new(HANDSHAKE_TURNS),
            validation_turns: Semaphore::new(VALIDATION_TURNS),
        }
    }

    /// Presents `identity` from now on. Open connections keep theirs.
    pub(crate) fn present(&self, identity: TlsIdentity) {
        self.current.send_replace(Arc::new(identity));
    }

    /// Speaks so, from now on, with who validates our name for a certificate; or not at all.
    pub(crate) fn answer_challenges_with(&self, answer: Option<Arc<ServerConfig>>) {
        self.challenge.send_replace(answer);
    }

    /// The identity that is presented.
    pub(crate) fn current(&self) -> Arc<TlsIdentity> {
        Arc::clone(&self.current.borrow())
    }

    /// Takes a new connection; none if there is nothing to say to the client, or the client has gone. Has no deadline:
    /// the caller ends it after [`HANDSHAKE_DEADLINE`].
    pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Option<Received<S>> {
        let identity = self.current();
        let (first, stream) = Replayed::peek(stream).await.ok()??;
        match first {
            HANDSHAKE_RECORD => {
                let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
                if is_a_challenge(&hello.client_hello()) {
                    let answer = self.challenge.borrow().clone();
                    validate(hello, answer?, &self.handshake_turns).await?;
                    return None;
                }
                let config = Arc::clone(identity.config());
                let stream = shake_hands(hello, config, &self.handshake_turns).await?;
                Some(Received::Secured(Box::new(stream), identity))
            }
            // A method is a word.
            letter if letter.is_ascii_alphabetic() => Some(Received::Clear(stream)),
            _ => None,
        }
    }

    /// Takes a new connection that can do nothing but validate our name; none if it does not, or nobody may now. Has no
    /// deadline, and takes none of the turns of [`receive`](Self::receive).
    pub(crate) async fn receive_validator<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Option<()> {
        let answer = self.challenge.borrow().clone()?;
        let (_, stream) = Replayed::peek(stream).await.ok()??;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        if !is_a_challenge(&hello.client_hello()) {
            return None;
        }
        validate(hello, answer, &self.validation_turns).await
    }
}

/// The handshake is all there is to it (RFC 8737 §3).
async fn validate<S: AsyncRead + AsyncWrite + Unpin>(
    hello: StartHandshake<Replayed<S>>,
    answer: Arc<ServerConfig>,
    turns: &Semaphore,
) -> Option<()> {
    shake_hands(hello, answer, turns).await?.shutdown().await.ok()
}

/// Does the handshake that the client has begun, each step in one of `turns`.
async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    mut hello: StartHandshake<Replayed<S>>,
    config: Arc<ServerConfig>,
    turns: &Semaphore,
) -> Option<TlsStream<Replayed<S>>> {
    let mut turn = next_turn(turns, &mut hello.io).await?;
    // The first step computes here already.
    let mut handshake = hello.into_stream(config);
    loop {
        let step = poll_fn(|cx| Poll::Ready(Pin::new(&mut handshake).poll(cx))).await;
        drop(turn);
        if let Poll::Ready(outcome) = step {
            return outcome.ok();
        }
        next_wake().await;
        turn = next_turn(turns, handshake.get_mut()?).await?;
    }
}

/// Waits in the queue, unless the client has gone.
async fn next_turn<'t, S: AsyncRead + Unpin>(
    turns: &'t Semaphore,
    stream: &mut Replayed<S>,
) -> Option<SemaphorePermit<'t>> {
    tokio::select! {
        biased;
        // Never closed.
        turn = turns.acquire() => turn.ok(),
        () = stream.ended() => None,
    }
}

/// Waits until the task is woken. What was polled before has arranged for that.
async fn next_wake() {
    let mut is_woken = false;
    poll_fn(|_| if mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;

    use super::{HANDSHAKE_TURNS, Received, TlsFront};
    use crate::tls::TlsIdentity;

    fn identity() -> TlsIdentity {
        TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap()
    }

    /// How a client is set up that trusts what `front` presents, and nothing else.
    fn client(front: &TlsFront) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(front.current().certificates()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        config.with_root_certificates(roots).with_no_client_auth()
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("signer").unwrap()
    }

    /// The result of `front` for a client that sends `bytes` and ends.
    async fn receive(front: &TlsFront, bytes: &[u8]) -> Option<Received<DuplexStream>> {
        let (mut client, server) = duplex(64 * 1024);
        client.write_all(bytes).await.unwrap();
        drop(client);
        front.receive(server).await
    }

    /// The first message of a client that `front` would take.
    fn hello(front: &TlsFront) -> Vec<u8> {
        let mut connection = ClientConnection::new(Arc::new(client(front)), name()).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        hello
    }

    #[tokio::test]
    async fn a_letter_is_http_and_the_rest_is_nothing() {
        let front = TlsFront::new(identity());
        for text in [&b"GET / HTTP/1.1\r\n"[..], b"p"] {
            let Some(Received::Clear(mut stream)) = receive(&front, text).await else {
                panic!("not in the clear")
            };
            let mut whole = Vec::new();
            stream.read_to_end(&mut whole).await.unwrap();
            assert_eq!(whole, text);
        }
        let half = hello(&front);
        for bytes in
            [&b""[..], b"\0", b"\x05\x01\0", b"\x80\x2e\x01", b"\r\n", b" GET", &half[..half.len() / 2]]
        {
            assert!(receive(&front, bytes).await.is_none(), "{}", bytes.escape_ascii());
        }
    }

    /// Whether a client of `protocols` that trusts anybody is spoken with on the port for validators.
    async fn on_the_port_for_validators(front: &TlsFront, protocols: &[&[u8]]) -> bool {
        let mut config = client(front);
        let verifier = AnyCertificate(Arc::clone(config.crypto_provider()));
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let (client, server) = duplex(64 * 1024);
        let (client, validated) = tokio::join!(
            TlsConnector::from(Arc::new(config)).connect(name(), client),
            front.receive_validator(server)
        );
        assert_eq!(client.is_ok(), validated.is_some());
        client.is_ok_and(|client| {
            assert_eq!(client.get_ref().1.alpn_protocol(), Some(ACME));
            true
        })
    }

    const ACME: &[u8] = b"acme-tls/1";

    #[tokio::test]
    async fn the_port_for_validators_is_for_them_and_when_they_are_expected() {
        let front = TlsFront::new(identity());
        assert!(!on_the_port_for_validators(&front, &[ACME]).await, "nobody is expected");
        front.answer_challenges_with(Some(crate::acme::answer_of_a_test("signer")));
        assert!(on_the_port_for_validators(&front, &[ACME]).await);
        let others: [&[&[u8]]; 5] = [&[], &[b"http/1.1"], &[b"h2"], &[ACME, b"h2"], &[b"http/1.1", ACME]];
        for protocols in others {
            assert!(!on_the_port_for_validators(&front, protocols).await, "{protocols:?}");
        }
        let (mut client, server) = duplex(64 * 1024);
        client.write_all(b"GET /health HTTP/1.1\r\nhost: signer\r\n\r\n").await.unwrap();
        assert!(front.receive_validator(server).await.is_none());
        let mut said = Vec::new();
        // At most an alert of TLS.
        client.read_to_end(&mut said).await.unwrap();
        assert!(said.len() < 16 && !said.contains(&b'H'), "{}", said.escape_ascii());
        front.answer_challenges_with(None);
        assert!(!on_the_port_for_validators(&front, &[ACME]).await, "nobody is expected any more");
    }

    /// Starts to take a client that has sent `sent`; gives its end too.
    async fn stall(front: &Arc<TlsFront>, sent: &[u8]) -> (DuplexStream, JoinHandle<bool>) {
        let (mut client, server) = duplex(64 * 1024);
        client.write_all(sent).await.unwrap();
        let front = Arc::clone(front);
        (client, tokio::spawn(async move { front.receive(server).await.is_some() }))
    }

    /// Whether a client that trusts `front` gets through its handshake without waiting.
    async fn is_let_in(front: &TlsFront) -> bool {
        let connector = TlsConnector::from(Arc::new(client(front)));
        let (client, server) = duplex(64 * 1024);
        let both = async { tokio::join!(connector.connect(name(), client), front.receive(server)) };
        match timeout(Duration::from_millis(1), both).await {
            Ok((client, received)) => client.is_ok() && matches!(received, Some(Received::Secured(..))),
            Err(_) => false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn validators_take_nothing_from_clients() {
        let front = Arc::new(TlsFront::new(identity()));
        front.answer_challenges_with(Some(crate::acme::answer_of_a_test("signer")));
        let all = front.validation_turns.try_acquire().unwrap();
        assert!(is_let_in(&front).await);
        let validated = on_the_port_for_validators(&front, &[ACME]);
        tokio::pin!(validated);
        assert!(timeout(Duration::from_secs(1), &mut validated).await.is_err(), "without a turn");
        drop(all);
        assert!(validated.await);
    }

    #[derive(Debug)]
    struct AnyCertificate(Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        // webpki reads no certificate with a critical extension that it does not know, as that for ACME has.
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    /// An identity that comes between the start of a connection and its handshake is the next one's.
    #[tokio::test(start_paused = true)]
    async fn a_connection_has_the_identity_that_was_there_when_it_came() {
        let front = TlsFront::new(identity());
        let first = front.current();
        let connector = TlsConnector::from(Arc::new(client(&front)));
        let (client, server) = duplex(64 * 1024);
        let mut receiving = Box::pin(front.receive(server));
        assert!(timeout(Duration::from_secs(1), &mut receiving).await.is_err());
        front.present(identity());
        let (client, received) = tokio::join!(connector.connect(name(), client), receiving);
        // It trusts the first only.
        client.unwrap();
        let Some(Received::Secured(_, identity)) = received else { panic!("no TLS") };
        assert_eq!(identity.spki(), first.spki());
        assert_ne!(front.current().spki(), first.spki());
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_that_stall_hold_no_turn() {
        let front = Arc::new(TlsFront::new(identity()));
        let hello = hello(&front);
        let mut stalled = Vec::new();
        for _ in 0..3 * HANDSHAKE_TURNS {
            stalled.push(stall(&front, &hello).await);
        }
        for (client, _) in &mut stalled {
            // The server has done its part, so it waits for the client.
            client.read_u8().await.unwrap();
        }
        assert_eq!(front.handshake_turns.available_permits(), HANDSHAKE_TURNS);
        assert!(is_let_in(&front).await);
        for (client, receiving) in stalled {
            assert!(!receiving.is_finished());
            drop(client);
            assert!(!receiving.await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_take_turns_and_a_client_that_has_gone_leaves_the_queue() {
        let front = Arc::new(TlsFront::new(identity()));
        let hello = hello(&front);
        let mut turns: Vec<_> = std::iter::from_fn(|| front.handshake_turns.try_acquire().ok()).collect();
        assert_eq!(turns.len(), HANDSHAKE_TURNS);
        let (gone, receiving) = stall(&front, &hello).await;
        let (mut waiting, _receiving) = stall(&front, &hello).await;
        let second = Duration::from_secs(1);
        assert!(timeout(second, waiting.read_u8()).await.is_err(), "answered without a turn");
        assert!(!receiving.is_finished());
        drop(gone);
        assert!(!timeout(second, receiving).await.expect("it has left").unwrap());
        turns.pop();
        timeout(second, waiting.read_u8()).await.expect("it has a turn").unwrap();
        assert!(is_let_in(&front).await, "one turn is enough for everybody");
    }
}
