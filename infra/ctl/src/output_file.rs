//! Files that are written whole or not at all, also when the disk is full or the program is stopped.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes `bytes` beside `path`, or the file that it links to, and puts them in its place, with the permissions of what
/// was there.
///
/// # Errors
/// The system's; and for a folder, a device or a pipe. What was there is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, None)
}

/// As [`write()`], readable for its owner only: mode 0600.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, Some(PRIVATE))
}

/// Writes a file that did not exist: mode 0600, on disk with its name.
///
/// # Errors
/// The system's; and if anything has that name.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    replace(path, bytes, Some(PRIVATE))?;
    sync_folder_of(path)
}

/// Brings the names in the folder of `path` to disk.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Drafts of other processes that are passed over: more than a restart leaves.
const MAX_DRAFTS: u32 = 1000;

/// Read and write, for the owner.
const PRIVATE: u32 = 0o600;

fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let before = path.metadata().ok();
    // Root could put a file in the place of /dev/null.
    if before.as_ref().is_some_and(|before| !before.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let path = if before.is_some() { &path.canonicalize()? } else { path };
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if let Some(mode) = mode {
        options.mode(mode);
    }
    let (draft, mut file) = draft_of(path, name, &options)?;
    let write = || {
        file.write_all(bytes)?;
        if let (Some(before), None) = (before, mode) {
            file.set_permissions(before.permissions())?;
        }
        file.sync_all()
    };
    write().and_then(|()| rename(&draft, path)).inspect_err(|_| {
        // It may not be there any more.
        let _ = remove_file(&draft);
    })
}

/// Opens a file beside `path` that was not there. One that another process left, with the same number in another
/// container or before a restart, stays.
fn draft_of(path: &Path, name: &OsStr, options: &OpenOptions) -> io::Result<(PathBuf, File)> {
    let mut attempt = 0;
    loop {
        let mut draft_name = name.to_owned();
        draft_name.push(format!(".{}.{attempt}", std::process::id()));
        let draft = path.with_file_name(draft_name);
        match options.open(&draft) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < MAX_DRAFTS => {
                attempt += 1;
            }
            opened => return opened.map(|file| (draft, file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{write, write_new, write_private};

    #[test]
    fn what_another_process_left_stays() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(format!("file.{}.0", std::process::id()));
        std::fs::write(&left, b"another's").unwrap();
        write(&folder.path().join("file"), b"ours").unwrap();
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"ours");
        assert_eq!(std::fs::read(&left).unwrap(), b"another's");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        write(&folder.path().join("missing/file"), b"x").unwrap_err();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        write(&folder.path().join("folder"), b"x").unwrap_err();
        let mut left: Vec<_> = folder.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["file", "folder"]);
    }
    #[test]
    fn what_is_private_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        write_new(&path, b"one").unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(write_new(&path, b"two").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        write_private(&path, b"three").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode()), (b"three".to_vec(), 0o600));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nothing"), &link).unwrap();
        write_new(&link, b"x").unwrap_err();
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    }
}
