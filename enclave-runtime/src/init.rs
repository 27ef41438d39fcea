//! The duties of the first process of an image. For Docker's images, `init/init.c` of AWS's
//! nitro-enclaves-sdk-bootstrap performs them.
//!
//! ```text
//! file_systems ─▶ nsm_module ─▶ loopback ─▶ descriptors ─▶ heartbeat ─▶ the signer ─▶ restart
//!                                                 reaper ──────────────────▶
//! ```
//!
//! The parent is not trusted here. It only learns that the image is up.

mod file_systems;
mod heartbeat;
mod loopback;
mod nsm_module;
mod reaper;

use std::fmt;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Pid, getpid};

use crate::relay::ParentCid;

/// `limits.max_connections` is 16,384 at most; files and sockets of its own come on top. The kernel gives its first
/// process 4,096.
const MAX_DESCRIPTORS: u64 = 20_000;

/// A step of the start that failed.
#[derive(Debug)]
pub enum InitFailed {
    /// A file system cannot be mounted there.
    Mount(&'static str, Errno),
    /// The kernel refuses its own driver of the security module.
    NsmModule(Errno),
    /// The loopback interface stays down.
    Loopback(Errno),
    /// The kernel does not allow as many descriptors.
    Descriptors(Errno),
    /// Nothing looks after orphans.
    Reaper(std::io::Error),
    /// The parent does not hear that the image is up, or does not say so.
    Heartbeat(std::io::Error),
}

impl fmt::Display for InitFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(target, errno) => write!(formatter, "cannot mount {target}: {}", errno.desc()),
            Self::NsmModule(errno) => write!(formatter, "cannot load nsm.ko: {}", errno.desc()),
            Self::Loopback(errno) => write!(formatter, "cannot bring lo up: {}", errno.desc()),
            Self::Descriptors(errno) => {
                write!(formatter, "cannot allow {MAX_DESCRIPTORS} descriptors: {}", errno.desc())
            }
            Self::Reaper(error) => write!(formatter, "cannot look after orphans: {error}"),
            Self::Heartbeat(error) => write!(formatter, "the parent does not take the heartbeat: {error}"),
        }
    }
}

impl std::error::Error for InitFailed {}

/// Whether this is the first process, of a machine or of a process namespace.
#[must_use]
pub fn is_first_process() -> bool {
    getpid() == Pid::from_raw(1)
}

/// Makes a bare kernel a place to run in, and tells the parent that it is. To be called once, before there are threads.
///
/// # Errors
/// [`InitFailed`], at the first step that does.
pub fn init(parent: &ParentCid) -> Result<(), InitFailed> {
    file_systems::mount_all()?;
    nsm_module::load().map_err(InitFailed::NsmModule)?;
    loopback::bring_up().map_err(InitFailed::Loopback)?;
    setrlimit(Resource::RLIMIT_NOFILE, MAX_DESCRIPTORS, MAX_DESCRIPTORS).map_err(InitFailed::Descriptors)?;
    reaper::start().map_err(InitFailed::Reaper)?;
    heartbeat::send(parent).map_err(InitFailed::Heartbeat)
}

/// Ends the machine: an enclave has nothing to go back to, and its parent starts another.
///
/// # Errors
/// The kernel's, which has then refused; the process should end, with which the kernel panics and restarts.
pub fn restart() -> Errno {
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
