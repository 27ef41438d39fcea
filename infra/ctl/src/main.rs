//! `signerctl`: see the library for what it does, and `--help` for how it is told.
//!
//! ```text
//! arguments ─▶ command::{attest_verify, attest_show, attest_key, eif_build, …} ─▶ standard output, files
//!                                   └▶ failure: one line, one exit status
//! ```

#![forbid(unsafe_code)]

mod command;
mod failure;
mod wait;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{AttestKey, AttestShow, AttestVerify, EifBuild, EifDescribe, Health, PolicyRender};
use crate::failure::{EX_USAGE, Failure};

/// The operator's command: images, their measurements, and policies for them.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "signerctl",
    after_help = "\
Exit status: 0 done, 1 an image is not what it should be, 64 wrong command line, 65 a file is not what it should be,
66 a file cannot be read, 69 a service does not answer, 73 a file cannot be written, 78 nitro.toml is wrong."
)]
struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Enclave images
    #[command(subcommand)]
    Eif(EifVerb),
    /// Policies for KMS and IAM
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Who is at the other end: attestation of enclaves and of their keys
    #[command(subcommand)]
    Attest(AttestVerb),
    /// Asks a signer whether it can sign
    Health(Health),
}

#[derive(Debug, Subcommand)]
enum AttestVerb {
    /// Connects to a signer and checks that it is the expected enclave
    Verify(AttestVerify),
    /// Prints what is in a document that was kept, and whether it is authentic
    Show(AttestShow),
    /// Asks the expected enclave where one of its signing keys comes from
    Key(AttestKey),
}

#[derive(Debug, Subcommand)]
enum EifVerb {
    /// Puts an image together and prints its measurements
    Build(EifBuild),
    /// Prints what an image holds and measures
    Describe(EifDescribe),
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    /// Prints a policy for the images with these measurements
    Render(PolicyRender),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal cannot be told about.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match arguments.subject {
        Subject::Eif(EifVerb::Build(build)) => build.run(),
        Subject::Eif(EifVerb::Describe(describe)) => describe.run(),
        Subject::Policy(PolicyVerb::Render(render)) => render.run(),
        Subject::Attest(AttestVerb::Verify(verify)) => verify.run(),
        Subject::Attest(AttestVerb::Show(show)) => show.run(),
        Subject::Attest(AttestVerb::Key(key)) => key.run(),
        Subject::Health(health) => health.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, line }) => {
            let _ = writeln!(io::stderr(), "signerctl: {line}");
            ExitCode::from(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}
