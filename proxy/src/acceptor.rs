//! The accept loop of one route.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tracing::warn;
use transport::Listener;

use crate::backoff::Backoff;
use crate::connection::Shared;

/// After a failure that passes at once, such as an aborted connection.
pub(crate) const FIRST_ACCEPT_DELAY: Duration = Duration::from_millis(5);

/// While descriptors are short: often enough to go on soon after, and at most one log line a second.
pub(crate) const LAST_ACCEPT_DELAY: Duration = Duration::from_secs(1);

/// Accepts the connections of one route.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: Listener,
    /// One permit for each connection that may be served at once.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) shared: Arc<Shared>,
}

impl Acceptor {
    /// Accepts until draining begins. Each connection is a task of its own, so that a panic ends that
    /// connection only.
    pub(crate) async fn run(self, mut draining: watch::Receiver<bool>) {
        tokio::select! {
            () = self.accept_all() => {}
            // An error means that the server is gone, which is a reason to stop as well.
            _ = draining.wait_for(|&draining| draining) => {}
        }
    }

    async fn accept_all(&self) {
        let mut backoff = Backoff::new(FIRST_ACCEPT_DELAY, LAST_ACCEPT_DELAY);
        // The permit comes first: a client too many waits in the backlog, where it costs no descriptor.
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            let client = loop {
                match self.listener.accept().await {
                    Ok(client) => break client,
                    Err(error) => {
                        self.shared.metrics.accept_failures.inc();
                        warn!(route = %self.shared.local_address, %error, "cannot accept");
                        sleep(backoff.next_delay()).await;
                    }
                }
            };
            backoff.reset();
            self.shared.metrics.accepted.inc();
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                shared.serve(client).await;
                drop(permit);
            });
        }
    }
}
