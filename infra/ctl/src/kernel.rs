//! The properties of a kernel that an enclave can start (Documentation/arch/x86/boot.rst), and the command line for
//! more output (Documentation/admin-guide/kernel-parameters.txt).

use std::fmt;

/// The place and the content of the setup header.
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION_POINTER: usize = 0x20e;

/// Longest version that is repeated.
const MAX_VERSION_BYTES: usize = 64;

/// The kernel's words go out of the first serial port, all of them, before there is a driver for it; and a kernel
/// that panics waits 30 s, so that its last words are read.
const BRING_UP_WORDS: &str = "earlycon=uart8250,io,0x3f8 loglevel=8 panic=30";

/// `cmdline` for an image that does not come up: its words about the console and about a panic are replaced by
/// `BRING_UP_WORDS`, and the others stay.
#[must_use]
pub fn bring_up_cmdline(cmdline: &str) -> String {
    let is_replaced = |word: &str| {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        matches!(name, "quiet" | "debug" | "earlycon" | "loglevel" | "panic")
    };
    let kept = cmdline.split_ascii_whitespace().filter(|word| !is_replaced(word));
    kept.chain(BRING_UP_WORDS.split(' ')).collect::<Vec<_>>().join(" ")
}

/// A bzImage for x86.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'b> {
    /// The file.
    pub bytes: &'b [u8],
    /// As `uname -r` will say.
    pub version: &'b str,
}

/// It is no bzImage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKernel;

impl fmt::Display for NotAKernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no bzImage for x86")
    }
}

impl std::error::Error for NotAKernel {}

impl<'b> Kernel<'b> {
    /// Looks at the setup header.
    ///
    /// # Errors
    /// [`NotAKernel`]
    pub fn read(bytes: &'b [u8]) -> Result<Self, NotAKernel> {
        let at = |start: usize, length: usize| bytes.get(start..start + length);
        if at(BOOT_FLAG, 2) != Some(&[0x55, 0xaa]) || at(MAGIC, 4) != Some(b"HdrS") {
            return Err(NotAKernel);
        }
        let pointer = at(VERSION_POINTER, 2).ok_or(NotAKernel)?;
        let start = usize::from(u16::from_le_bytes([pointer[0], pointer[1]])) + 0x200;
        let text = bytes.get(start..).ok_or(NotAKernel)?;
        let end = text.iter().take(MAX_VERSION_BYTES).position(|byte| matches!(byte, 0 | b' '));
        let version = std::str::from_utf8(&text[..end.ok_or(NotAKernel)?]).map_err(|_| NotAKernel)?;
        if version.is_empty() || version.contains(|char: char| char.is_control()) {
            return Err(NotAKernel);
        }
        Ok(Self { bytes, version })
    }
}

#[cfg(test)]
mod tests {
    use super::{Kernel, NotAKernel, bring_up_cmdline};

    #[test]
    fn bring_up_replaces_what_keeps_the_kernel_quiet() {
        const WORDS: &str = "earlycon=uart8250,io,0x3f8 loglevel=8 panic=30";
        let cmdline = include_str!("../../emulator/kernel.cmdline");
        assert_eq!(
            bring_up_cmdline(cmdline),
            format!("reboot=k console=ttyS0 random.trust_cpu=on sysctl.kernel.yama.ptrace_scope=3 {WORDS}")
        );
        // AWS's own has `panic=30` already, and words that only begin like ours.
        for (cmdline, kept) in [
            ("reboot=k panic=30 pci=off nomodules", "reboot=k pci=off nomodules "),
            ("panic_on_warn quietly=1 earlycon debug loglevel=3", "panic_on_warn quietly=1 "),
            ("", ""),
        ] {
            assert_eq!(bring_up_cmdline(cmdline), format!("{kept}{WORDS}"));
        }
        let once = bring_up_cmdline(cmdline);
        assert_eq!(bring_up_cmdline(&once), once);
    }

    #[test]
    fn a_setup_header_tells() {
        let mut bytes = vec![0; 0x400];
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x300..0x30e].copy_from_slice(b"6.12.1 (me) #1");
        assert_eq!(Kernel::read(&bytes).unwrap().version, "6.12.1");
        for (index, value) in
            [(0x1fe, 0), (0x202, 0), (0x300, 0), (0x301, 0xff), (0x302, b'\n'), (0x20f, 0xff)]
        {
            let mut bent = bytes.clone();
            bent[index] = value;
            assert_eq!(Kernel::read(&bent).unwrap_err(), NotAKernel, "{index:#x}");
        }
        for length in [0, 0x1ff, 0x205, 0x20f, 0x300, 0x305] {
            assert_eq!(Kernel::read(&bytes[..length]).unwrap_err(), NotAKernel, "{length:#x}");
        }
    }
}
