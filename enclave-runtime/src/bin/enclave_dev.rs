//! The signer without hardware, for development and tests: the same core, API and limits as production, with a software
//! NSM. It runs in two ways:
//!
//! ```text
//! alone:    environment, flags ─▶ secrets, LocalSealer ─▶ signer_memory ─▶ Service ─▶ http::serve ─▶ wipe
//! attested: nitro.toml, boot file ─▶ enclave_runtime::run, as in production, with the parent's services on any address
//! ```
//!
//! Alone, its secrets come from the environment and it seals under `SEALING_KEY`. A process that can read the
//! environment can open every backup.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedI64ValueParser;
use configuration::{Capacity, Limits, RateLimits, Role};
use enclave_runtime::acme::AcmeRelays;
use enclave_runtime::http::serve;
use enclave_runtime::tls::{TlsFront, TlsIdentity};
use enclave_runtime::{
    ApiKey, ApiKeys, ClockError, Listen, LocalSealer, Nsm, Parent, Pcrs as SoftwarePcrs, Relay, Service,
    SoftwareNsm, Stopped, TrustedClock, harden, read_configuration, seed, signer,
};
use tokio::signal::unix::{SignalKind, signal};
use transport::{Address, Listener};
use zeroize::Zeroizing;

/// Signs over HTTP without an enclave, for development. Never use it with keys that matter.
///
/// Alone, it takes its secrets from the environment: INTERNAL_API_KEY and TICKET_SIGNING_SECRET (any text), SEALING_KEY
/// (64 hex digits). With --nitro-toml it is configured as in production, and needs a KMS that trusts its software NSM.
#[derive(Parser)]
#[command(name = "enclave-dev", version)]
struct Arguments {
    /// Where to listen: tcp:HOST:PORT, unix:/path, vsock:CID:PORT or hybrid:/path:PORT
    #[arg(long, value_name = "ADDRESS", default_value = "tcp:127.0.0.1:7001")]
    listen: Address,
    /// Keys held at one time, 92 bytes of locked memory each
    #[arg(long, value_name = "COUNT", default_value_t = Capacity::default().max_keys,
          value_parser = within(Capacity::KEYS))]
    max_keys: u32,
    /// Nonces of live tickets held at one time, 40 bytes of memory each
    #[arg(long, value_name = "COUNT", default_value_t = Capacity::default().max_nonces,
          value_parser = within(Capacity::NONCES))]
    max_nonces: u32,
    /// Longest life of a ticket, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = Capacity::default().max_ticket_ttl_s,
          value_parser = within(Capacity::TICKET_TTL_S))]
    max_ticket_ttl_s: u32,
    /// Requests served at one time, up to 32 KiB of memory each; half of them may be exports and imports
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_requests_in_flight,
          value_parser = within(REQUESTS_IN_FLIGHT))]
    max_requests_in_flight: u32,
    /// How clients are answered: in the clear, or over TLS with a certificate for "localhost" that is made at each
    /// start
    #[arg(long, value_name = "MODE", default_value = "off")]
    tls: Tls,
    /// Takes only connections that begin with a PROXY protocol header of version 2, as `proxy --proxy-protocol` writes
    /// it
    #[arg(long)]
    proxy_protocol: bool,
    /// Where the software NSM keeps its root, made if missing: root.pem is for verifiers. Without it the root is lost
    /// at the end
    #[arg(long, value_name = "FOLDER")]
    software_nsm: Option<PathBuf>,
    /// PCR0 in the software NSM's documents, 96 hex digits
    #[arg(long, value_name = "HEX", value_parser = parse_pcr)]
    pcr0: Option<[u8; 48]>,
    /// How far the software NSM's clock is ahead of this machine's; behind it if negative. For tests
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    nsm_clock_offset_s: i32,
    /// How much the software NSM's clock gains on this machine's, loses if negative; below -1000000 it goes back. For
    /// tests
    #[arg(long, value_name = "PPM", default_value_t = 0, allow_negative_numbers = true)]
    nsm_clock_drift_ppm: i32,
    /// How long after its start the software NSM begins to refuse documents. For tests
    #[arg(long, value_name = "SECONDS")]
    nsm_refuses_after_s: Option<u32>,
    /// The measured configuration, as in the production image; limits are in it
    #[arg(long, value_name = "FILE", requires_all = ["boot_file", "kms", "imds", "log"],
          conflicts_with_all = ["max_keys", "max_nonces", "max_ticket_ttl_s", "max_requests_in_flight", "tls", "proxy_protocol"])]
    nitro_toml: Option<PathBuf>,
    /// The parent's relays, which are on vsock in production
    #[command(flatten)]
    parent: ParentAddresses,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Tls {
    Off,
    SelfSigned,
}

#[derive(clap::Args)]
struct ParentAddresses {
    /// Where the boot file comes from
    #[arg(long, value_name = "ADDRESS", requires = "nitro_toml")]
    boot_file: Option<Address>,
    /// How long after the last time the boot file is looked at again for a new certificate
    #[arg(long, value_name = "SECONDS", requires = "nitro_toml", default_value_t = 60,
          value_parser = within(BOOT_FILE_INTERVALS_S))]
    boot_file_interval_s: u32,
    /// A relay to KMS
    #[arg(long, value_name = "ADDRESS", requires = "nitro_toml")]
    kms: Option<Address>,
    /// A relay to the instance metadata service
    #[arg(long, value_name = "ADDRESS", requires = "nitro_toml")]
    imds: Option<Address>,
    /// Where log lines go
    #[arg(long, value_name = "ADDRESS", requires = "nitro_toml")]
    log: Option<Address>,
    /// Where to listen for the ACME server's validation, apart from the API; only with tls.mode acme
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    listen_acme: Option<Address>,
    /// A relay to the ACME server
    #[arg(long, value_name = "ADDRESS", requires_all = ["nitro_toml", "certificate_store", "certificate_store_write"])]
    acme: Option<Address>,
    /// Where the kept certificate comes from
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    certificate_store: Option<Address>,
    /// Where the certificate to keep goes
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    certificate_store_write: Option<Address>,
}

impl ParentAddresses {
    fn parent(self) -> Option<Parent> {
        let acme = match (self.acme, self.certificate_store, self.certificate_store_write) {
            (Some(server), Some(store), Some(store_write)) => Some(AcmeRelays {
                server: Relay::at(server),
                store: Relay::at(store),
                store_write: Relay::at(store_write),
            }),
            _ => None,
        };
        Some(Parent {
            boot_file: Relay::at(self.boot_file?),
            boot_file_interval: Duration::from_secs(u64::from(self.boot_file_interval_s)),
            kms: Relay::at(self.kms?),
            imds: Relay::at(self.imds?),
            log: Relay::at(self.log?),
            acme,
        })
    }
}

fn parse_pcr(hex: &str) -> Result<[u8; 48], &'static str> {
    let mut pcr = [0; 48];
    let is_whole = hex.len() == 96 && base16ct::mixed::decode(hex, &mut pcr).is_ok();
    is_whole.then_some(pcr).ok_or("not 96 hex digits")
}

/// EX_USAGE of sysexits.h: the command line is wrong.
const EX_USAGE: u8 = 64;

/// EX_UNAVAILABLE of sysexits.h: the system lacks a part that the signer needs.
const EX_UNAVAILABLE: u8 = 69;

/// EX_CONFIG of sysexits.h: a secret is missing or wrong.
const EX_CONFIG: u8 = 78;

/// The software NSM gives the time at once, unless the machine is very busy.
const NSM_PATIENCE: Duration = Duration::from_secs(5);

/// Up to the connections served: more can never be in flight.
const REQUESTS_IN_FLIGHT: RangeInclusive<u32> = 1..=1024;

/// Up to a day: longer is never.
const BOOT_FILE_INTERVALS_S: RangeInclusive<u32> = 1..=86_400;

fn within(range: RangeInclusive<u32>) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*range.start())..=i64::from(*range.end()))
}

/// Why it did not start, in one line, or none if that is said, and with which exit code.
struct NotStarted {
    reason: String,
    code: u8,
}

impl From<Stopped> for NotStarted {
    fn from(stopped: Stopped) -> Self {
        let code = match stopped {
            Stopped::Misconfigured(_) => EX_CONFIG,
            Stopped::Unavailable(_) => EX_UNAVAILABLE,
        };
        Self { reason: stopped.to_string(), code }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to tell if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(NotStarted { reason, code }) => {
            if !reason.is_empty() {
                // Nothing is left to tell if stderr is gone.
                let _ = writeln!(std::io::stderr(), "enclave-dev: cannot start: {reason}");
            }
            ExitCode::from(code)
        }
    }
}

fn run(mut arguments: Arguments) -> Result<(), NotStarted> {
    harden().map_err(unavailable)?;
    let nsm = Arc::new(software_nsm(&arguments)?);
    match arguments.nitro_toml.take() {
        None => run_alone(&arguments, nsm),
        Some(nitro_toml) => run_attested(&nitro_toml, arguments, nsm),
    }
}

fn software_nsm(arguments: &Arguments) -> Result<SoftwareNsm, NotStarted> {
    let nsm = match &arguments.software_nsm {
        Some(folder) => SoftwareNsm::with_root(folder),
        None => SoftwareNsm::ephemeral(),
    }
    .map_err(unavailable)?;
    let pcrs = SoftwarePcrs::default();
    let pcrs = SoftwarePcrs { pcr0: arguments.pcr0.unwrap_or(pcrs.pcr0), ..pcrs };
    let clock =
        ClockError { offset_s: arguments.nsm_clock_offset_s, drift_ppm: arguments.nsm_clock_drift_ppm };
    let nsm = nsm.measuring(pcrs).with_clock(clock);
    Ok(match arguments.nsm_refuses_after_s {
        Some(age_s) => nsm.refusing_after(Duration::from_secs(age_s.into())),
        None => nsm,
    })
}

fn run_attested(nitro_toml: &Path, arguments: Arguments, nsm: Arc<dyn Nsm>) -> Result<(), NotStarted> {
    let configuration = read_configuration(nitro_toml).map_err(NotStarted::from)?;
    let listen = Listen { api: arguments.listen, acme_challenges: arguments.parent.listen_acme.clone() };
    let parent =
        arguments.parent.parent().ok_or_else(|| misconfigured("the parent's addresses are missing"))?;
    let listening = |address: &Address| {
        // Nothing is left to tell if stdout is gone.
        let _ = writeln!(std::io::stdout(), "enclave-dev: listening on {address}");
    };
    enclave_runtime::run(&configuration, parent, &listen, || Ok(nsm), listening).map_err(|stopped| {
        // It is in the log already.
        NotStarted { reason: String::new(), ..NotStarted::from(stopped) }
    })
}

fn run_alone(arguments: &Arguments, nsm: Arc<dyn Nsm>) -> Result<(), NotStarted> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();

    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("INTERNAL_API_KEY_") || name.starts_with("TICKET_SIGNING_SECRET_") {
            return Err(misconfigured(&format!(
                "{name} needs --nitro-toml: without it there is one key and one secret"
            )));
        }
    }
    let api_key = secret("INTERNAL_API_KEY")?;
    let api_key = ApiKey::new(api_key.as_bytes()).map_err(|_| misconfigured("INTERNAL_API_KEY is empty"))?;
    let api_keys = ApiKeys::one(api_key, Role::Full);
    let sealer = LocalSealer::from_hex(&secret("SEALING_KEY")?)
        .map_err(|_| misconfigured("SEALING_KEY must be 64 hex digits"))?;
    let ticket_secret = secret("TICKET_SIGNING_SECRET")?;
    let capacity = Capacity {
        max_keys: arguments.max_keys,
        max_nonces: arguments.max_nonces,
        max_ticket_ttl_s: arguments.max_ticket_ttl_s,
    };
    let signer =
        signer(capacity, RateLimits::default(), ticket_secret.as_bytes(), None).map_err(unavailable)?;
    drop(ticket_secret);
    let clock = Arc::new(TrustedClock::start(&*nsm, NSM_PATIENCE).map_err(unavailable)?);
    let service = Arc::new(Service::closed(Arc::clone(&nsm), Arc::clone(&clock)));
    service.open(api_keys, signer, sealer, seed().map_err(unavailable)?, RateLimits::default());
    let limits = Limits { max_requests_in_flight: arguments.max_requests_in_flight, ..Limits::default() };

    let front = match arguments.tls {
        Tls::Off => None,
        Tls::SelfSigned => {
            let identity = TlsIdentity::self_signed(&["localhost".to_owned()], clock.unix_time());
            let identity = identity.map_err(unavailable)?;
            Some(Arc::new(TlsFront::new(identity)))
        }
    };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(unavailable)?;
    runtime.spawn(clock.keep_anchored(nsm));
    let outcome = runtime.block_on(listen(arguments, Arc::clone(&service), front, limits));
    // Connections hold no secrets, but their tasks end before the keys do.
    drop(runtime);
    service.wipe();
    outcome
}

async fn listen(
    arguments: &Arguments,
    service: Arc<Service<LocalSealer>>,
    front: Option<Arc<TlsFront>>,
    limits: Limits,
) -> Result<(), NotStarted> {
    let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
    let address = &arguments.listen;
    let listener = Listener::bind(address)
        .await
        .map_err(|error| unavailable(format!("cannot listen on {address}: {error}")))?;
    tracing::warn!("development signer: its backups are only as safe as its environment");
    writeln!(std::io::stdout(), "enclave-dev: listening on {}", listener.local_address())
        .map_err(unavailable)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    serve(listener, service, front, limits, arguments.proxy_protocol, stop).await;
    Ok(())
}

fn secret(name: &str) -> Result<Zeroizing<String>, NotStarted> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(Zeroizing::new(value)),
        Ok(_) => Err(misconfigured(&format!("{name} is empty"))),
        Err(std::env::VarError::NotPresent) => Err(misconfigured(&format!("{name} is not set"))),
        Err(std::env::VarError::NotUnicode(_)) => Err(misconfigured(&format!("{name} is not UTF-8"))),
    }
}

fn misconfigured(reason: &str) -> NotStarted {
    NotStarted { reason: reason.to_owned(), code: EX_CONFIG }
}

fn unavailable(error: impl Display) -> NotStarted {
    NotStarted { reason: error.to_string(), code: EX_UNAVAILABLE }
}
