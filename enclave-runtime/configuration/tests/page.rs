//! Compares `docs/configuration.md` with the code: names, ranges and defaults.

use std::collections::BTreeSet;

use configuration::{BootFile, Configuration};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The file with required keys only.
const LEAST: &str = r#"version = 1
name = "n"
[enclave]
cpu_count = 2
memory_mib = 512
[kms]
region = "eu-central-1"
sealing_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
"#;

/// The cells of each row whose first cell begins with a backtick, of the tables with this heading.
fn rows(first_heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut is_wanted = false;
    for line in PAGE.lines() {
        if !line.starts_with('|') {
            is_wanted = false;
        } else if line.starts_with(&format!("| {first_heading} |")) {
            is_wanted = true;
        } else if is_wanted && line.starts_with("| `") {
            rows.push(cells(line));
        }
    }
    assert!(!rows.is_empty(), "no table of {first_heading}");
    rows
}

fn keys() -> BTreeSet<String> {
    rows("key").iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
}

/// [`LEAST`] with `key`, which may be in a table, set to `value`.
fn with(key: &str, value: &str) -> String {
    let (table, name) = key.split_once('.').unwrap_or(("", key));
    let mut text = String::new();
    let mut current = String::new();
    let mut is_set = false;
    for line in LEAST.lines() {
        if line.starts_with('[') {
            if current == table && !is_set {
                text.push_str(&format!("{name} = {value}\n"));
                is_set = true;
            }
            current = line.trim_matches(['[', ']']).to_owned();
        }
        let is_old = current == table && line.starts_with(&format!("{name} = "));
        text.push_str(&if is_old { format!("{name} = {value}\n") } else { format!("{line}\n") });
        is_set |= is_old;
    }
    if !is_set {
        if current != table {
            text.push_str(&format!("[{table}]\n"));
        }
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

fn error(text: &str) -> String {
    Configuration::parse(text).expect_err("the text has an error").to_string()
}

#[test]
fn each_key_of_the_page_is_read() {
    for key in keys() {
        // Of a kind that no key takes.
        let told = error(&with(&key, "1979-05-27"));
        let table = key.split('.').next().unwrap();
        assert!(told.starts_with(table), "{key}: {told}");
    }
    assert!(error(&with("limits.max_keyz", "1")).contains("unknown key"));
}

/// By the fields of the structures that the file is read into.
#[test]
fn each_key_that_is_read_is_on_the_page() {
    let source = include_str!("../src/table.rs");
    let mut tables = Vec::new();
    let mut keys_read = BTreeSet::new();
    let mut current = None;
    let mut rename = None;
    for line in source.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub(super) struct ") {
            current = rest.strip_suffix(" {").map(str::to_owned);
        } else if let Some(rest) = line.strip_prefix("#[serde(rename = \"") {
            rename = rest.strip_suffix("\")]").map(str::to_owned);
        } else if line == "}" {
            current = None;
        } else if let (Some(current), Some((field, kind))) = (
            &current,
            line.strip_prefix("pub(super) ").and_then(|field| field.trim_end_matches(',').split_once(": ")),
        ) {
            let name = rename.take().unwrap_or_else(|| field.to_owned());
            match (current.as_str(), kind) {
                ("Document", "Source") => drop(keys_read.insert(name)),
                ("Document", kind) => tables.push((kind.to_owned(), name)),
                (table, _) => {
                    let (_, table) =
                        tables.iter().find(|(kind, _)| kind == table).expect("Document has each table");
                    keys_read.insert(format!("{table}.{name}"));
                }
            }
        }
    }
    // Known only to be refused with the lines that replace it.
    assert!(keys_read.remove("kms.key_arns"));
    assert_eq!(keys_read, keys());
}

#[test]
fn the_page_has_the_ranges_of_the_code() {
    let mut count = 0;
    for row in rows("key") {
        let (key, value) = (row[0].trim_matches('`'), &row[1]);
        let Some(range) = value.strip_prefix("number, ") else { continue };
        let range = range.split(',').next().unwrap();
        let told = error(&with(key, "-1"));
        let words = match range.split_once(" to ") {
            Some((least, most)) => format!("not a whole number from {least} to {most}"),
            None => format!("not {range}"),
        };
        assert!(told.ends_with(&words), "{key}: the page has {range}, and the code {told}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn the_page_has_the_defaults_of_the_code() {
    let least = format!("{:?}", Configuration::parse(LEAST).unwrap());
    let mut count = 0;
    for row in rows("key") {
        let (key, default) = (row[0].trim_matches('`'), row[2].trim_matches('`'));
        if default == "–" {
            continue;
        }
        let read = Configuration::parse(&with(key, default)).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(format!("{read:?}"), least, "{key} = {default} is not the default");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn the_page_has_the_variables_of_the_boot_file() {
    let configuration = Configuration::parse(&with("api_keys.INTERNAL_API_KEY_NAME", "\"sign\"")).unwrap();
    let variables: BTreeSet<String> = rows("variable")
        .iter()
        .flat_map(|row| row[0].split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    let is_read = |name: &str| {
        let twice = format!("{name}=a\n{name}=b\n");
        let told = BootFile::parse(twice.as_bytes(), &configuration).unwrap_err().to_string();
        told == format!("{name} is set twice")
    };
    let of_the_parent = ["BRIDGE_LISTEN_PORT"];
    for name in &variables {
        assert_eq!(is_read(name), !of_the_parent.contains(&name.as_str()), "{name}");
    }
    for source in [include_str!("../src/boot_file.rs"), include_str!("../src/api_keys.rs")] {
        let names = source.split('"').skip(1).step_by(2).filter(|text| {
            text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        });
        for name in names.filter(|name| !matches!(*name, "TLS_KEY" | "CIPHERTEXT" | "_CIPHERTEXT")) {
            assert!(variables.contains(name), "{name} is in the code and not on the page");
        }
    }
}
