//! The differences of two images, part by part, and so the reason why their measurements differ.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use similar::TextDiff;

use crate::eif::{CertificateFacts, Image, MalformedImage, MalformedSignature, MeasurementSet, examine};
use crate::kernel::Kernel;
use crate::printable::printable;
use crate::ramdisk::{Entry, MalformedRamdisk, entries, unpack};

/// The configuration's file in the image.
const NITRO_TOML: &str = "nitro.toml";

/// A part that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only one of them has it, or they differ.
    Part {
        /// Such as `PCR0` or `kernel`.
        part: String,
        /// In the old image.
        old: Option<String>,
        /// In the new image.
        new: Option<String>,
    },
    /// A text, of which some lines are others.
    Lines {
        /// Such as `nitro.toml`.
        part: String,
        /// The lines, as `diff -u` prints them.
        diff: String,
    },
}

/// Which of two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum Side {
    Old,
    New,
}

/// Why images cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotComparable {
    /// It is none.
    Image(MalformedImage),
    /// Its signature section is none.
    Signature(MalformedSignature),
    /// This ramdisk of it, from 1 on, is damaged.
    Ramdisk(usize, MalformedRamdisk),
}

impl fmt::Display for NotComparable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(formatter),
            Self::Signature(error) => error.fmt(formatter),
            Self::Ramdisk(number, error) => write!(formatter, "ramdisk {number} {error}"),
        }
    }
}

impl std::error::Error for NotComparable {}

/// The differences; empty if the files are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Part by part.
    pub changes: Vec<Change>,
    /// The parts that were not compared.
    pub notes: Vec<String>,
}

impl Difference {
    /// Compares two image files.
    ///
    /// # Errors
    /// Which of them cannot be compared, and why.
    pub fn of(old: &[u8], new: &[u8]) -> Result<Self, (Side, NotComparable)> {
        let before = Facts::of(old).map_err(|error| (Side::Old, error))?;
        let after = Facts::of(new).map_err(|error| (Side::New, error))?;
        let mut difference = Self::default();
        difference.compare(&before, &after);
        if difference.changes.is_empty() && old != new {
            // Flags, sizes of memory and CPUs that nothing reads, or the order of what is not measured.
            difference.part("header", Some(checksum(old)), Some(checksum(new)));
        }
        Ok(difference)
    }

    fn compare(&mut self, old: &Facts<'_>, new: &Facts<'_>) {
        for ((name, before), (_, after)) in old.registers().into_iter().zip(new.registers()) {
            self.part(name, before, after);
        }
        let architecture =
            |facts: &Facts<'_>| Some(if facts.image.is_arm64 { "aarch64" } else { "x86_64" }.into());
        self.part("architecture", architecture(old), architecture(new));
        self.part("kernel version", old.kernel_version(), new.kernel_version());
        self.part("kernel", Some(checksum(old.image.kernel)), Some(checksum(new.image.kernel)));
        self.lines("cmdline", &old.parameters(), &new.parameters());
        for number in 1..=old.image.ramdisks.len().max(new.image.ramdisks.len()) {
            let ramdisk = |facts: &Facts<'_>| facts.image.ramdisks.get(number - 1).map(|it| checksum(it));
            self.part(&format!("ramdisk {number}"), ramdisk(old), ramdisk(new));
            self.files(number, old, new);
        }
        let (before, after) = (old.metadata(), new.metadata());
        for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
            let value = |members: &Map<String, Value>| members.get(name).map(Value::to_string);
            self.part(&format!("metadata {name}"), value(&before), value(&after));
        }
        self.part("signing certificate", old.certificate(), new.certificate());
        let signature = |facts: &Facts<'_>| facts.image.signature.map(checksum);
        self.part("signature", signature(old), signature(new));
    }

    fn part(&mut self, part: &str, old: Option<String>, new: Option<String>) {
        if old != new {
            self.changes.push(Change::Part { part: part.to_owned(), old, new });
        }
    }

    fn lines(&mut self, part: &str, old: &str, new: &str) {
        if old != new {
            let diff = TextDiff::from_lines(old, new).unified_diff().header("old", "new").to_string();
            self.changes.push(Change::Lines { part: part.to_owned(), diff });
        }
    }

    fn files(&mut self, number: usize, old: &Facts<'_>, new: &Facts<'_>) {
        let archive = |facts: &Facts<'_>| facts.archives.get(number - 1).cloned();
        match (archive(old), archive(new)) {
            (Some(before), Some(after)) if before == after => {}
            (Some(Archive::Foreign), _) | (_, Some(Archive::Foreign)) => self.notes.push(format!(
                "ramdisk {number} {}: what is in it is not compared",
                MalformedRamdisk::Foreign
            )),
            (before, after) => {
                let files = |archive: Option<Archive>| match archive {
                    Some(Archive::Ours(files)) => files,
                    _ => BTreeMap::new(),
                };
                let (before, after) = (files(before), files(after));
                for path in before.keys().chain(after.keys().filter(|path| !before.contains_key(*path))) {
                    let part = format!("{path} in ramdisk {number}");
                    match (before.get(path), after.get(path)) {
                        (
                            Some(before @ File { text: Some(old), .. }),
                            Some(after @ File { text: Some(new), .. }),
                        ) => {
                            self.lines(&part, old, new);
                            self.part(&part, Some(before.mode.clone()), Some(after.mode.clone()));
                        }
                        (before, after) => {
                            self.part(&part, before.map(File::describe), after.map(File::describe));
                        }
                    }
                }
            }
        }
    }

    /// As a report for scripts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let changes = self.changes.iter().map(|change| match change {
            Change::Part { part, old, new } => json!({ "part": part, "old": old, "new": new }),
            Change::Lines { part, diff } => json!({ "part": part, "diff": diff }),
        });
        json!({ "equal": self.changes.is_empty(), "differences": changes.collect::<Vec<_>>(), "notes": self.notes })
    }
}

/// A report for people: of each part its name, `-` with the old content, `+` with the new one.
impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            match change {
                Change::Part { part, old, new } => {
                    writeln!(formatter, "{part}")?;
                    for (sign, value) in [('-', old), ('+', new)] {
                        if let Some(value) = value {
                            writeln!(formatter, "{sign} {}", whole(value))?;
                        }
                    }
                }
                Change::Lines { part, diff } => {
                    writeln!(formatter, "{part}")?;
                    for line in diff.lines() {
                        writeln!(formatter, "{}", whole(line))?;
                    }
                }
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(formatter, "{note}"))
    }
}

/// Nothing is left out: the differences are the purpose.
fn whole(text: &str) -> String {
    printable(text, usize::MAX)
}

fn checksum(bytes: &[u8]) -> String {
    format!("{} bytes, SHA-256 {}", bytes.len(), base16ct::lower::encode_string(&Sha256::digest(bytes)))
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    mode: String,
    content: String,
    /// Of the configuration.
    text: Option<String>,
}

impl File {
    fn describe(&self) -> String {
        let Self { mode, content, .. } = self;
        format!("{mode}{content}")
    }

    fn of(entry: &Entry<'_>) -> (String, Self) {
        match *entry {
            Entry::Folder { path } => {
                (path.to_owned(), Self { mode: "folder".to_owned(), content: String::new(), text: None })
            }
            Entry::Device { path, permissions, number: (major, minor) } => {
                let content = format!(", device {major}:{minor}");
                (path.to_owned(), Self { mode: format!("mode {permissions:04o}"), content, text: None })
            }
            Entry::File { path, permissions, content } => {
                let text = std::str::from_utf8(content).ok().filter(|_| path == NITRO_TOML);
                let file = Self {
                    mode: format!("mode {permissions:04o}"),
                    content: format!(", {}", checksum(content)),
                    text: text.map(str::to_owned),
                };
                (path.to_owned(), file)
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Archive {
    Ours(BTreeMap<String, File>),
    Foreign,
}

impl Archive {
    fn of(ramdisk: &[u8]) -> Result<Self, MalformedRamdisk> {
        let read = unpack(ramdisk).and_then(|archive| {
            let read = entries(&archive)?;
            let files: BTreeMap<_, _> = read.iter().map(File::of).collect();
            // The kernel unpacks the later of two of one name over the other.
            if files.len() == read.len() { Ok(Self::Ours(files)) } else { Err(MalformedRamdisk::Foreign) }
        });
        match read {
            Err(MalformedRamdisk::Foreign) => Ok(Self::Foreign),
            other => other,
        }
    }
}

/// The facts about one image.
struct Facts<'b> {
    image: Image<'b>,
    measurements: MeasurementSet,
    certificate: Option<CertificateFacts>,
    archives: Vec<Archive>,
}

impl<'b> Facts<'b> {
    fn of(bytes: &'b [u8]) -> Result<Self, NotComparable> {
        let image = Image::read(bytes).map_err(NotComparable::Image)?;
        let certificate = image.signature.map(examine).transpose().map_err(NotComparable::Signature)?;
        let measurements = MeasurementSet::of(&image, certificate.as_ref().map(|facts| &facts.der[..]));
        let archives = image.ramdisks.iter().enumerate().map(|(index, ramdisk)| {
            Archive::of(ramdisk).map_err(|error| NotComparable::Ramdisk(index + 1, error))
        });
        let archives = archives.collect::<Result<_, _>>()?;
        Ok(Self { image, measurements, certificate, archives })
    }

    fn registers(&self) -> [(&'static str, Option<String>); 4] {
        let MeasurementSet { pcr0, pcr1, pcr2, pcr8 } = self.measurements;
        [("PCR0", Some(pcr0)), ("PCR1", Some(pcr1)), ("PCR2", Some(pcr2)), ("PCR8", pcr8)]
            .map(|(name, pcr)| (name, pcr.map(|pcr| pcr.to_string())))
    }

    fn kernel_version(&self) -> Option<String> {
        Kernel::read(self.image.kernel).ok().map(|kernel| kernel.version.to_owned())
    }

    /// The command line, a parameter a line.
    fn parameters(&self) -> String {
        let text = String::from_utf8_lossy(self.image.cmdline);
        text.split(' ').map(|parameter| format!("{parameter}\n")).collect()
    }

    fn certificate(&self) -> Option<String> {
        self.certificate.as_ref().map(|facts| {
            let CertificateFacts { der, issuer, not_before, not_after } = facts;
            let fingerprint = base16ct::lower::encode_string(&Sha256::digest(der));
            format!("{issuer}, {not_before} to {not_after}, SHA-256 {fingerprint}")
        })
    }

    /// The members with values, by their own names and those of their parents.
    fn metadata(&self) -> Map<String, Value> {
        let mut members = Map::new();
        if let Some(bytes) = self.image.metadata {
            match serde_json::from_slice(bytes) {
                Ok(value) => flatten("", value, &mut members),
                Err(_) => drop(members.insert("(no JSON)".to_owned(), checksum(bytes).into())),
            }
        }
        members
    }
}

/// Objects within objects become one. The reader of JSON bounds how deep they are.
fn flatten(place: &str, value: Value, members: &mut Map<String, Value>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                let place = if place.is_empty() { name } else { format!("{place}.{name}") };
                flatten(&place, value, members);
            }
        }
        value => drop(members.insert(place.to_owned(), value)),
    }
}
