//! Strict CSV (RFC 4180). A lenient reader would take a stray quotation mark for the beginning of a field, which then
//! swallows the rows below it.

use std::borrow::Cow;
use std::ops::Range;

use super::{
    Backup, IDENTITY_COLUMN, InvalidTable, MAX_ROW_BYTES, MAX_ROWS, Row, SEALED_KEY_COLUMN, TableError,
    line_breaks,
};

/// The mark that spreadsheets put before UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

pub(super) fn rows(text: &str) -> Result<Vec<Row>, InvalidTable> {
    let mut records = Records { text, at: 0, line: 1 };
    if text.starts_with(BYTE_ORDER_MARK) {
        records.at = BYTE_ORDER_MARK.len();
    }
    let mut fields = Vec::new();
    let at_header = |error| InvalidTable { line: 1, error };
    let Some(_) = records.next(&mut fields)? else { return Ok(Vec::new()) };
    let column = |name: &'static str| {
        let mut columns = (0..fields.len()).filter(|index| value(text, &fields[*index]) == name);
        match (columns.next(), columns.next()) {
            (Some(index), None) => Ok(index),
            (None, _) => Err(at_header(TableError::NoColumn(name))),
            (Some(_), Some(_)) => Err(at_header(TableError::ColumnTwice(name))),
        }
    };
    let (identity, sealed_key) = (column(IDENTITY_COLUMN)?, column(SEALED_KEY_COLUMN)?);
    let header = fields.len();

    let mut rows = Vec::new();
    while let Some(line) = records.next(&mut fields)? {
        let error = if fields.len() != header {
            Some(TableError::FieldCount { header, found: fields.len() })
        } else if rows.len() == MAX_ROWS {
            Some(TableError::TooManyRows)
        } else {
            None
        };
        if let Some(error) = error {
            return Err(InvalidTable { line, error });
        }
        let [identity, text_of_key] = [identity, sealed_key].map(|index| value(text, &fields[index]));
        let backup = Backup::new(&identity, &text_of_key, fields[sealed_key].clone());
        rows.push(Row { line, backup });
    }
    Ok(rows)
}

/// A field that holds `value`: between quotation marks where it has to be, or where the one before it was.
pub(super) fn field(value: &str, with_quotes: bool) -> Cow<'_, str> {
    if with_quotes || value.contains(['"', ',', '\r', '\n']) {
        Cow::Owned(format!("\"{}\"", value.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(value)
    }
}

/// The value of a field.
fn value<'t>(text: &'t str, field: &Range<usize>) -> Cow<'t, str> {
    let raw = &text[field.clone()];
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if inner.contains('"') => Cow::Owned(inner.replace("\"\"", "\"")),
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(raw),
    }
}

struct Records<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Records<'_> {
    /// Puts the places of the next record's fields into `fields`, quotation marks included, and gives the line where it
    /// begins. `None` at the end.
    fn next(&mut self, fields: &mut Vec<Range<usize>>) -> Result<Option<usize>, InvalidTable> {
        fields.clear();
        let bytes = self.text.as_bytes();
        if self.at == bytes.len() {
            return Ok(None);
        }
        let (start, line) = (self.at, self.line);
        loop {
            let field = self.field()?;
            let end = field.end;
            if end - start > MAX_ROW_BYTES {
                return Err(InvalidTable { line, error: TableError::RowTooLong });
            }
            fields.push(field);
            let rest = &bytes[end..];
            if rest.first() == Some(&b',') {
                self.at = end + 1;
                continue;
            }
            self.at = match rest {
                [] => end,
                [b'\n', ..] => end + 1,
                [b'\r', b'\n', ..] => end + 2,
                [b'\r', ..] => return Err(self.error(TableError::StrayCarriageReturn)),
                // A field ends nowhere else but after its closing quotation mark.
                _ => return Err(self.error(TableError::StrayQuote)),
            };
            self.line += usize::from(!rest.is_empty());
            return Ok(Some(line));
        }
    }

    /// The place of the field that begins here.
    fn field(&mut self) -> Result<Range<usize>, InvalidTable> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        if bytes.get(start) != Some(&b'"') {
            let length = bytes[start..].iter().position(|byte| matches!(byte, b',' | b'\r' | b'\n' | b'"'));
            let end = length.map_or(bytes.len(), |length| start + length);
            if bytes.get(end) == Some(&b'"') {
                return Err(self.error(TableError::StrayQuote));
            }
            return Ok(start..end);
        }
        let mut at = start + 1;
        loop {
            let length = bytes[at..].iter().position(|byte| *byte == b'"');
            let length = length.ok_or_else(|| self.error(TableError::OpenQuote))?;
            at += length + 1;
            if bytes.get(at) != Some(&b'"') {
                break;
            }
            at += 1;
        }
        self.line += line_breaks(&bytes[start..at]);
        Ok(start..at)
    }

    fn error(&self, error: TableError) -> InvalidTable {
        InvalidTable { line: self.line, error }
    }
}
