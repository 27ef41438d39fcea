//! Moves bytes between the network and an enclave, and parses none of them.
//!
//! ```text
//!             ┌ permit ┐                      ┌ up to 900 ms ┐
//! client ───▶ │ accept │ ─▶ task ─▶ connect ─▶│ dial, retry  │─▶ pump ◀─▶ enclave
//!             └ route  ┘                      └──────────────┘
//! ```
//!
//! `arguments` reads the whole command line before `server` binds the first address. Each route has an
//! `acceptor`; each connection is a task of its own (`connection`), which dials (`connect`) and then moves
//! bytes (`pump`).
//!
//! Invariants:
//!
//! * No byte of a connection is interpreted, kept after it is written, or logged.
//! * A connection holds two buffers of 16 KiB. A side that does not read stops the other from being read,
//!   so that waiting bytes stay with their sender.
//! * An `enclave:` destination is the enclave that its file names when a connection is dialed; a file that names
//!   none is a failed dial.
//! * A route serves `--max-connections` clients at once. More of them wait to be accepted, and are not
//!   refused.
//! * One source, an IPv4 address or an IPv6 /64 network, has `--max-connections-per-source` of these at most. What
//!   comes beyond is closed.
//! * With `--proxy-protocol` the first bytes for a socket are a header with the client's address. The proxy reads none.
//! * Every wait ends: dialing by `--dial-timeout-ms`, refusing bytes by `--progress-timeout-s`, silence by
//!   `--idle-timeout-s` (except towards `stdout:`), the last goodbye by two seconds.
//! * The end of one side's bytes is passed on and does not end the other direction.
//! * Nothing a peer does ends the process.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use proxy::{Arguments, Config, Finish, Server, exit, raise_descriptor_limit};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

/// Only name look-ups, files and standard output block, and each of them briefly or one at a time.
const BLOCKING_THREADS_MAX: usize = 32;

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
    let config = match Config::try_from(arguments) {
        Ok(config) => config,
        Err(error) => return fail(exit::USAGE, error),
    };
    log_to_stderr(config.log_level);
    raise_descriptor_limit(&config);
    let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::OS_ERROR, error),
    };
    let code = runtime.block_on(serve(config));
    // Connections that outlived the drain timeout are cut, and a look-up that hangs is not waited for.
    runtime.shutdown_background();
    code
}

async fn serve(config: Config) -> u8 {
    // Before anything is bound, so that no signal finds its default action, which would leave socket files
    // behind.
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(exit::OS_ERROR, error),
    };
    let server = match Server::bind(config).await {
        Ok(server) => server,
        Err(error) => return fail(exit::UNAVAILABLE, error),
    };
    if let Err(error) = server.announce(io::stdout().lock()) {
        return fail(exit::OS_ERROR, error);
    }
    match server.run(signals.two()).await {
        Finish::Drained => exit::OK,
        Finish::Interrupted => exit::INTERRUPTED,
        Finish::Defect => exit::SOFTWARE,
    }
}

/// The signals that ask the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a signal and returns the wait for the second.
    async fn two(mut self) -> impl Future<Output = ()> {
        self.next().await;
        async move { self.next().await }
    }
}

fn log_to_stderr(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
}

/// Says in one line why the process ends.
fn fail(code: u8, cause: impl fmt::Display) -> u8 {
    // A closed standard error cannot be told about.
    let _ = writeln!(io::stderr(), "proxy: {cause}");
    code
}
