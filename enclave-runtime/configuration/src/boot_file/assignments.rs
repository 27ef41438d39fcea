//! The syntax of systemd's `EnvironmentFile=`, as `load_env_file` of systemd reads it.
//!
//! Stricter, where a line would get lost or its meaning depend on the version: a line without an assignment, a name
//! that no variable can have, an open quote, a backslash at the end of the file or of a comment, a carriage return
//! that is not a line's end. Nothing is expanded: a `$` is a `$`.

use std::fmt;

use zeroize::Zeroizing;

use super::InvalidBootFile;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFault {
    /// It is not UTF-8.
    NotUtf8,
    /// It has a NUL byte.
    Nul,
    /// It is neither empty, a comment nor an assignment to a variable's name.
    NotAnAssignment,
    /// A quote has no end.
    OpenQuote,
    /// Nothing follows a backslash.
    TrailingBackslash,
    /// systemd 254 and later read the next line, earlier ones take it for a part of the comment.
    ContinuedComment,
    /// After a backslash or in quotes.
    CarriageReturn,
}

impl fmt::Display for LineFault {
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

/// Calls `take` with each name and value, in order. The value is overwritten after.
pub(super) fn for_each_assignment(
    bytes: &[u8],
    mut take: impl FnMut(&str, &[u8]) -> Result<(), InvalidBootFile>,
) -> Result<(), InvalidBootFile> {
    let text = str::from_utf8(bytes).map_err(|fault| at(bytes, fault.valid_up_to(), LineFault::NotUtf8))?;
    if let Some(position) = bytes.iter().position(|byte| *byte == 0) {
        return Err(at(bytes, position, LineFault::Nul));
    }
    // Of the size that no value exceeds: a secret is not left behind in memory that was too small for it.
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
                    return Err(at(bytes, start, LineFault::NotAnAssignment));
                }
                value.clear();
                position =
                    read_value(bytes, equals + 1, &mut value).map_err(|fault| at(bytes, start, fault))?;
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
                return Err(at(bytes, start, LineFault::ContinuedComment));
            }
            position += 1;
        }
    }
    Ok(position.min(bytes.len()))
}

/// Reads a value from behind its `=`; gives the position after its line.
fn read_value(bytes: &[u8], start: usize, value: &mut Vec<u8>) -> Result<usize, LineFault> {
    let mut position = start;
    // A quote opens only where a value, or a further piece of a quoted one, begins.
    let mut may_open_quote = true;
    // Where the white space begins that the line's end would cut off.
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
                    None => return Err(LineFault::TrailingBackslash),
                    Some(b'\r') => return Err(LineFault::CarriageReturn),
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

/// Reads to the closing quote; gives the position after it.
fn read_quoted(bytes: &[u8], start: usize, quote: u8, value: &mut Vec<u8>) -> Result<usize, LineFault> {
    let mut position = start;
    loop {
        let byte = *bytes.get(position).ok_or(LineFault::OpenQuote)?;
        position += 1;
        match byte {
            _ if byte == quote => return Ok(position),
            b'\r' => return Err(LineFault::CarriageReturn),
            b'\\' if quote == b'"' => {
                let escaped = *bytes.get(position).ok_or(LineFault::OpenQuote)?;
                match escaped {
                    b'\r' => return Err(LineFault::CarriageReturn),
                    b'\n' => {}
                    // What a shell needs escaped; before all else the backslash stays.
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

fn at(bytes: &[u8], position: usize, fault: LineFault) -> InvalidBootFile {
    let line = 1 + bytes[..position].iter().filter(|byte| **byte == b'\n').count();
    InvalidBootFile::Line { line, fault }
}

#[cfg(test)]
mod tests;
