//! The syntax of systemd's `EnvironmentFile=`, as `load_env_file` of systemd reads it.
//!
//! Stricter where systemd would lose a line, or where the meaning depends on its version. These are refused: a line
//! without an assignment, an invalid variable name, an open quote, a backslash at the end of the file or of a comment,
//! a carriage return inside a line. Nothing is expanded: a `$` is a `$`.

use std::fmt;

use zeroize::Zeroizing;

use super::InvalidBootFile;

/// Why a line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// The line is not UTF-8.
    NotUtf8,
    /// The line has a NUL byte.
    Nul,
    /// The line is neither empty, a comment nor an assignment to a valid name.
    NotAnAssignment,
    /// A quote is not closed.
    OpenQuote,
    /// Nothing follows a backslash.
    TrailingBackslash,
    /// systemd 254 and later read the next line as an assignment; earlier versions read it as part of the comment.
    ContinuedComment,
    /// A carriage return follows a backslash or is in quotes.
    CarriageReturn,
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotUtf8 => "is not UTF-8",
            Self::Nul => "has a NUL byte",
            Self::NotAnAssignment => "is not NAME=VALUE",
            Self::OpenQuote => "has a quote that is not closed",
            Self::TrailingBackslash => "has a backslash that nothing follows",
            Self::ContinuedComment => "is a comment that ends in a backslash",
            Self::CarriageReturn => "has a carriage return in a quoted or continued value",
        })
    }
}

/// Calls `take` with each name and value, in order, and overwrites the value afterwards.
pub(super) fn for_each_assignment(
    bytes: &[u8],
    mut take: impl FnMut(&str, &[u8]) -> Result<(), InvalidBootFile>,
) -> Result<(), InvalidBootFile> {
    let text = str::from_utf8(bytes).map_err(|error| at(bytes, error.valid_up_to(), LineError::NotUtf8))?;
    if let Some(position) = bytes.iter().position(|byte| *byte == 0) {
        return Err(at(bytes, position, LineError::Nul));
    }
    // The full capacity at once: growing would leave copies of a secret in freed memory.
    let mut value = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut position = 0;
    while position < bytes.len() {
        let start = position;
        match bytes[start] {
            byte if is_space(byte) || is_line_end(byte) => position += 1,
            b'#' | b';' => position = after_comment(bytes, start)?,
            _ => {
                let end = bytes[start..].iter().position(|byte| *byte == b'=' || is_line_end(*byte));
                let equals = start + end.unwrap_or(bytes.len() - start);
                let name = text[start..equals].trim_end_matches([' ', '\t']);
                if bytes.get(equals) != Some(&b'=') || !is_name(name) {
                    return Err(at(bytes, start, LineError::NotAnAssignment));
                }
                value.clear();
                position =
                    read_value(bytes, equals + 1, &mut value).map_err(|error| at(bytes, start, error))?;
                take(name, &value)?;
            }
        }
    }
    Ok(())
}

/// The position after the comment's line.
fn after_comment(bytes: &[u8], start: usize) -> Result<usize, InvalidBootFile> {
    let mut position = start;
    while let Some(&byte) = bytes.get(position) {
        position += 1;
        if is_line_end(byte) {
            break;
        }
        if byte == b'\\' {
            if bytes.get(position).copied().is_some_and(is_line_end) {
                return Err(at(bytes, start, LineError::ContinuedComment));
            }
            position += 1;
        }
    }
    Ok(position.min(bytes.len()))
}

/// Reads a value after its `=`. Returns the position after its line.
fn read_value(bytes: &[u8], start: usize, value: &mut Vec<u8>) -> Result<usize, LineError> {
    let mut position = start;
    // A quote opens only at the start of a value, or directly after a quoted part.
    let mut may_open_quote = true;
    // Where the trailing white space begins, which the end of the line cuts off.
    let mut kept = 0;
    while let Some(&byte) = bytes.get(position) {
        position += 1;
        match byte {
            _ if is_line_end(byte) => break,
            b'\'' | b'"' if may_open_quote => {
                position = read_quoted(bytes, position, byte, value)?;
                kept = value.len();
            }
            b'\\' => {
                may_open_quote = false;
                match bytes.get(position) {
                    None => return Err(LineError::TrailingBackslash),
                    Some(b'\r') => return Err(LineError::CarriageReturn),
                    Some(b'\n') => {}
                    Some(&escaped) => value.push(escaped),
                }
                position += 1;
                kept = value.len();
            }
            _ if is_space(byte) => {
                if !may_open_quote {
                    value.push(byte);
                }
            }
            _ => {
                may_open_quote = false;
                value.push(byte);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    Ok(position)
}

/// Reads to the closing quote. Returns the position after it.
fn read_quoted(bytes: &[u8], start: usize, quote: u8, value: &mut Vec<u8>) -> Result<usize, LineError> {
    let mut position = start;
    loop {
        let byte = *bytes.get(position).ok_or(LineError::OpenQuote)?;
        position += 1;
        match byte {
            _ if byte == quote => return Ok(position),
            b'\r' => return Err(LineError::CarriageReturn),
            b'\\' if quote == b'"' => {
                let escaped = *bytes.get(position).ok_or(LineError::OpenQuote)?;
                match escaped {
                    b'\r' => return Err(LineError::CarriageReturn),
                    b'\n' => {}
                    // Characters that a shell escapes. Before any other character, the backslash stays.
                    b'"' | b'\\' | b'`' | b'$' => value.push(escaped),
                    _ => value.extend([byte, escaped]),
                }
                position += 1;
            }
            _ => value.push(byte),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn at(bytes: &[u8], position: usize, error: LineError) -> InvalidBootFile {
    let line = 1 + bytes[..position].iter().filter(|byte| **byte == b'\n').count();
    InvalidBootFile::Line { line, error }
}

#[cfg(test)]
mod tests;
