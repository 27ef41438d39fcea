//! Reads the archives that [`ramdisk`](super::ramdisk) writes, and no others: an archive that was read is, written
//! again, the same to the last byte.

use std::fmt;
use std::io::Read as _;

use flate2::bufread::GzDecoder;

use super::{ALIGNMENT, Entry, S_IFCHR, S_IFDIR, S_IFREG, TRAILER};

/// The largest unpacked ramdisk. The signer has some 12 MB, and a bomb makes a thousand bytes of one.
pub const MAX_UNPACKED_BYTES: usize = 256 << 20;

/// Ours have seven at most.
pub const MAX_ENTRIES: usize = 64;

/// The longest name of Linux (`NAME_MAX`); the signer's have 11 bytes.
const MAX_PATH_BYTES: usize = 255;

/// Deflate; no flags; no time; made small; no system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];

const MAGIC: &[u8] = b"070701";

const FIELDS: usize = 13;

const FIELD_DIGITS: usize = 8;

/// Set-user-id and the permissions.
const PERMISSIONS: u32 = 0o7777;

/// Why bytes are no ramdisk of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedRamdisk {
    /// It is compressed, or put together, in another way than ours. The kernel may take it all the same.
    Foreign,
    /// The compressed bytes are damaged, cut, or followed by others.
    Damaged,
    /// It unpacks to more than [`MAX_UNPACKED_BYTES`], or to more than [`MAX_ENTRIES`].
    TooLarge,
}

impl fmt::Display for MalformedRamdisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => formatter.write_str("is not made by signerctl"),
            Self::Damaged => formatter.write_str("is damaged: it cannot be unpacked"),
            Self::TooLarge => {
                let mib = MAX_UNPACKED_BYTES >> 20;
                write!(formatter, "unpacks to more than {mib} MiB, or to more than {MAX_ENTRIES} files")
            }
        }
    }
}

impl std::error::Error for MalformedRamdisk {}

/// The archive in a ramdisk.
///
/// # Errors
/// [`MalformedRamdisk`]
pub fn unpack(ramdisk: &[u8]) -> Result<Vec<u8>, MalformedRamdisk> {
    if !ramdisk.starts_with(&GZIP_HEADER) {
        return Err(MalformedRamdisk::Foreign);
    }
    let mut archive = Vec::new();
    let mut decoder = GzDecoder::new(ramdisk);
    let limit = MAX_UNPACKED_BYTES as u64 + 1;
    decoder.by_ref().take(limit).read_to_end(&mut archive).map_err(|_| MalformedRamdisk::Damaged)?;
    if archive.len() > MAX_UNPACKED_BYTES {
        return Err(MalformedRamdisk::TooLarge);
    }
    if decoder.into_inner().is_empty() { Ok(archive) } else { Err(MalformedRamdisk::Damaged) }
}

/// The entries of an archive, in its order.
///
/// # Errors
/// [`MalformedRamdisk`]
pub fn entries(archive: &[u8]) -> Result<Vec<Entry<'_>>, MalformedRamdisk> {
    let mut rest = Rest { archive, at: 0 };
    let mut entries = Vec::new();
    loop {
        let header = rest.header()?;
        if header.path == TRAILER {
            let is_ours = header.fields == Header::fields(0, 0, (0, 0), 0, TRAILER);
            return if is_ours && rest.at == archive.len() {
                Ok(entries)
            } else {
                Err(MalformedRamdisk::Foreign)
            };
        }
        if entries.len() == MAX_ENTRIES {
            return Err(MalformedRamdisk::TooLarge);
        }
        let entry = rest.entry(&header)?;
        let inode = entries.len() + 1;
        let size = match entry {
            Entry::File { content, .. } => content.len(),
            _ => 0,
        };
        let [_, mode, ..] = header.fields;
        let device = match entry {
            Entry::Device { number, .. } => number,
            _ => (0, 0),
        };
        if header.fields != Header::fields(inode, mode, device, size, header.path) {
            return Err(MalformedRamdisk::Foreign);
        }
        entries.push(entry);
    }
}

/// The header before the content of an entry.
struct Header<'b> {
    fields: [u32; FIELDS],
    path: &'b str,
}

impl Header<'_> {
    /// ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check
    fn fields(inode: usize, mode: u32, device: (u32, u32), size: usize, path: &str) -> [u32; FIELDS] {
        let links = if mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
        // A longer text was not read.
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (inode, size, name) = (number(inode), number(size), number(path.len() + 1));
        [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0]
    }
}

/// The unread rest of an archive.
struct Rest<'b> {
    archive: &'b [u8],
    at: usize,
}

impl<'b> Rest<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], MalformedRamdisk> {
        let end = self.at.checked_add(length).ok_or(MalformedRamdisk::Foreign)?;
        let taken = self.archive.get(self.at..end).ok_or(MalformedRamdisk::Foreign)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self) -> Result<(), MalformedRamdisk> {
        let padding = self.take(self.at.next_multiple_of(ALIGNMENT) - self.at)?;
        if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(MalformedRamdisk::Foreign) }
    }

    fn header(&mut self) -> Result<Header<'b>, MalformedRamdisk> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(MalformedRamdisk::Foreign);
        }
        let mut fields = [0; FIELDS];
        for field in &mut fields {
            for digit in self.take(FIELD_DIGITS)? {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(MalformedRamdisk::Foreign),
                };
                *field = *field << 4 | u32::from(value);
            }
        }
        let [.., name_size, _] = fields;
        let name_size = usize::try_from(name_size).map_err(|_| MalformedRamdisk::Foreign)?;
        if name_size > MAX_PATH_BYTES + 1 {
            return Err(MalformedRamdisk::Foreign);
        }
        let Some((0, path)) = self.take(name_size)?.split_last() else {
            return Err(MalformedRamdisk::Foreign);
        };
        self.align()?;
        let path = std::str::from_utf8(path).map_err(|_| MalformedRamdisk::Foreign)?;
        let is_plain = !path.is_empty()
            && !path.starts_with('/')
            && !path.contains(char::is_control)
            && path.split('/').all(|name| !matches!(name, "" | "." | ".."));
        if is_plain { Ok(Header { fields, path }) } else { Err(MalformedRamdisk::Foreign) }
    }

    fn entry(&mut self, header: &Header<'b>) -> Result<Entry<'b>, MalformedRamdisk> {
        let [_, mode, _, _, _, _, size, _, _, major, minor, ..] = header.fields;
        let (path, permissions) = (header.path, mode & PERMISSIONS);
        let entry = match mode & !PERMISSIONS {
            S_IFDIR if permissions == 0o755 => Entry::Folder { path },
            S_IFCHR => Entry::Device { path, permissions, number: (major, minor) },
            S_IFREG => {
                let size = usize::try_from(size).map_err(|_| MalformedRamdisk::Foreign)?;
                Entry::File { path, permissions, content: self.take(size)? }
            }
            _ => return Err(MalformedRamdisk::Foreign),
        };
        self.align()?;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};

    use super::super::{archive, ramdisk};
    use super::{Entry, MAX_ENTRIES, MalformedRamdisk, entries, unpack};

    const OURS: [Entry<'static>; 4] = [
        Entry::Folder { path: "dev" },
        Entry::Device { path: "dev/console", permissions: 0o600, number: (5, 1) },
        Entry::File { path: "init", permissions: 0o500, content: b"\x7fELF" },
        Entry::File { path: "nitro.toml", permissions: 0o400, content: b"version = 1\n" },
    ];

    #[test]
    fn what_was_put_together_is_taken_apart() {
        let unpacked = unpack(&ramdisk(&OURS).unwrap()).unwrap();
        assert_eq!(unpacked, archive(&OURS).unwrap());
        assert_eq!(entries(&unpacked).unwrap(), OURS);
        assert_eq!(entries(&archive(&[]).unwrap()).unwrap(), []);
    }

    /// Each changed bit leads to a refusal, or to another content whose form it is.
    #[test]
    fn no_archive_has_a_second_spelling() {
        let good = archive(&OURS).unwrap();
        for index in 0..good.len() {
            for bit in 0..8 {
                let mut bent = good.clone();
                bent[index] ^= 1 << bit;
                if let Ok(read) = entries(&bent) {
                    assert_eq!(archive(&read).unwrap(), bent, "{index}, bit {bit}");
                }
            }
        }
        for length in 0..good.len() {
            entries(&good[..length]).unwrap_err();
        }
        entries(&[&good[..], &[0]].concat()).unwrap_err();
    }

    #[test]
    fn damage_is_told_from_what_others_make() {
        let good = ramdisk(&OURS).unwrap();
        for index in 10..good.len() {
            let mut bent = good.clone();
            bent[index] ^= 1;
            // Some bits of a compressed stream mean nothing: the unchanged content has the checksum.
            let read = unpack(&bent);
            assert!(
                read == Err(MalformedRamdisk::Damaged) || read == Ok(archive(&OURS).unwrap()),
                "{index}: {read:?}"
            );
        }
        assert_eq!(unpack(&good[..good.len() - 1]).unwrap_err(), MalformedRamdisk::Damaged);
        assert_eq!(unpack(&[&good[..], b"\0"].concat()).unwrap_err(), MalformedRamdisk::Damaged);
        let mut named = GzBuilder::new().filename("ramdisk").write(Vec::new(), Compression::best());
        named.write_all(b"").unwrap();
        for foreign in [&b""[..], b"\x1f\x8b", &named.finish().unwrap(), b"070701"] {
            assert_eq!(unpack(foreign).unwrap_err(), MalformedRamdisk::Foreign);
        }
        for path in ["", "/init", "../init", "a//b", "a\nb", &"a".repeat(256)] {
            let written = archive(&[Entry::Folder { path }]).unwrap();
            assert_eq!(entries(&written).unwrap_err(), MalformedRamdisk::Foreign, "{path:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..257 {
            gzip.write_all(&zeros).unwrap();
        }
        let bomb = gzip.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        assert_eq!(unpack(&bomb).unwrap_err(), MalformedRamdisk::TooLarge);
        let folders = vec![Entry::Folder { path: "a" }; MAX_ENTRIES + 1];
        assert_eq!(entries(&archive(&folders).unwrap()).unwrap_err(), MalformedRamdisk::TooLarge);
        assert_eq!(entries(&archive(&folders[1..]).unwrap()).unwrap().len(), MAX_ENTRIES);
    }
}
