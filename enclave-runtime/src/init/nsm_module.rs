//! The driver of the Nitro Security Module, where the kernel has it as a module: AWS's own kernels do.

use std::fs::{File, remove_file};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Where the image carries it; ours do not, since our kernel has it built in.
const PATH: &str = "/nsm.ko";

pub(super) fn load() -> Result<(), Errno> {
    let module = match File::open(PATH) {
        Ok(module) => module,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)),
    };
    match finit_module(&module, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    // Its memory is the enclave's. That it stays does no harm.
    let _ = remove_file(PATH);
    Ok(())
}
