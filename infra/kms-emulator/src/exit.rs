//! Exit codes, after `sysexits.h`.

/// Stopped by a signal.
pub(crate) const OK: u8 = 0;

/// The command line is wrong; nothing was bound (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;

/// An address could not be bound (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;

/// A part that never ends has ended: a defect (`EX_SOFTWARE`).
pub(crate) const SOFTWARE: u8 = 70;

/// The operating system refused something basic (`EX_OSERR`).
pub(crate) const OS_ERROR: u8 = 71;

/// A file named on the command line cannot be used (`EX_CONFIG`).
pub(crate) const CONFIG: u8 = 78;
