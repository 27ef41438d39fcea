//! An export of backups is read as others read it, and written with nothing changed but sealed keys.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use signerctl::backup_table::{BackupTable, Format, MAX_ROW_BYTES, RowError};

const NEW: &str = "ns1.new";
const COLUMNS: [&str; 2] = ["identity_id", "sealed_key"];

fuzz_target!(|bytes: &[u8]| {
    if let Some(table) = read(bytes, Format::Csv) {
        assert_eq!(rows_of(&table), csv_rows(bytes).expect("the crate forgives more"));
        let others = without_keys(bytes, &table);
        let new = written(&table, |_| Some(NEW));
        assert_eq!(others, without_keys(&new, &table));
        is_new(&read(&new, Format::Csv).expect("it was written by us"), &table);
    }
    if let Some(rewritten) = rewritten(bytes) {
        let rows = csv_rows(&rewritten).expect("it was written by the crate");
        let is_short = rewritten.len() <= MAX_ROW_BYTES;
        if is_short && !rows.is_empty() {
            assert_eq!(rows_of(&read(&rewritten, Format::Csv).expect("RFC 4180")), rows);
        }
    }
    if let Some(table) = read(bytes, Format::Ndjson) {
        let new = written(&table, |_| Some(NEW));
        is_new(&read(&new, Format::Ndjson).expect("it was written by us"), &table);
        let (old, new) = (objects(bytes), objects(&new));
        assert_eq!((old.len(), new.len()), (table.rows().len(), table.rows().len()));
        for ((row, old), new) in table.rows().iter().zip(old).zip(new) {
            let (Some(old), Some(mut new)) = (old, new) else { continue };
            if let Ok(backup) = &row.backup {
                let stripped = |value: &Value| {
                    let text = value.as_str().expect("a text").to_owned();
                    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                    inner.map_or(text.clone(), str::to_owned)
                };
                assert_eq!(stripped(&old["sealed_key"]), backup.sealed_key);
                assert_eq!(stripped(&new["sealed_key"]), NEW);
                let identity = old["identity_id"].as_str().expect("a text").to_ascii_lowercase();
                assert_eq!(identity, backup.identity.to_string());
                new["sealed_key"] = old["sealed_key"].clone();
            }
            assert_eq!(old, new);
        }
    }
});

/// A table, if it is one; and if so, it is written as it was read.
fn read(bytes: &[u8], format: Format) -> Option<BackupTable> {
    let table = match BackupTable::read(bytes.to_vec(), format) {
        Ok(table) => table,
        Err(error) => {
            assert!(error.line <= 1 + bytes.iter().filter(|byte| **byte == b'\n').count());
            assert!(!error.to_string().contains('\n'));
            return None;
        }
    };
    assert_eq!(written(&table, |_| None), bytes);
    Some(table)
}

fn written(table: &BackupTable, key: impl Fn(usize) -> Option<&'static str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.write(&mut bytes, key).expect("memory takes all");
    bytes
}

/// The new table has the new key wherever the old one had a backup.
fn is_new(new: &BackupTable, old: &BackupTable) {
    assert_eq!(new.rows().len(), old.rows().len());
    for (new, old) in new.rows().iter().zip(old.rows()) {
        match (&new.backup, &old.backup) {
            (Ok(new), Ok(old)) => assert_eq!((&new.identity, new.sealed_key.as_str()), (&old.identity, NEW)),
            (new, old) => assert_eq!(new, old),
        }
    }
}

/// The identity in lower case and the sealed key of each row, or the row's error.
fn rows_of(table: &BackupTable) -> Vec<Result<(String, String), RowError>> {
    let said = |row: &signerctl::backup_table::Row| {
        let backup = row.backup.as_ref().map_err(|error| *error)?;
        Ok((backup.identity.to_string(), backup.sealed_key.clone()))
    };
    table.rows().iter().map(said).collect()
}

/// The records, header first, as the `csv` crate reads them.
fn records(bytes: &[u8]) -> Option<Vec<csv::StringRecord>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    reader.records().collect::<Result<_, _>>().ok()
}

/// Where the two columns are.
fn columns(records: &[csv::StringRecord]) -> Option<[usize; 2]> {
    let header = records.first()?;
    let places = COLUMNS.map(|name| {
        let mut places = (0..header.len()).filter(|place| &header[*place] == name);
        places.next().filter(|_| places.next().is_none())
    });
    Some([places[0]?, places[1]?])
}

fn csv_rows(bytes: &[u8]) -> Option<Vec<Result<(String, String), RowError>>> {
    let records = records(bytes)?;
    let [identity, key] = columns(&records)?;
    let said = |record: &csv::StringRecord| {
        let identity = &record[identity];
        let key = &record[key];
        let key = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key);
        if !signerctl_takes(identity) {
            Err(RowError::Identity)
        } else if key.is_empty() {
            Err(RowError::NoSealedKey)
        } else if key.len() > 10_240 {
            Err(RowError::TooLong)
        } else {
            Ok((identity.to_ascii_lowercase(), key.to_owned()))
        }
    };
    Some(records[1..].iter().map(said).collect())
}

/// The contract's UUIDs.
fn signerctl_takes(text: &str) -> bool {
    fuzz::identity::identity_bytes(text.as_bytes()).is_some()
}

/// All fields but the sealed keys of rows that have a backup.
fn without_keys(bytes: &[u8], table: &BackupTable) -> Vec<Vec<String>> {
    let records = records(bytes).expect("it was read before");
    let [_, key] = columns(&records).expect("it was read before");
    let has_backup = |row: usize| row > 0 && table.rows()[row - 1].backup.is_ok();
    let fields = |(row, record): (usize, &csv::StringRecord)| {
        let of = |(place, field): (usize, &str)| {
            if place == key && has_backup(row) { String::new() } else { field.to_owned() }
        };
        record.iter().enumerate().map(of).collect()
    };
    records.iter().enumerate().map(fields).collect()
}

/// The table as the `csv` crate writes it, if that reads it and finds both columns.
fn rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    let records = records(bytes)?;
    columns(&records)?;
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for record in &records {
        writer.write_record(record).expect("memory takes all");
    }
    writer.into_inner().ok()
}

/// The object of each line that is not blank; none where it holds what only a reader of all of it would refuse.
fn objects(bytes: &[u8]) -> Vec<Option<Value>> {
    let text = std::str::from_utf8(bytes).expect("it was read before");
    let lines = text.split('\n').filter(|line| !line.trim_ascii().is_empty());
    let object = |line| match serde_json::from_str::<Value>(line) {
        Ok(value) => {
            assert!(value.is_object());
            Some(value)
        }
        Err(error) => {
            let error = error.to_string();
            let forgiven = ["number out of range", "recursion limit", "surrogate", "hex escape"];
            assert!(forgiven.iter().any(|text| error.contains(text)), "{error}");
            None
        }
    };
    lines.map(object).collect()
}
