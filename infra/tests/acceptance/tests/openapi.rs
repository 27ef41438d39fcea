//! `docs/openapi.yaml` is valid, and schemathesis finds that a live signer answers as it describes. Needs Python 3 with
//! venv and, the first time, PyPI.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use acceptance::contract::{EXISTS, KEY_NOT_FOUND, ROUTES, TICKET, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::installation::{python, run};
use acceptance::{Failure, Server};
use serde_json::Value;

/// Each operation gets the same requests in each run, as far as it answers the same.
const SEED: &str = "1";

/// Random requests for each operation; those that cover each keyword of a schema come on top.
const EXAMPLES: &str = "30";

/// Operations without an API key.
const PUBLIC: [(&str, &str); 3] =
    [("GET", "/health"), ("HEAD", "/health"), ("GET", "/.well-known/attestation")];

/// Errors that a request gets only if its head and its fields are good.
const PAST_VALIDATION: [&str; 4] = [EXISTS, KEY_NOT_FOUND, TICKET, UNABLE_TO_OPEN];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi")
}

fn description() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/openapi.yaml")
}

fn interpreter() -> Result<PathBuf, Failure> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi");
    python(&cache, &source().join("requirements.txt"))
}

/// Tests the signer at `server` by `description`; writes reports into `folder`.
fn schemathesis(
    server: &Server,
    description: &Path,
    folder: &Path,
    options: &[&str],
) -> Result<Output, Failure> {
    let mut command = Command::new(interpreter()?.with_file_name("schemathesis"));
    command
        .current_dir(folder)
        .env("NO_PROXY", "127.0.0.1")
        .arg("--config-file")
        .arg(source().join("schemathesis.toml"))
        .arg("run")
        .arg(description)
        .args(["--url", &server.base_url(), "--header", &format!("x-internal-api-key: {}", server.api_key())])
        .args(["--seed", SEED, "--max-examples", EXAMPLES, "--phases", "coverage,fuzzing"])
        .args(["--continue-on-failure", "--report", "json,har"])
        .args(["--report-json-path", "report.json", "--report-har-path", "exchanges.har"])
        .args(options);
    Ok(command.output()?)
}

fn shown(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(path: &Path) -> Result<Value, Failure> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

/// The statuses that each operation answered; `0` stands for an answer past validation.
fn statuses(har: &Value, base_url: &str) -> BTreeMap<(String, String), BTreeSet<u64>> {
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for entry in har["log"]["entries"].as_array().into_iter().flatten() {
        let url = entry["request"]["url"].as_str().unwrap_or_default();
        let path = url.strip_prefix(base_url).unwrap_or(url);
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let method = entry["request"]["method"].as_str().unwrap_or_default().to_owned();
        let status = entry["response"]["status"].as_u64().unwrap_or_default();
        let body = entry["response"]["content"]["text"].as_str().unwrap_or_default();
        let of_operation = found.entry((method, path)).or_default();
        of_operation.insert(status);
        if (200..300).contains(&status) || PAST_VALIDATION.iter().any(|text| body.contains(text)) {
            of_operation.insert(0);
        }
    }
    found
}

#[test]
fn the_description_is_valid() -> Result<(), Failure> {
    run(Command::new(interpreter()?).args(["-m", "openapi_spec_validator"]).arg(description()))?;
    Ok(())
}

#[test]
fn a_live_signer_answers_every_operation_as_described() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let folder = tempfile::tempdir()?;
    let output = schemathesis(&server, &description(), folder.path(), &[])?;
    ensure(output.status.success(), || shown(&output))?;

    let posts = ROUTES.iter().map(|(path, _)| ("POST", *path));
    let operations: Vec<_> = PUBLIC.into_iter().chain(posts).collect();
    let tested = &json(&folder.path().join("report.json"))?["operations"];
    for count in ["total", "selected", "tested"] {
        ensure(tested[count] == operations.len(), || format!("{count} operations: {tested}"))?;
    }
    let found = statuses(&json(&folder.path().join("exchanges.har"))?, &server.base_url());
    for (method, path) in operations {
        let statuses = found.get(&(method.to_owned(), path.to_owned())).cloned().unwrap_or_default();
        let wanted: &[u64] = if method == "POST" { &[0, 400, 401, 415] } else { &[0] };
        let missing: Vec<_> = wanted.iter().filter(|status| !statuses.contains(status)).collect();
        ensure(missing.is_empty(), || format!("{method} {path}: never {missing:?}, only {statuses:?}"))?;
    }
    Ok(())
}

#[test]
fn a_wrong_description_is_found() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let folder = tempfile::tempdir()?;
    let right = fs::read_to_string(description())?;
    for (from, to, found) in [
        ("\"201\":", "\"299\":", "Undocumented status code"),
        ("^0[23][0-9a-f]{64}$", "^0[23][0-9a-f]{66}$", "Response violates schema"),
    ] {
        let wrong = folder.path().join("wrong.yaml");
        ensure(right.contains(from), || format!("{from} is not in docs/openapi.yaml"))?;
        fs::write(&wrong, right.replace(from, to))?;
        let output = schemathesis(&server, &wrong, folder.path(), &["--include-operation-id", "generate"])?;
        ensure(output.status.code() == Some(1) && shown(&output).contains(found), || shown(&output))?;
    }
    Ok(())
}
