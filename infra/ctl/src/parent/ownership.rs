//! Users, by the system's own commands. Tests without root replace these commands.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::failed::{Failed, Kind};
use super::machine::{Call, Machine};

/// The names of users may come from a directory in the network.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses every user but root.
///
/// # Errors
/// [`Kind::NoPermission`], or [`Kind::Unavailable`] if the user is not known.
pub fn need_root(machine: &Machine) -> Result<(), Failed> {
    match run(machine, "id", ["-u"])?.as_str() {
        "0" => Ok(()),
        _ => Err(Failed::new(Kind::NoPermission, "this has to run as root; try it with sudo")),
    }
}

/// The name of the owner of `path`; of a link, the link itself.
///
/// # Errors
/// [`Kind::Unavailable`]
pub fn owner(machine: &Machine, path: &Path) -> Result<String, Failed> {
    run(machine, "stat", ["-c".into(), "%U".into(), "--".into(), OsString::from(path)])
}

/// Gives `path` the owner and the group of `model`.
///
/// # Errors
/// [`Kind::Unavailable`]
pub fn copy_owner(machine: &Machine, model: &Path, path: &Path) -> Result<(), Failed> {
    let mut reference = OsString::from("--reference=");
    reference.push(model);
    run(machine, "chown", [reference, "--".into(), path.into()]).map(drop)
}

fn run<I>(machine: &Machine, program: &str, arguments: I) -> Result<String, Failed>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let call = Call::new(program, arguments, TIMEOUT);
    let unavailable = |error: &str| Failed::new(Kind::Unavailable, format_args!("{call} fails: {error}"));
    match machine.run(&call) {
        Ok(ended) if ended.status == 0 => Ok(ended.stdout.trim_end().to_owned()),
        Ok(ended) => Err(unavailable(&format!("exit status {}: {}", ended.status, ended.stderr.trim()))),
        Err(error) => Err(unavailable(&error.to_string())),
    }
}
