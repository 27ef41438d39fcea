//! Exit codes, after `sysexits.h` where it has one.

/// Everything that was begun was finished, or cut off at the drain deadline.
pub const OK: u8 = 0;

/// The command line is wrong; nothing was bound (`EX_USAGE`).
pub const USAGE: u8 = 64;

/// An address could not be bound (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;

/// A part that never ends has ended: a defect (`EX_SOFTWARE`).
pub const SOFTWARE: u8 = 70;

/// The operating system refused something basic (`EX_OSERR`).
pub const OS_ERROR: u8 = 71;

/// A second signal cut the draining short (128 + SIGINT, as shells report it).
pub const INTERRUPTED: u8 = 130;
