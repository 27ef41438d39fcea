//! The finished work, on disk, so that a run that was killed continues.
//!
//! One line for each event: the CRC-32 of a JSON object in 8 hex digits, a blank, the object. The first names the
//! input. A line that was cut at the end is dropped. A wrong line before right ones is no cut, and the journal is
//! refused.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backup_table::{MAX_SEALED_KEY_BYTES, MAX_TABLE_BYTES};
use crate::output_file::sync_folder_of;

/// Bytes of a journal: twice those of the largest input, whose rows may have been short ones for longer sealed keys.
const MAX_JOURNAL_BYTES: usize = 2 * MAX_TABLE_BYTES;

/// Of a line of ours. Another version of this program may write another one.
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
enum Entry {
    /// The first line, and none but the first.
    #[serde(rename = "reseal")]
    Input { version: u32, sha256: String, rows: usize },
    /// The key of this row was not in the signer, and is about to be put there.
    #[serde(rename = "began")]
    Began { row: usize },
    /// The row's new sealed key. It opens to the same key as the old one.
    #[serde(rename = "done")]
    Done { row: usize, sealed_key: String },
}

/// The content of a journal.
#[derive(Debug, PartialEq, Eq)]
pub struct Past {
    /// For each row, whether its key was put into the signer by us.
    began: Vec<bool>,
    /// For each row, its new sealed key.
    done: Vec<Option<String>>,
}

impl Past {
    fn none(rows: usize) -> Self {
        Self { began: vec![false; rows], done: vec![None; rows] }
    }

    /// The content of the journal in `bytes`, of an input with this SHA-256 in hex and so many rows; and the number of
    /// its bytes in whole lines.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn read(bytes: &[u8], sha256: &str, rows: usize) -> Result<(Self, usize), JournalError> {
        let mut past = Self::none(rows);
        let mut whole_bytes = 0;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
        while let Some((index, line)) = lines.next() {
            let fits = |row: usize| (row < rows).then_some(row).ok_or(JournalError::Damaged(index + 1));
            match (index, entry_of(line)) {
                (0, Some(Entry::Input { version: VERSION, sha256: noted, rows: noted_rows })) => {
                    if noted != sha256 || noted_rows != rows {
                        return Err(JournalError::OtherInput(noted));
                    }
                }
                (1.., Some(Entry::Began { row })) => past.began[fits(row)?] = true,
                (1.., Some(Entry::Done { row, sealed_key }))
                    if (1..=MAX_SEALED_KEY_BYTES).contains(&sealed_key.len()) =>
                {
                    past.done[fits(row)?] = Some(sealed_key);
                }
                // The cut part is the start of a line, or the system left it in the place of one.
                (0, None) if !line.ends_with(b"\n") && is_begun_line(line) => break,
                (1.., None) => {
                    if lines.any(|(_, line)| entry_of(line).is_some()) {
                        return Err(JournalError::Damaged(index + 1));
                    }
                    break;
                }
                (0, _) => return Err(JournalError::Unknown),
                (1.., Some(_)) => return Err(JournalError::Damaged(index + 1)),
            }
            whole_bytes += line.len();
        }
        Ok((past, whole_bytes))
    }

    /// Whether the key of the row was put into the signer, and may still be there.
    #[must_use]
    pub fn has_begun(&self, row: usize) -> bool {
        self.began[row]
    }

    /// The new sealed key of the row.
    #[must_use]
    pub fn sealed_key(&self, row: usize) -> Option<&str> {
        self.done[row].as_deref()
    }

    /// Rows that have a new sealed key.
    #[must_use]
    pub fn done_count(&self) -> usize {
        self.done.iter().flatten().count()
    }
}

/// Why a journal is not gone on with.
#[derive(Debug)]
pub enum JournalError {
    /// The system's.
    Io(io::Error),
    /// Another process writes it.
    InUse,
    /// It is of another input, whose SHA-256 this is.
    OtherInput(String),
    /// It is no journal, or of another version of this program.
    Unknown,
    /// This line, from 1, is wrong, and there are right ones behind it.
    Damaged(usize),
}

impl fmt::Display for JournalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{error}"),
            Self::InUse => formatter.write_str("another process is at work with it"),
            Self::OtherInput(sha256) => write!(
                formatter,
                "the journal of another input (SHA-256 {sha256}): go on with that one, or name another output"
            ),
            Self::Unknown => formatter.write_str("not a journal of this version of signerctl"),
            Self::Damaged(line) => write!(formatter, "line {line} is damaged"),
        }
    }
}

impl std::error::Error for JournalError {}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An open journal, which no other process has.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    past: Past,
    /// Something was not written whole: a line behind it would make it look damaged.
    is_cut: bool,
}

impl Journal {
    /// Opens the journal for an input with this SHA-256 and so many rows, and makes it if it is missing; mode 0600.
    ///
    /// # Errors
    /// [`JournalError`]; the journal is as it was.
    pub fn open(path: &Path, sha256: &[u8; 32], rows: usize) -> Result<Self, JournalError> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse,
            TryLockError::Error(error) => JournalError::Io(error),
        })?;
        let mut bytes = Vec::new();
        (&file).take(MAX_JOURNAL_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_JOURNAL_BYTES {
            return Err(JournalError::Unknown);
        }
        let sha256 = base16ct::lower::encode_string(sha256);
        let (past, whole_bytes) = Past::read(&bytes, &sha256, rows)?;
        file.set_permissions(PermissionsExt::from_mode(0o600))?;
        file.set_len(whole_bytes as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut journal = Self { path: path.to_owned(), file, past, is_cut: false };
        if whole_bytes == 0 {
            journal.append(&Entry::Input { version: VERSION, sha256, rows })?;
            journal.file.sync_all()?;
            sync_folder_of(path)?;
        }
        Ok(journal)
    }

    /// Its content.
    #[must_use]
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// Notes that the key of `row` is about to be put into the signer.
    ///
    /// # Errors
    /// The system's. Nothing can be noted any more.
    pub fn note_beginning(&mut self, row: usize) -> io::Result<()> {
        self.append(&Entry::Began { row })?;
        self.past.began[row] = true;
        Ok(())
    }

    /// Notes the new sealed key of `row`.
    ///
    /// # Errors
    /// As [`note_beginning`](Self::note_beginning).
    pub fn note_done(&mut self, row: usize, sealed_key: &str) -> io::Result<()> {
        self.append(&Entry::Done { row, sealed_key: sealed_key.to_owned() })?;
        self.past.done[row] = Some(sealed_key.to_owned());
        Ok(())
    }

    /// A function that writes the noted lines to disk. It may take long: run it on a thread of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn syncer(&self) -> io::Result<impl FnOnce() -> io::Result<()> + Send + 'static> {
        let file = self.file.try_clone()?;
        Ok(move || file.sync_data())
    }

    /// Removes it: the output exists.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// In one write, so that the end of this process cuts no line; that of the system may.
    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.is_cut {
            return Err(io::Error::other("the journal could not be written before"));
        }
        let written = self.file.write_all(line_of(entry)?.as_bytes());
        self.is_cut = written.is_err();
        written
    }
}

fn line_of(entry: &Entry) -> io::Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

fn entry_of(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    let (checksum, json) = (line.get(..8)?, line.get(8..)?.strip_prefix(b" ")?);
    let expected = format!("{:08x}", crc32fast::hash(json));
    (checksum == expected.as_bytes()).then(|| serde_json::from_slice(json).ok())?
}

/// Whether it is the beginning of a first line. Otherwise another program's file would be taken for a journal, and cut.
fn is_begun_line(line: &[u8]) -> bool {
    const BEGINNING: &[u8] = b" {\"reseal\":{\"version\":";
    let checksum = line.len().min(8);
    let (checksum, rest) = line.split_at(checksum);
    let common = rest.len().min(BEGINNING.len());
    checksum.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && rest[..common] == BEGINNING[..common]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Entry, Journal, JournalError, Past, VERSION, entry_of, line_of};

    const SHA256: [u8; 32] = [7; 32];

    #[test]
    fn what_was_noted_is_known_after_any_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, &SHA256, 4).unwrap();
        journal.note_beginning(2).unwrap();
        journal.note_done(2, "ns1.two").unwrap();
        journal.note_beginning(0).unwrap();
        journal.syncer().unwrap()().unwrap();
        drop(journal);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..=whole.len()).filter(|end| whole[..*end].ends_with(b"\n")).collect();
        // Killed after any byte; or the system was, and left zeros.
        for (cut, zeros) in (0..=whole.len()).flat_map(|cut| [(cut, 0), (cut, 100)]) {
            if zeros > 0 && cut < ends[0] {
                continue;
            }
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            std::fs::write(&path, &bytes).unwrap();
            let mut journal = Journal::open(&path, &SHA256, 4).unwrap();
            let lines = ends.iter().filter(|end| **end <= cut).count();
            let past = journal.past();
            assert_eq!(past.has_begun(2), lines > 1, "{cut}");
            assert_eq!(past.sealed_key(2), (lines > 2).then_some("ns1.two"), "{cut}");
            assert_eq!((past.has_begun(0), past.done_count()), (lines > 3, usize::from(lines > 2)), "{cut}");
            journal.note_done(3, "ns1.three").unwrap();
            drop(journal);
            let journal = Journal::open(&path, &SHA256, 4).unwrap();
            assert_eq!(journal.past().sealed_key(3), Some("ns1.three"), "{cut}");
        }
        Journal::open(&path, &SHA256, 4).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_journal_of_this_input_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, &SHA256, 2).unwrap();
        assert!(matches!(Journal::open(&path, &SHA256, 2), Err(JournalError::InUse)));
        for row in [0, 1] {
            journal.note_done(row, "ns1.new").unwrap();
        }
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], sha256: &[u8; 32], rows| {
            std::fs::write(&path, bytes).unwrap();
            let error = Journal::open(&path, sha256, rows).unwrap_err();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            error
        };
        let other = "07".repeat(32);
        assert!(matches!(refused(&whole, &[8; 32], 2), JournalError::OtherInput(sha256) if sha256 == other));
        assert!(matches!(refused(&whole, &SHA256, 1), JournalError::OtherInput(_)));
        for foreign in [&b"x"[..], b"\n", b"identity_id,sealed_key\n", b"{}\n", b"00000000 {}\n", &whole[1..]]
        {
            assert!(matches!(refused(foreign, &SHA256, 2), JournalError::Unknown), "{foreign:?}");
        }
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in [second, second + 8, second + 20] {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            assert!(matches!(refused(&bent, &SHA256, 2), JournalError::Damaged(2)), "{at}");
        }
        let with = |entry: &Entry| [&whole[..], line_of(entry).unwrap().as_bytes()].concat();
        for entry in [
            Entry::Began { row: 2 },
            Entry::Done { row: 2, sealed_key: "x".to_owned() },
            Entry::Done { row: 0, sealed_key: String::new() },
            Entry::Input { version: VERSION, sha256: other.clone(), rows: 2 },
        ] {
            assert!(matches!(refused(&with(&entry), &SHA256, 2), JournalError::Damaged(4)));
        }
        let newer = line_of(&Entry::Input { version: VERSION + 1, sha256: other, rows: 2 }).unwrap();
        assert!(matches!(refused(newer.as_bytes(), &SHA256, 2), JournalError::Unknown));
    }

    #[test]
    fn a_line_is_what_its_checksum_says() {
        let line = line_of(&Entry::Began { row: 5 }).unwrap();
        assert_eq!(
            line,
            format!("{:08x} {{\"began\":{{\"row\":5}}}}\n", crc32fast::hash(br#"{"began":{"row":5}}"#))
        );
        assert!(entry_of(line.as_bytes()).is_some());
        assert!(entry_of(line.to_uppercase().as_bytes()).is_none());
        assert!(entry_of(line.trim_end().as_bytes()).is_none());
        assert_eq!(Past::read(b"", "", 0).unwrap().1, 0);
    }
}
