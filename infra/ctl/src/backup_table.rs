//! Backups as a database exports them: rows with an identity, its sealed key and any other columns.
//!
//! A written table differs from its source in sealed keys alone: all else is copied, byte for byte.

mod csv;
mod format;
mod ndjson;

pub use format::{Format, UnknownFormat};

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::identity::Identity;

/// Bytes of an export: with 400 bytes a row, twice the keys that a signer has room for unless told otherwise. It is
/// held in memory, so that what is resealed is what was checked.
pub const MAX_TABLE_BYTES: usize = 256 * 1024 * 1024;

/// Rows of an export. A bit more than fits into its bytes.
pub const MAX_ROWS: usize = 1_000_000;

/// Bytes of a row. A sealed key has 10 KiB at most, and comments are short.
pub const MAX_ROW_BYTES: usize = 64 * 1024;

/// Bytes of a sealed key. The longest that the signer reads is base64 of 6 KiB.
pub const MAX_SEALED_KEY_BYTES: usize = 10 * 1024;

const IDENTITY_COLUMN: &str = "identity_id";
const SEALED_KEY_COLUMN: &str = "sealed_key";

/// An export.
#[derive(Debug)]
pub struct BackupTable {
    bytes: Vec<u8>,
    format: Format,
    rows: Vec<Row>,
}

/// A row of an export, the header not counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Where in the file it begins, from 1.
    pub line: usize,
    /// The backup in the row.
    pub backup: Result<Backup, RowError>,
}

/// An identity and its sealed key.
#[derive(Debug, PartialEq, Eq)]
pub struct Backup {
    /// The owner of the key.
    pub identity: Identity,
    /// As the signer takes it.
    pub sealed_key: String,
    /// Whether it stands in the row between quotation marks that are part of the value. The API takes them off.
    is_in_marks: bool,
    /// Of the whole value, with what the format puts around it.
    place: Range<usize>,
}

/// A row has no backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// `identity_id` is no UUID, or not there.
    Identity,
    /// `sealed_key` is empty, null or not there.
    NoSealedKey,
    /// `sealed_key` is a number, a list or the like.
    NotText,
    /// `sealed_key` is longer than any.
    TooLong,
}

impl fmt::Display for RowError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Identity => "identity_id is not a UUID that the signer takes",
            Self::NoSealedKey => "no sealed_key",
            Self::NotText => "sealed_key is not a text",
            Self::TooLong => "sealed_key is longer than any",
        })
    }
}

/// The error of a file as a whole, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTable {
    /// From 1.
    pub line: usize,
    /// The error.
    pub error: TableError,
}

/// Why a file is no table of backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Some bytes are no UTF-8.
    NotUtf8,
    /// More bytes than are read.
    TooManyBytes,
    /// More rows than are read.
    TooManyRows,
    /// A row with more bytes than are read.
    RowTooLong,
    /// Nothing but, perhaps, a header.
    NoRows,
    /// A CSV header without this column.
    NoColumn(&'static str),
    /// A CSV header with this column twice.
    ColumnTwice(&'static str),
    /// A CSV record with so many fields, under a header with another number of them.
    FieldCount {
        /// In the header.
        header: usize,
        /// In the record.
        found: usize,
    },
    /// A quotation mark within a CSV field that is not in quotation marks, or text after the closing one.
    StrayQuote,
    /// A CSV field whose quotation mark is not closed: a file that was cut, or a mark too many.
    OpenQuote,
    /// A carriage return that ends no line.
    StrayCarriageReturn,
    /// A line that is no JSON object, or has one of the two members twice.
    NotAnObject,
}

impl fmt::Display for InvalidTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.error)
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => formatter.write_str("not text in UTF-8"),
            Self::TooManyBytes => write!(formatter, "more than {MAX_TABLE_BYTES} bytes; split the file"),
            Self::TooManyRows => write!(formatter, "more than {MAX_ROWS} rows; split the file"),
            Self::RowTooLong => write!(formatter, "a row of more than {MAX_ROW_BYTES} bytes"),
            Self::NoRows => formatter.write_str("no rows"),
            Self::NoColumn(name) => write!(formatter, "no column `{name}` in the header"),
            Self::ColumnTwice(name) => write!(formatter, "column `{name}` twice in the header"),
            Self::FieldCount { header, found } => {
                write!(formatter, "{found} fields under a header of {header}")
            }
            Self::StrayQuote => formatter.write_str("a quotation mark in the middle of a field"),
            Self::OpenQuote => formatter.write_str("a quotation mark that is not closed"),
            Self::StrayCarriageReturn => formatter.write_str("a carriage return that ends no line"),
            Self::NotAnObject => write!(
                formatter,
                "not a JSON object with `{IDENTITY_COLUMN}` and `{SEALED_KEY_COLUMN}` once each"
            ),
        }
    }
}

impl std::error::Error for InvalidTable {}

impl BackupTable {
    /// Reads a whole file. A row that has no backup is a row all the same.
    ///
    /// # Errors
    /// [`InvalidTable`]
    pub fn read(bytes: Vec<u8>, format: Format) -> Result<Self, InvalidTable> {
        if bytes.len() > MAX_TABLE_BYTES {
            return Err(InvalidTable { line: 1, error: TableError::TooManyBytes });
        }
        let text = str::from_utf8(&bytes).map_err(|error| {
            let good = &bytes[..error.valid_up_to()];
            InvalidTable { line: 1 + line_breaks(good), error: TableError::NotUtf8 }
        })?;
        let rows = match format {
            Format::Csv => csv::rows(text)?,
            Format::Ndjson => ndjson::rows(text)?,
        };
        if rows.is_empty() {
            return Err(InvalidTable { line: 1, error: TableError::NoRows });
        }
        Ok(Self { bytes, format, rows })
    }

    /// In the file's order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// Writes the file with `sealed_key` for the row of that index, counted from 0, and with the old one where there is
    /// none.
    ///
    /// # Errors
    /// The writer's.
    pub fn write<'k>(
        &self,
        to: &mut impl Write,
        sealed_key: impl Fn(usize) -> Option<&'k str>,
    ) -> io::Result<()> {
        let mut written = 0;
        for (index, row) in self.rows.iter().enumerate() {
            let (Ok(backup), Some(sealed_key)) = (&row.backup, sealed_key(index)) else { continue };
            to.write_all(&self.bytes[written..backup.place.start])?;
            let marked;
            let value = if backup.is_in_marks {
                marked = format!("\"{sealed_key}\"");
                &marked
            } else {
                sealed_key
            };
            let field = match self.format {
                Format::Csv => csv::field(value, self.bytes[backup.place.clone()].starts_with(b"\"")),
                Format::Ndjson => ndjson::string(value),
            };
            to.write_all(field.as_bytes())?;
            written = backup.place.end;
        }
        to.write_all(&self.bytes[written..])
    }
}

impl Backup {
    /// The backup of a row with these two values; the sealed key stands at `place`.
    fn new(identity: &str, sealed_key: &str, place: Range<usize>) -> Result<Self, RowError> {
        let identity = identity.parse().map_err(|_| RowError::Identity)?;
        let inner = sealed_key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let is_in_marks = inner.is_some();
        let sealed_key = inner.unwrap_or(sealed_key);
        if sealed_key.is_empty() {
            return Err(RowError::NoSealedKey);
        }
        if sealed_key.len() > MAX_SEALED_KEY_BYTES {
            return Err(RowError::TooLong);
        }
        Ok(Self { identity, sealed_key: sealed_key.to_owned(), is_in_marks, place })
    }
}

fn line_breaks(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests;
