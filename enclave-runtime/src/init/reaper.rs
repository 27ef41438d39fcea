//! The kernel hands orphans to the first process, which has to wait for their ends. The signer starts no processes, but
//! the kernel or a library might, and their ends must not pile up.

use std::io;
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Takes note of the end of every child from now on. To be called before there are threads: those inherit that SIGCHLD
/// waits for the one that takes it.
pub(super) fn start() -> io::Result<()> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    ends.thread_block()?;
    thread::Builder::new().name("reaper".to_owned()).spawn(move || {
        loop {
            reap();
            // Fails for a set that is no set.
            let _ = ends.wait();
        }
    })?;
    Ok(())
}

/// Takes note of all that have ended.
fn reap() {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            // An end, or an interruption.
            _ => {}
        }
    }
}
