//! Our enclaves that run, whoever of us started them.

use std::env;
use std::path::Path;

use enclave_runtime::Configuration;

use super::boot_file::BootFile;
use super::deployment::{terminate_all, told};
use super::failed::Failed;
use super::instance::Instance;
use super::lock::Lock;
use super::nitro_cli::Enclave;
use super::ours::Ours;
use super::probe::local_endpoint;
use super::release::read_settings;
use super::watch::ENCLAVE_UNIT;
use super::{report, systemd};

/// systemd sets it for what it runs after the unit's process has ended.
const SERVICE_RESULT: &str = "SERVICE_RESULT";

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
    let (enclaves, _) = running_ours(instance, release)?;
    if enclaves.is_empty() {
        report("no enclave of ours runs");
        return Ok(());
    }
    terminate_all(instance, &enclaves).map_err(|failed| {
        Failed::new(
            failed.kind,
            format_args!("an enclave of ours could not be ended; see --status: {failed}"),
        )
    })
}

/// Our enclaves, and what the port of clients answers, a line each.
///
/// # Errors
/// [`Failed`]
pub fn status(instance: &Instance, release: &Path) -> Result<Vec<String>, Failed> {
    let (enclaves, configuration) = running_ours(instance, release)?;
    let mut lines: Vec<_> = enclaves.iter().map(line_of).collect();
    let file = BootFile::read(instance.machine())?;
    lines.push(match file.enclave_cid() {
        Some(cid) => format!("ENCLAVE_CID={cid}"),
        None => "ENCLAVE_CID=".to_owned(),
    });
    let endpoint = local_endpoint(&configuration, file.listen_port()?)?;
    lines.push(format!("{endpoint}/health: {}", told(instance.health(&endpoint))));
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

fn running_ours(instance: &Instance, release: &Path) -> Result<(Vec<Enclave>, Configuration), Failed> {
    let configuration = read_settings(release)?;
    let ours = Ours::read(instance.machine(), &configuration.name);
    let enclaves = ours.of(instance.nitro_cli().describe_enclaves()?);
    Ok((enclaves, configuration))
}
