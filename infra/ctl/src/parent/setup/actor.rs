//! Changes of the machine, which a dry run prints instead.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use crate::parent::failed::{Failed, Kind};
use crate::parent::machine::{Call, Machine};
use crate::parent::{release, report};

/// dnf may have to fetch 200 MB; the allocator may have to move memory.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// Makes changes, or prints them.
pub(super) struct Actor<'a> {
    machine: &'a Machine,
    is_dry: bool,
}

impl<'a> Actor<'a> {
    pub(super) const fn new(machine: &'a Machine, is_dry: bool) -> Self {
        Self { machine, is_dry }
    }

    /// Prints a change that a dry run does not make.
    pub(super) fn print(&self, line: impl Display) {
        // A closed output cannot be told about.
        let _ = io::stdout().write_all(format!("+ {line}\n").as_bytes());
    }

    /// Runs a command, which has to succeed.
    pub(super) fn run<I>(&self, program: impl Into<OsString>, arguments: I) -> Result<(), Failed>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let call = Call::new(program, arguments, TIMEOUT);
        if self.is_dry {
            self.print(&call);
            return Ok(());
        }
        report(&call);
        let ended = self
            .machine
            .run(&call)
            .map_err(|error| Failed::new(Kind::Unavailable, format_args!("{call}: {error}")))?;
        if ended.status == 0 {
            return Ok(());
        }
        let said = if ended.stderr.trim().is_empty() { ended.stdout.trim() } else { ended.stderr.trim() };
        let line = format_args!("{call} fails (exit status {}): {said}", ended.status);
        Err(Failed::new(Kind::Command(u8::try_from(ended.status).unwrap_or(u8::MAX)), line))
    }

    /// Puts a copy of `source`, which may be another user's and is no link, at `place`. Returns whether anything
    /// changed.
    pub(super) fn put_file(&self, source: &Path, place: &Path, mode: u32) -> Result<bool, Failed> {
        let mut bytes = Vec::new();
        release::open_regular(source)?.read_to_end(&mut bytes).map_err(|error| {
            Failed::new(Kind::Unavailable, format_args!("{}: it cannot be read: {error}", source.display()))
        })?;
        self.put_from(&bytes, source.display(), place, mode)
    }

    /// Likewise, for a text of our own.
    pub(super) fn put(&self, bytes: &[u8], place: &Path, mode: u32) -> Result<bool, Failed> {
        self.put_from(bytes, "TEXT", place, mode)
    }

    /// At once: a program that runs goes on with the file it has.
    fn put_from(&self, bytes: &[u8], from: impl Display, place: &Path, mode: u32) -> Result<bool, Failed> {
        if is_there(bytes, place, mode) {
            return Ok(false);
        }
        if let Some(folder) = place.parent() {
            self.make_folder(folder)?;
        }
        if self.is_dry {
            self.print(format_args!("install -m {mode:04o} -- {from} {}", place.display()));
            return Ok(true);
        }
        let mut draft = place.as_os_str().to_owned();
        draft.push(".new");
        let draft = Path::new(&draft);
        let write = || {
            // One that a run left which was killed.
            match fs::remove_file(draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()?;
            fs::rename(draft, place)
        };
        write().map(|()| true).map_err(|error| unwritten(place, &error))
    }

    /// Makes a folder that every user may read, with its parents.
    pub(super) fn make_folder(&self, folder: &Path) -> Result<(), Failed> {
        if folder.is_dir() {
            return Ok(());
        }
        if self.is_dry {
            self.print(format_args!("install -d -m 0755 -- {}", folder.display()));
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.make_folder(above)?;
        }
        // The mode that is asked for passes through the umask.
        DirBuilder::new()
            .mode(0o755)
            .create(folder)
            .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)))
            .map_err(|error| unwritten(folder, &error))
    }

    pub(super) fn set_mode(&self, path: &Path, mode: u32) -> Result<(), Failed> {
        if self.is_dry {
            self.print(format_args!("chmod {mode:04o} -- {}", path.display()));
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| unwritten(path, &error))
    }

    /// Removes a file that may not be there.
    pub(super) fn remove(&self, path: &Path) {
        if !self.is_dry {
            // The next run finds it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the file exists already, with the mode.
fn is_there(bytes: &[u8], place: &Path, mode: u32) -> bool {
    let Ok(metadata) = place.symlink_metadata() else { return false };
    let is_alike = metadata.is_file()
        && metadata.permissions().mode() & 0o7777 == mode
        && metadata.len() == bytes.len() as u64;
    let same = || {
        let mut there = Vec::new();
        File::open(place).and_then(|mut file| file.read_to_end(&mut there)).is_ok_and(|_| there == bytes)
    };
    is_alike && same()
}

fn unwritten(place: &Path, error: &io::Error) -> Failed {
    Failed::new(Kind::Unavailable, format_args!("{}: it cannot be written: {error}", place.display()))
}
