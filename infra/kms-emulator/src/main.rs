//! A KMS for tests and local work, which checks what AWS's checks.
//!
//! ```text
//! server ─▶ TLS ─▶ api ─▶ sigv4 ─▶ fault ─▶ service ─▶ recipient_document ─▶ policy ─▶ key ─▶ envelope
//!        ├▶ imds    (credentials, which sigv4 then knows)
//!        └▶ control (faults, a shifted clock, forgotten keys; what was asked)
//! ```
//!
//! Invariants:
//!
//! * No operation is answered before its signature is verified, and none on a key before its policy allows it.
//! * A policy of which one word is not understood stops the start.
//! * It is not part of the product: it keeps key material in ordinary memory, and its state file is only as secret as
//!   the folder it is in.

#![forbid(unsafe_code)]

mod api;
mod api_error;
mod arguments;
mod authority;
mod blob;
mod call_log;
mod clock;
mod control;
mod credentials;
mod emulator;
mod envelope;
mod exit;
mod fault;
mod imds;
mod key;
mod key_arn;
mod key_ring;
mod operation;
mod policy;
mod principal;
mod recipient_document;
mod reply;
mod request;
mod server;
mod service;
mod setup;
mod sigv4;
mod state_file;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::server::Server;
use crate::setup::Setup;

fn main() -> ExitCode {
    ExitCode::from(run())
}

fn run() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            // A closed terminal cannot be told about.
            let _ = error.print();
            return code;
        }
    };
    let setup = match Setup::new(&arguments) {
        Ok(setup) => setup,
        Err(error) => return fail(error.code, error),
    };
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::OS_ERROR, error),
    };
    let code = runtime.block_on(serve(&arguments, setup));
    // Requests that hang are meant to.
    runtime.shutdown_background();
    code
}

async fn serve(arguments: &Arguments, setup: Setup) -> u8 {
    // Before anything is bound, so that no signal leaves socket files behind.
    let signals =
        signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(exit::OS_ERROR, error),
    };
    let server = match Server::bind(arguments, setup).await {
        Ok(server) => server,
        Err(error) => return fail(exit::UNAVAILABLE, error),
    };
    if let Err(error) = server.announce(io::stdout().lock()) {
        return fail(exit::OS_ERROR, error);
    }
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if server.run(stop).await { exit::OK } else { exit::SOFTWARE }
}

/// Says in one line why the process ends.
fn fail(code: u8, cause: impl fmt::Display) -> u8 {
    // A closed standard error cannot be told about.
    let _ = writeln!(io::stderr(), "kms-emulator: {cause}");
    code
}
