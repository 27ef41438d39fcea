//! The mounted file systems and their places. The image's own files are in the kernel's first file system already.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::InitFailed;

struct FileSystem {
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    options: Option<&'static str>,
}

/// `/tmp` is for libraries that need a place. The signer itself writes nothing there.
const FILE_SYSTEMS: [FileSystem; 4] = [
    FileSystem {
        kind: "devtmpfs",
        target: "/dev",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        options: None,
    },
    FileSystem { kind: "proc", target: "/proc", flags: HARMLESS, options: None },
    FileSystem { kind: "sysfs", target: "/sys", flags: HARMLESS, options: None },
    FileSystem { kind: "tmpfs", target: "/tmp", flags: HARMLESS, options: Some("size=1m,mode=1777") },
];

const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC).union(MsFlags::MS_NODEV);

pub(super) fn mount_all() -> Result<(), InitFailed> {
    for FileSystem { kind, target, flags, options } in FILE_SYSTEMS {
        match mount(Some(kind), target, Some(kind), flags, options) {
            // The kernel may have mounted it before us (CONFIG_DEVTMPFS_MOUNT).
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => return Err(InitFailed::Mount(target, errno)),
        }
    }
    Ok(())
}
