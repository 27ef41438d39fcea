//! The signer's image, from its parts.

use std::fmt;

use crate::eif::{Image, MalformedImage, MeasurementSet, Metadata, SigningKey};
use crate::kernel::{Kernel, NotAKernel};
use crate::nitro_toml::NitroToml;
use crate::ramdisk::{Entry, FileTooLarge, entries, ramdisk, unpack};

/// An enclave has at least this many times its image's size as memory, or `nitro-cli` does not start it (its error
/// E26).
const MEMORY_PER_IMAGE: u64 = 4;

/// Where the signer finds its configuration.
const NITRO_TOML: &str = "nitro.toml";

/// The parts of an image.
#[derive(Debug)]
pub struct Parts<'b> {
    /// The kernel.
    pub kernel: &'b [u8],
    /// Its command line.
    pub cmdline: &'b str,
    /// The driver of the security module, where the kernel has none built in.
    pub nsm_module: Option<&'b [u8]>,
    /// The binary `enclave`, which has to be static: there is no loader.
    pub enclave: &'b [u8],
    /// The configuration.
    pub nitro_toml: &'b NitroToml,
    /// Signs the image.
    pub signing_key: Option<&'b SigningKey>,
}

/// The image's file, and its measurements.
#[derive(Debug)]
pub struct Built {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its measurements.
    pub measurements: MeasurementSet,
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBuilt {
    /// The kernel is none.
    Kernel(NotAKernel),
    /// The command line is empty, or not one line of printable ASCII.
    Cmdline,
    /// The driver is not an object file.
    NsmModule,
    /// The signer is not a static executable.
    Enclave(&'static str),
    /// A part has no room.
    TooLarge(FileTooLarge),
    /// The parts make no image.
    Image(MalformedImage),
    /// There is no randomness to sign with.
    NoRandomness,
    /// `enclave.memory_mib` is less than `nitro-cli` asks for.
    Memory {
        /// The least value that is needed.
        needed_mib: u64,
    },
}

impl fmt::Display for NotBuilt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(formatter, "the kernel is {error}"),
            Self::Cmdline => formatter.write_str("the command line is not one line of printable ASCII"),
            Self::NsmModule => formatter.write_str("the driver of the security module is no kernel module"),
            Self::Enclave(reason) => write!(formatter, "the signer is {reason}"),
            Self::TooLarge(error) => error.fmt(formatter),
            Self::Image(error) => write!(formatter, "the image would not be read: {error}"),
            Self::NoRandomness => formatter.write_str("no randomness to sign with"),
            Self::Memory { needed_mib } => {
                write!(formatter, "enclave.memory_mib in nitro.toml: this image needs {needed_mib} or more")
            }
        }
    }
}

impl std::error::Error for NotBuilt {}

/// Puts the image together.
///
/// # Errors
/// [`NotBuilt`]
pub fn build(parts: &Parts<'_>) -> Result<Built, NotBuilt> {
    let kernel = Kernel::read(parts.kernel).map_err(NotBuilt::Kernel)?;
    // As nitro-cli trims it.
    let cmdline = parts.cmdline.trim();
    if cmdline.is_empty() || !cmdline.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(NotBuilt::Cmdline);
    }
    check_static_executable(parts.enclave)?;
    if parts.nsm_module.is_some_and(|module| !module.starts_with(ELF)) {
        return Err(NotBuilt::NsmModule);
    }
    let bootstrap = bootstrap_ramdisk(parts.nsm_module).map_err(NotBuilt::TooLarge)?;
    let application = ramdisk(&[
        Entry::File { path: "init", permissions: 0o500, content: parts.enclave },
        Entry::File { path: NITRO_TOML, permissions: 0o400, content: parts.nitro_toml.measured().as_bytes() },
    ])
    .map_err(NotBuilt::TooLarge)?;
    let configuration = parts.nitro_toml.configuration();
    let metadata = Metadata::of_build(&configuration.name, kernel.version).to_json();
    let unsigned = Image {
        is_arm64: false,
        kernel: kernel.bytes,
        cmdline: cmdline.as_bytes(),
        metadata: Some(metadata.as_bytes()),
        ramdisks: vec![&bootstrap, &application],
        signature: None,
    };
    let measurements = MeasurementSet::of(&unsigned, parts.signing_key.map(SigningKey::certificate));
    let signature = match parts.signing_key {
        None => None,
        Some(key) => Some(key.section(&measurements.pcr0).ok_or(NotBuilt::NoRandomness)?),
    };
    let image = Image { signature: signature.as_deref(), ..unsigned };
    let bytes = image.write().map_err(NotBuilt::Image)?;
    let needed_mib = (bytes.len() as u64 * MEMORY_PER_IMAGE).div_ceil(1 << 20);
    if needed_mib > u64::from(configuration.enclave.memory_mib) {
        return Err(NotBuilt::Memory { needed_mib });
    }
    Ok(Built { bytes, measurements })
}

/// The configuration in an image of the signer. `None` for any other image.
#[must_use]
pub fn nitro_toml_in(image: &Image<'_>) -> Option<toml::Table> {
    let archive = unpack(image.ramdisks.last()?).ok()?;
    let content = entries(&archive).ok()?.into_iter().find_map(|entry| match entry {
        Entry::File { path: NITRO_TOML, content, .. } => Some(content),
        _ => None,
    })?;
    std::str::from_utf8(content).ok()?.parse().ok()
}

/// Where the kernel's file systems go, and what a process has to have before they are there: without a console and a
/// null device, Rust's runtime ends a process whose standard streams are closed.
fn bootstrap_ramdisk(nsm_module: Option<&[u8]>) -> Result<Vec<u8>, FileTooLarge> {
    let mut entries = vec![
        Entry::Folder { path: "dev" },
        // Their numbers: Documentation/admin-guide/devices.txt.
        Entry::Device { path: "dev/console", permissions: 0o600, number: (5, 1) },
        Entry::Device { path: "dev/null", permissions: 0o666, number: (1, 3) },
        Entry::Folder { path: "proc" },
        Entry::Folder { path: "sys" },
        Entry::Folder { path: "tmp" },
    ];
    if let Some(content) = nsm_module {
        entries.push(Entry::File { path: "nsm.ko", permissions: 0o400, content });
    }
    ramdisk(&entries)
}

/// The magic number of ELF.
const ELF: &[u8] = b"\x7fELF";

/// `PT_INTERP`, the program header that names a loader (System V ABI, "Program Header").
const PT_INTERP: u32 = 3;

/// A 64-bit ELF for x86-64 that asks for no loader.
fn check_static_executable(bytes: &[u8]) -> Result<(), NotBuilt> {
    let not_elf = NotBuilt::Enclave("no executable for x86-64");
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    // e_ident: 64 bits, little-endian; e_machine: x86-64.
    if !bytes.starts_with(ELF) || number(4, 2) != Some(0x0102) || number(18, 2) != Some(62) {
        return Err(not_elf);
    }
    let (Some(offset), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return Err(not_elf);
    };
    for index in 0..count {
        let at = offset.checked_add(index * size).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| number(at, 4)) {
            None => return Err(not_elf),
            Some(kind) if kind == u64::from(PT_INTERP) => {
                return Err(NotBuilt::Enclave("linked dynamically, and the image has no loader"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NotBuilt, check_static_executable};

    #[test]
    fn the_signer_is_a_static_executable() {
        // A Rust test is linked dynamically, unless it is built for musl.
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        if cfg!(not(target_feature = "crt-static")) {
            let refused = check_static_executable(&this).unwrap_err();
            assert_eq!(refused, NotBuilt::Enclave("linked dynamically, and the image has no loader"));
        }
        let mut header = this[..64].to_vec();
        // Without program headers it needs no loader.
        header[56..58].copy_from_slice(&[0, 0]);
        assert_eq!(check_static_executable(&header), Ok(()));
        for (index, value) in [(0, 0), (4, 1), (5, 2), (18, 183)] {
            let mut bent = header.clone();
            bent[index] = value;
            check_static_executable(&bent).unwrap_err();
        }
        header[56] = 1;
        header[32..40].fill(0xff);
        check_static_executable(&header).unwrap_err();
        check_static_executable(&header[..57]).unwrap_err();
        check_static_executable(b"").unwrap_err();
    }
}
