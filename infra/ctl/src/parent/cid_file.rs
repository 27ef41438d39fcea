//! The file `/run/nitro-signer/cid`: the CID of the enclave that the proxy dials, in decimal with a line break. It
//! holds no secret, and a reboot removes it with the enclave.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use super::failed::{Failed, Kind};
use super::machine::Machine;

/// Where it is. The folder is root's, so that the proxy reads the file and cannot replace it; no unit owns it, so it
/// survives restarts of the proxy.
pub const CID_FILE: &str = "/run/nitro-signer/cid";

/// The first CID that an enclave can have; 3 is the parent.
const FIRST_ENCLAVE_CID: u32 = 4;

/// The CID that the proxy dials; none if the file is missing or the proxy would refuse it.
///
/// # Errors
/// [`Kind::Unavailable`] if the system cannot read it.
pub fn read(machine: &Machine) -> Result<Option<u32>, Failed> {
    let path = machine.path(CID_FILE);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(machine, "read", &error)),
        Ok(bytes) => Ok(parse(&bytes)),
    }
}

fn parse(bytes: &[u8]) -> Option<u32> {
    let cid: u32 = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.parse().ok()?;
    let is_canonical = format!("{cid}\n").as_bytes() == bytes;
    (is_canonical && (FIRST_ENCLAVE_CID..u32::MAX).contains(&cid)).then_some(cid)
}

/// Makes the proxy dial the enclave with this CID. The file is replaced whole or not at all.
///
/// # Errors
/// [`Kind::Unavailable`] if the system cannot write it.
pub fn write(machine: &Machine, cid: u32) -> Result<(), Failed> {
    let path = machine.path(CID_FILE);
    let folder = machine.path(CID_FOLDER);
    // One run at a time holds the lock, so an existing draft was left by a run that was killed.
    let draft = folder.join(DRAFT);
    let replace = || {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let mut file = fs::File::create(&draft)?;
        file.write_all(format!("{cid}\n").as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        fs::rename(&draft, &path)
    };
    replace().map_err(|error| failed(machine, "written", &error))
}

const CID_FOLDER: &str = "/run/nitro-signer";

const DRAFT: &str = ".cid.new";

/// Removes the file, so that the proxy dials no enclave.
///
/// # Errors
/// [`Kind::Unavailable`] if the system cannot remove it.
pub fn remove(machine: &Machine) -> Result<(), Failed> {
    match fs::remove_file(machine.path(CID_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(machine, "removed", &error)),
        _ => Ok(()),
    }
}

fn failed(machine: &Machine, verb: &str, error: &io::Error) -> Failed {
    let path = machine.path(CID_FILE);
    Failed::new(Kind::Unavailable, format_args!("{}: it cannot be {verb}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::machine::SystemCommands;

    #[test]
    fn the_file_is_replaced_whole_for_all_to_read_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        assert_eq!(read(&machine).unwrap(), None);
        remove(&machine).unwrap();
        for cid in [16, 17] {
            write(&machine, cid).unwrap();
            assert_eq!(read(&machine).unwrap(), Some(cid));
            assert_eq!(fs::read_to_string(machine.path(CID_FILE)).unwrap(), format!("{cid}\n"));
        }
        let mode = |path: &str| machine.path(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(CID_FOLDER), mode(CID_FILE)), (0o755, 0o644));
        assert_eq!(fs::read_dir(machine.path(CID_FOLDER)).unwrap().count(), 1);
        remove(&machine).unwrap();
        assert_eq!(read(&machine).unwrap(), None);
    }

    #[test]
    fn a_file_that_the_proxy_would_refuse_names_no_enclave() {
        for content in
            ["", "\n", "16", "016\n", "+16\n", "16\n\n", "16 \n", "0\n", "3\n", "4294967295\n", "x\n"]
        {
            assert_eq!(parse(content.as_bytes()), None, "{content:?}");
        }
        assert_eq!(parse(b"4\n"), Some(4));
        assert_eq!(parse(b"4294967294\n"), Some(u32::MAX - 1));
    }
}
