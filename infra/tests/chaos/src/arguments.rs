//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Runs the proxy and the signer under load and faults, and checks what they answer.
///
/// The signer is `enclave-dev`, configured as in production, with TLS, a software NSM and the KMS emulator. Honest
/// clients generate, sign, export, import, destroy and ask for health. Meanwhile processes are killed and stopped,
/// clients misbehave, KMS fails, a disk is full and clocks jump. At the end the report says what was asked, how long it
/// took, and what broke a rule.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
The seed decides which faults happen, in which order, and every choice of the clients. How the machine schedules the
processes is not repeatable: the same seed repeats the plan, and not each interleaving.

Rules: every signature verifies; no ticket is answered 200 twice within one life of a signer; no key is lost that a backup
exists for; every honest request is answered or cut within its deadline, and cut only while a process is down; the p99 of
honest clients under faults is under 5 times the p99 without, or under 400 ms; a run of
60 s or more measures at least 10 latencies of each kind without faults; memory and descriptors return to where they began.

The programs are built by cargo, or taken from the folder in ACCEPTANCE_BIN_DIR.

Exit status: 0 no rule was broken, 1 one was, 64 wrong command line, 70 the run could not be carried out, 73 the report
cannot be written.

Example:
  cargo run -p chaos -- --seed 7 --duration-s 120 --json chaos.json"
)]
pub(crate) struct Arguments {
    /// Repeats the run that printed this seed; random unless given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// How long faults are made, in seconds; some 30 s more go to the start and the end
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    pub(crate) duration_s: u64,

    /// Writes the report as JSON to this file too; `-` prints it instead of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
