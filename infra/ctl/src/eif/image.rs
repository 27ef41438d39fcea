//! The file: from sections to bytes and back.

use std::fmt;
use std::ops::Range;

/// Docker images of other people's enclaves are described too; ours has 6 MB.
pub const MAX_IMAGE_BYTES: usize = 1 << 30;

const MAGIC: [u8; 4] = *b".eif";

/// The one with metadata, which Nitro asks for since 2022.
const VERSION: u16 = 4;

const MAX_SECTIONS: usize = 32;

const HEADER_BYTES: usize = 548;

const SECTION_HEADER_BYTES: usize = 12;

/// Where the header's fields are.
const FLAGS: Range<usize> = 6..8;
const SECTION_COUNT: Range<usize> = 26..28;
const OFFSETS: usize = 28;
const SIZES: usize = OFFSETS + 8 * MAX_SECTIONS;
const CRC: Range<usize> = 544..548;

/// The value that AWS's tools write. Nothing reads it.
const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;
const DEFAULT_CPUS: u64 = 2;

/// Bit 0 of the flags: an image for aarch64.
const FLAG_ARM64: u16 = 1;

/// The longest command line that x86 keeps (`COMMAND_LINE_SIZE`, arch/x86/include/asm/setup.h).
const MAX_CMDLINE_BYTES: usize = 2048;

/// AWS's own bound for its part, CustomMetadata, is 4 KiB.
const MAX_METADATA_BYTES: usize = 64 * 1024;

/// AWS's own bound.
const MAX_SIGNATURE_BYTES: usize = 32 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kernel = 1,
    Cmdline = 2,
    Ramdisk = 3,
    Signature = 4,
    Metadata = 5,
}

impl Kind {
    fn from_number(number: u16) -> Option<Self> {
        [Self::Kernel, Self::Cmdline, Self::Ramdisk, Self::Signature, Self::Metadata]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// The sections of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'b> {
    /// For aarch64, and not for x86-64.
    pub is_arm64: bool,
    /// A bzImage.
    pub kernel: &'b [u8],
    /// Without a NUL at its end.
    pub cmdline: &'b [u8],
    /// JSON, in no measurement.
    pub metadata: Option<&'b [u8]>,
    /// One or more archives, which the kernel unpacks one after the other.
    pub ramdisks: Vec<&'b [u8]>,
    /// CBOR, in no measurement but PCR8.
    pub signature: Option<&'b [u8]>,
}

/// Why bytes are no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedImage {
    /// More than [`MAX_IMAGE_BYTES`].
    TooLarge,
    /// No `.eif` at its start.
    NotAnImage,
    /// Another version than 4.
    Version(u16),
    /// A field is out of its range, or contradicts another.
    Header,
    /// It ends within a section, or after the last one.
    Length,
    /// The section of this number, from 0 on, is of an unknown kind, has flags, or is too long for its kind.
    Section(usize),
    /// Kernel, command line and ramdisks have to occur once, once, and at least once, in this order.
    Sections,
    /// The checksum is that of other bytes.
    Checksum,
}

impl fmt::Display for MalformedImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(formatter, "larger than {} MiB", MAX_IMAGE_BYTES >> 20),
            Self::NotAnImage => formatter.write_str("no enclave image: it does not start with .eif"),
            Self::Version(version) => write!(formatter, "of version {version}, not {VERSION}"),
            Self::Header => formatter.write_str("its header contradicts itself or the sections"),
            Self::Length => formatter.write_str("cut, or longer than its sections"),
            Self::Section(index) => write!(formatter, "section {index} is of no kind and size that is known"),
            Self::Sections => {
                formatter.write_str("not one kernel, one command line and then one or more ramdisks")
            }
            Self::Checksum => formatter.write_str("damaged: its checksum is that of other bytes"),
        }
    }
}

impl std::error::Error for MalformedImage {}

impl<'b> Image<'b> {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`MalformedImage`]
    pub fn read(bytes: &'b [u8]) -> Result<Self, MalformedImage> {
        if bytes.len() > MAX_IMAGE_BYTES {
            return Err(MalformedImage::TooLarge);
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(MalformedImage::NotAnImage);
        }
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(MalformedImage::Length)?;
        let version = u16_at(header, 4);
        if version != VERSION {
            return Err(MalformedImage::Version(version));
        }
        let (flags, count) = (u16_at(header, FLAGS.start), usize::from(u16_at(header, SECTION_COUNT.start)));
        if flags & !FLAG_ARM64 != 0 || count > MAX_SECTIONS {
            return Err(MalformedImage::Header);
        }
        let mut found = Found::default();
        for index in 0..count {
            let offset = bytes.len() - rest.len();
            let (section, after) =
                rest.split_at_checked(SECTION_HEADER_BYTES).ok_or(MalformedImage::Length)?;
            let size = u64_at(section, 4);
            if u64_at(header, OFFSETS + 8 * index) != offset as u64
                || u64_at(header, SIZES + 8 * index) != size
            {
                return Err(MalformedImage::Header);
            }
            let size = usize::try_from(size).map_err(|_| MalformedImage::Length)?;
            let (content, after) = after.split_at_checked(size).ok_or(MalformedImage::Length)?;
            let kind = Kind::from_number(u16_at(section, 0)).filter(|_| u16_at(section, 2) == 0);
            found.add(kind.ok_or(MalformedImage::Section(index))?, content, index)?;
            rest = after;
        }
        if !rest.is_empty() {
            return Err(MalformedImage::Length);
        }
        let unused = (count..MAX_SECTIONS).flat_map(|index| [OFFSETS + 8 * index, SIZES + 8 * index]);
        if unused.into_iter().any(|field| u64_at(header, field) != 0) {
            return Err(MalformedImage::Header);
        }
        if checksum(bytes) != u32::from_be_bytes([header[544], header[545], header[546], header[547]]) {
            return Err(MalformedImage::Checksum);
        }
        found.image(flags & FLAG_ARM64 != 0)
    }

    /// The whole file, in the order of AWS's tools.
    ///
    /// # Errors
    /// [`MalformedImage`], as for reading the written bytes.
    pub fn write(&self) -> Result<Vec<u8>, MalformedImage> {
        let ramdisks = self.ramdisks.iter().map(|ramdisk| (Kind::Ramdisk, *ramdisk));
        let sections: Vec<(Kind, &[u8])> = [(Kind::Kernel, self.kernel), (Kind::Cmdline, self.cmdline)]
            .into_iter()
            .chain(self.metadata.map(|metadata| (Kind::Metadata, metadata)))
            .chain(ramdisks)
            .chain(self.signature.map(|signature| (Kind::Signature, signature)))
            .collect();
        let count = u16::try_from(sections.len()).ok().filter(|count| usize::from(*count) <= MAX_SECTIONS);
        let count = count.ok_or(MalformedImage::Header)?;
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        bytes[FLAGS].copy_from_slice(&u16::from(self.is_arm64).to_be_bytes());
        bytes[8..16].copy_from_slice(&DEFAULT_MEMORY_BYTES.to_be_bytes());
        bytes[16..24].copy_from_slice(&DEFAULT_CPUS.to_be_bytes());
        bytes[SECTION_COUNT].copy_from_slice(&count.to_be_bytes());
        for (index, (kind, content)) in sections.into_iter().enumerate() {
            let (offset, size) = ((bytes.len() as u64).to_be_bytes(), (content.len() as u64).to_be_bytes());
            bytes[OFFSETS + 8 * index..][..8].copy_from_slice(&offset);
            bytes[SIZES + 8 * index..][..8].copy_from_slice(&size);
            bytes.extend_from_slice(&(kind as u16).to_be_bytes());
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&size);
            bytes.extend_from_slice(content);
        }
        let crc = checksum(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_be_bytes());
        Image::read(&bytes)?;
        Ok(bytes)
    }
}

/// Sections on their way to an [`Image`].
#[derive(Default)]
struct Found<'b> {
    kernel: Option<&'b [u8]>,
    cmdline: Option<&'b [u8]>,
    metadata: Option<&'b [u8]>,
    ramdisks: Vec<&'b [u8]>,
    signature: Option<&'b [u8]>,
}

impl<'b> Found<'b> {
    fn add(&mut self, kind: Kind, content: &'b [u8], index: usize) -> Result<(), MalformedImage> {
        // Measurements follow the order of the file, so measured sections have one order.
        let (place, most) = match kind {
            Kind::Kernel if self.cmdline.is_none() && self.ramdisks.is_empty() => {
                (&mut self.kernel, MAX_IMAGE_BYTES)
            }
            Kind::Cmdline if self.kernel.is_some() && self.ramdisks.is_empty() => {
                (&mut self.cmdline, MAX_CMDLINE_BYTES)
            }
            Kind::Ramdisk if self.cmdline.is_some() => {
                self.ramdisks.push(content);
                return Ok(());
            }
            Kind::Kernel | Kind::Cmdline | Kind::Ramdisk => return Err(MalformedImage::Sections),
            Kind::Metadata => (&mut self.metadata, MAX_METADATA_BYTES),
            Kind::Signature => (&mut self.signature, MAX_SIGNATURE_BYTES),
        };
        if content.len() > most {
            return Err(MalformedImage::Section(index));
        }
        match place.replace(content) {
            None => Ok(()),
            Some(_) => Err(MalformedImage::Sections),
        }
    }

    fn image(self, is_arm64: bool) -> Result<Image<'b>, MalformedImage> {
        let Self { kernel: Some(kernel), cmdline: Some(cmdline), metadata, ramdisks, signature } = self
        else {
            return Err(MalformedImage::Sections);
        };
        if ramdisks.is_empty() {
            return Err(MalformedImage::Sections);
        }
        Ok(Image { is_arm64, kernel, cmdline, metadata, ramdisks, signature })
    }
}

/// CRC-32 (ISO-HDLC) of everything but itself, which ends the header.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..CRC.start]);
    crc.update(&bytes[CRC.end..]);
    crc.finalize()
}

/// Within the header, whose length was checked.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Within the header, whose length was checked.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
