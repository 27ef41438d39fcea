use super::{BackupTable, Format, InvalidTable, MAX_ROW_BYTES, MAX_SEALED_KEY_BYTES, RowError, TableError};

const A: &str = "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";
const B: &str = "1b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";

fn read(text: &str, format: Format) -> Result<BackupTable, InvalidTable> {
    BackupTable::read(text.as_bytes().to_vec(), format)
}

/// Line, identity and sealed key of each row that has a backup.
fn rows(table: &BackupTable) -> Vec<(usize, String, &str)> {
    let said = table.rows().iter().filter_map(|row| Some((row.line, row.backup.as_ref().ok()?)));
    said.map(|(line, backup)| (line, backup.identity.to_string(), backup.sealed_key.as_str())).collect()
}

fn written(table: &BackupTable, keys: &[Option<&'static str>]) -> String {
    let mut bytes = Vec::new();
    table.write(&mut bytes, |row| keys[row]).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn only_sealed_keys_differ_in_csv() {
    let text = format!(
        "\u{feff}note,\"identity_id\",sealed_key,more\r\n\
         \"two\r\nlines, \"\"quoted\"\"\",{},kms:AAAA,\r\n  spaces  ,\"{B}\",\"kms:BBBB\",é\n,{A},\"\"\"kms:CCCC\"\"\",",
        A.to_uppercase()
    );
    let table = read(&text, Format::Csv).unwrap();
    let expected = [(2, A, "kms:AAAA"), (4, B, "kms:BBBB"), (5, A, "kms:CCCC")]
        .map(|(line, identity, key)| (line, identity.to_owned(), key));
    assert_eq!(rows(&table), expected);
    assert_eq!(written(&table, &[None; 3]), text);
    let new = written(&table, &[Some("ns1.a"), Some("ns1.b"), Some("ns1.c")]);
    let expected =
        text.replace("kms:AAAA", "ns1.a").replace("kms:BBBB", "ns1.b").replace("kms:CCCC", "ns1.c");
    assert_eq!(new, expected);
    // A text that is no sealed key still stays one value.
    let odd = written(&table, &[None, None, Some("a,\"b\"")]);
    assert_eq!(rows(&read(&odd, Format::Csv).unwrap())[2], (5, A.to_owned(), "a,\"b\""));
    let odd = written(&table, &[Some("a,\"b\""), None, None]);
    assert_eq!(rows(&read(&odd, Format::Csv).unwrap())[0], (2, A.to_owned(), "a,\"b\""));
}

#[test]
fn only_sealed_keys_differ_in_ndjson() {
    let text = format!(
        "{{\"identity_id\":\"{A}\",\"sealed_key\":\"kms:AAAA\"}}\n\
         \n {{ \"n\" : 1.0000000000000000001e2 , \"sealed\\u005fkey\" :\t\"kms:\\u0041\" , \"n\":[{{\"sealed_key\":1}}], \
         \"identity_id\":\"{B}\"}} \r\n{{\"sealed_key\":\"\\\"kms:CCCC\\\"\",\"identity_id\":\"{A}\"}}"
    );
    let table = read(&text, Format::Ndjson).unwrap();
    let expected = [(1, A, "kms:AAAA"), (3, B, "kms:A"), (4, A, "kms:CCCC")]
        .map(|(line, identity, key)| (line, identity.to_owned(), key));
    assert_eq!(rows(&table), expected);
    assert_eq!(written(&table, &[None; 3]), text);
    let new = written(&table, &[Some("ns1.a"), Some("ns1.b"), Some("ns1.c")]);
    let expected =
        text.replace("kms:AAAA", "ns1.a").replace("kms:\\u0041", "ns1.b").replace("kms:CCCC", "ns1.c");
    assert_eq!(new, expected);
}

#[test]
fn a_row_without_a_backup_is_one_faulty_row() {
    let long = "k".repeat(MAX_SEALED_KEY_BYTES + 1);
    for (identity, key, error) in [
        ("", "kms:AAAA", RowError::Identity),
        ("identity", "kms:AAAA", RowError::Identity),
        (A, "", RowError::NoSealedKey),
        (A, &long, RowError::TooLong),
    ] {
        let text = format!("identity_id,sealed_key\n{identity},{key}\n{A},{}\n", &long[1..]);
        let table = read(&text, Format::Csv).unwrap();
        assert_eq!(table.rows()[0].backup, Err(error));
        assert!(table.rows()[1].backup.is_ok());
        assert!(written(&table, &[Some("x"), Some("y")]).ends_with(&format!("{identity},{key}\n{A},y\n")));
    }
    for (object, error) in [
        (r#"{}"#.to_owned(), RowError::Identity),
        (format!(r#"{{"identity_id":7,"sealed_key":"{A}"}}"#), RowError::Identity),
        (format!(r#"{{"identity_id":"{A}"}}"#), RowError::NoSealedKey),
        (format!(r#"{{"identity_id":"{A}","sealed_key":null}}"#), RowError::NoSealedKey),
        (format!(r#"{{"identity_id":"{A}","sealed_key":"\"\""}}"#), RowError::NoSealedKey),
        (format!(r#"{{"identity_id":"{A}","sealed_key":["kms:AAAA"]}}"#), RowError::NotText),
        (format!(r#"{{"identity_id":"{A}","sealed_key":"\ud800"}}"#), RowError::NotText),
    ] {
        let table = read(&object, Format::Ndjson).unwrap();
        assert_eq!(table.rows()[0].backup, Err(error), "{object}");
        assert_eq!(written(&table, &[Some("x")]), object);
    }
}

#[test]
fn a_file_that_would_lose_rows_is_refused() {
    use TableError::{
        ColumnTwice, FieldCount, NoColumn, NoRows, OpenQuote, RowTooLong, StrayCarriageReturn, StrayQuote,
    };
    let header = "identity_id,sealed_key";
    let long = "x".repeat(MAX_ROW_BYTES + 1);
    for (text, line, error) in [
        ("", 1, NoRows),
        (header, 1, NoRows),
        ("sealed_key\nx", 1, NoColumn("identity_id")),
        ("identity_id\nx", 1, NoColumn("sealed_key")),
        ("identity_id,Sealed_key\nx,y", 1, NoColumn("sealed_key")),
        ("identity_id,sealed_key,sealed_key\nx,y,z", 1, ColumnTwice("sealed_key")),
        (&format!("{header}\nx,y\nx\n"), 3, FieldCount { header: 2, found: 1 }),
        (&format!("{header}\nx,y,\n"), 2, FieldCount { header: 2, found: 3 }),
        (&format!("{header}\n\nx,y\n"), 2, FieldCount { header: 2, found: 1 }),
        (&format!("{header}\nx,\"y\nz,w\n"), 2, OpenQuote),
        (&format!("{header}\nx,\"y\"\"\n"), 2, OpenQuote),
        (&format!("{header}\nx,\"\n\"y\n"), 3, StrayQuote),
        (&format!("{header}\nx,y\"\n"), 2, StrayQuote),
        (&format!("{header}\nx, \"y\"\n"), 2, StrayQuote),
        (&format!("{header}\nx,y\rz,w\n"), 2, StrayCarriageReturn),
        (&format!("{header}\nx,{long}\n"), 2, RowTooLong),
    ] {
        let outcome = read(text, Format::Csv).map(|_| ());
        assert_eq!(outcome, Err(InvalidTable { line, error }), "{text:.200?}");
    }
    let good = format!(r#"{{"identity_id":"{A}","sealed_key":"x"}}"#);
    for (text, line, error) in [
        ("", 1, NoRows),
        ("\n \n", 1, NoRows),
        (&format!("{good}\n{good}{good}"), 2, TableError::NotAnObject),
        (&format!("{good}\n[\"{A}\",\"x\"]"), 2, TableError::NotAnObject),
        (&format!("{good}\n{}", &good[..good.len() - 1]), 2, TableError::NotAnObject),
        (&format!(r#"{{"sealed_key":"x",{}"#, &good[1..]), 1, TableError::NotAnObject),
        (&format!("{good}\n\"{long}\""), 2, RowTooLong),
    ] {
        let outcome = read(text, Format::Ndjson).map(|_| ());
        assert_eq!(outcome, Err(InvalidTable { line, error }), "{text:.200?}");
    }
    let outcome = BackupTable::read(b"identity_id,sealed_key\n\xff,x\n".to_vec(), Format::Csv).map(|_| ());
    assert_eq!(outcome, Err(InvalidTable { line: 2, error: TableError::NotUtf8 }));
}

#[test]
fn extensions_name_formats() {
    for (name, format) in [
        ("keys.csv", Some(Format::Csv)),
        ("/a/b.c/keys.NDJSON", Some(Format::Ndjson)),
        ("keys.jsonl", Some(Format::Ndjson)),
        ("keys.json", None),
        ("csv", None),
    ] {
        assert_eq!(Format::of_path(name.as_ref()), format, "{name}");
    }
}
