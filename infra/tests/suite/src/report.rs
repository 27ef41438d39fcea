//! The first and the last lines of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::depth::Depth;
use crate::machine;
use crate::plan;
use crate::process_groups::Orphan;
use crate::schedule::{End, Finished, show};

const GIB: u64 = 1 << 30;

/// Of sysexits.h.
const EX_UNAVAILABLE: u8 = 69;

/// The size of the target folder after a run: an estimate with some room, by depth.
const TARGET_GIB: [u64; 3] = [6, 10, 12];

/// The size of tools, kernel and QEMU in the cache, while they are built too.
const CACHE_GIB: u64 = 4;

/// The temporary files of the image's second build, the builds of tools and the tests.
const TEMPORARY_GIB: u64 = 4;

/// The minutes that two cores took, for each depth, with an empty target folder and with the cached parts.
const MINUTES_ON_TWO_CORES: [u64; 3] = [12, 29, 120];

/// The parts that are kept in the cache: the folder, the start of the name there, what it is, and the minutes that
/// building it adds.
const CACHED_PARTS: [(&str, &str, &str, u64); 3] =
    [("tools", "cargo-deny-", "tools", 3), ("", "kernel-", "kernel", 4), ("", "qemu-", "QEMU", 3)];

/// Where tools, kernel and QEMU are kept; as in `infra/prerequisites.sh`.
pub(crate) fn cache_folder() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache =
        env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map_or_else(home, PathBuf::from);
    cache.join("nitro-signer")
}

/// Whether the disks have room for a run.
///
/// # Errors
///
/// A line that says where there is how much, and how much a run takes.
pub(crate) fn has_space(depth: Depth, target: &Path, cache: &Path) -> Result<(), String> {
    let mut folders = vec![(target.to_owned(), TARGET_GIB[depth as usize])];
    if depth >= Depth::Default {
        folders.extend([(cache.to_owned(), CACHE_GIB), (env::temp_dir(), TEMPORARY_GIB)]);
    }
    // By disk: what is needed on it, and the folders there.
    let mut disks: BTreeMap<u64, (u64, Vec<PathBuf>)> = BTreeMap::new();
    for (folder, gib) in folders {
        // Folders of an earlier run exist already.
        let there = if folder == env::temp_dir() { 0 } else { size_of(&folder) };
        let needed = (gib * GIB).saturating_sub(there).max(GIB);
        let disk = disks.entry(machine::disk_of(&folder)).or_default();
        disk.0 += needed;
        disk.1.push(folder);
    }
    for (needed, folders) in disks.into_values() {
        let free = machine::free_bytes(&folders[0]).unwrap_or(u64::MAX);
        if free < needed {
            let names: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
            return Err(format!(
                "{} has {:.1} GiB free, and the run needs {:.1} GiB there; make room, or choose other folders with \
                 CARGO_TARGET_DIR, XDG_CACHE_HOME and TMPDIR",
                names.join(" with "),
                in_gib(free),
                in_gib(needed),
            ));
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn in_gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

/// The bytes that all files below `folder` take on the disk, each counted once however many names it has.
fn size_of(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert(metadata.ino()) {
                // Of 512 bytes each (stat(2)).
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

/// A run that has begun.
pub(crate) struct Run {
    depth: Depth,
    began: Instant,
    idle: Option<Duration>,
    cache: PathBuf,
}

impl Run {
    /// Says what the run will take on this machine.
    pub(crate) fn begin(depth: Depth, cache: PathBuf) -> Self {
        let missing = missing_parts(depth, &cache);
        let minutes =
            MINUTES_ON_TWO_CORES[depth as usize] + missing.iter().map(|(_, minutes)| minutes).sum::<u64>();
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        let (cores, also) = (
            machine::cores(),
            if names.is_empty() {
                String::new()
            } else {
                format!(", of which some for what is not cached yet: {}", names.join(", "))
            },
        );
        let minutes = (minutes * 2).div_ceil(cores.max(1)).max(1);
        show(format_args!(
            "Expect up to {minutes} minutes on {cores} cores with an empty target folder{also}."
        ));
        if let Some(last) =
            fs::read_to_string(record(&cache, depth)).ok().and_then(|text| text.trim().parse::<u64>().ok())
        {
            show(format_args!("The last run of this depth here took {} minutes.", last.div_ceil(60)));
        }
        Self { depth, began: Instant::now(), idle: machine::idle(), cache }
    }

    /// Prints the durations, what was skipped, and how the run ended.
    pub(crate) fn end(self, mut finished: Finished, orphans: &[Orphan], target: &Path) -> ExitCode {
        let took = self.began.elapsed();
        show(format_args!(""));
        finished.durations.sort();
        show(format_args!("  took  on the CPU"));
        for (took, used, name) in &finished.durations {
            show(format_args!("{:>4} s  {:>8} s  {name}", took.as_secs(), used.as_secs()));
        }
        let cores = machine::cores();
        if let (Some(before), Some(after)) = (self.idle, machine::idle()) {
            let idle = after.saturating_sub(before).as_secs();
            let took = took.as_secs();
            show(format_args!("{took:>4} s  in all; the {cores} cores were idle for {idle} s in sum"));
        }
        for line in &finished.skipped {
            show(format_args!("{line}"));
        }
        for line in plan::left_out(self.depth) {
            show(format_args!("Left out {line}"));
        }
        let (code, verdict) = self.verdict(&finished.end, orphans, target);
        if code == 0 {
            // Only an estimate is lost with it.
            let _ = fs::create_dir_all(&self.cache)
                .and_then(|()| fs::write(record(&self.cache, self.depth), took.as_secs().to_string()));
        }
        let counts = finished.counts;
        let numbers =
            format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.ignored);
        show(format_args!("\n{verdict}\n{numbers}"));
        ExitCode::from(code)
    }

    fn verdict(&self, end: &End, orphans: &[Orphan], target: &Path) -> (u8, String) {
        match end {
            End::Passed if orphans.is_empty() => (0, "All checks passed.".to_owned()),
            End::Passed => {
                let left: Vec<_> =
                    orphans.iter().map(|it| format!("{} ({})", it.pid, it.command_line)).collect();
                (1, format!("FAILED: processes were left running: {}", left.join(", ")))
            }
            End::Failed { text, something_is_missing, disk_is_full } => {
                let full = [target, &self.cache]
                    .into_iter()
                    .find(|it| machine::free_bytes(it).is_some_and(|free| free < GIB / 4));
                let why = match full {
                    Some(folder) => format!("\nThe disk of {} is full.", folder.display()),
                    None if *disk_is_full => "\nA disk was full meanwhile.".to_owned(),
                    None => String::new(),
                };
                (if *something_is_missing { EX_UNAVAILABLE } else { 1 }, format!("FAILED: {text}{why}"))
            }
            End::Signal(signal) => {
                let code = u8::try_from(128 + signal).unwrap_or(u8::MAX);
                (code, format!("STOPPED by signal {signal}; every process of the run has ended"))
            }
        }
    }
}

/// The seconds that the last run of this depth took which passed.
fn record(cache: &Path, depth: Depth) -> PathBuf {
    cache.join(format!("last-run-{}", depth.name()))
}

fn missing_parts(depth: Depth, cache: &Path) -> Vec<(&'static str, u64)> {
    if depth == Depth::Quick {
        return Vec::new();
    }
    let is_missing = |folder: &str, start: &str| {
        let mut entries = fs::read_dir(cache.join(folder)).into_iter().flatten().flatten();
        !entries.any(|entry| entry.file_name().to_string_lossy().starts_with(start))
    };
    CACHED_PARTS
        .into_iter()
        .filter(|(folder, start, ..)| is_missing(folder, start))
        .map(|(_, _, name, minutes)| (name, minutes))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_cached_is_not_counted_again() {
        let cache = tempfile::tempdir().unwrap();
        let names =
            |depth| missing_parts(depth, cache.path()).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(Depth::Default), ["tools", "kernel", "QEMU"]);
        assert!(names(Depth::Quick).is_empty());
        fs::create_dir(cache.path().join("kernel-0123456789abcdef")).unwrap();
        fs::create_dir_all(cache.path().join("tools/cargo-deny-0.20.2")).unwrap();
        assert_eq!(names(Depth::Default), ["QEMU"]);
    }

    #[test]
    fn a_disk_without_room_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("of/a few/pages");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, vec![1; 64 * 1024]).unwrap();
        let size = size_of(folder.path());
        assert!(size >= 64 * 1024, "{size}");
        fs::hard_link(&file, folder.path().join("another name")).unwrap();
        File::create(folder.path().join("sparse")).unwrap().set_len(GIB).unwrap();
        assert_eq!(size_of(folder.path()), size);
        // A file system of the kernel's own, which has no room.
        let text = has_space(Depth::Quick, Path::new("/proc/self"), folder.path()).unwrap_err();
        assert!(
            text.starts_with("/proc/self has 0.0 GiB free") && text.contains("CARGO_TARGET_DIR"),
            "{text}"
        );
    }
}
