//! The machine: its cores, the space on its disks, and the idle time of its cores.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

/// `USER_HZ`, the unit of `/proc/stat`: 100 on every Linux of x86-64 (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

pub(crate) fn cores() -> u64 {
    thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// The bytes that an ordinary user can still write below `folder`, or below the nearest folder above it that exists.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let disk = statvfs(existing).ok()?;
    Some(disk.blocks_available() * disk.fragment_size())
}

/// A number that folders on the same disk share.
pub(crate) fn disk_of(folder: &Path) -> u64 {
    let existing = folder.ancestors().find_map(|folder| fs::metadata(folder).ok());
    existing.map_or(0, |metadata| metadata.dev())
}

/// How long all cores together were idle since the machine was started.
pub(crate) fn idle() -> Option<Duration> {
    idle_of(&fs::read_to_string("/proc/stat").ok()?)
}

/// `cpu  user nice system idle iowait …`, by proc(5).
fn idle_of(stat: &str) -> Option<Duration> {
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().skip(3);
    let idle: u64 = fields.next()?.parse().ok()?;
    let waiting_for_disks: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((idle + waiting_for_disks) * (1000 / TICKS_PER_SECOND)))
}

/// The CPU time of the process `pid` and of its children that it has waited for.
pub(crate) fn used_by(pid: i32) -> Option<Duration> {
    used_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state …`, where the fields 14 to 17 are times, by proc_pid_stat(5). A name may hold blanks and brackets.
fn used_of(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let times: Vec<u64> =
        fields.split_whitespace().skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    (times.len() == 4).then(|| Duration::from_millis(times.iter().sum::<u64>() * (1000 / TICKS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_read_from_the_first_line() {
        let stat = "cpu  7600 12 900 4000 250 0 30 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(idle_of(stat), Some(Duration::from_millis(42_500)));
        assert_eq!(idle_of("cpu 1 2 3\n"), None);
        assert_eq!(idle_of("btime 1\n"), None);
        assert!(idle().is_some());
    }

    #[test]
    fn used_time_is_that_of_a_process_and_its_children() {
        let stat = "42 (a ) (b) S 1 42 42 0 -1 4194560 100 200 0 0 150 50 1000 20 20 0 1 0 5";
        assert_eq!(used_of(stat), Some(Duration::from_millis(12_200)));
        assert_eq!(used_of("42 (a) S 1 42 42 0 -1 4194560 100 200 0 0 150 50 x"), None);
        assert!(used_by(std::process::id().try_into().unwrap()).is_some());
    }

    #[test]
    fn a_folder_that_does_not_exist_has_the_space_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(&folder.path().join("none/of/these")).is_some_and(|bytes| bytes > 0));
    }
}
