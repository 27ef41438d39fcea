//! Archives that the kernel unpacks into its first file system (Documentation/driver-api/early-userspace/
//! buffer-format.rst): cpio, "newc", compressed by gzip. The same entries give the same bytes, on any machine.

mod reader;

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

pub use reader::{MAX_ENTRIES, MAX_UNPACKED_BYTES, MalformedRamdisk, entries, unpack};

/// A file name and its entry. Root owns everything, with the time 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'b> {
    /// A folder.
    Folder {
        /// Without a slash at its start.
        path: &'b str,
    },
    /// A character device.
    Device {
        /// Without a slash at its start.
        path: &'b str,
        /// The mode of the directory.
        permissions: u32,
        /// Which one it is.
        number: (u32, u32),
    },
    /// A regular file.
    File {
        /// Without a slash at its start.
        path: &'b str,
        /// The mode of the file.
        permissions: u32,
        /// The content of the file.
        content: &'b [u8],
    },
}

/// Types of files, as in stat(2).
const S_IFDIR: u32 = 0o04_0000;
const S_IFCHR: u32 = 0o02_0000;
const S_IFREG: u32 = 0o10_0000;

/// Closes an archive.
const TRAILER: &str = "TRAILER!!!";

/// Everything starts on such a boundary.
const ALIGNMENT: usize = 4;

/// The archive with these entries, folders before their content, compressed.
///
/// # Errors
/// A file of 4 GiB or more, which the format has no room for.
pub fn ramdisk(entries: &[Entry<'_>]) -> Result<Vec<u8>, FileTooLarge> {
    let archive = archive(entries)?;
    // No name and no time, and "unknown" for the system: nothing of the machine.
    let mut gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(&archive).and_then(|()| gzip.finish()).map_err(|_| FileTooLarge)
}

/// The archive with these entries, as the kernel sees it.
///
/// # Errors
/// As [`ramdisk`].
pub fn archive(entries: &[Entry<'_>]) -> Result<Vec<u8>, FileTooLarge> {
    let mut archive = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let inode = u32::try_from(index + 1).map_err(|_| FileTooLarge)?;
        match *entry {
            Entry::Folder { path } => append(&mut archive, inode, path, S_IFDIR | 0o755, (0, 0), &[])?,
            Entry::Device { path, permissions, number } => {
                append(&mut archive, inode, path, S_IFCHR | permissions, number, &[])?;
            }
            Entry::File { path, permissions, content } => {
                append(&mut archive, inode, path, S_IFREG | permissions, (0, 0), content)?;
            }
        }
    }
    append(&mut archive, 0, TRAILER, 0, (0, 0), &[])?;
    Ok(archive)
}

/// The format has 32 bits for a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTooLarge;

impl std::fmt::Display for FileTooLarge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a file is too large for a ramdisk")
    }
}

impl std::error::Error for FileTooLarge {}

fn append(
    archive: &mut Vec<u8>,
    inode: u32,
    path: &str,
    mode: u32,
    device: (u32, u32),
    content: &[u8],
) -> Result<(), FileTooLarge> {
    let links = if mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
    let size = u32::try_from(content.len()).map_err(|_| FileTooLarge)?;
    let name_size = u32::try_from(path.len() + 1).map_err(|_| FileTooLarge)?;
    // ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check
    let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(ALIGNMENT), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(ALIGNMENT), 0);
    Ok(())
}
