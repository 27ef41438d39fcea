use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{InvalidBootFile, LineError, for_each_assignment};

type Assignments = Vec<(String, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<Assignments, InvalidBootFile> {
    let mut assignments = Vec::new();
    for_each_assignment(bytes, |name, value| {
        assignments.push((name.to_owned(), value.to_vec()));
        Ok(())
    })?;
    Ok(assignments)
}

/// Texts with the result of `load_env_file` of systemd 252.
const AS_SYSTEMD_READS: &[(&str, &[(&str, &str)])] = &[
    ("", &[]),
    ("A=1", &[("A", "1")]),
    ("A=1\nB = 2 \n", &[("A", "1"), ("B", "2")]),
    ("  _a1\t=\t1 2\t\n", &[("_a1", "1 2")]),
    ("\n\n # A=1\n;B=2\n#\\\\\nA=\n", &[("A", "")]),
    ("# a\\b\nA=1", &[("A", "1")]),
    ("A=b#c;d", &[("A", "b#c;d")]),
    ("A=$B${C}`d`%h", &[("A", "$B${C}`d`%h")]),
    ("A='x\ny' z\n", &[("A", "x\nyz")]),
    (r#"A="x" "y"z"#, &[("A", "xyz")]),
    (r#"A=x"y" 'z'"#, &[("A", r#"x"y" 'z'"#)]),
    (r#"A="\a\"\\\`\$\'""#, &[("A", r#"\a"\`$\'"#)]),
    ("A=\"a\\\nb\"", &[("A", "ab")]),
    (r"A=\a\ \\\'x", &[("A", r"a \'x")]),
    ("A=a\\ \n", &[("A", "a ")]),
    ("A=a \\\n  b  \n", &[("A", "a   b")]),
    ("A=a \\\n", &[("A", "a ")]),
    ("A=1\r\nB='2'\r\n\r\nC=3\rD=4", &[("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]),
    ("A==b=", &[("A", "=b=")]),
    ("A=ä", &[("A", "ä")]),
];

#[test]
fn reads_as_systemd_does() {
    for (text, expected) in AS_SYSTEMD_READS {
        let expected: Assignments =
            expected.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        assert_eq!(read(text.as_bytes()), Ok(expected), "{text:?}");
    }
}

#[test]
fn refuses_lines_that_would_be_lost_or_are_ambiguous() {
    use LineError::{
        CarriageReturn, ContinuedComment, NotAnAssignment, NotUtf8, Nul, OpenQuote, TrailingBackslash,
    };
    for (bytes, line, error) in [
        (&b"A=1\nB=\xff"[..], 2, NotUtf8),
        (b"A=1\n#\0", 2, Nul),
        (b"A=1\nB\nC=3", 2, NotAnAssignment),
        (b"A=1\nB\rC=3", 2, NotAnAssignment),
        (b"A", 1, NotAnAssignment),
        (b"=1", 1, NotAnAssignment),
        (b"export A=1", 1, NotAnAssignment),
        (b"1A=1", 1, NotAnAssignment),
        (b"A-B=1", 1, NotAnAssignment),
        ("\u{feff}A=1".as_bytes(), 1, NotAnAssignment),
        ("Ä=1".as_bytes(), 1, NotAnAssignment),
        ("A\u{a0}=1".as_bytes(), 1, NotAnAssignment),
        (b"\nA='1\nB=2", 2, OpenQuote),
        (b"A=\"1\nB=2\n", 1, OpenQuote),
        (b"A=\"1\\", 1, OpenQuote),
        (b"A=\"1\\\"", 1, OpenQuote),
        (b"\n\nA=\\", 3, TrailingBackslash),
        (b"# a \\\nA=1", 1, ContinuedComment),
        (b"A=1\n;\\\\\\\r\nA=1", 2, ContinuedComment),
        (b"A=a\\\r\nb", 1, CarriageReturn),
        (b"A='a\r\n'", 1, CarriageReturn),
        (b"A=\"a\\\r\n\"", 1, CarriageReturn),
    ] {
        assert_eq!(read(bytes), Err(InvalidBootFile::Line { line, error }), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_error_ends_the_reading() {
    let mut seen = 0;
    let outcome = for_each_assignment(b"A=1\nB=2", |_, _| {
        seen += 1;
        Err(InvalidBootFile::OtherRegion)
    });
    assert_eq!((outcome, seen), (Err(InvalidBootFile::OtherRegion), 1));
}

/// Random texts of the characters that matter to the syntax.
fn drafts() -> impl Strategy<Value = String> {
    let pieces =
        ["A", "B", "=", "=", "\n", "\n", "'", "\"", "\\", " ", "\t", "#", ";", "\r", "$", "ä", "A=", "\nB="];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 1..24)
        .prop_map(|pieces| pieces.concat())
}

fn libsystemd() -> Option<PathBuf> {
    ["/usr/lib/systemd", "/usr/lib/x86_64-linux-gnu/systemd", "/usr/lib64/systemd"]
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("/libsystemd-shared-"))
}

/// The result of systemd for each text: names and last values, or `None` if systemd refuses the text.
fn as_systemd_reads(library: &PathBuf, texts: &[String]) -> Vec<Option<BTreeMap<String, Vec<u8>>>> {
    let mut python = Command::new("python3")
        .args(["-c", include_str!("load_env_file.py")])
        .arg(library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let input: String = texts.iter().map(|text| hex::encode(text) + "\n").collect();
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let assignment = |hex: &str| {
        let assignment = hex::decode(hex).unwrap();
        let equals = assignment.iter().position(|byte| *byte == b'=').unwrap();
        (String::from_utf8(assignment[..equals].to_vec()).unwrap(), assignment[equals + 1..].to_vec())
    };
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| (line != "refused").then(|| line.split_whitespace().map(assignment).collect()))
        .collect()
}

#[test]
fn systemd_itself_reads_the_same() {
    const DRAFTS: usize = 20_000;
    let Some(library) = libsystemd() else {
        println!("a comparison with systemd: SKIPPED, no libsystemd-shared here");
        return;
    };
    let mut runner = TestRunner::default();
    let mut texts: Vec<String> =
        AS_SYSTEMD_READS.iter().map(|(text, _)| (*text).to_owned()).filter(|text| !text.is_empty()).collect();
    texts.extend((0..DRAFTS).map(|_| drafts().new_tree(&mut runner).unwrap().current()));
    let theirs = as_systemd_reads(&library, &texts);
    assert_eq!(theirs.len(), texts.len());
    let mut compared = 0;
    for (text, theirs) in texts.iter().zip(theirs) {
        let Ok(ours) = read(text.as_bytes()) else { continue };
        assert_eq!(Some(ours.into_iter().collect()), theirs, "{text:?}");
        compared += 1;
    }
    // Guards against comparing only refused drafts.
    assert!(compared > DRAFTS / 20, "{compared}");
}

proptest! {
    #[test]
    fn a_quoted_value_is_read_back(
        values in proptest::collection::vec(("[A-Za-z_][A-Za-z0-9_]{0,9}", "[^\0\r]{0,40}", 0..3_u8), 0..5)
    ) {
        let mut text = String::new();
        for (name, value, style) in &values {
            let value = match style {
                0 if !value.contains('\'') => format!("'{value}'"),
                1 if !value.contains('\n') => value.chars().flat_map(|letter| ['\\', letter]).collect(),
                _ => {
                    let quoted = value.replace('\\', r"\\").replace('"', "\\\"");
                    format!("\"{}\"", quoted.replace('$', r"\$").replace('`', r"\`"))
                }
            };
            text.push_str(&format!("{name}={value}\n"));
        }
        let expected: Assignments =
            values.into_iter().map(|(name, value, _)| (name, value.into_bytes())).collect();
        prop_assert_eq!(read(text.as_bytes()), Ok(expected), "{:?}", text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = read(&bytes) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
