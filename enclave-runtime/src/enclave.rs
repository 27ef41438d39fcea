//! The signer as it runs in an enclave: it listens at once, opens when its secrets are open, and wipes them at its end.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use transport::{ANY_CID, Address, Listener};

use crate::acme::{AcmeRelays, Keeper, answer_challenges};
use crate::boot::{BootRefused, boot};
use crate::entropy::{EntropyUnavailable, seed_kernel_pool};
use crate::http::serve;
use crate::kms::{Kms, KmsServer};
use crate::kms_sealer::KmsSealer;
use crate::log_port::log_port;
use crate::nsm::Nsm;
use crate::recipient::RecipientKey;
use crate::relay::{ParentCid, Relay};
use crate::remote_server::UnusableServer;
use crate::service::Service;
use crate::tls::provided::{Provided, RELOAD_INTERVAL};
use crate::tls::{TlsFront, TlsIdentity, UnusableIdentity};
use crate::trusted_clock::{NoTime, TrustedClock};
use configuration::{Acme, Configuration, MAX_CONFIGURATION_BYTES, TlsMode, Vsock};

/// The kernel's generator is seeded in a moment by the NSM, or there is something wrong with both.
const ENTROPY_PATIENCE: Duration = Duration::from_secs(10);

/// The NSM tells the time in milliseconds, or there is something wrong with it.
const TIME_PATIENCE: Duration = Duration::from_secs(10);

/// Time for the last lines to reach the parent.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(2);

/// The name in the certificate that is presented until the provided one is open: a name that no server has (RFC 6761
/// §6.4).
const STARTING_SERVER_NAME: &str = "starting.invalid";

/// The services of the parent.
#[derive(Debug)]
pub struct Parent {
    /// Sends the boot file and closes.
    pub boot_file: Relay,
    /// How long after the last time the boot file is looked at again, for a new certificate.
    pub boot_file_interval: Duration,
    /// Reaches KMS.
    pub kms: Relay,
    /// Reaches the instance metadata service.
    pub imds: Relay,
    /// Takes log lines.
    pub log: Relay,
    /// For certificates by ACME, if there are to be any.
    pub acme: Option<AcmeRelays>,
}

impl Parent {
    /// The parent's services on vsock.
    #[must_use]
    pub fn on(vsock: &Vsock, cid: &ParentCid) -> Self {
        Self {
            boot_file: Relay::of_parent(cid, vsock.boot_port),
            boot_file_interval: RELOAD_INTERVAL,
            kms: Relay::of_parent(cid, vsock.kms_proxy_port),
            imds: Relay::of_parent(cid, vsock.imds_port),
            log: Relay::of_parent(cid, vsock.log_port),
            acme: Some(AcmeRelays {
                server: Relay::of_parent(cid, vsock.acme_port),
                store: Relay::of_parent(cid, vsock.certificate_store_port),
                store_write: Relay::of_parent(cid, vsock.certificate_store_write_port),
            }),
        }
    }
}

/// Where the enclave listens.
#[derive(Debug)]
pub struct Listen {
    /// For clients.
    pub api: Address,
    /// For ACME validators, with `tls.mode = "acme"`.
    pub acme_challenges: Option<Address>,
}

impl Listen {
    /// The enclave's ports on vsock.
    #[must_use]
    pub fn on(vsock: &Vsock) -> Self {
        let at = |port| Address::Vsock { cid: ANY_CID, port };
        Self { api: at(vsock.enclave_app_port), acme_challenges: Some(at(vsock.acme_challenge_port)) }
    }
}

/// Why it did not start, or stopped.
#[derive(Debug)]
pub enum Stopped {
    /// The configuration or the boot file is wrong.
    Misconfigured(String),
    /// The machine lacks a part that the signer needs.
    Unavailable(String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Misconfigured(reason) | Self::Unavailable(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<EntropyUnavailable> for Stopped {
    fn from(error: EntropyUnavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<NoTime> for Stopped {
    fn from(error: NoTime) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<UnusableServer> for Stopped {
    fn from(error: UnusableServer) -> Self {
        Self::Misconfigured(format!("nitro.toml: {error}"))
    }
}

impl From<UnusableIdentity> for Stopped {
    fn from(error: UnusableIdentity) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<BootRefused> for Stopped {
    fn from(refused: BootRefused) -> Self {
        match refused {
            BootRefused::NoSigner(_) | BootRefused::Memory(_) | BootRefused::Identity(_) => {
                Self::Unavailable(refused.to_string())
            }
            _ => Self::Misconfigured(refused.to_string()),
        }
    }
}

/// Reads the measured configuration.
///
/// # Errors
/// [`Stopped::Misconfigured`]
pub fn read_configuration(path: &Path) -> Result<Configuration, Stopped> {
    let misconfigured = |error: &dyn Display| Stopped::Misconfigured(format!("{}: {error}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CONFIGURATION_BYTES as u64 + 1).read_to_string(&mut text))
        .map_err(|error| misconfigured(&error))?;
    Configuration::parse(&text).map_err(|error| misconfigured(&error))
}

/// Runs until SIGTERM or SIGINT. `nsm` is opened when there is a log to tell if it cannot be; `listening` is told
/// where, once, before there are any secrets.
///
/// # Errors
/// [`Stopped`], which is in the log already.
pub fn run(
    configuration: &Configuration,
    parent: Parent,
    listen: &Listen,
    nsm: impl FnOnce() -> Result<Arc<dyn Nsm>, Stopped>,
    listening: impl FnOnce(&Address),
) -> Result<(), Stopped> {
    let (writer, queue) = log_port();
    tracing_subscriber::fmt().with_writer(writer.clone()).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stopped::Unavailable(error.to_string()))
        .inspect_err(|stopped| tracing::error!("cannot start: {stopped}"))?;
    let Parent { boot_file, boot_file_interval, kms, imds, log, acme } = parent;
    let boot_file = BootFileRelay { relay: boot_file, interval: boot_file_interval };
    runtime.spawn(queue.send_to(log));
    let outcome = nsm().and_then(|nsm| start(configuration, kms, imds, acme, nsm)).and_then(|started| {
        let service = Arc::clone(&started.service);
        let outcome = runtime.block_on(serve_booting(configuration, &boot_file, listen, started, listening));
        service.wipe();
        outcome
    });
    match &outcome {
        Ok(()) => tracing::info!("stopped"),
        Err(stopped) => tracing::error!("cannot start: {stopped}"),
    }
    runtime.block_on(writer.settle(LAST_LINES_PATIENCE));
    // Calls of the NSM that still run are not waited for.
    runtime.shutdown_timeout(LAST_LINES_PATIENCE);
    outcome
}

struct BootFileRelay {
    relay: Relay,
    interval: Duration,
}

/// The parts that exist before the first request to the parent.
struct Started {
    nsm: Arc<dyn Nsm>,
    clock: Arc<TrustedClock>,
    kms: Arc<Kms>,
    service: Arc<Service<KmsSealer>>,
    front: Option<Arc<TlsFront>>,
    keeper: Option<Keeper>,
}

/// Everything that needs nothing of the parent.
fn start(
    configuration: &Configuration,
    kms: Relay,
    imds: Relay,
    acme: Option<AcmeRelays>,
    nsm: Arc<dyn Nsm>,
) -> Result<Started, Stopped> {
    seed_kernel_pool(&*nsm, ENTROPY_PATIENCE)?;
    tell_measurements(&*nsm)?;
    let clock = Arc::new(TrustedClock::start(&*nsm, TIME_PATIENCE)?);
    let recipient = RecipientKey::generate()
        .map_err(|_| Stopped::Unavailable("the key that KMS encrypts to cannot be made".to_owned()))?;
    let server = KmsServer::new(&configuration.kms, kms, Arc::clone(&clock))?;
    let kms = Kms::new(server, imds, &configuration.kms, Arc::clone(&nsm), recipient, Arc::clone(&clock));
    let kms = Arc::new(kms);
    let front = front(&configuration.tls, &clock)?;
    let keeper = match (&configuration.tls, &front) {
        (TlsMode::Acme(configuration), Some(front)) => {
            let no_relays = || Stopped::Misconfigured("there is no way to the acme server".to_owned());
            let relays = acme.ok_or_else(no_relays)?;
            Some(Keeper::new(configuration, relays, Arc::clone(front), Arc::clone(&clock))?)
        }
        _ => None,
    };
    let service = Arc::new(Service::closed(Arc::clone(&nsm), Arc::clone(&clock)));
    Ok(Started { nsm, clock, kms, service, front, keeper })
}

/// With TLS, clients are never answered without: who they speak to can be attested before any secret is here.
fn front(mode: &TlsMode, clock: &TrustedClock) -> Result<Option<Arc<TlsFront>>, Stopped> {
    let identity = match mode {
        TlsMode::Off => return Ok(None),
        TlsMode::SelfSigned { server_names } | TlsMode::Acme(Acme { server_names, .. }) => {
            TlsIdentity::self_signed(server_names, clock.unix_time())?
        }
        TlsMode::Provided => TlsIdentity::self_signed(&[STARTING_SERVER_NAME.to_owned()], clock.unix_time())?,
    };
    Ok(Some(Arc::new(TlsFront::new(identity))))
}

/// Logs the measurements that the key policy has to name, for an operator whose KMS refuses.
fn tell_measurements(nsm: &dyn Nsm) -> Result<(), Stopped> {
    for index in [0, 1, 2] {
        let pcr = nsm.describe_pcr(index).map_err(|error| Stopped::Unavailable(error.to_string()))?;
        tracing::info!("PCR{index} is {}", base16ct::lower::encode_string(&pcr.value));
        if index == 0 && pcr.value.iter().all(|byte| *byte == 0) {
            tracing::warn!("PCR0 is all zeros, as in debug mode: KMS gives this enclave nothing");
        }
    }
    Ok(())
}

async fn bind(address: &Address) -> Result<Listener, Stopped> {
    let cannot_listen = |error| Stopped::Unavailable(format!("cannot listen on {address}: {error}"));
    Listener::bind(address).await.map_err(cannot_listen)
}

/// Serves from the first moment, so that `/health` answers before the signer is ready, and boots meanwhile.
async fn serve_booting(
    configuration: &Configuration,
    boot_file: &BootFileRelay,
    listen: &Listen,
    started: Started,
    listening: impl FnOnce(&Address),
) -> Result<(), Stopped> {
    let signals = StopSignals::listen()?;
    // The challenges end with this function.
    let (listener, _challenges) = bind_all(configuration, listen, &started).await?;
    tokio::spawn(Arc::clone(&started.clock).keep_anchored(Arc::clone(&started.nsm)));
    tracing::info!("listening on {}, waiting for secrets", listener.local_address());
    listening(listener.local_address());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // A message and a dropped sender mean the same.
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(
        listener,
        Arc::clone(&started.service),
        started.front.clone(),
        configuration.limits,
        configuration.proxy_protocol,
        stopped,
    ));
    supervise(serving, stop, signals, boot_and_keep(configuration, boot_file, started)).await
}

/// Binds the API's address, and with ACME that of its validators, and answers these.
async fn bind_all(
    configuration: &Configuration,
    listen: &Listen,
    started: &Started,
) -> Result<(Listener, JoinSet<()>), Stopped> {
    let listener = bind(&listen.api).await?;
    let mut challenges = JoinSet::new();
    if let (Some(_), Some(front), Some(address)) = (&started.keeper, &started.front, &listen.acme_challenges)
    {
        let listener = bind(address).await?;
        tracing::info!("answering the acme server on {}", listener.local_address());
        challenges.spawn(answer_challenges(listener, Arc::clone(front), configuration.proxy_protocol));
    }
    Ok((listener, challenges))
}

/// Boots, and then looks after the certificate, if it is one that changes. Returns when nothing is left to do.
async fn boot_and_keep(
    configuration: &Configuration,
    boot_file: &BootFileRelay,
    Started { nsm: _, clock, kms, service, front, mut keeper }: Started,
) -> Result<(), BootRefused> {
    let begun = Instant::now();
    let tls =
        boot(configuration, &boot_file.relay, &kms, &service, front.as_deref(), keeper.as_mut()).await?;
    tracing::info!(after_ms = begun.elapsed().as_millis(), "ready");
    if let (Some(front), Some(tls)) = (&front, tls) {
        let provided = Provided::new(front, &tls);
        drop(tls);
        let generations = configuration.secrets.generations;
        provided.keep_fresh(front, &boot_file.relay, &kms, &clock, generations, boot_file.interval).await;
    }
    if let Some(keeper) = keeper {
        keeper.keep().await;
    }
    Ok(())
}

/// Waits for a signal, for a boot that is refused, or for a server that ends by itself, and ends the server.
async fn supervise(
    mut serving: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    mut signals: StopSignals,
    booting: impl Future<Output = Result<(), BootRefused>>,
) -> Result<(), Stopped> {
    let outcome = tokio::select! {
        () = signals.recv() => Ok(()),
        // After a boot that ends well, this branch waits no more.
        Err(refused) = booting => Err(Stopped::from(refused)),
        // The server ends only on a signal, or by a defect.
        _ = &mut serving => return Err(Stopped::Unavailable("the server has ended by itself".to_owned())),
    };
    match &outcome {
        Ok(()) => {
            tracing::info!("stopping");
            drop(stop);
        }
        Err(_) => serving.abort(),
    }
    // A server that drains ends by itself. The file of an aborted one's listener goes with it.
    let _ = serving.await;
    outcome
}

/// The signals that end the signer: SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, Stopped> {
        let unavailable = |error: std::io::Error| Stopped::Unavailable(error.to_string());
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(unavailable)?,
            interrupt: signal(SignalKind::interrupt()).map_err(unavailable)?,
        })
    }

    /// Waits for one of them.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
