//! Python with cbor2 and cryptography from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{python, succeed};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/eif/python").join(name)
}

/// The output of `script` about a file.
pub(crate) fn ask(script: &str, file: &Path) -> Value {
    let python = python("signerctl-python", &source("requirements.txt"));
    let said = succeed(Command::new(python).arg(source(script)).arg(file));
    serde_json::from_str(&said).unwrap()
}
