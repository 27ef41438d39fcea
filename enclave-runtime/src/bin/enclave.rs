//! The production signer, PID 1 of the enclave image. It takes no arguments and no environment. Its configuration is
//! the measured `/nitro.toml`. Its secrets come from the parent, and count only if KMS vouches for them.
//!
//! ```text
//! init (as PID 1) ─▶ /nitro.toml ─▶ Configuration ─┐
//!                    /dev/nsm ─▶ Device ───────────┴▶ enclave_runtime::run: listen, boot, serve, wipe ─▶ restart
//! ```

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use configuration::Configuration;
use enclave_runtime::{
    Device, Listen, Nsm, Parent, ParentCid, Stopped, harden, init, is_first_process, read_configuration,
    restart, run, tell_unlogged,
};

/// The path in the image.
const CONFIGURATION_PATH: &str = "/nitro.toml";

/// EX_UNAVAILABLE of sysexits.h: the system lacks a part that the signer needs.
const EX_UNAVAILABLE: u8 = 69;

/// EX_SOFTWARE of sysexits.h: a defect.
const EX_SOFTWARE: u8 = 70;

/// EX_CONFIG of sysexits.h: the configuration or the boot file is wrong.
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let parent = ParentCid::default();
    if !is_first_process() {
        return exit_code(&start(&parent));
    }
    // A first process that panics takes the kernel with it, before the last lines are out.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        init(&parent).map_err(|failed| refuse(&parent, Stopped::Unavailable(failed.to_string())))?;
        start(&parent)
    }));
    let code = match outcome {
        Ok(outcome) => exit_code(&outcome),
        Err(_) => {
            // The console has the place of the panic. The log's queue is lost with it.
            tell_unlogged(&parent, "enclave: panicked");
            ExitCode::from(EX_SOFTWARE)
        }
    };
    let errno = restart();
    tell_unlogged(&parent, &format!("enclave: cannot restart: {}", errno.desc()));
    code
}

fn exit_code(outcome: &Result<(), Stopped>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped::Misconfigured(_)) => ExitCode::from(EX_CONFIG),
        Err(Stopped::Unavailable(_)) => ExitCode::from(EX_UNAVAILABLE),
    }
}

fn start(cid: &ParentCid) -> Result<(), Stopped> {
    let configuration = configure().map_err(|stopped| refuse(cid, stopped))?;
    let nsm = || match Device::open() {
        Ok(device) => Ok(Arc::new(device) as Arc<dyn Nsm>),
        Err(error) => Err(Stopped::Unavailable(error.to_string())),
    };
    let vsock = &configuration.vsock;
    run(&configuration, Parent::on(vsock, cid), &Listen::on(vsock), nsm, |_| ())
}

fn configure() -> Result<Configuration, Stopped> {
    harden().map_err(|errno| Stopped::Unavailable(errno.to_string()))?;
    read_configuration(CONFIGURATION_PATH.as_ref())
}

/// Prints why it does not start, before there is a log.
fn refuse(cid: &ParentCid, stopped: Stopped) -> Stopped {
    tell_unlogged(cid, &format!("enclave: cannot start: {stopped}"));
    stopped
}
