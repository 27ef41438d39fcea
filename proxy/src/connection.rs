//! One accepted connection, from its first byte to its end.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tracing::{debug, info, warn};
use transport::{Address, ProxyHeader, Stream, dial};

use crate::buffer::Buffer;
use crate::connect::{Connect, connect};
use crate::destination::Destination;
use crate::file_sink::{FileSink, Replacing};
use crate::file_source::FileSource;
use crate::limits::Limits;
use crate::line_sink::LineSink;
use crate::metrics::RouteMetrics;
use crate::pump::{Carrier, Deadlines, Outcome, Pump};

/// The state that the connections of one route share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) local_address: Address,
    pub(crate) destination: Destination,
    pub(crate) limits: Limits,
    /// Whether the proxy announces the address of each client to the destination, before the client's bytes.
    pub(crate) announces_clients: bool,
    pub(crate) metrics: RouteMetrics,
    pub(crate) lines: Arc<LineSink>,
    pub(crate) file: FileSink,
    /// Turns a stream of failures into one event, and the recovery into another.
    pub(crate) destination_failing: AtomicBool,
    /// Whether the destination gets nothing more from clients. Shared by all routes.
    pub(crate) is_closing: Arc<AtomicBool>,
}

impl Shared {
    /// Serves a client until the connection is closed.
    pub(crate) async fn serve(&self, client: Stream) {
        let _active = Active::new(self.metrics.active.clone());
        match &self.destination {
            Destination::Socket(address) => self.serve_socket(client, || dial(address)).await,
            // Read for each attempt: a client that waits reaches the enclave that comes meanwhile.
            Destination::Enclave(enclave) => self.serve_socket(client, || enclave.dial()).await,
            Destination::File(path) => match FileSource::open(path.clone()).await {
                Ok(file) => {
                    self.succeeded();
                    self.pump(client, Buffer::new(), file).await;
                }
                Err(error) => self.failed(&error),
            },
            Destination::Replace(path) => self.serve_replacing(client, path).await,
            Destination::Stdout => self.serve_lines(client).await,
        }
    }

    async fn serve_socket<F>(&self, mut client: Stream, dial: impl Fn() -> F)
    where
        F: Future<Output = io::Result<Stream>>,
    {
        let header = match self.announces_clients.then(|| client.tcp_ends()).transpose() {
            Ok(ends) => ends.flatten().map(|(source, destination)| ProxyHeader { source, destination }),
            Err(error) => {
                debug!(route = %self.local_address, %error, "client left before it was announced");
                return;
            }
        };
        let mut early = Buffer::new();
        let dial_timeout = self.limits.dial_timeout;
        match connect(dial, dial_timeout, &mut client, &mut early).await {
            Connect::Connected(mut stream) => {
                if let Some(header) = header
                    && let Err(error) = self.announce(&header, &mut stream).await
                {
                    return self.failed(&error);
                }
                self.succeeded();
                self.pump(client, early, stream).await;
            }
            Connect::ClientLeft => debug!(route = %self.local_address, "client left while dialing"),
            Connect::Failed(error) => self.failed(&error),
        }
    }

    async fn announce(&self, header: &ProxyHeader, destination: &mut Stream) -> io::Result<()> {
        let written = timeout(self.limits.progress_timeout, destination.write_all(&header.to_bytes())).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn serve_replacing(&self, mut client: Stream, path: &Path) {
        match self.file.replace(&mut client, path).await {
            Replacing::Done(count) => {
                self.metrics.bytes_to_destination.inc_by(count);
                self.succeeded();
                info!(route = %self.local_address, destination = %self.destination, bytes = count, "replaced");
            }
            Replacing::Unchanged(reason) => {
                warn!(route = %self.local_address, destination = %self.destination, reason, "not replaced");
            }
            Replacing::Failed(error) => self.failed(&error),
        }
    }

    async fn serve_lines(&self, mut client: Stream) {
        let copied = self.lines.copy_lines(&mut client, self.limits.progress_timeout, &self.metrics).await;
        match copied {
            Ok(()) => self.succeeded(),
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    self.metrics.progress_closes.inc();
                }
                self.failed(&error);
            }
        }
    }

    async fn pump<D>(&self, mut client: Stream, early: Buffer, mut destination: D)
    where
        D: AsyncRead + AsyncWrite + Unpin,
    {
        let to_destination =
            Carrier { buffer: early, moved_bytes: self.metrics.bytes_to_destination.clone() };
        let to_client = Carrier { buffer: Buffer::new(), moved_bytes: self.metrics.bytes_to_client.clone() };
        let deadlines = Deadlines {
            idle_timeout: self.limits.idle_timeout,
            progress_timeout: self.limits.progress_timeout,
        };
        let outcome = Pump::new((&mut client, to_destination), (&mut destination, to_client), deadlines)
            .run(&self.is_closing)
            .await;
        debug!(route = %self.local_address, ?outcome, "connection ended");
        match outcome {
            Outcome::Complete | Outcome::Abandoned => {}
            Outcome::Idle => {
                self.metrics.idle_closes.inc();
            }
            Outcome::Stalled => {
                self.metrics.progress_closes.inc();
                client.abort();
            }
        }
    }

    fn succeeded(&self) {
        if self.destination_failing.swap(false, Ordering::Relaxed) {
            info!(route = %self.local_address, destination = %self.destination, "destination reached again");
        }
    }

    fn failed(&self, error: &io::Error) {
        self.metrics.dial_failures.inc();
        if self.destination_failing.swap(true, Ordering::Relaxed) {
            debug!(route = %self.local_address, %error, "destination not reached");
        } else {
            warn!(
                route = %self.local_address,
                destination = %self.destination,
                %error,
                "destination not reached; further failures are only counted until one succeeds"
            );
        }
    }
}

/// Counts a connection as active until it is dropped, by a panic too.
struct Active(Gauge);

impl Active {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}
