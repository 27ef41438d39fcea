//! The production signer, PID 1 of the enclave image.
//!
//! It takes its secrets from KMS and gives keys out only sealed under KMS. That part is not built yet, and there is
//! no other way to start it: it says so and stops.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// EX_CONFIG of sysexits.h: what it needs is not there.
const EX_CONFIG: u8 = 78;

#[allow(clippy::print_stderr, reason = "there is no log to say it in")]
fn main() -> ExitCode {
    eprintln!(
        "enclave: cannot start: this version has no KMS client, so it has no ticket signing secret and no way to \
         seal a key; `enclave-dev` serves the same API without hardware"
    );
    ExitCode::from(EX_CONFIG)
}
