//! Secrets that a command is told: by a file or by the environment, never on the command line, where every process of
//! the machine can read it.

use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::{EX_USAGE, Failure, read};

/// The bytes of `file`, or of the environment's `variable` if no file is named; without the line break at the end that
/// an editor puts there. `option` is what names the file.
pub(crate) fn read_secret(
    file: Option<&Path>,
    variable: &str,
    option: &str,
    max_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = match (file, std::env::var(variable)) {
        (Some(path), _) => Zeroizing::new(read(path, max_bytes)?),
        (None, Ok(value)) => Zeroizing::new(value.into_bytes()),
        (None, Err(_)) => {
            let line = format!("{variable} is not set: set it, or name a file with {option}");
            return Err(Failure::new(EX_USAGE, line));
        }
    };
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    Ok(bytes)
}
