//! The parent instance: what prepares it, starts its enclave, watches it and checks it.
//!
//! All of this may be wrong about AWS in one way only: in what it takes the system's commands to print. So each
//! command's output is read by one module, which tests hold against `infra/transcripts`.
//!
//! ```text
//! deployment, watch, running ─▶ release, boot_file, ours, probe, lock
//!         │                       │
//!         ▼                       ▼
//!      instance ─▶ nitro_cli, systemd, ownership ─▶ machine
//! ```

use std::fmt::Display;
use std::io::{self, Write as _};

pub mod allocator;
pub mod boot_file;
pub mod deployment;
pub mod failed;
pub mod instance;
mod lock;
pub mod machine;
pub mod nitro_cli;
mod ours;
pub mod ownership;
mod probe;
pub mod release;
pub mod running;
mod systemd;
pub mod watch;

/// Tells the operator, or the journal, what goes on.
fn report(line: impl Display) {
    // A closed terminal cannot be told about.
    let _ = io::stderr().write_all(format!("signerctl: {line}\n").as_bytes());
}
