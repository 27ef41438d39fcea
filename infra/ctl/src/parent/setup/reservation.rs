//! CPUs and memory for enclaves.

use std::fs;

use super::{Setup, TIMEOUT};
use crate::parent::allocator::{
    ALLOCATOR_FILE, ALLOCATOR_UNIT, Allocation, Cpus, MAX_ALLOCATOR_FILE_BYTES, Pages, allocator_file,
    smallest_reservation_mib,
};
use crate::parent::failed::{Failed, Kind};
use crate::parent::machine::Call;
use crate::parent::nitro_cli::NitroCli;
use crate::parent::preflight::allocator_failure;
use crate::parent::report;

/// The memory that the parent itself keeps: Amazon Linux, the proxy, nitro-cli while it loads an image.
const PARENT_MEMORY_MIB: u32 = 768;

/// The needs of all enclaves together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reservation {
    enclaves: u32,
    enclave_mib: u32,
    cpu_count: u32,
}

impl Reservation {
    /// The smallest `memory_mib` from `at_least_mib` on that is enough.
    fn memory_mib(self, at_least_mib: u32) -> u32 {
        smallest_reservation_mib(self.enclaves, self.enclave_mib, at_least_mib)
    }
}

impl Setup<'_> {
    /// Whole cores go to enclaves, and one stays with the parent.
    pub(super) fn check_room(&self) -> Result<Reservation, Failed> {
        let enclave = self.configuration.enclave;
        let enclaves = if self.options.is_side_by_side { 2 } else { 1 };
        let reservation = Reservation {
            enclaves,
            enclave_mib: enclave.memory_mib,
            cpu_count: enclave.cpu_count * enclaves,
        };
        let (cpus, memory_mib) = (reservation.cpu_count, reservation.memory_mib(0));
        // Those that the allocator took are offline, and counted.
        let has_cpus = self.number("nproc --all", &self.output(&Call::new("nproc", ["--all"], TIMEOUT))?)?;
        let lscpu = self.output(&Call::new("env", ["LC_ALL=C", "lscpu"], TIMEOUT))?;
        let threads = lscpu.lines().find_map(|line| line.strip_prefix("Thread(s) per core:"));
        let threads = self.number("lscpu, Thread(s) per core", threads.unwrap_or_default())?;
        let has_mib = self.memory_mib()?;
        if !enclave.cpu_count.is_multiple_of(threads.max(1)) {
            let line = format!(
                "enclave.cpu_count is {}, and a core of this instance has {threads} CPUs: they are not whole cores",
                enclave.cpu_count
            );
            return Err(Failed::new(Kind::Configuration, line));
        }
        let or = if self.options.is_side_by_side { ", or leave out --side-by-side" } else { "" };
        let too_small = |line: String| Err(Failed::new(Kind::Unavailable, line));
        if cpus + threads > has_cpus {
            return too_small(format!(
                "too small: of {has_cpus} CPUs, enclaves would take {cpus}, and {threads} have to stay; take a larger \
                 instance or less in nitro.toml{or}"
            ));
        }
        if memory_mib + PARENT_MEMORY_MIB > has_mib {
            return too_small(format!(
                "too small: of {has_mib} MiB, enclaves would take {memory_mib}, and {PARENT_MEMORY_MIB} have to stay; \
                 take a larger instance{or}"
            ));
        }
        Ok(reservation)
    }

    fn memory_mib(&self) -> Result<u32, Failed> {
        let path = self.machine.path("/proc/meminfo");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        Ok(self.number("/proc/meminfo, MemTotal", total.unwrap_or_default())? / 1024)
    }

    fn number(&self, whose: &str, text: &str) -> Result<u32, Failed> {
        let wrong =
            |_| Failed::new(Kind::Unavailable, format_args!("{whose}: expected a number, got another text"));
        text.trim().parse().map_err(wrong)
    }

    /// Why the allocator does not start: its words in the journal, or else those of systemctl.
    pub(super) fn allocator_cause(&self, failed: &Failed) -> String {
        match allocator_failure(self.machine) {
            Some(failure) => format!("{}; {}", failure.line, failure.remedy),
            None => failed.to_string(),
        }
    }

    /// The allocator can change only while no enclave runs, ours or another. What it has more than we need may be
    /// another's.
    pub(super) fn reserve(&self, need: Reservation) -> Result<(), Failed> {
        let path = self.machine.path(ALLOCATOR_FILE);
        let before = fs::read_to_string(&path).ok();
        let (mut has_mib, mut has_cpus) = (0, 0);
        if let Some(text) = &before {
            let wrong = |error: &dyn std::fmt::Display| {
                let remedy = "correct it, or delete it and run this again";
                Failed::new(Kind::Configuration, format_args!("{}: {error}; {remedy}", path.display()))
            };
            if text.len() > MAX_ALLOCATOR_FILE_BYTES {
                return Err(wrong(&"it is too long"));
            }
            let allocation = Allocation::read(text).map_err(|error| wrong(&error))?;
            match allocation.cpus {
                Cpus::Pool(_) => {
                    report(format_args!(
                        "{} has a cpu_pool, which is your own choice: it is left alone, and has to have {} CPUs and {} MiB",
                        path.display(),
                        need.cpu_count,
                        need.memory_mib(0)
                    ));
                    return Ok(());
                }
                Cpus::Count(count) => (has_mib, has_cpus) = (allocation.memory_mib, count),
            }
        }
        let has_room = Pages::reserved_for(has_mib).fit(need.enclaves, need.enclave_mib);
        if has_room && has_cpus >= need.cpu_count {
            return Ok(());
        }
        let (memory_mib, cpu_count) = (need.memory_mib(has_mib), need.cpu_count.max(has_cpus));
        // A dry run may come before nitro-cli is installed.
        let listing = match NitroCli::new(self.machine).describe_enclaves() {
            Ok(listing) => Some(listing),
            Err(_) if self.options.is_dry => None,
            Err(error) => return Err(error.into()),
        };
        if listing.is_some_and(|listing| !listing.enclaves.is_empty() || !listing.is_complete) {
            let line = format!(
                "the allocator has {has_cpus} CPUs and {has_mib} MiB ({}), needs {cpu_count} and {memory_mib}, and cannot \
                 change while an enclave runs; end it (run-enclave.sh --stop) and run this again. The rest is done",
                Pages::reserved_for(has_mib)
            );
            return Err(Failed::new(Kind::TryLater, line));
        }
        self.actor.put(allocator_file(memory_mib, cpu_count).as_bytes(), &path, 0o644)?;
        self.actor.run("systemctl", ["restart", ALLOCATOR_UNIT]).map_err(|failed| {
            // Or else the next run would find nothing to do.
            let restored = match &before {
                Some(text) => self.actor.put(text.as_bytes(), &path, 0o644).map(drop),
                None => {
                    self.actor.remove(&path);
                    Ok(())
                }
            };
            let state = if restored.is_ok() { "is as it was" } else { "could not be restored" };
            let cause = self.allocator_cause(&failed);
            let line = format_args!(
                "the allocator does not start with {cpu_count} CPUs and {memory_mib} MiB; {} {state}. {cause}",
                path.display()
            );
            Failed::new(failed.kind, line)
        })
    }
}
