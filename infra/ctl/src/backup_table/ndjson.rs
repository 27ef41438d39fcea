//! One JSON object a line. The reader uses two members of each, and replaces one in its place.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Backup, InvalidTable, MAX_ROW_BYTES, MAX_ROWS, Row, RowError, TableError};

#[derive(Deserialize)]
struct Members<'t> {
    #[serde(borrow)]
    identity_id: Option<&'t RawValue>,
    #[serde(borrow)]
    sealed_key: Option<&'t RawValue>,
}

pub(super) fn rows(text: &str) -> Result<Vec<Row>, InvalidTable> {
    let mut rows = Vec::new();
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let at = start;
        start += line.len();
        // Blank lines are copied as they are.
        if line.trim_ascii().is_empty() {
            continue;
        }
        let error = |error| InvalidTable { line: index + 1, error };
        if line.len() > MAX_ROW_BYTES {
            return Err(error(TableError::RowTooLong));
        }
        if rows.len() == MAX_ROWS {
            return Err(error(TableError::TooManyRows));
        }
        // serde takes a list for a struct too.
        if !line.trim_ascii_start().starts_with('{') {
            return Err(error(TableError::NotAnObject));
        }
        let members: Members<'_> = serde_json::from_str(line).map_err(|_| error(TableError::NotAnObject))?;
        rows.push(Row { line: index + 1, backup: backup(&members, text, at) });
    }
    Ok(rows)
}

fn backup(members: &Members<'_>, text: &str, line_start: usize) -> Result<Backup, RowError> {
    let identity = members.identity_id.and_then(text_of).ok_or(RowError::Identity)?;
    let raw = members.sealed_key.filter(|raw| raw.get() != "null").ok_or(RowError::NoSealedKey)?;
    let sealed_key = text_of(raw).ok_or(RowError::NotText)?;
    // It is a part of the text.
    let place = raw.get().as_ptr().addr() - text.as_ptr().addr();
    debug_assert!(place > line_start);
    Backup::new(&identity, &sealed_key, place..place + raw.get().len())
}

fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// A string that holds `value`.
pub(super) fn string(value: &str) -> std::borrow::Cow<'_, str> {
    std::borrow::Cow::Owned(serde_json::Value::from(value).to_string())
}
