//! The accept loop of one route.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tracing::warn;
use transport::{Listener, Stream};

use crate::backoff::Backoff;
use crate::connection::Shared;
use crate::source_limit::{Source, SourceLimit, SourcePlace};

/// After a failure that passes at once, such as an aborted connection.
pub(crate) const FIRST_ACCEPT_DELAY: Duration = Duration::from_millis(5);

/// While descriptors are short: often enough to go on soon after, and at most one log line a second.
pub(crate) const LAST_ACCEPT_DELAY: Duration = Duration::from_secs(1);

/// Between two lines about sources with too many connections, so that no client can fill the log.
const SOURCE_LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Accepts the connections of one route.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: Listener,
    /// One permit for each connection that may be served at once.
    pub(crate) permits: Arc<Semaphore>,
    /// Shares the permits among the sources of tcp connections.
    pub(crate) sources: Option<Arc<SourceLimit>>,
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
        let mut next_source_line = Instant::now();
        // The permit comes first: a client too many waits in the backlog, where it costs no descriptor.
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            let (client, place) = loop {
                let client = match self.listener.accept().await {
                    Ok(client) => client,
                    Err(error) => {
                        self.shared.metrics.accept_failures.inc();
                        warn!(route = %self.shared.local_address, %error, "cannot accept");
                        sleep(backoff.next_delay()).await;
                        continue;
                    }
                };
                backoff.reset();
                self.shared.metrics.accepted.inc();
                match self.admit(&client) {
                    Ok(place) => break (client, place),
                    Err(source) => {
                        // Nothing is kept in the kernel of a connection that is reset.
                        client.abort();
                        self.shared.metrics.source_refusals.inc();
                        if Instant::now() >= next_source_line {
                            next_source_line = Instant::now() + SOURCE_LINE_INTERVAL;
                            warn!(
                                route = %self.shared.local_address,
                                %source,
                                "closed a connection: its source has --max-connections-per-source already; \
                                 further ones are only counted for a minute"
                            );
                        }
                    }
                }
            };
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                shared.serve(client).await;
                drop((permit, place));
            });
        }
    }

    /// The client's place among those of its source, if its source is limited.
    ///
    /// # Errors
    ///
    /// The source that has no place left.
    fn admit(&self, client: &Stream) -> Result<Option<SourcePlace>, Source> {
        let Some(sources) = &self.sources else { return Ok(None) };
        // An error means that the client has gone. Its connection ends when it is read.
        let Ok(Some((peer, _))) = client.tcp_ends() else { return Ok(None) };
        let source = Source::from(peer.ip());
        sources.admit(source).map(Some).ok_or(source)
    }
}
