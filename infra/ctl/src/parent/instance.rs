//! The instance that this process works on: its machine, its signals, and HTTP to its servers.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::failed::{Failed, Kind};
use super::machine::Machine;
use super::nitro_cli::NitroCli;
use crate::connection::Client;
use crate::endpoint::Endpoint;
use crate::tls_trust::TlsTrust;

/// For an answer of `/health`, with its connection: the proxy and the enclave are on this machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The instance that this process works on.
#[derive(Debug)]
pub struct Instance {
    machine: Machine,
    runtime: Runtime,
    interrupted: watch::Sender<Option<Signal>>,
}

impl Instance {
    /// Takes over SIGHUP, SIGINT and SIGTERM of this process, unless it was started to ignore them: from now on they
    /// end no call halfway.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the system has no thread or no signal to give.
    pub fn new(machine: Machine) -> Result<Self, Failed> {
        let unavailable = |error: std::io::Error| Failed::new(Kind::Unavailable, error);
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(unavailable)?;
        let (interrupted, _) = watch::channel(None);
        let ignored = ignored_signals();
        let within = runtime.enter();
        for which in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            // As under nohup(1).
            if ignored & mask(which) != 0 {
                continue;
            }
            let mut arrivals = signal(SignalKind::from_raw(which as i32)).map_err(unavailable)?;
            let interrupted = interrupted.clone();
            runtime.spawn(async move {
                // Only the first counts: the work is undone then.
                while arrivals.recv().await.is_some() {
                    interrupted.send_if_modified(|first| first.is_none() && first.replace(which).is_none());
                }
            });
        }
        drop(within);
        Ok(Self { machine, runtime, interrupted })
    }

    /// Its files and commands.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its `nitro-cli`.
    #[must_use]
    pub const fn nitro_cli(&self) -> NitroCli<'_> {
        NitroCli::new(&self.machine)
    }

    /// Goes on unless a signal asked for the end.
    ///
    /// # Errors
    /// [`Kind::Interrupted`]
    pub fn go_on(&self) -> Result<(), Failed> {
        match *self.interrupted.borrow() {
            None => Ok(()),
            Some(signal) => Err(interrupted(signal)),
        }
    }

    /// Waits for `duration`, or until a signal asks for the end.
    ///
    /// # Errors
    /// [`Kind::Interrupted`]
    pub fn pause(&self, duration: Duration) -> Result<(), Failed> {
        let mut interrupted = self.interrupted.subscribe();
        self.runtime.block_on(async {
            tokio::select! {
                () = sleep(duration) => {}
                _ = interrupted.wait_for(Option::is_some) => {}
            }
        });
        self.go_on()
    }

    /// The status of `/health`; none without an answer. Which enclave answers is decided by its address, so no
    /// certificate is checked.
    #[must_use]
    pub fn health(&self, endpoint: &Endpoint) -> Option<u16> {
        let client = Client::new(endpoint.clone(), &TlsTrust::Anyone);
        let answer = async { client.connect().await?.get("/health").await };
        let answer = self.runtime.block_on(async { timeout(ANSWER_TIMEOUT, answer).await });
        answer.ok()?.ok().map(|answer| answer.status)
    }
}

fn interrupted(signal: Signal) -> Failed {
    Failed::new(Kind::Interrupted(signal), format_args!("{signal} asked for the end"))
}

/// The signals that this process was started to ignore, a bit each; none if the system does not tell.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The bit of a signal in the masks of proc_pid_status(5).
fn mask(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}
