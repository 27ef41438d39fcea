//! The output of `nitro-cli` on its standard output.

use std::fmt;

use serde::Deserialize;

use super::Version;

/// Lines before the JSON that are passed over: more than a wrapper or a dynamic linker prints.
const MAX_LINES_BEFORE: usize = 100;

/// How the JSON begins. The first byte of a line decides: nested values are indented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Array,
    Object,
}

/// Why a text has no JSON of the expected form.
#[derive(Debug)]
pub(super) enum NoJson {
    Empty,
    /// No line begins with this byte.
    NoLine(char),
    Json(serde_json::Error),
}

impl fmt::Display for NoJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("it printed nothing"),
            Self::NoLine(open) => {
                write!(formatter, "none of the first {MAX_LINES_BEFORE} lines begins with {open}")
            }
            // It quotes names of fields and no values of ours.
            Self::Json(error) => error.fmt(formatter),
        }
    }
}

/// The JSON of a text, whose first lines may be warnings.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(text: &str, form: Form) -> Result<T, NoJson> {
    let open = match form {
        Form::Array => '[',
        Form::Object => '{',
    };
    let mut error = if text.trim().is_empty() { NoJson::Empty } else { NoJson::NoLine(open) };
    let mut at = 0;
    for line in text.split_inclusive('\n').take(MAX_LINES_BEFORE) {
        if line.starts_with(open) {
            match serde_json::from_str(&text[at..]) {
                Ok(value) => return Ok(value),
                Err(json) => error = NoJson::Json(json),
            }
        }
        at += line.len();
    }
    Err(error)
}

/// The version in a line such as `Nitro CLI 1.4.2`.
pub(super) fn version(line: &str) -> Option<Version> {
    let mut numbers =
        line.trim_end().strip_prefix("Nitro CLI ")?.split('.').map(|number| number.parse().ok());
    let version = Version { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
    numbers.next().is_none().then_some(version)
}
