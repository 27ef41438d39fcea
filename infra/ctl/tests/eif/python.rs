//! Python with cbor2 and cryptography from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use crate::workshop::succeed;

/// One installation at a time, kept from one run to the next.
static INSTALLATION: Mutex<()> = Mutex::new(());

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/eif/python").join(name)
}

/// The interpreter of an environment that has what `requirements.txt` says.
fn python() -> PathBuf {
    let _one = INSTALLATION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("signerctl-python");
    fs::create_dir_all(&folder).unwrap();
    let (venv, stamp) = (folder.join("venv"), folder.join("installed"));
    let python = venv.join("bin/python");
    let requirements = source("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && python.exists() {
        return python;
    }
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    succeed(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements),
    );
    fs::write(&stamp, &wanted).unwrap();
    python
}

/// What `script` says about a file.
pub(crate) fn ask(script: &str, file: &Path) -> Value {
    let said = succeed(Command::new(python()).arg(source(script)).arg(file));
    serde_json::from_str(&said).unwrap()
}
