//! The output of `nitro-cli` on its standard error when it fails.

use std::fmt;

use crate::printable::printable;

/// Most characters of an explanation that are shown. The longest of AWS's, E36, has 420.
const MAX_EXPLANATION_CHARS: usize = 500;

/// Printed before memory is taken from the pool.
const ALLOCATION_BEGINS: &str = "Start allocating memory...";

/// Why `nitro-cli` failed. E39 after another code tells only that the process with the real cause has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorReport {
    /// The number of the first `[ Enn ]`; none, if none was printed.
    pub(super) code: Option<u16>,
    /// The text after it, or else the last line.
    explanation: String,
    /// Whether memory was being allocated before.
    pub(super) is_after_allocation: bool,
}

impl ErrorReport {
    pub(super) fn read(stderr: &str) -> Self {
        let first = stderr.lines().enumerate().find_map(|(place, line)| Some((place, coded(line)?)));
        let (place, code, explanation) = match first {
            Some((place, (code, explanation))) => (place, Some(code), explanation),
            None => {
                let last = stderr.lines().rfind(|line| !line.trim().is_empty());
                (usize::MAX, None, last.unwrap_or("it printed no error"))
            }
        };
        Self {
            code,
            explanation: printable(explanation.trim(), MAX_EXPLANATION_CHARS),
            is_after_allocation: stderr.lines().take(place).any(|line| line.trim() == ALLOCATION_BEGINS),
        }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(formatter, "E{code:02}: ")?;
        }
        formatter.write_str(&self.explanation)
    }
}

/// The number and the text of a line `[ Enn ] TEXT`.
fn coded(line: &str) -> Option<(u16, &str)> {
    let (code, explanation) = line.trim_start().strip_prefix("[ E")?.split_once(" ]")?;
    let is_number = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| code.parse().ok()).flatten().map(|code| (code, explanation))
}
