//! A port for ACME validators, which connect from anywhere. It never leads to the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use transport::Listener;

use crate::announcement::Announcements;
use crate::http::accept;
use crate::tls::TlsFront;

/// Simultaneous connections; more wait in the listen backlog. An ACME server validates from a few places.
const MAX_CONNECTIONS: usize = 256;

/// From the start of a connection to its end. A handshake takes two round trips, and a packet may be lost.
const DEADLINE: Duration = Duration::from_secs(5);

/// Answers ACME validators while it is polled, and closes all other connections. While no validation is due, it closes
/// every connection. With `proxy_protocol`, the parent's proxy must announce each client.
pub(crate) async fn answer_challenges(listener: Listener, front: Arc<TlsFront>, proxy_protocol: bool) {
    let announcements = Arc::new(Announcements::new(proxy_protocol));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < MAX_CONNECTIONS => {
                let (front, announcements) = (Arc::clone(&front), Arc::clone(&announcements));
                connections.spawn(async move {
                    let validated = async {
                        front.receive_validator(announcements.receive(stream).await.ok()?).await
                    };
                    // Errors of a connection concern only its client.
                    let _ = timeout(DEADLINE, validated).await;
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::{Instant, timeout};
    use transport::{Address, Listener, ProxyHeader};

    use super::{DEADLINE, MAX_CONNECTIONS, answer_challenges};
    use crate::acme::answer_of_a_test;
    use crate::tls::{TlsFront, TlsIdentity};

    /// The first byte of the answer to `sent`, if any, on a port where clients are announced.
    async fn first_of_the_answer(sent: &[u8]) -> Option<u8> {
        let identity = TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap();
        let front = Arc::new(TlsFront::new(identity));
        front.answer_challenges_with(Some(answer_of_a_test("signer")));
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Address::Tcp { port, .. } = *listener.local_address() else { panic!("not TCP") };
        let serving = tokio::spawn(answer_challenges(listener, front, true));
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut first = [0];
        let count = timeout(DEADLINE * 10, stream.read(&mut first)).await.unwrap().unwrap_or(0);
        serving.abort();
        (count > 0).then_some(first[0])
    }

    #[tokio::test]
    async fn announced_validators_are_answered() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let name = ServerName::try_from("signer").unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let header = ProxyHeader { source, destination: source }.to_bytes();
        assert_eq!(first_of_the_answer(&[&header[..], &hello].concat()).await, Some(0x16), "a handshake");
        assert_eq!(first_of_the_answer(&hello).await, None);
        assert_eq!(first_of_the_answer(&header[..20]).await, None);
    }

    /// A silent client holds a place until its deadline. The next client then gets it.
    ///
    /// In real time: a paused clock would jump ahead while the kernel still delivers bytes on a busy machine.
    #[tokio::test]
    async fn silent_clients_are_closed_at_their_deadline() {
        let identity = TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap();
        let front = Arc::new(TlsFront::new(identity));
        front.answer_challenges_with(Some(answer_of_a_test("signer")));
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Address::Tcp { port, .. } = *listener.local_address() else { panic!("not TCP") };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let serving = tokio::spawn(answer_challenges(listener, front, false));
        let start = Instant::now();
        let mut crowd = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        for stream in &mut crowd {
            assert_eq!(timeout(DEADLINE * 10, stream.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        }
        // It waited for a place, and then had its full deadline.
        assert_eq!(timeout(DEADLINE * 10, next.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        assert!(start.elapsed() >= DEADLINE * 2, "{:?}", start.elapsed());
        serving.abort();
    }
}
