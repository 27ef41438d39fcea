//! The production signer, PID 1 of the enclave image. It takes no arguments and no environment: what it is told is in
//! the measured `/nitro.toml`, and what it is given comes from the parent and is believed only if KMS vouches for it.
//!
//! ```text
//! /nitro.toml ─▶ Configuration ─┐
//! /dev/nsm ─▶ Device ───────────┴▶ enclave_runtime::run: listen, boot, serve, wipe
//! ```

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use enclave_runtime::{Configuration, Device, Nsm, Parent, Stopped, harden, read_configuration, run};
use transport::{ANY_CID, Address};

/// Where the image holds it.
const CONFIGURATION_PATH: &str = "/nitro.toml";

/// EX_UNAVAILABLE of sysexits.h: something it needs of the system is not to be had.
const EX_UNAVAILABLE: u8 = 69;

/// EX_CONFIG of sysexits.h: what it was told or given is wrong.
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped::Misconfigured(_)) => ExitCode::from(EX_CONFIG),
        Err(Stopped::Unavailable(_)) => ExitCode::from(EX_UNAVAILABLE),
    }
}

fn start() -> Result<(), Stopped> {
    let configuration = configure().inspect_err(|stopped| {
        // The console: nobody knows yet where the log goes. Nothing is left to tell if that is gone.
        let _ = writeln!(std::io::stderr(), "enclave: cannot start: {stopped}");
    })?;
    let nsm = || match Device::open() {
        Ok(device) => Ok(Arc::new(device) as Arc<dyn Nsm>),
        Err(fault) => Err(Stopped::Unavailable(fault.to_string())),
    };
    let listen = Address::Vsock { cid: ANY_CID, port: configuration.vsock.enclave_app_port };
    run(&configuration, Parent::on(&configuration.vsock), &listen, nsm, |_| ())
}

fn configure() -> Result<Configuration, Stopped> {
    harden().map_err(|errno| Stopped::Unavailable(errno.to_string()))?;
    read_configuration(CONFIGURATION_PATH.as_ref())
}
