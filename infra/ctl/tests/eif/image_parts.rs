//! A folder with the parts of an image, and the command that makes one of them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Outcome, run};

/// The key of the committed files, which stands for none.
const NO_KEY: &str = "00000000-0000-0000-0000-000000000000";

/// The key and the account of the operator.
pub(crate) const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const ACCOUNT: &str = "999988887777";

/// The names of the parts, unless a test gives others.
const BUILD: [(&str, &str); 5] = [
    ("--enclave", "enclave"),
    ("--nitro-toml", "nitro.toml"),
    ("--kernel", "bzImage"),
    ("--cmdline", "cmdline"),
    ("--output", "image.eif"),
];

pub(crate) struct ImageParts {
    folder: TempDir,
}

impl ImageParts {
    pub(crate) fn new() -> Self {
        let parts = Self { folder: tempfile::tempdir().unwrap() };
        parts.write("enclave", elf(&[]));
        parts.write("nitro.toml", nitro_toml());
        parts.write("bzImage", kernel(4096));
        parts.write("cmdline", "reboot=k panic=-1 console=ttyS0\n");
        parts.write("nsm.ko", b"\x7fELF, and a driver");
        parts
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names of all that is in the folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.folder.path().read_dir().unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `program`, in the folder.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn signerctl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        run(self.command(env!("CARGO_BIN_EXE_signerctl")).args(arguments))
    }

    /// Builds with these options, each in place of the usual one if there is one.
    pub(crate) fn build(&self, options: &[(&str, &str)]) -> Outcome {
        self.signerctl(build_arguments(options))
    }

    /// Builds an image that is no failure, and gives what it prints under `Measurements`.
    pub(crate) fn built(&self, options: &[(&str, &str)]) -> Value {
        let outcome = self.build(options);
        assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{options:?}");
        let mut printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
        printed["Measurements"].take()
    }
}

impl Outcome {
    /// It failed so, and said why in this one line.
    #[track_caller]
    pub(crate) fn refuses(&self, code: i32, line: &str) {
        assert_eq!((self.code, &self.stdout[..]), (Some(code), ""), "{self:?}");
        assert_eq!(self.stderr, format!("signerctl: {line}\n"));
    }
}

/// The arguments to build with these options, each in place of the usual one if there is one.
pub(crate) fn build_arguments(options: &[(&str, &str)]) -> Vec<String> {
    let usual = BUILD.iter().filter(|(name, _)| options.iter().all(|(other, _)| other != name));
    let pairs = usual.chain(options).flat_map(|(name, value)| [*name, *value]);
    ["eif", "build"].into_iter().chain(pairs).map(str::to_owned).collect()
}

/// A committed file of `infra/`.
pub(crate) fn committed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The committed configuration, of an operator with a key.
pub(crate) fn nitro_toml() -> String {
    let committed = committed("nitro.toml");
    assert!(committed.contains(NO_KEY));
    committed.replace(NO_KEY, KEY).replace("111122223333", ACCOUNT)
}

/// The ARN of the operator's key.
pub(crate) fn key_arn() -> String {
    format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{KEY}")
}

/// A bzImage of so many bytes, as far as its setup header goes (Documentation/arch/x86/boot.rst).
pub(crate) fn kernel(size: usize) -> Vec<u8> {
    let mut bytes = noise(size);
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    bytes[0x300..0x30f].copy_from_slice(b"6.12.1 (me) #1\0");
    bytes
}

/// An executable for x86-64 with program headers of these types, and something behind them (System V ABI, "Object
/// Files").
pub(crate) fn elf(program_headers: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..20].copy_from_slice(&[2, 0, 62, 0]);
    bytes[20] = 1;
    bytes[32] = 64;
    bytes[52] = 64;
    bytes[54] = 56;
    bytes[56] = u8::try_from(program_headers.len()).unwrap();
    for kind in program_headers {
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&[0; 52]);
    }
    bytes.extend_from_slice(&noise(5000));
    bytes
}

/// Bytes that no compression makes fewer, the same each time (xorshift32).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..size).map(|_| next()).collect()
}
