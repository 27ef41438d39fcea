//! Looks for bytes in the memory of another process, through `/proc`.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

use crate::failure::{Failure, fail};

/// How much is read at once; neighbouring reads overlap by the longest needle.
const WINDOW: usize = 1 << 20;

/// A needle with the name it has in a report.
pub struct Needle {
    /// Its name, for example `key, big-endian`.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Needle {
    /// The forms in which 32 secret bytes may lie in memory.
    #[must_use]
    pub fn forms_of(name: &str, bytes: &[u8; 32]) -> Vec<Self> {
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        let form = |form: &str, bytes: Vec<u8>| Self { name: format!("{name}, {form}"), bytes };
        vec![
            form("big-endian", bytes.to_vec()),
            form("little-endian", reversed),
            form("lower-case hex", hex::encode(bytes).into_bytes()),
            form("upper-case hex", hex::encode_upper(bytes).into_bytes()),
        ]
    }

    /// A text as it is.
    #[must_use]
    pub fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
    }
}

/// A place where a needle was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The needle's name.
    pub needle: String,
    /// Where it starts.
    pub address: u64,
    /// The line of `/proc/PID/maps` it lies in.
    pub mapping: String,
}

/// Searches all readable memory of `pid`, except `hidden`, for every needle.
pub fn search(pid: Pid, needles: &[Needle], hidden: &Range<u64>) -> Result<Vec<Finding>, Failure> {
    let memory = File::open(format!("/proc/{pid}/mem"))
        .map_err(|e| Failure::new(format!("/proc/{pid}/mem: {e}; run as root or as the owner")))?;
    let read_maps = || fs::read_to_string(format!("/proc/{pid}/maps"));
    let maps = read_maps()?;
    let overlap = needles.iter().map(|n| n.bytes.len()).max().unwrap_or(0);
    let mut findings = Vec::new();
    for line in maps.lines() {
        let Some((range, permissions)) = parse_mapping(line) else {
            return fail(format!("/proc/{pid}/maps: {line:?}"));
        };
        // The kernel's own pages cannot be read this way and hold nothing of ours.
        if !permissions.starts_with('r') || line.contains("[vvar") || line.contains("[vsyscall]") {
            continue;
        }
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).map_or(WINDOW, |left| left.min(WINDOW));
            let mut window = vec![0; length];
            if let Err(error) = memory.read_exact_at(&mut window, at) {
                // A thread that has ended since took its stack along.
                if read_maps()?.lines().any(|mapped| mapped == line) {
                    return fail(format!("{length} bytes at {at:#x} of {line}: {error}"));
                }
                break;
            }
            for needle in needles {
                findings.extend(
                    memchr::memmem::find_iter(&window, &needle.bytes)
                        .map(|position| at + position as u64)
                        .filter(|address| !hidden.contains(address))
                        .map(|address| Finding {
                            needle: needle.name.clone(),
                            address,
                            mapping: line.to_owned(),
                        }),
                );
            }
            if length < WINDOW {
                break;
            }
            at += (WINDOW - overlap) as u64;
        }
    }
    Ok(findings)
}

/// Where the kernel put the environment the process was started with.
pub fn environment_block(pid: Pid) -> Result<Range<u64>, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields are counted after the name, which is in parentheses and may hold anything.
    let (_, fields) =
        stat.rsplit_once(") ").ok_or_else(|| Failure::new(format!("/proc/{pid}/stat: {stat:?}")))?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| -> Result<u64, Failure> {
        match fields.get(number - 3).and_then(|text| text.parse().ok()) {
            Some(value) if value != 0 => Ok(value),
            _ => fail(format!("/proc/{pid}/stat has no field {number}")),
        }
    };
    Ok(field(50)?..field(51)?)
}

/// The `VmFlags` of the mapping that holds `address`.
pub fn vm_flags(pid: Pid, address: u64) -> Result<Vec<String>, Failure> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((range, _)) = parse_mapping(line) {
            inside = range.contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
            return Ok(flags.split_whitespace().map(str::to_owned).collect());
        }
    }
    fail(format!("no mapping of process {pid} holds {address:#x}"))
}

fn parse_mapping(line: &str) -> Option<(Range<u64>, &str)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    Some((start..end, fields.next()?))
}
