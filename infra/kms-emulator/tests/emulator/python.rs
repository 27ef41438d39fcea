//! Python with boto3 from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::fixture::Fixture;
use crate::process::Emulator;

/// One installation at a time, kept from one run to the next.
static INSTALLATION: Mutex<()> = Mutex::new(());

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// Runs `program` and gives what it wrote, if it succeeds.
fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} is needed for this test: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

/// The interpreter of an environment that has what `requirements.txt` says.
fn python() -> PathBuf {
    let _one = INSTALLATION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kms-emulator-python");
    fs::create_dir_all(&folder).unwrap();
    let (venv, stamp) = (folder.join("venv"), folder.join("installed"));
    let python = venv.join("bin/python");
    let requirements = source("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && python.exists() {
        return python;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--requirement"])
        .arg(&requirements));
    fs::write(&stamp, &wanted).unwrap();
    python
}

/// Runs a part of `client.py` against the emulator.
pub(crate) fn run_client(part: &str, fixture: &Fixture, emulator: &Emulator) {
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let said = run(Command::new(python())
        .arg(source("client.py"))
        .arg(part)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("FOLDER", fixture.path(""))
        .env("KMS_URL", format!("https://localhost:{}", port(&emulator.address)))
        .env("CONTROL_URL", format!("http://127.0.0.1:{}", port(&emulator.control_address)))
        .env(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            format!("http://127.0.0.1:{}", port(&emulator.imds_address)),
        )
        // The test does not use the user's own configuration.
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"));
    assert!(said.ends_with("all steps passed\n"), "{said}");
}
