//! The parent instance: its set-up, the start of its enclave, the watch and the checks.
//!
//! Its assumptions about AWS concern the output of the system's commands alone. One module reads the output of each
//! command, and tests compare that module with `infra/tests/transcripts`.
//!
//! ```text
//! deployment, watch, running ─▶ release, boot_file, cid_file, ours, probe, lock
//!         │                       │
//!         ▼                       ▼
//!      instance ─▶ nitro_cli, systemd, ownership ─▶ machine
//!                        ▲
//! setup, check, preflight┴─▶ allocator, vsock_ports, local_proxy, clock, imds ─▶ point
//! ```

use std::fmt::Display;
use std::io::{self, Write as _};

pub mod allocator;
pub mod boot_file;
pub mod check;
pub mod cid_file;
pub mod clock;
pub mod deployment;
pub mod failed;
pub mod imds;
pub mod instance;
mod local_proxy;
mod lock;
pub mod machine;
pub mod nitro_cli;
mod ours;
pub mod ownership;
pub mod point;
pub mod preflight;
mod probe;
pub mod release;
pub mod running;
pub mod setup;
mod systemd;
pub mod vsock_ports;
pub mod watch;

/// The proxy that setup-parent.sh installs.
const INSTALLED_PROXY: &str = "/usr/local/libexec/nitro-signer/proxy";

/// The user that the proxy runs as. It owns the boot file.
const SERVICE_USER: &str = "nitro-signer";

/// Reports progress to the operator, or to the journal.
fn report(line: impl Display) {
    // A closed terminal cannot be told about.
    let _ = io::stderr().write_all(format!("signerctl: {line}\n").as_bytes());
}
