//! `signerctl`: the library describes its work, and `--help` its command line.
//!
//! ```text
//! arguments ─▶ command::{…} ─▶ standard output, files
//!                 └▶ failure: one line, one exit status
//! ```

#![forbid(unsafe_code)]

mod arguments;
mod command;
mod failure;
mod progress;
mod secret_input;
mod wait;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::failure::{EX_USAGE, Failure};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal cannot be told about.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.subject.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, line }) => {
            // In one piece, so that nothing of another process gets between.
            let _ = io::stderr().write_all(format!("signerctl: {line}\n").as_bytes());
            ExitCode::from(code)
        }
    }
}
