//! What a process did.

use std::process::{Command, Stdio};

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a process to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    command.stdin(Stdio::null());
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} is needed for this test: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `signerctl attest …`, in the folder of the notes.
pub(crate) fn signerctl(notes: &crate::enclave::Notes, arguments: &[&str]) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_signerctl"))
        .env_remove("INTERNAL_API_KEY")
        .current_dir(notes.path(""))
        .args(arguments))
}

impl Outcome {
    /// It failed so, said these words, and nothing that anybody could take for success.
    #[track_caller]
    pub(crate) fn doubts(&self, words: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stderr.contains(words), "{words}: {self:?}");
        let said = format!("{}\n{}", self.stdout, self.stderr);
        let mut words = said.split(|character: char| !character.is_alphanumeric());
        assert!(!words.any(|word| matches!(word, "valid" | "ATTESTED" | "attested")), "{self:?}");
        assert!(!said.contains("AUTHENTIC at"), "{self:?}");
    }
}
