//! The executables under test, and the KMS they are tested with, built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where the executables are.
pub struct Binaries {
    /// The signer with a local sealer.
    pub enclave_dev: PathBuf,
    /// The byte mover in front of it.
    pub proxy: PathBuf,
    /// The stand-in for KMS.
    pub kms_emulator: PathBuf,
}

/// Builds them in the profile of the test, or takes them ready from `ACCEPTANCE_BIN_DIR`.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| match std::env::var_os("ACCEPTANCE_BIN_DIR") {
        Some(directory) => ready_in(Path::new(&directory)),
        None => build(),
    })
}

fn ready_in(directory: &Path) -> Binaries {
    // One that is missing and wanted fails when it is started.
    Binaries {
        enclave_dev: directory.join("enclave-dev"),
        proxy: directory.join("proxy"),
        kms_emulator: directory.join("kms-emulator"),
    }
}

fn build() -> Binaries {
    let artifacts = built(&[
        ["-p", "proxy"],
        ["-p", "enclave-runtime"],
        ["-p", "kms-emulator"],
        ["--features", "enclave-runtime/dev"],
    ]);
    Binaries {
        enclave_dev: executable(&artifacts, "enclave-dev"),
        proxy: executable(&artifacts, "proxy"),
        kms_emulator: executable(&artifacts, "kms-emulator"),
    }
}

/// The operator's command. Built for itself, so that what it asks of libraries is not in the product under test.
pub fn signerctl() -> &'static Path {
    static SIGNERCTL: OnceLock<PathBuf> = OnceLock::new();
    SIGNERCTL.get_or_init(|| match std::env::var_os("ACCEPTANCE_BIN_DIR") {
        Some(directory) => Path::new(&directory).join("signerctl"),
        None => executable(&built(&[["-p", "signerctl"]]), "signerctl"),
    })
}

/// Cargo's report of a build.
fn built(options: &[[&str; 2]]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace_root())
        .arg("build")
        .args(options.as_flattened())
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "the product does not build");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn executable(artifacts: &str, name: &str) -> PathBuf {
    artifacts
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("cargo built no executable `{name}`"))
}
