//! A lock: one run at a time changes which enclave serves.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::failed::{Failed, Kind};
use super::instance::Instance;

/// Below `/run`, so that a reboot removes it.
const LOCK_FILE: &str = "/run/nitro-signer.lock";

/// A look of the watch, or another stop, takes no longer than this; a deployment does.
const PATIENCE: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Held until it is dropped, or the process ends. No child inherits it.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "what matters is when it is dropped")] Flock<File>);

impl Lock {
    /// Waits until no other run is at work.
    pub(super) fn take(instance: &Instance) -> Result<Self, Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = Self::try_take(instance)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                let line = "another run is at work; try again when it is done";
                return Err(Failed::new(Kind::TryLater, line));
            }
            instance.pause(POLL_INTERVAL)?;
        }
    }

    /// Takes it; none, if another run is at work.
    pub(super) fn try_take(instance: &Instance) -> Result<Option<Self>, Failed> {
        let path = instance.machine().path(LOCK_FILE);
        // Root's alone: a process that can open it can hold it.
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = file
            .map_err(|error| Failed::new(Kind::Unavailable, format_args!("{}: {error}", path.display())))?;
        Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok().map(Self))
    }
}
