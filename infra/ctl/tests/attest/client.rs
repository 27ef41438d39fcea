//! Clients of a signer, and their output.

use std::process::Command;

use crate::enclave::Notes;
use crate::process::{Outcome, run};

/// `signerctl attest …`, in the folder of the notes.
pub(crate) fn signerctl(notes: &Notes, arguments: &[&str]) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_signerctl"))
        .env_remove("INTERNAL_API_KEY")
        .current_dir(notes.path(""))
        .args(arguments))
}

impl Outcome {
    /// Checks that it failed in this way, printed these words, and nothing that looks like success.
    #[track_caller]
    pub(crate) fn doubts(&self, words: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stderr.contains(words), "{words}: {self:?}");
        let said = format!("{}\n{}", self.stdout, self.stderr);
        let mut words = said.split(|character: char| !character.is_alphanumeric() && character != '_');
        assert!(!words.any(|word| matches!(word, "valid" | "ATTESTED" | "attested")), "{self:?}");
        assert!(!said.contains("AUTHENTIC at"), "{self:?}");
    }
}
