//! `signerctl`: see the library for what it does, and `--help` for how it is told.
//!
//! ```text
//! arguments ─▶ command::{backup_reseal, bench, eif_build, eif_describe, health, policy_render} ─▶ standard output, files
//!                                   └▶ failure: one line, one exit status
//! ```

#![forbid(unsafe_code)]

mod command;
mod failure;
mod progress;
mod wait;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{BackupReseal, Bench, EifBuild, EifDescribe, Health, PolicyRender};
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
    /// Sealed keys
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Enclave images
    #[command(subcommand)]
    Eif(EifVerb),
    /// Policies for KMS and IAM
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Measures how fast a signer signs
    Bench(Bench),
    /// Asks a signer whether it can sign
    Health(Health),
}

#[derive(Debug, Subcommand)]
enum BackupVerb {
    /// Seals backups anew, as the signer seals now
    Reseal(BackupReseal),
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
        Subject::Backup(BackupVerb::Reseal(reseal)) => reseal.run(),
        Subject::Bench(bench) => bench.run(),
        Subject::Eif(EifVerb::Build(build)) => build.run(),
        Subject::Eif(EifVerb::Describe(describe)) => describe.run(),
        Subject::Policy(PolicyVerb::Render(render)) => render.run(),
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
    use clap::{CommandFactory as _, Parser as _};

    use super::Arguments;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
    /// The lines under `Example:` or `Examples:`, with those that they go on in, as words.
    fn examples(command: &clap::Command) -> Vec<Vec<String>> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.replace("\\\n", " ");
        lines
            .lines()
            .filter(|line| line.starts_with("  signerctl "))
            .map(|line| {
                line.split(['#', '|']).next().unwrap().split_whitespace().map(str::to_owned).collect()
            })
            .collect()
    }

    #[test]
    fn examples_of_help_parse() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path}{}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|command| check(command, &format!("{path} ")));
                return;
            }
            let examples = examples(command);
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                assert!(example.join(" ").starts_with(&path), "{path}: {example:?}");
                if let Err(fault) = Arguments::try_parse_from(&example) {
                    panic!("{example:?}\n{fault}");
                }
            }
        }
        check(&Arguments::command(), "");
    }
}
