//! Programs and packages of others, for tests that need them. They are installed below the target folder, once.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::failure::{Failure, ensure};

/// The file that names the contents of a complete folder.
const STAMP: &str = "installed";

/// Runs `command` and gives its output if it succeeds, else all that it wrote.
pub fn run(command: &mut Command) -> Result<Output, Failure> {
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

/// Runs `install` in `folder`, unless the last one there that succeeded was for the same `wanted`. Only one runs at a
/// time, also when several tests run.
pub fn install(
    folder: &Path,
    wanted: &str,
    install: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let one_at_a_time = File::create(folder.join("lock"))?;
    one_at_a_time.lock()?;
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(&stamp, wanted)?;
    Ok(())
}

/// Installs in `folder` what the `package.json` and `package-lock.json` of the folder `pinned_in` say, and runs none of
/// the packages' scripts.
pub fn npm(folder: &Path, pinned_in: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(pinned_in.join(file), folder.join(file))?;
    }
    let lock = fs::read_to_string(folder.join("package-lock.json"))?;
    install(folder, &lock, || {
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder))?;
        Ok(())
    })
}

/// The interpreter of an environment in `folder` that has what the file `requirements` says, and nothing else.
pub fn python(folder: &Path, requirements: &Path) -> Result<PathBuf, Failure> {
    let wanted = fs::read_to_string(requirements)?;
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        // The system's interpreter, which the environment points to, may have gone; or there never was a stamp.
        let _ = fs::remove_file(folder.join(STAMP));
    }
    install(folder, &wanted, || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"])
            .arg("--requirement")
            .arg(requirements))?;
        Ok(())
    })?;
    Ok(python)
}
