//! The signer's running enclaves: their list, and their end.

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use configuration::Configuration;

use super::boot_file::BootFile;
use super::cid_file::{self, CID_FILE};
use super::deployment::told;
use super::failed::{Failed, Kind};
use super::instance::Instance;
use super::lock::Lock;
use super::nitro_cli::Enclave;
use super::ours::Ours;
use super::probe::local_endpoint;
use super::release::read_settings;
use super::watch::ENCLAVE_UNIT;
use super::{report, systemd};

/// systemd sets it for the commands that it runs after the unit's process has ended.
const SERVICE_RESULT: &str = "SERVICE_RESULT";

/// For an enclave that was told to end.
const GONE_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at the list of enclaves.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Ends our enclaves, and the unit that would start them again.
///
/// # Errors
/// [`Failed`]
pub fn stop(instance: &Instance, release: &Path) -> Result<(), Failed> {
    let service_result = env::var(SERVICE_RESULT).ok();
    if service_result.as_deref().is_some_and(|result| result != "success") {
        report("the watch failed; the enclave, which may be well, is left to the next one");
        return Ok(());
    }
    if service_result.is_none() && systemd::is_active(instance.machine(), ENCLAVE_UNIT)? {
        systemd::stop(instance.machine(), ENCLAVE_UNIT)?;
    }
    let _lock = Lock::take(instance)?;
    let Running { enclaves, mut ours, .. } = Running::of(instance, release)?;
    if enclaves.is_empty() {
        report("no enclave of ours runs");
        return cid_file::remove(instance.machine());
    }
    terminate_all(instance, &mut ours, &enclaves).map_err(|failed| {
        Failed::new(
            failed.kind,
            format_args!("an enclave of ours could not be ended; see --status: {failed}"),
        )
    })?;
    cid_file::remove(instance.machine())
}

/// The signer's enclaves, and the answer on the port of clients, a line each.
///
/// # Errors
/// [`Failed`]
pub fn status(instance: &Instance, release: &Path) -> Result<Vec<String>, Failed> {
    let Running { enclaves, configuration, .. } = Running::of(instance, release)?;
    let mut lines: Vec<_> = enclaves.iter().map(line_of).collect();
    let file = BootFile::read(instance.machine())?;
    lines.push(match cid_file::read(instance.machine())? {
        Some(cid) => format!("{CID_FILE}: {cid}"),
        None => format!("{CID_FILE}: names no enclave"),
    });
    if let Some(configuration) = configuration {
        let endpoint = local_endpoint(&configuration, file.listen_port()?)?;
        lines.push(format!("{endpoint}/health: {}", told(instance.health(&endpoint))));
    }
    Ok(lines)
}

fn line_of(enclave: &Enclave) -> String {
    if enclave.is_silent() {
        return format!(
            "{} CID {}: its process may be one that does not answer nitro-cli",
            enclave.id, enclave.cid
        );
    }
    format!(
        "{} {} CID {} {} {} {} CPUs {} MiB",
        enclave.id,
        enclave.name,
        enclave.cid,
        enclave.state,
        enclave.flags,
        enclave.cpu_count,
        enclave.memory_mib
    )
}

/// Our enclaves that run.
struct Running {
    enclaves: Vec<Enclave>,
    ours: Ours,
    /// That of the release. A first start that was killed has left none; the record of its enclave has to do then.
    configuration: Option<Configuration>,
}

impl Running {
    fn of(instance: &Instance, release: &Path) -> Result<Self, Failed> {
        let machine = instance.machine();
        let configuration = match read_settings(release) {
            Ok(configuration) => Some(configuration),
            Err(failed) if failed.kind == Kind::NoInput && Ours::read(machine, None).has_records() => None,
            Err(failed) => return Err(failed),
        };
        let ours = Ours::read(machine, configuration.as_ref().map(|it| it.name.as_str()));
        let enclaves = ours.of(instance.nitro_cli().describe_enclaves()?);
        Ok(Self { enclaves, ours, configuration })
    }
}

/// Ends enclaves by their IDs, waits until they are gone, and has them forgotten.
pub(super) fn terminate_all(
    instance: &Instance,
    ours: &mut Ours,
    enclaves: &[Enclave],
) -> Result<(), Failed> {
    let mut error = None;
    for enclave in enclaves {
        match instance.nitro_cli().terminate_enclave(&enclave.id) {
            Err(failed) if !failed.is_unknown_enclave() => error = Some(Failed::from(failed)),
            _ => {}
        }
    }
    let deadline = Instant::now() + GONE_PATIENCE;
    loop {
        let listing = instance.nitro_cli().describe_enclaves()?;
        let is_listed = |enclave: &Enclave| listing.enclaves.iter().any(|listed| listed.id == enclave.id);
        // An enclave that could not be told to end may be the one that does not answer.
        let may_be_silent = error.is_some() && !listing.is_complete;
        if !enclaves.iter().any(is_listed) && !may_be_silent {
            break;
        }
        // One that could not be told to end does not end by itself.
        if let Some(error) = error {
            return Err(error);
        }
        if Instant::now() >= deadline {
            let line = format_args!(
                "still listed {} s after it was told to end: {}",
                GONE_PATIENCE.as_secs(),
                ids(enclaves)
            );
            return Err(Failed::new(Kind::Unavailable, line));
        }
        instance.pause(POLL_INTERVAL)?;
    }
    if !enclaves.is_empty() {
        report(format_args!("ended: {}", ids(enclaves)));
    }
    ours.forget(enclaves);
    Ok(())
}

/// Their IDs, for messages.
pub(super) fn ids(enclaves: &[Enclave]) -> String {
    let ids: Vec<_> = enclaves.iter().map(|enclave| enclave.id.as_str()).collect();
    ids.join(", ")
}
