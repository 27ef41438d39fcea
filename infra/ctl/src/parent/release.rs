//! A release: an image, and the `nitro.toml` with its measurements. Its folder may be another user's. So no link in it
//! is followed, and root's own copy is checked, started and kept.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use configuration::{Configuration, MAX_CONFIGURATION_BYTES};
use nix::fcntl::OFlag;

use super::failed::{Failed, Kind};
use super::machine::Machine;
use super::nitro_cli::NitroCli;
use crate::nitro_toml::NitroToml;

/// A link to the release that was last started with success, which a reboot starts.
pub const STORED_RELEASE: &str = "/var/lib/nitro-signer/release";

/// The folders that the link leads to.
const RELEASES: &str = "/var/lib/nitro-signer/releases";

pub(super) const IMAGE: &str = "nitro-signer.eif";
pub(super) const NITRO_TOML: &str = "nitro.toml";

/// An image may fill a quarter of the enclave's memory: nitro-cli refuses more (E26).
const MEMORY_PER_IMAGE_BYTE: u64 = 4;

/// A release that can be started.
#[derive(Debug)]
pub(super) struct Release {
    folder: PathBuf,
    nitro_toml: NitroToml,
    /// Removed at the end, unless the release is kept.
    is_staged: bool,
}

impl Release {
    /// Opens the release `folder`. It is copied first, unless it is the stored one or `is_dry`.
    pub(super) fn open(machine: &Machine, folder: &Path, is_dry: bool) -> Result<Self, Failed> {
        if !folder.is_dir() {
            return Err(no_release(folder));
        }
        for name in [IMAGE, NITRO_TOML] {
            open_regular(&folder.join(name))?;
        }
        if !is_dry {
            remove_leftovers(machine);
        }
        // Once: a link of another user may lead elsewhere the next time.
        let real = folder.canonicalize().map_err(|error| unreadable(folder, &error))?;
        if machine.path(STORED_RELEASE).canonicalize().is_ok_and(|stored| stored == real) || is_dry {
            let nitro_toml = read_nitro_toml(&real)?;
            return Ok(Self { folder: real, nitro_toml, is_staged: false });
        }
        let staged = Staged(new_folder(&machine.path(RELEASES))?);
        copy_regular(&real.join(NITRO_TOML), &staged.0.join(NITRO_TOML), MAX_CONFIGURATION_BYTES as u64)?;
        let nitro_toml = read_nitro_toml(&staged.0)?;
        // A file that grows while it is read must not fill the disk; a file that is too large is refused later.
        let memory_bytes = u64::from(nitro_toml.configuration().enclave.memory_mib) << 20;
        copy_regular(&real.join(IMAGE), &staged.0.join(IMAGE), memory_bytes / MEMORY_PER_IMAGE_BYTE)?;
        Ok(Self { folder: staged.disarm(), nitro_toml, is_staged: true })
    }

    pub(super) fn configuration(&self) -> &Configuration {
        self.nitro_toml.configuration()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    /// Refuses an image that is too large, or is not the one that `nitro.toml` was noted for.
    pub(super) fn check_image(&self, nitro_cli: NitroCli<'_>) -> Result<(), Failed> {
        let path = self.image();
        let wrong = |line: String| Err(Failed::new(Kind::Configuration, line));
        let bytes = path.metadata().map_err(|error| unreadable(&path, &error))?.len();
        let memory_mib = self.configuration().enclave.memory_mib;
        if bytes.saturating_mul(MEMORY_PER_IMAGE_BYTE) > u64::from(memory_mib) << 20 {
            return wrong(format!(
                "an image of {bytes} bytes needs four times that in enclave.memory_mib; nitro.toml has {memory_mib}"
            ));
        }
        let Some(noted) = self.nitro_toml.noted_measurements() else {
            return wrong(format!(
                "{}: [pcr] has not PCR0, PCR1 and PCR2 of an image (zeros are those of debug mode); infra/build-eif.sh \
                 writes them",
                self.folder.join(NITRO_TOML).display()
            ));
        };
        let measured = nitro_cli.describe_eif(&path)?;
        let pairs = [(measured.pcr0, noted.pcr0), (measured.pcr1, noted.pcr1), (measured.pcr2, noted.pcr2)];
        match pairs.iter().position(|(measured, noted)| measured != noted) {
            None => Ok(()),
            Some(index) => {
                wrong(format!("PCR{index} of the image is not that of nitro.toml; they are not of one build"))
            }
        }
    }

    /// Makes it the release that a reboot starts.
    pub(super) fn keep(&mut self, machine: &Machine) -> Result<(), Failed> {
        if !self.is_staged {
            return Ok(());
        }
        let link = machine.path(STORED_RELEASE);
        let keep = || -> io::Result<()> {
            for name in [IMAGE, NITRO_TOML] {
                let file = File::open(self.folder.join(name))?;
                file.set_permissions(Permissions::from_mode(0o644))?;
                file.sync_all()?;
            }
            let folder = File::open(&self.folder)?;
            folder.set_permissions(Permissions::from_mode(0o755))?;
            folder.sync_all()?;
            let new = link.with_extension("new");
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Relative, so that it holds wherever the machine's root is mounted.
            let folder_name = self.folder.file_name().unwrap_or_default();
            symlink(Path::new("releases").join(folder_name), &new)?;
            fs::rename(&new, &link)?;
            crate::output_file::sync_folder_of(&link)
        };
        keep().map_err(|error| {
            Failed::new(Kind::Unavailable, format_args!("{}: it cannot be replaced: {error}", link.display()))
        })?;
        self.is_staged = false;
        Ok(())
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if self.is_staged {
            // The next run finds the rest.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A folder that is removed unless it becomes a release.
struct Staged(PathBuf);

impl Staged {
    fn disarm(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The next run finds the rest.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Whether `folder` is the release that a reboot starts.
pub(super) fn is_stored(machine: &Machine, folder: &Path) -> bool {
    match (folder.canonicalize(), machine.path(STORED_RELEASE).canonicalize()) {
        (Ok(folder), Ok(stored)) => folder == stored,
        _ => false,
    }
}

/// The settings of the release `folder`, without its image.
pub(super) fn read_settings(folder: &Path) -> Result<Configuration, Failed> {
    match folder.canonicalize() {
        Ok(folder) => read_nitro_toml(&folder).map(|nitro_toml| nitro_toml.configuration().clone()),
        Err(_) => Err(no_release(folder)),
    }
}

fn no_release(folder: &Path) -> Failed {
    let line = format_args!("no release: {} is not a folder that infra/build-eif.sh made", folder.display());
    Failed::new(Kind::NoInput, line)
}

fn unreadable(path: &Path, error: &io::Error) -> Failed {
    Failed::new(Kind::Unavailable, format_args!("{}: {error}", path.display()))
}

pub(super) fn read_nitro_toml(folder: &Path) -> Result<NitroToml, Failed> {
    read_nitro_toml_at(&folder.join(NITRO_TOML))
}

pub(super) fn read_nitro_toml_at(path: &Path) -> Result<NitroToml, Failed> {
    let mut text = String::new();
    let file = open_regular(path)?;
    let wrong = |error: &dyn std::fmt::Display| {
        Failed::new(Kind::Configuration, format_args!("{}: {error}", path.display()))
    };
    // One byte more shows that it is too long.
    let limit = MAX_CONFIGURATION_BYTES as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    NitroToml::read(&text).map_err(|error| wrong(&error))
}

/// Opens a file that is no link, which may lead to a file of root alone, and no pipe, which may never end.
pub(super) fn open_regular(path: &Path) -> Result<File, Failed> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failed::new(Kind::NoInput, format_args!("{} is missing", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(unreadable(path, &error)),
        Ok(_) | Err(_) => {
            let line =
                format_args!("{} is a link or no regular file; it is not followed or read", path.display());
            Err(Failed::new(Kind::Configuration, line))
        }
    }
}

/// Copies the file that was opened, whatever has its name by then. Reads `max_bytes` and one more, which shows that the
/// file is too long.
fn copy_regular(from: &Path, to: &Path, max_bytes: u64) -> Result<(), Failed> {
    let mut from = open_regular(from)?.take(max_bytes.saturating_add(1));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .and_then(|mut to| io::copy(&mut from, &mut to))
        .map(drop)
        .map_err(|error| unreadable(to, &error))
}

/// A folder of root's alone, until it is known to be a release.
fn new_folder(releases: &Path) -> Result<PathBuf, Failed> {
    fs::create_dir_all(releases).map_err(|error| unreadable(releases, &error))?;
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let folder = releases.join(format!("{:08x}", nanoseconds ^ std::process::id().rotate_left(16)));
    DirBuilder::new().mode(0o700).create(&folder).map_err(|error| unreadable(&folder, &error))?;
    Ok(folder)
}

/// Removes the remains of killed runs, and releases that others have replaced.
fn remove_leftovers(machine: &Machine) {
    let current = machine.path(STORED_RELEASE).canonicalize().ok();
    let Ok(entries) = fs::read_dir(machine.path(RELEASES)) else { return };
    for entry in entries.flatten() {
        if entry.path().canonicalize().ok() != current {
            // The next run finds the rest.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::machine::SystemCommands;

    fn kind(result: Result<(), Failed>) -> Option<Kind> {
        result.err().map(|failed| failed.kind)
    }

    /// As they may become between a look and the copy.
    #[test]
    fn only_a_regular_file_is_copied() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("secret"), "only for root").unwrap();
        symlink(path("secret"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for wrong in ["link", "pipe", ""] {
            assert_eq!(
                kind(copy_regular(&path(wrong), &path("copy"), 99)),
                Some(Kind::Configuration),
                "{wrong}"
            );
        }
        assert_eq!(kind(copy_regular(&path("missing"), &path("copy"), 99)), Some(Kind::NoInput));
        assert!(!path("copy").exists());
        copy_regular(&path("secret"), &path("copy"), 99).unwrap();
        assert_eq!(fs::read(path("copy")).unwrap(), b"only for root");
        copy_regular(&path("secret"), &path("start"), 3).unwrap();
        assert_eq!(fs::read(path("start")).unwrap(), b"only");
        // Nothing is written through a link of that name.
        assert_eq!(kind(copy_regular(&path("copy"), &path("link"), 99)), Some(Kind::Unavailable));
    }

    #[test]
    fn what_was_left_goes_and_the_stored_release_stays() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::new(root.path().into(), Box::new(SystemCommands));
        let releases = machine.path(RELEASES);
        let kept = new_folder(&releases).unwrap();
        symlink(Path::new("releases").join(kept.file_name().unwrap()), machine.path(STORED_RELEASE)).unwrap();
        new_folder(&releases).unwrap();
        remove_leftovers(&machine);
        let left: Vec<_> = fs::read_dir(&releases).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&kept));
        assert!(is_stored(&machine, &kept) && is_stored(&machine, &machine.path(STORED_RELEASE)));
        assert!(!is_stored(&machine, &releases));
    }
}
