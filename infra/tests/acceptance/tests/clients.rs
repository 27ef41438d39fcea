//! Clients written by others, in other languages, with their own libraries for tickets and
//! signatures. Node and Python must be there; their packages are installed below the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use acceptance::Server;
use acceptance::failure::{Failure, ensure};
use acceptance::installation::{npm, python, run};

/// A folder of this name below the target folder, kept from one run to the next.
fn cache(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
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
    npm(&folder, &source("node"))?;
    fs::copy(source("node").join("client.mjs"), folder.join("client.mjs"))?;
    let server = Server::any();
    runs_through(Command::new("node").arg("client.mjs").current_dir(&folder), &server)
}

#[test]
fn python_with_httpx_pyjwt_and_coincurve() -> Result<(), Failure> {
    let python = python(&cache("python-client"), &source("python").join("requirements.txt"))?;
    let server = Server::any();
    runs_through(Command::new(&python).arg(source("python").join("client.py")), &server)
}
