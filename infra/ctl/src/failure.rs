//! The reason for a command's end: a line for people, and a status of sysexits.h for scripts.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use signerctl::output_file;
use signerctl::parent::failed::{Failed, Kind};

/// The command line is wrong.
pub(crate) const EX_USAGE: u8 = 64;

/// A file differs from its required form.
pub(crate) const EX_DATAERR: u8 = 65;

/// A file cannot be read.
pub(crate) const EX_NOINPUT: u8 = 66;

/// A service does not answer.
pub(crate) const EX_UNAVAILABLE: u8 = 69;

/// The enclave did not become ready.
const EX_SOFTWARE: u8 = 70;

/// A file cannot be written.
pub(crate) const EX_CANTCREAT: u8 = 73;

/// A later try may succeed.
const EX_TEMPFAIL: u8 = 75;

/// Root is needed.
const EX_NOPERM: u8 = 77;

/// The configuration is wrong.
pub(crate) const EX_CONFIG: u8 = 78;

/// The command found a defect in its subject.
pub(crate) const NOT_GOOD: u8 = 1;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) line: String,
}

impl Failure {
    pub(crate) fn new(code: u8, line: impl Display) -> Self {
        Self { code, line: line.to_string() }
    }

    /// A file whose content is wrong.
    pub(crate) fn of_file(code: u8, path: &Path, error: impl Display) -> Self {
        Self::new(code, format!("{}: {error}", path.display()))
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let code = match failed.kind {
            Kind::NoInput => EX_NOINPUT,
            Kind::Unavailable => EX_UNAVAILABLE,
            Kind::NotReady => EX_SOFTWARE,
            Kind::TryLater => EX_TEMPFAIL,
            Kind::NoPermission => EX_NOPERM,
            Kind::Configuration => EX_CONFIG,
            Kind::Command(status) => status,
            // As shells report it.
            Kind::Interrupted(signal) => u8::try_from(128 + signal as i32).unwrap_or(u8::MAX),
        };
        Self::new(code, failed.line)
    }
}

/// The whole of a file of at most `max_bytes`.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max_bytes as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::of_file(EX_NOINPUT, path, error))?;
    if bytes.len() > max_bytes {
        return Err(Failure::of_file(EX_DATAERR, path, format_args!("larger than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// The whole of a text file of at most `max_bytes`.
pub(crate) fn read_text(path: &Path, max_bytes: usize) -> Result<String, Failure> {
    String::from_utf8(read(path, max_bytes)?)
        .map_err(|_| Failure::of_file(EX_DATAERR, path, "not text in UTF-8"))
}

/// Writes a file whole, or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    output_file::write(path, bytes).map_err(|error| Failure::of_file(EX_CANTCREAT, path, error))
}

/// As [`write`], readable for its owner only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    output_file::write_private(path, bytes).map_err(|error| Failure::of_file(EX_CANTCREAT, path, error))
}

/// Prints `text` and a line break.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .map_err(|error| Failure::new(EX_CANTCREAT, error))
}
