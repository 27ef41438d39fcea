//! Settings that are made once for the whole process.

use std::io::Write as _;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Turns core dumps off, allows as many open files as the kernel does, and keeps payloads out of panic messages.
///
/// # Errors
/// The kernel's own.
pub fn harden() -> nix::Result<()> {
    // One byte and not none: a `core_pattern` that is a pipe ignores the limit 0, and refuses to dump at the limit 1
    // (fs/coredump.c); a core file has no room in one byte either.
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    std::panic::set_hook(Box::new(|panic| {
        // Where, but not what: a payload may quote the data it stumbled over.
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        if tracing::dispatcher::has_been_set() {
            tracing::error!("panicked at {place}");
        } else {
            // Nothing is left to tell if stderr is gone.
            let _ = writeln!(std::io::stderr(), "panicked at {place}");
        }
    }));
    Ok(())
}
