//! The command line.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::command::{
    AttestKey, AttestShow, AttestVerify, BackupReseal, Bench, Completions, EifBuild, EifDescribe, EifDiff,
    Health, Man, ParentCheck, ParentEnsure, ParentSetup, ParentStart, ParentStatus, ParentStop, ParentWatch,
    PolicyCheck, PolicyRender, Preflight, SecretSeal, Sign, TicketMint,
};
use crate::failure::Failure;

/// The operator's command: images, policies, boot secrets, and signers that run.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "signerctl",
    after_help = "\
Exit status: 0 done, 1 what was looked at is not as it should be, 64 wrong command line, 65 a file is not what it
should be, 66 a file cannot be read, 69 a service does not answer, 70 the enclave did not get ready, 73 a file or the
output cannot be written, 75 a later try may succeed, 77 not root, 78 the configuration is wrong. Each command's help
says which of them it has, and when."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) subject: Subject,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subject {
    /// Enclave images
    #[command(subcommand)]
    Eif(EifVerb),
    /// This parent instance and its enclave
    #[command(subcommand)]
    Parent(ParentVerb),
    /// Policies for KMS and IAM
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Secrets that the signer starts with
    #[command(subcommand)]
    Secret(SecretVerb),
    /// Permissions to sign
    #[command(subcommand)]
    Ticket(TicketVerb),
    /// Attestation of enclaves and of their keys
    #[command(subcommand)]
    Attest(AttestVerb),
    /// Sealed keys
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Has a signer sign a digest
    Sign(Sign),
    /// Measures how fast a signer signs
    Bench(Bench),
    /// Asks a signer whether it can sign
    Health(Health),
    /// Checks the needs of a first start, on the parent instance
    Preflight(Preflight),
    /// Prints a completion script for a shell
    Completions(Completions),
    /// Prints the manual page, or writes those of all commands
    Man(Man),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EifVerb {
    /// Puts an image together and prints its measurements
    Build(EifBuild),
    /// Prints the content and the measurements of an image
    Describe(EifDescribe),
    /// Prints the differences of two images
    Diff(EifDiff),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParentVerb {
    /// Prepares this instance to run the signer
    Setup(ParentSetup),
    /// Starts the enclave of a release, and ends the old one when the new one serves
    Start(ParentStart),
    /// Ends our enclaves, and nitro-enclave.service
    Stop(ParentStop),
    /// Prints which enclaves of ours run, and whether clients are answered
    Status(ParentStatus),
    /// Starts the last release unless our enclave answers
    Ensure(ParentEnsure),
    /// For nitro-enclave.service: starts the last release and looks after it
    Watch(ParentWatch),
    /// Checks the security of the signer that runs
    Check(ParentCheck),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Prints a policy for the images with these measurements
    Render(PolicyRender),
    /// Names the statements that let any caller but the image use the key
    Check(PolicyCheck),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// Seals backups again, as the signer seals now
    Reseal(BackupReseal),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttestVerb {
    /// Connects to a signer and checks that it is the expected enclave
    Verify(AttestVerify),
    /// Prints the content of a kept document, and whether it is authentic
    Show(AttestShow),
    /// Asks the expected enclave where one of its signing keys comes from
    Key(AttestKey),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// Encrypts a secret with KMS, for the boot file
    Seal(SecretSeal),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TicketVerb {
    /// Prints a ticket for one signature
    Mint(TicketMint),
}

impl Subject {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Eif(EifVerb::Build(build)) => build.run(),
            Self::Eif(EifVerb::Describe(describe)) => describe.run(),
            Self::Eif(EifVerb::Diff(diff)) => diff.run(),
            Self::Parent(ParentVerb::Setup(setup)) => setup.run(),
            Self::Parent(ParentVerb::Start(start)) => start.run(),
            Self::Parent(ParentVerb::Stop(stop)) => stop.run(),
            Self::Parent(ParentVerb::Status(status)) => status.run(),
            Self::Parent(ParentVerb::Ensure(ensure)) => ensure.run(),
            Self::Parent(ParentVerb::Watch(watch)) => watch.run(),
            Self::Parent(ParentVerb::Check(check)) => check.run(),
            Self::Policy(PolicyVerb::Render(render)) => render.run(),
            Self::Policy(PolicyVerb::Check(check)) => check.run(),
            Self::Secret(SecretVerb::Seal(seal)) => seal.run(),
            Self::Ticket(TicketVerb::Mint(mint)) => mint.run(),
            Self::Attest(AttestVerb::Verify(verify)) => verify.run(),
            Self::Attest(AttestVerb::Show(show)) => show.run(),
            Self::Attest(AttestVerb::Key(key)) => key.run(),
            Self::Backup(BackupVerb::Reseal(reseal)) => reseal.run(),
            Self::Bench(bench) => bench.run(),
            Self::Sign(sign) => sign.run(),
            Self::Health(health) => health.run(),
            Self::Preflight(preflight) => preflight.run(),
            Self::Completions(completions) => completions.run(Arguments::command()),
            Self::Man(man) => man.run(Arguments::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _, Parser as _};

    use super::Arguments;
    use crate::failure::{EX_CANTCREAT, EX_USAGE};

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    /// The commands that do something, with what stands under their help.
    fn leaves(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            command.get_subcommands().for_each(|subcommand| leaves(subcommand, &path, found));
        } else {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            found.push((path.trim().to_owned(), help));
        }
    }

    /// The lines under `Example:` or `Examples:`, each joined with those that go on from it.
    fn examples(help: &str) -> Vec<String> {
        let indented = help
            .lines()
            .skip_while(|line| !matches!(*line, "Example:" | "Examples:"))
            .skip(1)
            .take_while(|line| line.starts_with("  "));
        let text: String = indented.map(|line| format!("{line}\n")).collect();
        text.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The words of the call of signerctl in a line for a shell.
    fn words(line: &str) -> Vec<String> {
        let mut calls = vec![vec![String::new()]];
        let mut quote = None;
        for char in line.chars() {
            let call = calls.last_mut().unwrap();
            match (char, quote) {
                (_, Some(open)) if char == open => quote = None,
                ('"' | '\'', None) => quote = Some(char),
                ('|' | '>' | '<' | '#', None) => {
                    // The target of a redirection is no argument.
                    let is_pipe = char == '|';
                    calls.push(vec![if is_pipe { String::new() } else { "file".to_owned() }]);
                }
                (' ', None) => call.push(String::new()),
                (char, _) => call.last_mut().unwrap().push(char),
            }
        }
        let calls = calls.into_iter().map(|call| call.into_iter().filter(|word| !word.is_empty()).collect());
        let of_signerctl = |call: Vec<String>| {
            let start = call.iter().position(|word| word == "signerctl")?;
            // Before it stand variables only.
            call[..start].iter().all(|word| word.contains('=')).then(|| call[start..].to_vec())
        };
        calls.into_iter().find_map(of_signerctl).unwrap_or_default()
    }

    #[test]
    fn each_command_has_examples_and_they_parse() {
        let mut found = Vec::new();
        leaves(&Arguments::command(), "", &mut found);
        assert!(found.len() >= 10, "{found:?}");
        for (path, help) in found {
            let examples = examples(&help);
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let words = words(&example);
                assert!(words.join(" ").starts_with(&path), "{path}: {example}");
                if let Err(error) = Arguments::try_parse_from(&words) {
                    panic!("{example}\n{error}");
                }
            }
        }
    }

    /// The statuses under `Exit status`.
    fn statuses(help: &str) -> Vec<u8> {
        let paragraph = help.split("\n\n").find_map(|it| it.strip_prefix("Exit status: "));
        paragraph.unwrap_or_default().split([' ', '\n', ',']).filter_map(|word| word.parse().ok()).collect()
    }

    #[test]
    fn each_command_states_its_exit_statuses() {
        let all = statuses(&Arguments::command().get_after_help().unwrap().to_string());
        assert_eq!(all, [0, 1, 64, 65, 66, 69, 70, 73, 75, 77, 78]);
        let mut found = Vec::new();
        leaves(&Arguments::command(), "", &mut found);
        for (path, help) in found {
            let statuses = statuses(&help);
            assert!(statuses.is_sorted(), "{path}: {statuses:?}");
            // Each reads a command line, and prints.
            assert!(
                [0, EX_USAGE, EX_CANTCREAT].iter().all(|it| statuses.contains(it)),
                "{path}: {statuses:?}"
            );
            // Above 128 it is that of a signal, as shells report it.
            let obeys_signals = path.ends_with("secret seal") || path.starts_with("signerctl parent ");
            let is_known = |status: &u8| all.contains(status) || (*status > 128 && obeys_signals);
            assert!(statuses.iter().all(is_known), "{path}: {statuses:?}");
        }
    }

    #[test]
    fn an_example_is_read_as_a_shell_reads_it() {
        let read = |line: &str| words(line).join("|");
        assert_eq!(read("A=\"$(cat x)\" signerctl sign 'a b' > file"), "signerctl|sign|a b");
        assert_eq!(read("openssl rand 32 | signerctl secret seal X  # comment"), "signerctl|secret|seal|X");
        assert_eq!(read("signerctl man | man -"), "signerctl|man");
        assert_eq!(read("echo signerctl"), "");
        let help = "Text.\n\nExamples:\n  one \\\n      more\n  two\n\nEnd";
        assert_eq!(examples(help), ["one        more", "two"]);
    }
}
