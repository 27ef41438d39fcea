//! The boot file `/etc/nitro-signer/env`: the settings and secrets of the enclave and the proxy. Others than root may
//! read or write parts of it, so it is checked before anything depends on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use configuration::{BootFile as EnclaveBootFile, Configuration, MAX_BOOT_FILE_BYTES};
use zeroize::Zeroizing;

use super::failed::{Failed, Kind};
use super::machine::Machine;
use super::{ownership, report};
use crate::output_file;

/// Where it is.
pub const BOOT_FILE: &str = "/etc/nitro-signer/env";

/// The port of clients where the boot file names none: that of `nitro-parent.service`.
pub const DEFAULT_LISTEN_PORT: u16 = 7001;

/// The name of the copy in a release's folder, with which an enclave of the release was ready.
const KEPT: &str = "env";

/// The name that a boot file gets when [`restore`] replaces it. [`remove_drafts`] leaves it alone.
const REPLACED: &str = "env.failed";

const ENCLAVE_CID: &str = "ENCLAVE_CID";
const TLS_KEY: &str = "TLS_KEY_CIPHERTEXT";
const LISTEN_PORT: &str = "BRIDGE_LISTEN_PORT";

/// How the names of drafts begin; `run-enclave.sh` of earlier versions used it too.
pub(super) const DRAFT_PREFIX: &str = ".env.";

/// Permission bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The boot file's bytes, which hold secrets and are wiped.
pub struct BootFile {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl BootFile {
    /// Reads the boot file of `machine`; one that is missing is empty.
    ///
    /// # Errors
    /// [`Kind::Configuration`] if it is too long, [`Kind::Unavailable`] if the system cannot read it.
    pub fn read(machine: &Machine) -> Result<Self, Failed> {
        Self::read_at(machine.path(BOOT_FILE))
    }

    fn read_at(path: PathBuf) -> Result<Self, Failed> {
        // It never moves, so that no copy is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BOOT_FILE_BYTES + 1));
        let read = File::open(&path)
            .and_then(|file| file.take(MAX_BOOT_FILE_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failed::new(Kind::Unavailable, of(&path, error))),
            Ok(length) if length > MAX_BOOT_FILE_BYTES => {
                let error = format_args!("it is longer than {} KiB", MAX_BOOT_FILE_BYTES / 1024);
                return Err(Failed::new(Kind::Configuration, of(&path, error)));
            }
            Ok(_) => {}
        }
        Ok(Self { path, bytes })
    }

    /// The value that the last line for `name` gives, without quotes. Only for values of one line; an empty one is
    /// none.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        let mut lines = self.bytes.split(|byte| *byte == b'\n').rev();
        let value = lines.find_map(|line| assigned(line, name))?.trim_ascii();
        let unquoted = match value {
            [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
            bare => bare,
        };
        (!unquoted.is_empty()).then(|| String::from_utf8_lossy(unquoted).into_owned())
    }

    /// The enclave that a proxy of earlier versions dials, if one is named.
    #[must_use]
    pub fn enclave_cid(&self) -> Option<u32> {
        self.value(ENCLAVE_CID)?.parse().ok()
    }

    /// The port that clients connect to.
    ///
    /// # Errors
    /// [`Kind::Configuration`]
    pub fn listen_port(&self) -> Result<u16, Failed> {
        let Some(value) = self.value(LISTEN_PORT) else { return Ok(DEFAULT_LISTEN_PORT) };
        let port = value.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| {
            let error = format_args!("{LISTEN_PORT} is not a port; 1 to 65535 is expected");
            Failed::new(Kind::Configuration, of(&self.path, error))
        })
    }

    /// Refuses a file that the enclave or the proxy would refuse.
    fn check(&self, configuration: &Configuration) -> Result<(), Failed> {
        let wrong = |error: &dyn std::fmt::Display| Failed::new(Kind::Configuration, of(&self.path, error));
        if self.bytes.last() != Some(&b'\n') {
            return Err(wrong(
                &"its last line does not end in a line break, so the enclave takes it for cut off",
            ));
        }
        self.listen_port()?;
        EnclaveBootFile::parse(&self.bytes, configuration).map(drop).map_err(|error| wrong(&error))
    }

    /// The file without the line of the CID, which earlier versions wrote. No other line changes.
    fn without_enclave_cid(&self) -> Zeroizing<Vec<u8>> {
        let mut changed = Zeroizing::new(Vec::with_capacity(self.bytes.len()));
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
        lines
            .filter(|line| assigned(line, ENCLAVE_CID).is_none())
            .for_each(|line| changed.extend_from_slice(line));
        changed
    }

    /// Whether both tell an enclave the same.
    fn is_like(&self, other: &Self) -> bool {
        self.without_enclave_cid() == other.without_enclave_cid()
    }

    /// The lines that count when an enclave starts: without the certificate, which it also takes while it runs.
    fn lines_for_the_start(&self) -> impl Iterator<Item = &[u8]> {
        let contains = |line: &[u8], part: &[u8]| line.windows(part.len()).any(|window| window == part);
        let mut is_in_pem = false;
        self.bytes.split(|byte| *byte == b'\n').filter(move |line| {
            let is_of_pem = is_in_pem || contains(line, b"-----BEGIN ");
            is_in_pem = is_of_pem && !contains(line, b"-----END ");
            !is_of_pem && [TLS_KEY, ENCLAVE_CID].iter().all(|name| assigned(line, name).is_none())
        })
    }
}

/// The text behind the equals sign, if `line` assigns to `name`.
fn assigned<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.trim_ascii_start().strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")
}

/// Refuses a boot file with which no enclave of `configuration` gets ready.
///
/// # Errors
/// [`Kind::NoInput`] if it is missing, else as [`check_folder`] and [`BootFile::read`].
pub fn check(machine: &Machine, configuration: &Configuration) -> Result<(), Failed> {
    check_folder(machine)?;
    let path = machine.path(BOOT_FILE);
    if !path.is_file() {
        let error = "it is missing; infra/setup-parent.sh makes it";
        return Err(Failed::new(Kind::NoInput, of(&path, error)));
    }
    BootFile::read(machine)?.check(configuration)
}

/// Refuses a folder of the boot file that others than root can write to: they could put another file or a link there.
/// A folder that is missing is none.
///
/// # Errors
/// [`Kind::Configuration`], or [`Kind::Unavailable`] if its owner is not known.
pub fn check_folder(machine: &Machine) -> Result<(), Failed> {
    let path = machine.path(BOOT_FILE);
    let Some(folder) = path.parent() else { return Ok(()) };
    let Ok(metadata) = folder.symlink_metadata() else { return Ok(()) };
    let wrong = |error: String| Err(Failed::new(Kind::Configuration, of(folder, error)));
    if !metadata.is_dir() {
        return wrong("it is a link or no folder; a folder of root is expected".to_owned());
    }
    let owner = ownership::owner(machine, folder)?;
    if owner != "root" {
        return wrong(format!(
            "it is {owner}'s; it has to be root's, because its owner can replace all that is in it"
        ));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return wrong(format!(
            "it is writable by others than root (mode {mode:o}), who may have put files there. Look at it, then: \
             chmod 0755 {}",
            folder.display()
        ));
    }
    Ok(())
}

/// Keeps a copy in the folder of a release, for root alone.
///
/// # Errors
/// [`Kind::Unavailable`], or as [`BootFile::read`].
pub(super) fn keep(machine: &Machine, release: &Path) -> Result<(), Failed> {
    keep_in(release, &BootFile::read(machine)?)
}

/// Takes a renewed certificate into the copy in the folder of a release, if the rest of the boot file is the copy's.
///
/// # Errors
/// As [`keep`].
pub(super) fn keep_certificate(machine: &Machine, release: &Path) -> Result<(), Failed> {
    let (kept, present) = (BootFile::read_at(release.join(KEPT))?, BootFile::read(machine)?);
    if kept.is_like(&present) || !kept.lines_for_the_start().eq(present.lines_for_the_start()) {
        return Ok(());
    }
    keep_in(release, &present)
}

fn keep_in(release: &Path, file: &BootFile) -> Result<(), Failed> {
    let path = release.join(KEPT);
    output_file::write_private(&path, &file.bytes)
        .and_then(|()| output_file::sync_folder_of(&path))
        .map_err(|error| unwritten(&path, &error))
}

/// Puts the copy in the folder of a release back, if it tells another thing than the boot file. What was there stays as
/// [`REPLACED`]. Owner and mode stay.
///
/// # Errors
/// [`Kind::Unavailable`], or as [`BootFile::read`].
pub(super) fn restore(machine: &Machine, release: &Path) -> Result<(), Failed> {
    let (kept, present) = (BootFile::read_at(release.join(KEPT))?, BootFile::read(machine)?);
    let path = &present.path;
    if kept.bytes.is_empty() {
        report(format_args!("no boot file was kept with {}; {} stays", release.display(), path.display()));
        return Ok(());
    }
    if kept.is_like(&present) {
        return Ok(());
    }
    let replaced = path.with_file_name(REPLACED);
    let link = || match fs::remove_file(&replaced) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::hard_link(path, &replaced),
    };
    link().map_err(|error| {
        Failed::new(Kind::Unavailable, of(path, format_args!("it cannot be kept as {REPLACED}: {error}")))
    })?;
    replace(machine, path, &kept.without_enclave_cid())?;
    report(format_args!(
        "put back {}, with which the last release was ready; what was there is {}",
        path.display(),
        replaced.display()
    ));
    Ok(())
}

/// Removes the line of the CID, which earlier versions wrote. The file is replaced whole, with its owner and mode, or
/// not at all.
///
/// # Errors
/// [`Kind::Unavailable`], or as [`BootFile::read`].
pub fn remove_enclave_cid(machine: &Machine) -> Result<(), Failed> {
    let file = BootFile::read(machine)?;
    let bytes = file.without_enclave_cid();
    if bytes == file.bytes {
        return Ok(());
    }
    replace(machine, &file.path, &bytes)
}

fn replace(machine: &Machine, path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let draft = path.with_file_name(format!("{DRAFT_PREFIX}{:08x}", std::process::id()));
    write_draft(machine, path, &draft, bytes)
        .and_then(|()| {
            fs::rename(&draft, path)
                .and_then(|()| output_file::sync_folder_of(path))
                .map_err(|error| unwritten(path, &error))
        })
        .inspect_err(|_| {
            // It may not be there.
            let _ = fs::remove_file(&draft);
        })
}

fn write_draft(machine: &Machine, path: &Path, draft: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let unwritten = |error| unwritten(path, &error);
    let permissions = path.metadata().map_err(unwritten)?.permissions();
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft).map_err(unwritten)?;
    file.write_all(bytes).map_err(unwritten)?;
    ownership::copy_owner(machine, path, draft)?;
    file.set_permissions(permissions).and_then(|()| file.sync_all()).map_err(unwritten)
}

fn unwritten(path: &Path, error: &io::Error) -> Failed {
    Failed::new(Kind::Unavailable, of(path, format_args!("it cannot be written: {error}")))
}

/// Removes the drafts of runs that were killed.
pub fn remove_drafts(machine: &Machine) {
    let path = machine.path(BOOT_FILE);
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else { return };
    for entry in entries.flatten() {
        let is_draft = entry.file_name().to_str().is_some_and(|name| name.starts_with(DRAFT_PREFIX));
        if is_draft {
            // The next run finds the rest.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn of(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::parent::machine::SystemCommands;

    fn file(text: &str) -> BootFile {
        BootFile { path: "/etc/x".into(), bytes: Zeroizing::new(text.as_bytes().to_vec()) }
    }

    #[test]
    fn the_last_line_for_a_name_counts() {
        let value = |text: &str| file(text).value("A");
        assert_eq!(value("A=1\nA=2\nB=3\n").as_deref(), Some("2"));
        assert_eq!(value("  A = \"a b\"  \r\n").as_deref(), Some("a b"));
        assert_eq!(value("A='x'").as_deref(), Some("x"));
        assert_eq!(value("A=\"x").as_deref(), Some("\"x"));
        for none in ["", "A=\n", "A=1\nA=\n", "#A=1\n", "AB=1\n", "A\n", "A=\"\"\n", "A=\"\"\n#"] {
            assert_eq!(value(none), None, "{none:?}");
        }
    }

    #[test]
    fn ports_and_cids_are_numbers() {
        let port = |text: &str| file(text).listen_port().map_err(|failed| failed.kind);
        assert_eq!(port(""), Ok(7001));
        assert_eq!(port("BRIDGE_LISTEN_PORT=443\n"), Ok(443));
        for wrong in ["0", "65536", "x", "-1", "7001 # mine"] {
            assert_eq!(port(&format!("BRIDGE_LISTEN_PORT={wrong}\n")), Err(Kind::Configuration), "{wrong}");
        }
        assert_eq!(file("ENCLAVE_CID=16\n").enclave_cid(), Some(16));
        assert_eq!(file("ENCLAVE_CID=x\n").enclave_cid(), None);
    }

    #[test]
    fn only_the_line_of_the_cid_goes() {
        let changed = |text: &str| String::from_utf8(file(text).without_enclave_cid().to_vec()).unwrap();
        assert_eq!(changed("# ENCLAVE_CID=1\nA=\" b \"\n"), "# ENCLAVE_CID=1\nA=\" b \"\n");
        assert_eq!(changed("A=1\n ENCLAVE_CID = 16\nB=2\nENCLAVE_CID=3\nC"), "A=1\nB=2\nC");
        assert_eq!(changed("A=1"), "A=1");
        assert_eq!(changed(""), "");
    }

    #[test]
    fn the_file_is_replaced_with_its_mode_and_drafts_go() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        let path = machine.path(BOOT_FILE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        remove_enclave_cid(&machine).unwrap();
        assert!(!path.exists(), "a file that is missing is not made");
        fs::write(&path, "A=1\nENCLAVE_CID=16\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        remove_enclave_cid(&machine).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
        fs::write(path.with_file_name(".env.killed"), "A=1\n").unwrap();
        remove_drafts(&machine);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    /// A machine with this boot file, and the folder of a release.
    fn machine_with(boot_file: &str) -> (tempfile::TempDir, Machine, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        let path = machine.path(BOOT_FILE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, boot_file).unwrap();
        let release = root.path().join("a release");
        fs::create_dir(&release).unwrap();
        (root, machine, release)
    }

    #[test]
    fn the_kept_boot_file_comes_back_and_the_other_one_stays_beside_it() {
        let (_root, machine, release) = machine_with("A=1\nENCLAVE_CID=16\n");
        let path = machine.path(BOOT_FILE);
        let failed = path.with_file_name(REPLACED);
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        restore(&machine, &release).unwrap();
        keep(&machine, &release).unwrap();
        assert_eq!(mode(&release.join(KEPT)), 0o600);
        // A boot file without the line of earlier versions is no other boot file.
        remove_enclave_cid(&machine).unwrap();
        restore(&machine, &release).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\n");
        assert!(!failed.exists());
        for other in ["A=2\nENCLAVE_CID=18\n", "A=3\nENCLAVE_CID=18\n"] {
            fs::write(&path, other).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            restore(&machine, &release).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\n");
            assert_eq!(fs::read_to_string(&failed).unwrap(), other);
            assert_eq!((mode(&path), mode(&failed)), (0o640, 0o640));
        }
        remove_drafts(&machine);
        assert!(failed.exists(), "it holds what the operator wrote");
        fs::remove_file(&path).unwrap();
        restore(&machine, &release).unwrap_err();
    }

    #[test]
    fn a_renewed_certificate_is_kept_and_no_other_change() {
        let text = |secret: &str, certificate: &str, key: &str| {
            format!(
                "A={secret}\nTLS_CERT_CHAIN=\"-----BEGIN CERTIFICATE-----\n{certificate}==\n\
                 -----END CERTIFICATE-----\"\nTLS_KEY_CIPHERTEXT={key}\nENCLAVE_CID=16\nB=2\n"
            )
        };
        let (_root, machine, release) = machine_with(&text("1", "OLD", "old"));
        let kept = || fs::read_to_string(release.join(KEPT)).unwrap();
        keep_certificate(&machine, &release).unwrap();
        assert!(!release.join(KEPT).exists(), "no enclave was ready with it");
        keep(&machine, &release).unwrap();
        for (present, is_kept) in [
            (text("1", "NEW", "new"), true),
            (text("2", "NEWER", "newer"), false),
            (text("1", "NEWER", "newer").replace("B=2", "B=3"), false),
            (text("1", "NEWER", "newer").replace("B=2", ""), false),
            (text("1", "NEWER\nNEWER", "newer"), true),
        ] {
            let before = kept();
            fs::write(machine.path(BOOT_FILE), &present).unwrap();
            keep_certificate(&machine, &release).unwrap();
            assert_eq!(kept(), if is_kept { present } else { before });
        }
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        check_folder(&machine).unwrap();
        let folder = root.path().join("etc/nitro-signer");
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(root.path(), &folder).unwrap();
        assert!(check_folder(&machine).unwrap_err().line.contains("a link or no folder"));
    }
}
