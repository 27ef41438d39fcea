//! AWS's `nitro-enclaves-allocator`: its file, the reservation for enclaves, and its failures.
//!
//! `infra/tests/transcripts/allocator` records its inputs, effects and output.

mod pages;

use std::fmt;

pub use self::pages::{NodePages, Pages, smallest_reservation_mib};

/// The file with the allocator's reservation.
pub const ALLOCATOR_FILE: &str = "/etc/nitro_enclaves/allocator.yaml";

/// The unit that reserves.
pub const ALLOCATOR_UNIT: &str = "nitro-enclaves-allocator.service";

/// AWS's file has 1 KiB.
pub const MAX_ALLOCATOR_FILE_BYTES: usize = 64 * 1024;

/// Which CPUs enclaves may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// So many, which the allocator chooses.
    Count(u32),
    /// These, such as `2,3,6-9`.
    Pool(String),
}

/// The file's reservation for all enclaves together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// CPUs.
    pub cpus: Cpus,
}

/// Why the allocator refuses its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidAllocatorFile {
    /// No line is exactly `---`, so the allocator ignores the whole file.
    NoStart,
    /// The allocator does not read a last line that has no line break.
    NoLineBreak,
    /// An empty line after `---`.
    EmptyLine(usize),
    /// A line that is no `KEY: VALUE` with a key that the allocator knows.
    UnknownKey(usize),
    /// A key without a value.
    NoValue(usize),
    /// A value that is not a whole number; a comment after it is part of it.
    NotANumber(usize, &'static str),
    /// A key that has to be there.
    Missing(&'static str),
    /// Both `cpu_count` and `cpu_pool`.
    TwoKindsOfCpus,
}

impl fmt::Display for InvalidAllocatorFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStart => {
                formatter.write_str("no line is exactly `---`, so the allocator ignores all of it")
            }
            Self::NoLineBreak => formatter
                .write_str("the last line does not end in a line break, so the allocator does not read it"),
            Self::EmptyLine(line) => {
                write!(formatter, "line {line}: empty; the allocator takes no empty line after `---`")
            }
            Self::UnknownKey(line) => {
                write!(formatter, "line {line}: expected memory_mib, cpu_count or cpu_pool")
            }
            Self::NoValue(line) => write!(formatter, "line {line}: a value is missing"),
            Self::NotANumber(line, key) => write!(
                formatter,
                "line {line}: {key} is not a whole number; the allocator takes no comment after a value"
            ),
            Self::Missing(key) => write!(formatter, "{key} is missing"),
            Self::TwoKindsOfCpus => formatter.write_str("cpu_count and cpu_pool exclude each other"),
        }
    }
}

impl std::error::Error for InvalidAllocatorFile {}

impl Allocation {
    /// Reads the file as the allocator does. It is not YAML.
    ///
    /// # Errors
    /// [`InvalidAllocatorFile`]
    pub fn read(text: &str) -> Result<Self, InvalidAllocatorFile> {
        let (mut memory_mib, mut cpu_count, mut cpu_pool) = (None, None, None);
        let mut has_started = false;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let number = index + 1;
            let is_whole = line.ends_with('\n');
            let line = line.trim_end_matches('\n').trim_matches([' ', '\t']);
            if line.starts_with('#') {
                continue;
            }
            if !is_whole {
                return Err(InvalidAllocatorFile::NoLineBreak);
            }
            if line == "---" {
                has_started = true;
                continue;
            }
            if !has_started {
                continue;
            }
            if line.is_empty() {
                return Err(InvalidAllocatorFile::EmptyLine(number));
            }
            let (key, value) = line.split_once(':').ok_or(InvalidAllocatorFile::UnknownKey(number))?;
            let value = value.trim_start().trim_start_matches('"').trim_end_matches('"');
            if value.is_empty() {
                return Err(InvalidAllocatorFile::NoValue(number));
            }
            let whole = |key| value.parse().map_err(|_| InvalidAllocatorFile::NotANumber(number, key));
            match key.trim_end() {
                "memory_mib" => memory_mib = Some(whole("memory_mib")?),
                "cpu_count" => cpu_count = Some(whole("cpu_count")?),
                "cpu_pool" => cpu_pool = Some(value.to_owned()),
                _ => return Err(InvalidAllocatorFile::UnknownKey(number)),
            }
        }
        if !has_started {
            return Err(InvalidAllocatorFile::NoStart);
        }
        let memory_mib = memory_mib.ok_or(InvalidAllocatorFile::Missing("memory_mib"))?;
        let cpus = match (cpu_count, cpu_pool) {
            (Some(_), Some(_)) => return Err(InvalidAllocatorFile::TwoKindsOfCpus),
            (Some(count), None) => Cpus::Count(count),
            (None, Some(pool)) => Cpus::Pool(pool),
            (None, None) => return Err(InvalidAllocatorFile::Missing("cpu_count")),
        };
        Ok(Self { memory_mib, cpus })
    }
}

/// The file that reserves `memory_mib` and `cpu_count`.
#[must_use]
pub fn allocator_file(memory_mib: u32, cpu_count: u32) -> String {
    format!(
        "---\n# Written by setup-parent.sh, from [enclave] of nitro.toml: what all enclaves together may take.\n\
         memory_mib: {memory_mib}\ncpu_count: {cpu_count}\n"
    )
}

/// Failures that the allocator's last words name, each with its remedy.
const FAILURES: [(&str, &str); 14] = [
    (
        "Failed to configure entire amount of requested memory",
        "too little memory is free in pieces that large: reboot and try again at once, or take a larger instance",
    ),
    (
        "Could not re-online CPUs because there is at least one enclave",
        "an enclave runs: end it with run-enclave.sh --stop or nitro-cli terminate-enclave, and try again",
    ),
    (
        "ne_cpus: No such file or directory",
        "the driver is not loaded: start the instance with Enclave Options enabled, and modprobe nitro_enclaves",
    ),
    (
        "The CPU pool file is missing",
        "the driver is not loaded: start the instance with Enclave Options enabled, and modprobe nitro_enclaves",
    ),
    (
        "Provided CPU count is higher than available CPUs",
        "take a larger instance, or a smaller enclave.cpu_count",
    ),
    (
        "The CPU count is not multiple of",
        "enclave.cpu_count has to be whole cores: a multiple of the threads per core",
    ),
    (
        "Failed to find suitable CPUs",
        "the core of CPU 0 stays with the parent, and all CPUs have to be of one NUMA node: take a larger instance",
    ),
    ("Failed to configure the CPU pool", "see what the driver says: dmesg | grep nitro_enclaves"),
    ("Some pages may be in use", "end every enclave, or reboot"),
    ("Failed to set a number of huge pages", "reboot and try again at once, or take a larger instance"),
    ("NUMA node for a CPU", "name CPUs of one NUMA node only in cpu_pool"),
    ("No CPUs are off-line", "see what the driver says: dmesg | grep nitro_enclaves"),
    (
        "Config error:",
        "correct /etc/nitro_enclaves/allocator.yaml, or delete it and run setup-parent.sh again",
    ),
    (
        "Error in /etc/nitro_enclaves/allocator.yaml",
        "correct the file, or delete it and run setup-parent.sh again",
    ),
];

/// Why the allocator did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatorFailure {
    /// The allocator's own words.
    pub line: String,
    /// The remedy.
    pub remedy: &'static str,
}

/// Finds the cause in the allocator's output, which its unit has in the journal. `None` if no line names one.
#[must_use]
pub fn failure_in(output: &str) -> Option<AllocatorFailure> {
    output.lines().rev().find_map(|line| {
        let (_, remedy) = FAILURES.iter().find(|(words, _)| line.contains(words))?;
        // In the journal, the date, the host and the unit come first.
        let line = line.split_once("]: ").map_or(line, |(_, words)| words);
        Some(AllocatorFailure { line: line.trim().to_owned(), remedy })
    })
}

#[cfg(test)]
mod tests {
    use super::{ALLOCATOR_FILE, Allocation, Cpus, InvalidAllocatorFile, allocator_file, failure_in};

    fn transcript(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/transcripts/allocator");
        std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
    }

    #[test]
    fn the_file_of_the_package_is_read() {
        let allocation = Allocation::read(&transcript("allocator.yaml")).unwrap();
        assert_eq!(allocation, Allocation { memory_mib: 512, cpus: Cpus::Count(2) });
    }

    #[test]
    fn what_is_written_is_read() {
        let allocation = Allocation::read(&allocator_file(1536, 4)).unwrap();
        assert_eq!(allocation, Allocation { memory_mib: 1536, cpus: Cpus::Count(4) });
    }

    #[test]
    fn a_file_is_read_as_the_allocator_reads_it() {
        let pool = Allocation { memory_mib: 512, cpus: Cpus::Pool("2,3,6-9".into()) };
        for text in [
            "---\nmemory_mib: 512\ncpu_pool: 2,3,6-9\n",
            "ignored: 1\n\n---\n  # a comment\n memory_mib:512\ncpu_pool: \"2,3,6-9\"\n# cut of",
        ] {
            assert_eq!(Allocation::read(text), Ok(pool.clone()), "{text}");
        }
        for (text, error) in [
            ("", InvalidAllocatorFile::NoStart),
            ("memory_mib: 512\ncpu_count: 2\n", InvalidAllocatorFile::NoStart),
            ("---\r\nmemory_mib: 512\r\ncpu_count: 2\r\n", InvalidAllocatorFile::NoStart),
            ("--- # x\nmemory_mib: 512\ncpu_count: 2\n", InvalidAllocatorFile::NoStart),
            ("---\nmemory_mib: 512\n\ncpu_count: 2\n", InvalidAllocatorFile::EmptyLine(3)),
            ("---\nmemory_mib: 512\ncpu_count: 2", InvalidAllocatorFile::NoLineBreak),
            ("---\nmemory_mib: 512\nfoo: 2\n", InvalidAllocatorFile::UnknownKey(3)),
            ("---\n- memory_mib: 512\n  cpu_count: 2\n", InvalidAllocatorFile::UnknownKey(2)),
            ("---\nmemory_mib:\ncpu_count: 2\n", InvalidAllocatorFile::NoValue(2)),
            ("---\nmemory_mib: 512 # x\ncpu_count: 2\n", InvalidAllocatorFile::NotANumber(2, "memory_mib")),
            ("---\nmemory_mib: 512\ncpu_count: 2\ncpu_pool: 2,3\n", InvalidAllocatorFile::TwoKindsOfCpus),
            ("---\ncpu_count: 2\n", InvalidAllocatorFile::Missing("memory_mib")),
            ("---\nmemory_mib: 512\n", InvalidAllocatorFile::Missing("cpu_count")),
        ] {
            assert_eq!(Allocation::read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_refused() {
        let text = transcript("allocator.yaml");
        let end = text.find("cpu_count: 2\n").unwrap() + "cpu_count: 2\n".len();
        for length in 0..end {
            assert!(Allocation::read(&text[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn each_failure_of_a_transcript_has_a_remedy() {
        for (file, words, remedy) in [
            ("insufficient-memory.txt", "Error: Failed to configure entire amount", "reboot"),
            ("no-driver.txt", "ne_cpus: No such file or directory", "modprobe nitro_enclaves"),
            ("pool-file-missing.txt", "Error: The CPU pool file is missing", "Enclave Options"),
            ("enclave-running.txt", "Error: Could not re-online CPUs", "--stop"),
            ("cpu-count-too-high.txt", "Error: Provided CPU count is higher", "larger instance"),
            ("cpu-count-not-whole-cores.txt", "Error: The CPU count is not multiple of 2", "whole cores"),
            ("no-suitable-cpus.txt", "Error: Failed to find suitable CPUs", "NUMA node"),
            ("pages-in-use.txt", "Error: Failed to clear huge page(s)", "end every enclave"),
            ("config-missing-memory.txt", "Error: Config error: missing memory", ALLOCATOR_FILE),
            ("config-unknown-key.txt", "Error: Error in /etc/nitro_enclaves", "setup-parent.sh again"),
        ] {
            let text = transcript(file);
            let failure = failure_in(&text).unwrap();
            assert!(failure.line.contains(words), "{file}: {failure:?}");
            assert!(failure.remedy.contains(remedy), "{file}: {failure:?}");
            // A text that ends early names a cause of the transcript, or none.
            for length in (0..text.len()).filter(|length| text.is_char_boundary(*length)) {
                let _ = failure_in(&text[..length]);
            }
        }
        assert_eq!(failure_in(&transcript("success.txt")), None);
    }
}
