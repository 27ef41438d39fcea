//! Clients written by others, in other languages, with their own libraries for tickets and
//! signatures. Node and Python must be there; their packages are installed below the target folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use acceptance::Server;
use acceptance::failure::{Failure, ensure};

/// A folder of this name below the target folder, kept from one run to the next.
fn cache(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs `program` and gives its output if it succeeds, else all that it wrote.
fn run(command: &mut Command) -> Result<Output, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|e| Failure::new(format!("{program} is needed for this test: {e}")))?;
    ensure(output.status.success(), || {
        format!(
            "{program} {:?}: {}\n{}\n{}",
            command.get_args().collect::<Vec<&OsStr>>(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok(output)
}

/// Whether `stamp` holds `wanted`, that is, whether that was installed by an earlier run.
fn is_installed(stamp: &Path, wanted: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|found| found == wanted)
}

fn runs_through(command: &mut Command, server: &Server) -> Result<(), Failure> {
    let output = run(command
        .env("ENCLAVE_BASE_URL", format!("http://{}", server.address()))
        .env("INTERNAL_API_KEY", server.api_key())
        .env("TICKET_SIGNING_SECRET", &server.secrets.ticket_secret))?;
    let steps = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure(steps.ends_with("all steps passed\n"), || steps.clone())
}

#[test]
fn node_with_fetch_jose_and_noble() -> Result<(), Failure> {
    let folder = cache("node-client");
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json", "client.mjs"] {
        fs::copy(source("node").join(file), folder.join(file))?;
    }
    let lock = fs::read_to_string(folder.join("package-lock.json"))?;
    let stamp = folder.join("installed");
    if !is_installed(&stamp, &lock) {
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder))?;
        fs::write(&stamp, &lock)?;
    }
    let server = Server::any();
    runs_through(Command::new("node").arg("client.mjs").current_dir(&folder), &server)
}

#[test]
fn python_with_httpx_pyjwt_and_coincurve() -> Result<(), Failure> {
    let folder = cache("python-client");
    fs::create_dir_all(&folder)?;
    let requirements = source("python").join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)?;
    let stamp = folder.join("installed");
    let python = folder.join("venv/bin/python");
    if !is_installed(&stamp, &wanted) || !python.exists() {
        let venv = folder.join("venv");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"])
            .arg("--requirement")
            .arg(&requirements))?;
        fs::write(&stamp, &wanted)?;
    }
    let server = Server::any();
    runs_through(Command::new(&python).arg(source("python").join("client.py")), &server)
}
