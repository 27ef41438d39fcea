//! A port for the ACME server alone, which validates from anywhere: open to everybody, it leads nobody to the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use transport::Listener;

use crate::http::accept;
use crate::tls::TlsFront;

/// Connections at one time; more wait in the listen backlog. An ACME server validates from a handful of places.
const MAX_CONNECTIONS: usize = 256;

/// From the start of a connection to its end: a handshake takes two round trips, and a packet may be lost.
const DEADLINE: Duration = Duration::from_secs(5);

/// Answers who validates our name, for as long as it is polled. Whoever else comes, or comes while nobody is expected,
/// is cut.
pub(crate) async fn answer_challenges(listener: Listener, front: Arc<TlsFront>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < MAX_CONNECTIONS => {
                let front = Arc::clone(&front);
                // What becomes of a connection is its client's affair.
                connections.spawn(async move { timeout(DEADLINE, front.receive_validator(stream)).await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use rustls::pki_types::UnixTime;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpStream;
    use tokio::time::{Instant, timeout};
    use transport::{Address, Listener};

    use super::{DEADLINE, MAX_CONNECTIONS, answer_challenges};
    use crate::acme::answer_of_a_test;
    use crate::tls::{TlsFront, TlsIdentity};

    /// Who is silent takes a place for so long, and no longer; who comes then finds one.
    ///
    /// In real time: a paused clock would jump ahead while the kernel still delivers what a busy machine has delayed.
    #[tokio::test]
    async fn a_crowd_is_gone_after_its_time() {
        let identity = TlsIdentity::self_signed(&["signer".to_owned()], UnixTime::now()).unwrap();
        let front = Arc::new(TlsFront::new(identity));
        front.answer_challenges_with(Some(answer_of_a_test("signer")));
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).await.unwrap();
        let Address::Tcp { port, .. } = *listener.local_address() else { panic!("not TCP") };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let serving = tokio::spawn(answer_challenges(listener, front));
        let start = Instant::now();
        let mut crowd = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        for stream in &mut crowd {
            assert_eq!(timeout(DEADLINE * 10, stream.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        }
        // It waited for a place, and then had its time too.
        assert_eq!(timeout(DEADLINE * 10, next.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        assert!(start.elapsed() >= DEADLINE * 2, "{:?}", start.elapsed());
        serving.abort();
    }
}
