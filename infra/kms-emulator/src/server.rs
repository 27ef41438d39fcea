//! The ports.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use transport::{Address, Listener};

use crate::arguments::Arguments;
use crate::emulator::Emulator;
use crate::imds::Imds;
use crate::reply::{Dropped, Reply};
use crate::setup::Setup;
use crate::{api, control};

/// For a TLS handshake, and for the head of a request or the wait for the next.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failure to accept, which passes or is for a human to see.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

/// Every port, bound.
pub(crate) struct Server {
    setup: Setup,
    api: Listener,
    imds: Option<Listener>,
    control: Option<Listener>,
}

impl Server {
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub(crate) async fn bind(arguments: &Arguments, setup: Setup) -> Result<Self, BindError> {
        Ok(Self {
            setup,
            api: bind(&arguments.listen).await?,
            imds: bind_if_any(arguments.imds_listen.as_ref()).await?,
            control: bind_if_any(arguments.control_listen.as_ref()).await?,
        })
    }

    /// Writes one line for each address that is listened on.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub(crate) fn announce<W: Write>(&self, mut output: W) -> io::Result<()> {
        writeln!(output, "kms-emulator: listening on {}", self.api.local_address())?;
        if let Some(imds) = &self.imds {
            writeln!(output, "kms-emulator: imds on {}", imds.local_address())?;
        }
        if let Some(control) = &self.control {
            writeln!(output, "kms-emulator: control on {}", control.local_address())?;
        }
        output.flush()
    }

    /// Serves until `stop` completes, or until a port ends by a defect, which is `false`.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Self { setup: Setup { emulator, imds: metadata, tls }, api, imds, control } = self;
        let mut ports = JoinSet::new();
        ports.spawn(serve_api(api, TlsAcceptor::from(tls), Arc::clone(&emulator)));
        if let (Some(listener), Some(metadata)) = (imds, metadata) {
            ports.spawn(serve_imds(listener, Arc::new(metadata), Arc::clone(&emulator)));
        }
        if let Some(listener) = control {
            ports.spawn(serve_control(listener, emulator));
        }
        let stopped = tokio::select! {
            () = stop => true,
            _ = ports.join_next() => false,
        };
        // Drops the listeners before the process ends, and with them their socket files.
        ports.shutdown().await;
        stopped
    }
}

async fn serve_api(listener: Listener, acceptor: TlsAcceptor, emulator: Arc<Emulator>) -> Infallible {
    loop {
        let Some(stream) = accept(&listener).await else { continue };
        let (acceptor, emulator) = (acceptor.clone(), Arc::clone(&emulator));
        tokio::spawn(async move {
            // A client that does not trust the CA is the one to say so.
            if let Ok(Ok(stream)) = timeout(PEER_TIMEOUT, acceptor.accept(stream)).await {
                serve(&http(), stream, |request| api::answer(&emulator, request)).await;
            }
        });
    }
}

async fn serve_imds(listener: Listener, imds: Arc<Imds>, emulator: Arc<Emulator>) -> Infallible {
    loop {
        let Some(stream) = accept(&listener).await else { continue };
        let (imds, emulator) = (Arc::clone(&imds), Arc::clone(&emulator));
        tokio::spawn(async move {
            let answer = async |request| imds.answer(&emulator, &request);
            serve(http().title_case_headers(true), stream, answer).await;
        });
    }
}

async fn serve_control(listener: Listener, emulator: Arc<Emulator>) -> Infallible {
    loop {
        let Some(stream) = accept(&listener).await else { continue };
        let emulator = Arc::clone(&emulator);
        tokio::spawn(async move {
            serve(&http(), stream, |request| control::answer(&emulator, request)).await;
        });
    }
}

async fn accept(listener: &Listener) -> Option<transport::Stream> {
    match listener.accept().await {
        Ok(stream) => Some(stream),
        Err(error) => {
            // A closed standard error cannot be told about.
            let _ = writeln!(io::stderr(), "kms-emulator: cannot accept: {error}");
            sleep(ACCEPT_DELAY).await;
            None
        }
    }
}

/// Serves one connection to its end.
async fn serve<S, A, F>(http: &http1::Builder, stream: S, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Reply, Dropped>>,
{
    // However a connection ends, it is the client who wants to know why.
    let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PEER_TIMEOUT);
    http
}

async fn bind_if_any(address: Option<&Address>) -> Result<Option<Listener>, BindError> {
    match address {
        Some(address) => bind(address).await.map(Some),
        None => Ok(None),
    }
}

async fn bind(address: &Address) -> Result<Listener, BindError> {
    Listener::bind(address).await.map_err(|cause| BindError { address: address.clone(), cause })
}

/// An address cannot be listened on.
#[derive(Debug)]
pub(crate) struct BindError {
    address: Address,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot listen on {}: {}", self.address, self.cause)
    }
}

impl std::error::Error for BindError {}
