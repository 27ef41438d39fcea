//! The resources that a process holds.

use std::fs;

use acceptance::Failure;
use nix::unistd::Pid;

/// Memory and descriptors of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: u64,
}

impl Resources {
    /// The larger of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }

    /// Those of the process `pid`.
    pub(crate) fn of(pid: Pid) -> Result<Self, Failure> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|value| value.trim().strip_suffix("kB"));
        let resident_kib = resident
            .and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| Failure::new(format!("/proc/{pid}/status has no VmRSS")))?;
        Ok(Self { resident_kib, descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64 })
    }
}
