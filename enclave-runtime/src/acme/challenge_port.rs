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
