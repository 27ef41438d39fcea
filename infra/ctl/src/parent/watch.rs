//! The program of `nitro-enclave.service`: starts the stored release, and watches it.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::boot_file;
use super::cid_file::{self, CID_FILE};
use super::deployment::{Times, restart};
use super::failed::{Failed, Kind};
use super::instance::Instance;
use super::lock::Lock;
use super::nitro_cli::Enclave;
use super::ours::Ours;
use super::probe::Probe;
use super::release::{STORED_RELEASE, read_settings};
use super::{report, systemd};

/// The unit that watches.
pub(super) const ENCLAVE_UNIT: &str = "nitro-enclave.service";

/// Looks in a row without an answer after which the enclave is taken for dead.
const MAX_MISSES: u32 = 3;

const INTERVAL: Duration = Duration::from_secs(10);

/// As [`INTERVAL`], where a folder stands for the machine.
const INTERVAL_IN_TESTS: Duration = Duration::from_millis(200);

/// Starts the stored release, and ends enclaves that take its room, unless the signer's enclave answers already.
///
/// # Errors
/// [`Failed`]
pub fn ensure(instance: &Instance, times: Times) -> Result<(), Failed> {
    let _lock = Lock::take(instance)?;
    ensure_locked(instance, times)
}

/// As [`ensure`], for a caller that holds the lock.
pub(super) fn ensure_locked(instance: &Instance, times: Times) -> Result<(), Failed> {
    let stored = instance.machine().path(STORED_RELEASE);
    if !stored.join("nitro.toml").exists() {
        let line = "nothing was started yet; the first start is infra/run-enclave.sh --release FOLDER";
        return Err(Failed::new(Kind::NoInput, line));
    }
    boot_file::check(instance.machine(), &read_settings(&stored)?)?;
    let finding = look(instance)?;
    if finding.is_alive {
        report(finding.text);
        return Ok(());
    }
    report(format_args!("{}; starting one", finding.text));
    restart(instance, times)
}

/// Starts the stored release as [`ensure`] does, then looks after it. systemd starts this again when it fails, which
/// starts another enclave.
///
/// # Errors
/// [`Failed`], when the enclave is dead or did not start. SIGTERM, by which systemd ends this, is no error.
pub fn watch(instance: &Instance, times: Times) -> Result<(), Failed> {
    match ensure(instance, times).and_then(|()| look_for_ever(instance)) {
        Err(failed) if failed.kind == Kind::Interrupted(Signal::SIGTERM) => Ok(()),
        outcome => outcome,
    }
}

fn look_for_ever(instance: &Instance) -> Result<(), Failed> {
    let interval = if instance.machine().is_folder() { INTERVAL_IN_TESTS } else { INTERVAL };
    let mut misses = 0;
    tell_manager("READY=1\nSTATUS=The enclave answers");
    loop {
        instance.pause(interval)?;
        let status = match Lock::try_take(instance)? {
            None => "a deployment is at work".to_owned(),
            Some(_lock) => {
                let finding = look(instance)?;
                if finding.is_alive {
                    misses = 0;
                    // An alarm of cloudformation.yaml goes by the absence of this line.
                    report(format_args!("heartbeat: {}", finding.text));
                    let machine = instance.machine();
                    if let Err(failed) = boot_file::keep_certificate(machine, &machine.path(STORED_RELEASE)) {
                        report(failed);
                    }
                } else {
                    misses += 1;
                    report(format_args!("{} ({misses} of {MAX_MISSES})", finding.text));
                }
                finding.text
            }
        };
        tell_manager(&format!("WATCHDOG=1\nSTATUS={status}"));
        if misses >= MAX_MISSES {
            return Err(Failed::new(Kind::NotReady, status));
        }
    }
}

fn tell_manager(state: &str) {
    if let Err(error) = systemd::notify(state) {
        report(format_args!("systemd cannot be told: {error}"));
    }
}

/// The finding of one look at the signer's enclave.
struct Finding {
    is_alive: bool,
    text: String,
}

/// Looks at the enclave that clients are passed to. That nitro-cli fails is no proof that it is dead.
fn look(instance: &Instance) -> Result<Finding, Failed> {
    let dead = |text: String| Ok(Finding { is_alive: false, text });
    let cid_path = instance.machine().path(CID_FILE);
    let configuration = read_settings(&instance.machine().path(STORED_RELEASE))?;
    let named = cid_file::read(instance.machine())?;
    let ours = Ours::read(instance.machine(), Some(&configuration.name));
    let cid = match (instance.nitro_cli().describe_enclaves(), named) {
        (Ok(listing), named) => {
            let serves = |enclave: &Enclave| {
                Some(enclave.cid) == named && (enclave.is_running() || enclave.is_silent())
            };
            match ours.of(listing).into_iter().find(serves) {
                Some(enclave) => enclave.cid,
                None => {
                    return dead(format!("no enclave of ours runs with the CID of {}", cid_path.display()));
                }
            }
        }
        (Err(_), Some(cid)) => cid,
        (Err(failed), None) => return dead(format!("{failed}; {} names no enclave", cid_path.display())),
    };
    let probe = Probe::start(instance, &configuration, cid)?;
    match instance.health(probe.endpoint()) {
        None => dead(format!("the enclave with CID {cid} does not answer")),
        Some(status) => Ok(Finding {
            is_alive: true,
            text: format!("the enclave with CID {cid} answers /health with {status}"),
        }),
    }
}
