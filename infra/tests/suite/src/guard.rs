//! The process that outlives the one which runs the steps, so that a run that is killed leaves nothing running either.
//!
//! Killed itself, it takes the other along: the kernel sends that SIGTERM. Each of them ends what the steps started and
//! removes the scratch folder.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{env, io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkdtemp};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process_groups;

/// The first argument of the second process.
pub(crate) const GUARDED: &str = "guarded";

/// Why a run did not begin.
pub(crate) enum NotBegun {
    /// Another run has the target folder.
    Locked,
    /// A file or folder cannot be written.
    NotWritten(PathBuf, io::Error),
    /// The second process cannot be started.
    NotStarted(io::Error),
}

/// Runs the steps of `depth` in a second process, and returns its exit status.
///
/// # Errors
///
/// [`NotBegun`]
pub(crate) fn run(depth: &str, target: &Path) -> Result<u8, NotBegun> {
    let folder = target.join("suite");
    let file = folder.join("lock");
    // Closed in each process that is started: one that outlives the run must not keep it.
    let lock = fs::create_dir_all(&folder)
        .and_then(|()| File::create(&file))
        .map_err(|error| NotBegun::NotWritten(file.clone(), error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(NotBegun::Locked),
        Err(TryLockError::Error(error)) => return Err(NotBegun::NotWritten(file, error)),
    }
    // Short, because sockets are made in it, whose paths have at most 107 bytes (unix(7)).
    let template = env::temp_dir().join("nitro-signer-test.XXXXXX");
    let scratch = mkdtemp(&template).map_err(|errno| NotBegun::NotWritten(template.clone(), errno.into()))?;
    // Without it, what a killed run leaves behind could not be found.
    let _ = process_groups::adopt_orphans();
    let status = guarded(depth, &scratch).and_then(|mut child| {
        pass_signals_on(&child)?;
        child.wait()
    });
    process_groups::kill_orphans();
    // Only space is lost with it.
    let _ = fs::remove_dir_all(&scratch);
    let status = status.map_err(NotBegun::NotStarted)?;
    let signal = status.signal().map(|signal| 128 + signal);
    Ok(status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

fn guarded(depth: &str, scratch: &Path) -> io::Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(env::current_exe()?);
    command.args([OsStr::new(GUARDED), OsStr::new(depth), scratch.as_os_str()]);
    // A group of its own: a terminal's signals come once, from here.
    command.process_group(0).spawn()
}

fn pass_signals_on(child: &Child) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut signals = Signals::new(heeded_signals())?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if let Ok(signal) = Signal::try_from(signal) {
                // It may have ended.
                let _ = kill(pid, signal);
            }
        }
    });
    Ok(())
}

/// The signals that stop a run; without those that were ignored when it began, as `nohup` has SIGHUP ignored.
pub(crate) fn heeded_signals() -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored_signals(&status);
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(move |signal| ignored >> (signal - 1) & 1 == 0)
}

/// The set in the line `SigIgn`, whose lowest bit is signal 1 (proc(5)).
fn ignored_signals(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_the_process() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!(ignored_signals(status), 1 << (SIGHUP - 1) | 1 << 12);
        assert_eq!(ignored_signals(""), 0);
    }
}
