//! A journal says what a second reader reads in it, and what is cut off its end changes nothing before that.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use signerctl::reseal::{JournalError, Past};

const SHA256: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const ROWS: usize = 5;

fuzz_target!(|text: &str| {
    let mut bytes = Vec::new();
    let mut entries = Vec::new();
    for line in text.split('\n') {
        let is_raw = line.starts_with('!');
        if is_raw {
            bytes.extend_from_slice(&line.as_bytes()[1..]);
        } else {
            bytes.extend_from_slice(format!("{:08x} {line}", crc32fast::hash(line.as_bytes())).as_bytes());
        }
        bytes.push(b'\n');
        entries.push((!is_raw).then_some(line));
    }
    let Ok((past, whole_bytes)) = Past::read(&bytes, SHA256, ROWS) else { return };
    assert!(whole_bytes == 0 || bytes[whole_bytes - 1] == b'\n');
    let again = Past::read(&bytes[..whole_bytes], SHA256, ROWS).expect("it was read before");
    assert_eq!(again, (past, whole_bytes));

    // The same by hand, of the lines that count.
    let lines = bytes[..whole_bytes].iter().filter(|byte| **byte == b'\n').count();
    let mut began = [false; ROWS];
    let mut done: [Option<String>; ROWS] = Default::default();
    for (index, entry) in entries[..lines].iter().enumerate() {
        // A raw line may have the right checksum too; libFuzzer does not find one.
        let entry: Value = serde_json::from_str(entry.expect("it has a checksum")).expect("JSON");
        // serde takes a list for a struct too.
        let member = |kind: &str, name: &str, place: usize| {
            let members = &entry[kind];
            members.get(name).or_else(|| members.get(place)).expect("a member").clone()
        };
        let row =
            |kind: &str| usize::try_from(member(kind, "row", 0).as_u64().expect("a number")).expect("small");
        match index {
            0 => assert!(member("reseal", "sha256", 1) == SHA256 && member("reseal", "rows", 2) == ROWS),
            _ if entry.get("began").is_some() => began[row("began")] = true,
            _ => {
                let sealed_key = member("done", "sealed_key", 1);
                done[row("done")] = Some(sealed_key.as_str().expect("a text").to_owned());
            }
        }
    }
    let (past, _) = again;
    for row in 0..ROWS {
        assert_eq!((past.has_begun(row), past.sealed_key(row)), (began[row], done[row].as_deref()));
    }

    for cut in whole_bytes.saturating_sub(40)..whole_bytes {
        match Past::read(&bytes[..cut], SHA256, ROWS) {
            Ok((_, whole)) => assert!(whole <= cut),
            // Only the first line can be cut so that it looks like somebody else's.
            Err(JournalError::Unknown) => assert!(!bytes[..cut].contains(&b'\n')),
            Err(error) => panic!("{error}"),
        }
    }
});
