//! Processes, what they did, and what they need.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
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
        let mut words = said.split(|character: char| !character.is_alphanumeric() && character != '_');
        assert!(!words.any(|word| matches!(word, "valid" | "ATTESTED" | "attested")), "{self:?}");
        assert!(!said.contains("AUTHENTIC at"), "{self:?}");
    }
}

/// A folder of this name below the target folder, which `install` has filled for the same `wanted`, now or earlier. Only
/// one fills it at a time, whoever else tests.
pub(crate) fn installed(name: &str, wanted: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let one_at_a_time = File::create(folder.join("lock")).unwrap();
    one_at_a_time.lock().unwrap();
    let stamp = folder.join("installed");
    if !fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        install(&folder);
        fs::write(&stamp, wanted).unwrap();
    }
    folder
}
