//! The server: it binds, announces, serves and drains.

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};
use transport::{Address, Listener};

use crate::acceptor::Acceptor;
use crate::admin::Admin;
use crate::arguments::Config;
use crate::connection::Shared;
use crate::file_sink::FileSink;
use crate::line_sink::LineSink;
use crate::metrics::Metrics;
use crate::source_limit::SourceLimit;

/// The last part of a drain, at most half of it: time for the signer to answer the requests that it got. A signature
/// takes milliseconds. An import that waits longer for KMS uses up nothing and can be repeated.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// All routes, bound.
#[derive(Debug)]
pub struct Server {
    acceptors: Vec<Acceptor>,
    admin: Option<Admin>,
    draining: watch::Sender<bool>,
    is_closing: Arc<AtomicBool>,
    max_connections: u32,
    drain_timeout: Duration,
}

/// Why the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A signal came, and it drained.
    Drained,
    /// A second signal came.
    Interrupted,
    /// A part that never ends has ended.
    Defect,
}

impl Server {
    /// Binds every address of the configuration.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound. Those bound before it are released.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let metrics = Arc::new(Metrics::new());
        let lines = Arc::new(LineSink::new());
        let max_connections = config.limits.max_connections;
        let is_closing = Arc::new(AtomicBool::new(false));
        let mut acceptors = Vec::with_capacity(config.routes.len());
        for route in config.routes {
            let listener = bind(&route.listen).await?;
            let local_address = listener.local_address().clone();
            let announces_clients = config.announces_clients && route.leads_clients_to_a_socket();
            acceptors.push(Acceptor {
                permits: Arc::new(Semaphore::new(max_connections as usize)),
                sources: config.limits.max_connections_per_source.map(SourceLimit::new).map(Arc::new),
                shared: Arc::new(Shared {
                    destination: route.destination,
                    limits: config.limits,
                    announces_clients,
                    metrics: metrics.route(&local_address),
                    lines: Arc::clone(&lines),
                    file: FileSink::default(),
                    destination_failing: AtomicBool::new(false),
                    is_closing: Arc::clone(&is_closing),
                    local_address,
                }),
                listener,
            });
        }
        let (draining, receiver) = watch::channel(false);
        let admin = match &config.admin {
            Some(address) => Some(Admin { listener: bind(address).await?, metrics, draining: receiver }),
            None => None,
        };
        Ok(Self {
            acceptors,
            admin,
            draining,
            is_closing,
            max_connections,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Writes one line for each address that is listened on.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn announce<W: Write>(&self, mut output: W) -> io::Result<()> {
        for Acceptor { shared, .. } in &self.acceptors {
            writeln!(output, "proxy: listening on {}, dialing {}", shared.local_address, shared.destination)?;
        }
        if let Some(admin) = &self.admin {
            writeln!(output, "proxy: admin on {}", admin.listener.local_address())?;
        }
        output.flush()
    }

    /// Serves until `stop` completes, then lets the connections finish until the drain timeout or until the future that
    /// `stop` returned completes too. The remaining connections close when the runtime is shut down.
    ///
    /// In the last part of the drain nothing more is passed on from clients. The proxy cannot see where a request ends,
    /// but the signer has answered by then each request that was passed on before. So the cut uses up no ticket without
    /// its signature.
    pub async fn run<F, G>(self, stop: F) -> Finish
    where
        F: Future<Output = G>,
        G: Future<Output = ()>,
    {
        let permits: Vec<_> = self.acceptors.iter().map(|acceptor| Arc::clone(&acceptor.permits)).collect();
        let mut tasks = JoinSet::new();
        for acceptor in self.acceptors {
            tasks.spawn(acceptor.run(self.draining.subscribe()));
        }
        if let Some(admin) = self.admin {
            tasks.spawn(admin.run());
        }

        let stop_again = tokio::select! {
            stop_again = stop => stop_again,
            ended = tasks.join_next() => {
                error!(?ended, "an accept loop ended");
                return Finish::Defect;
            }
        };
        info!("draining");
        self.draining.send_replace(true);
        let deadline = Instant::now() + self.drain_timeout;
        let all_finished = async {
            for route in permits {
                // Fails only on a closed semaphore, and this one is never closed.
                let _ = route.acquire_many(self.max_connections).await;
            }
        };
        let drained = async {
            let mut all_finished = pin!(all_finished);
            let last_answers = LAST_ANSWERS.min(self.drain_timeout / 2);
            if timeout_at(deadline - last_answers, all_finished.as_mut()).await.is_ok() {
                return true;
            }
            self.is_closing.store(true, Ordering::Relaxed);
            timeout_at(deadline, all_finished).await.is_ok()
        };
        tokio::select! {
            () = stop_again => {
                warn!("interrupted while draining");
                Finish::Interrupted
            }
            drained = drained => {
                if drained {
                    info!("drained");
                } else {
                    warn!("drain timeout passed, closing the remaining connections");
                }
                Finish::Drained
            }
        }
    }
}

async fn bind(address: &Address) -> Result<Listener, BindError> {
    Listener::bind(address).await.map_err(|cause| BindError { address: address.clone(), cause })
}

/// An address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    address: Address,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot listen on {}: {}", self.address, self.cause)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
