//! What stands before the server: tells TLS from everything else, and does the handshakes, so many at one time.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::TlsIdentity;
use super::replayed::Replayed;
use crate::acme::is_a_challenge;

/// From the start of a connection to the end of its handshake: as long as a head may take afterwards.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// From a place among the handshakes to the end: one round trip to the client, two with TLS 1.2, and a packet that is lost
/// and sent again, from anywhere on earth. Shorter than the whole, so that those who stall with a place give it up while
/// those who wait for one still do.
const PLACE_DEADLINE: Duration = Duration::from_secs(3);

/// Handshakes between the client's first message and its last. Each takes a millisecond or two of a core, and whoever is
/// served already waits behind those that are due at the same moment: a tenth of a second on two cores. Who has only
/// connected, or sent half a message, takes none of these places.
const MAX_HANDSHAKES: usize = 128;

/// Handshakes of validators: a few of a core's milliseconds, since anybody may come. An ACME server validates from a
/// handful of places, and what has no turn waits for it.
const MAX_VALIDATIONS: usize = 8;

/// The type of a record that a handshake begins with (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// The identity that is presented to the next client.
pub struct TlsFront {
    current: watch::Sender<Arc<TlsIdentity>>,
    /// How to speak with who validates our name for a certificate, while somebody may.
    challenge: watch::Sender<Option<Arc<ServerConfig>>>,
    handshakes: Semaphore,
    /// On the port for validators.
    validations: Semaphore,
}

impl std::fmt::Debug for TlsFront {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsFront").finish_non_exhaustive()
    }
}

/// What a connection turned out to be.
pub(crate) enum Received<S> {
    /// TLS, with the identity that the client was shown.
    Secured(Box<TlsStream<Replayed<S>>>, Arc<TlsIdentity>),
    /// What may be HTTP, in the clear.
    Clear(Replayed<S>),
}

impl TlsFront {
    /// Presents `identity`.
    #[must_use]
    pub fn new(identity: TlsIdentity) -> Self {
        Self {
            current: watch::Sender::new(Arc::new(identity)),
            challenge: watch::Sender::new(None),
            handshakes: Semaphore::new(MAX_HANDSHAKES),
            validations: Semaphore::new(MAX_VALIDATIONS),
        }
    }

    /// Presents `identity` from now on. Connections that are there already keep theirs.
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

    /// Takes a new connection; none if there is nothing to say to whoever it is, or no one any more. Has no deadline of
    /// its own but for the time with a place: the caller ends it after [`HANDSHAKE_DEADLINE`].
    pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Option<Received<S>> {
        let identity = self.current();
        let (first, stream) = Replayed::peek(stream).await.ok()??;
        match first {
            HANDSHAKE_RECORD => {
                let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
                // Never closed.
                let _place = self.handshakes.acquire().await.ok()?;
                timeout(PLACE_DEADLINE, self.shake_hands(hello, identity)).await.ok()?
            }
            // A method is a word.
            letter if letter.is_ascii_alphabetic() => Some(Received::Clear(stream)),
            _ => None,
        }
    }

    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        hello: StartHandshake<Replayed<S>>,
        identity: Arc<TlsIdentity>,
    ) -> Option<Received<S>> {
        if is_a_challenge(&hello.client_hello()) {
            let answer = self.challenge.borrow().clone();
            validate(hello, answer?).await?;
            return None;
        }
        let stream = hello.into_stream(Arc::clone(identity.config())).await.ok()?;
        Some(Received::Secured(Box::new(stream), identity))
    }

    /// Takes a new connection that can do nothing but validate our name; none if it does not, or nobody may now. Has no
    /// deadline of its own but for the time with a place, and takes none of the places of [`receive`](Self::receive).
    pub(crate) async fn receive_validator<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Option<()> {
        let answer = self.challenge.borrow().clone()?;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        if !is_a_challenge(&hello.client_hello()) {
            return None;
        }
        // Never closed.
        let _place = self.validations.acquire().await.ok()?;
        timeout(PLACE_DEADLINE, validate(hello, answer)).await.ok()?
    }
}

/// The handshake is all there is to it (RFC 8737 §3).
async fn validate<S: AsyncRead + AsyncWrite + Unpin>(
    hello: StartHandshake<S>,
    answer: Arc<ServerConfig>,
) -> Option<()> {
    hello.into_stream(answer).await.ok()?.shutdown().await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;
    use tokio_rustls::TlsConnector;

    use super::{HANDSHAKE_DEADLINE, MAX_HANDSHAKES, MAX_VALIDATIONS, Received, TlsFront};
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

    /// What `front` makes of a client that sends `bytes` and ends.
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

    /// A crowd of validators has places of its own, and gives them up.
    #[tokio::test(start_paused = true)]
    async fn validators_take_nothing_from_clients() {
        let front = Arc::new(TlsFront::new(identity()));
        front.answer_challenges_with(Some(crate::acme::answer_of_a_test("signer")));
        let mut config = client(&front);
        config.alpn_protocols = vec![ACME.to_vec()];
        let mut connection = ClientConnection::new(Arc::new(config), name()).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        let mut crowd = Vec::new();
        for _ in 0..MAX_VALIDATIONS {
            let (mut client, server) = duplex(64 * 1024);
            client.write_all(&hello).await.unwrap();
            let front = Arc::clone(&front);
            crowd.push((client, tokio::spawn(async move { front.receive_validator(server).await })));
        }
        while front.validations.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(front.handshakes.available_permits(), MAX_HANDSHAKES);
        assert!(on_the_port_for_validators(&front, &[ACME]).await, "those who stall have gone");
        for (_client, validated) in crowd {
            assert!(validated.await.unwrap().is_none());
        }
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
    #[tokio::test]
    async fn a_connection_has_the_identity_that_was_there_when_it_came() {
        let front = TlsFront::new(identity());
        let first = front.current();
        let connector = TlsConnector::from(Arc::new(client(&front)));
        let (client, server) = duplex(64 * 1024);
        let mut receiving = Box::pin(front.receive(server));
        assert!(futures_poll(receiving.as_mut()).await.is_none());
        front.present(identity());
        let (client, received) = tokio::join!(connector.connect(name(), client), receiving);
        // It trusts the first only.
        client.unwrap();
        let Some(Received::Secured(_, identity)) = received else { panic!("no TLS") };
        assert_eq!(identity.spki(), first.spki());
        assert_ne!(front.current().spki(), first.spki());
    }

    async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|cx| match std::pin::Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Half messages take no place; whole ones do until their client is gone.
    #[tokio::test]
    async fn so_many_handshakes_go_on_at_one_time() {
        let front = Arc::new(TlsFront::new(identity()));
        let hello = hello(&front);
        let mut clients = Vec::new();
        for part in std::iter::repeat_n(&hello[..hello.len() - 1], 10)
            .chain(std::iter::repeat_n(&hello[..], MAX_HANDSHAKES))
        {
            let (mut client, server) = duplex(64 * 1024);
            client.write_all(part).await.unwrap();
            let front = Arc::clone(&front);
            let receiving = tokio::spawn(async move { front.receive(server).await.is_some() });
            clients.push((client, receiving));
        }
        while front.handshakes.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let connector = TlsConnector::from(Arc::new(client(&front)));
        let (client, server) = duplex(64 * 1024);
        let mut connecting =
            Box::pin(async { tokio::join!(connector.connect(name(), client), front.receive(server)) });
        for _ in 0..100 {
            assert!(futures_poll(connecting.as_mut()).await.is_none());
            tokio::task::yield_now().await;
        }
        // Two stalled ones go, and there is room.
        for (client, receiving) in clients.drain(clients.len() - 2..) {
            drop(client);
            assert!(!receiving.await.unwrap());
        }
        let (client, received) = connecting.await;
        client.unwrap();
        assert!(matches!(received, Some(Received::Secured(..))));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_stall_with_a_place_give_it_up() {
        let front = Arc::new(TlsFront::new(identity()));
        let hello = hello(&front);
        let mut clients = Vec::new();
        for _ in 0..MAX_HANDSHAKES {
            let (mut client, server) = duplex(64 * 1024);
            client.write_all(&hello).await.unwrap();
            let front = Arc::clone(&front);
            clients.push((client, tokio::spawn(async move { front.receive(server).await.is_some() })));
        }
        while front.handshakes.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        let connector = TlsConnector::from(Arc::new(client(&front)));
        let (client, server) = duplex(64 * 1024);
        let (client, received) = tokio::join!(connector.connect(name(), client), front.receive(server));
        client.unwrap();
        assert!(matches!(received, Some(Received::Secured(..))));
        assert!(started.elapsed() < HANDSHAKE_DEADLINE / 2, "{:?}", started.elapsed());
        for (_client, receiving) in clients {
            assert!(!receiving.await.unwrap());
        }
    }
}
