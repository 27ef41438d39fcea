//! `signerctl bench`

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use signerctl::bench::{Amount, Bench as LoadedSigner, Keys, Load, NotGenerated, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::minter::Minter;
use super::server::{Key, Server};
use crate::failure::{EX_DATAERR, EX_UNAVAILABLE, Failure, NOT_GOOD, print};
use crate::progress::Progress;
use crate::wait::wait_for;

/// Three quarters of the 1,024 connections that a signer takes unless told otherwise: above that, it closes idle ones.
const MAX_CONNECTIONS: u64 = 768;

/// Half of the keys that a signer has room for unless told otherwise: the other half is in use.
const MAX_IDENTITIES: u64 = 100_000;

/// A day.
const MAX_TIME_S: u64 = 86_400;

/// The signer takes no ticket that lives longer than an hour, unless told otherwise.
const MAX_TICKET_TTL_S: u64 = 3600;

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "\
Makes keys of its own, signs random digests with them, and destroys them, also after Ctrl-C. Each connection has one request
in flight. A ticket is minted for each request, before its clock starts; that costs this machine some microseconds. So does
the rest of what it does: on the signer's own machine, or with few CPUs, it measures itself too. Of the signatures up to 32
a connection are verified by BIP-340 when all is over.

Not for a signer that serves: it takes its CPUs, and the signer remembers each nonce as long as its ticket lives.

Exit status: 0 every request got its signature, 1 some did not, it was stopped, keys are left or the signer is not the
attested one, 64 wrong command line or a secret is missing, 65 the API key is refused, or a file or secret is not what it
should be, 66 a file cannot be read, 69 the signer does not answer or makes no keys, 73 the output cannot be written.

Examples:
  signerctl bench http://127.0.0.1:7001
  signerctl bench https://signer.example.com --connections 64 --duration-s 60 --identities 1000 --json
  signerctl bench https://signer.example.com --new-connection-per-request --requests 1000   # handshakes")]
pub(crate) struct Bench {
    #[command(flatten)]
    server: Server,

    #[command(flatten)]
    key: Key,

    #[command(flatten)]
    minter: Minter,

    /// Clients at one time
    #[arg(long, value_name = "COUNT", default_value_t = 16,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_CONNECTIONS))]
    connections: u64,

    /// Stops after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 10, conflicts_with = "requests",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_TIME_S))]
    duration_s: u64,

    /// Stops after so many requests instead
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    requests: Option<u64>,

    /// For so long, before that, nothing is counted
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = RangedU64ValueParser::<u64>::new().range(..=MAX_TIME_S))]
    warm_up_s: u64,

    /// Keys to sign with
    #[arg(long, value_name = "COUNT", default_value_t = 16,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_IDENTITIES))]
    identities: u64,

    /// Opens a connection for each request, and counts its time in
    #[arg(long)]
    new_connection_per_request: bool,

    /// How long a ticket lives; more than the clocks of both machines differ
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_TICKET_TTL_S))]
    ticket_ttl_s: u64,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.client()?;
        let (api_key, secret) = (self.key.read()?, self.minter.read()?);
        wait_for(async {
            self.server.is_ready(&client).await?;
            let mut keys = Keys::none(client, Arc::new(api_key));
            let (stop, stopped) = watch::channel(false);
            let signals = tokio::spawn(stop_at_signals(stop));
            let identities = usize::try_from(self.identities).unwrap_or(usize::MAX);
            let generated = tokio::select! {
                generated = keys.generate(identities) => generated.map_err(|error| {
                    let code = match error {
                        NotGenerated::KeyRefused => EX_DATAERR,
                        _ => EX_UNAVAILABLE,
                    };
                    Failure::new(code, error)
                }),
                () = is_told(stopped.clone()) => Err(Failure::new(NOT_GOOD, "stopped before anything was measured")),
            };
            if let Err(failure) = generated {
                let Failure { code, line } = failure;
                return Err(match destroy(keys).await {
                    Ok(()) => Failure { code, line },
                    Err(left) => Failure { code, line: format!("{line}; {}", left.line) },
                });
            }
            let signer = Arc::new(LoadedSigner::new(keys, secret, self.load()));
            let report = self.attend(&signer, &stopped).await;
            let destroyed = match Arc::into_inner(signer) {
                Some(signer) => destroy(signer.into_keys()).await,
                None => Err(Failure::new(NOT_GOOD, "keys are left in the signer")),
            };
            let was_stopped = *stopped.borrow();
            signals.abort();
            self.tell(&report, was_stopped)?;
            destroyed
        })?
    }

    fn load(&self) -> Load {
        Load {
            connections: usize::try_from(self.connections).unwrap_or(usize::MAX),
            amount: match self.requests {
                Some(requests) => Amount::Requests(requests),
                None => Amount::Time(Duration::from_secs(self.duration_s)),
            },
            warm_up: Duration::from_secs(self.warm_up_s),
            is_reconnecting: self.new_connection_per_request,
            ticket_ttl_s: self.ticket_ttl_s,
        }
    }

    /// Runs it, and shows how far it is.
    async fn attend(&self, signer: &Arc<LoadedSigner>, stopped: &watch::Receiver<bool>) -> Report {
        let total = self.requests.unwrap_or(self.warm_up_s + self.duration_s);
        let unit = if self.requests.is_some() { "requests" } else { "s" };
        let mut progress = Progress::new(total, 0, unit);
        if self.new_connection_per_request && self.server.has_tls() {
            progress
                .say("each request pays for a TLS handshake: this measures handshakes more than signatures");
        }
        let started = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut run = std::pin::pin!(signer.run(stopped));
        let report = loop {
            tokio::select! {
                report = &mut run => break report,
                _ = ticks.tick() => {
                    let is_counting = self.requests.is_some();
                    progress.show(if is_counting { signer.answered() } else { started.elapsed().as_secs() }, 0);
                }
            }
        };
        progress.finish();
        report
    }

    fn tell(&self, report: &Report, was_stopped: bool) -> Result<(), Failure> {
        if self.json {
            print(report.to_json())?;
        } else {
            print(report)?;
        }
        let hint = if report.found_no_room() {
            "; 503 is a signer that is full: of requests (limits.max_requests_in_flight), or of nonces \
             (limits.max_nonces, for as long as tickets live)"
        } else {
            ""
        };
        match (report.not_verified(), report.error_count()) {
            (0, 0) if was_stopped => Err(Failure::new(NOT_GOOD, "stopped")),
            (0, 0) if report.requests() == 0 => Err(Failure::new(NOT_GOOD, "nothing was measured")),
            (0, 0) => Ok(()),
            (0, errors) => {
                Err(Failure::new(NOT_GOOD, format_args!("{errors} requests got no signature{hint}")))
            }
            (wrong, _) => Err(Failure::new(NOT_GOOD, format_args!("{wrong} signatures are not valid"))),
        }
    }
}

async fn destroy(mut keys: Keys) -> Result<(), Failure> {
    let left = keys.destroy().await;
    let Some(first) = left.first() else { return Ok(()) };
    let line = format!("up to {} keys are left in the signer until it stops, one is of {first}", left.len());
    Err(Failure::new(NOT_GOOD, line))
}

/// Says so at the first signal to stop, and ends the process at the second.
async fn stop_at_signals(stop: watch::Sender<bool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.send_replace(true) {
            std::process::exit(NOT_GOOD.into());
        }
    }
}

async fn is_told(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        // No receiver is left.
        std::future::pending::<()>().await;
    }
}
