//! Processes, what they did, and what they need. For every folder of tests here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The result of a process.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a process to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} is needed for this test: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a process that has to succeed, and gives what it wrote.
pub(crate) fn succeed(command: &mut Command) -> String {
    let outcome = run(command);
    assert_eq!(outcome.code, Some(0), "{command:?}: {outcome:?}");
    outcome.stdout
}

/// A folder of this name below the target folder, which `install` has filled for the same `wanted`, now or earlier.
/// Only one test fills it at a time.
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

/// The interpreter of an environment of this name, which has what this file says.
pub(crate) fn python(name: &str, requirements: &Path) -> PathBuf {
    let folder = installed(name, &fs::read_to_string(requirements).unwrap(), |folder| {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")));
        let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--requirement"];
        succeed(Command::new(folder.join("venv/bin/python")).args(pip).arg(requirements));
    });
    folder.join("venv/bin/python")
}
