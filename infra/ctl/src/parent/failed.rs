//! The reason for an early end of work on the parent.

use std::fmt;

use nix::sys::signal::Signal;

use super::nitro_cli::NitroCliFailed;

/// The kind of a failure; each kind has one exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A release or a boot file is missing.
    NoInput,
    /// A service, a tool or `nitro-cli` fails.
    Unavailable,
    /// The enclave did not become ready.
    NotReady,
    /// There is no room, or another run holds the lock: a later run may succeed.
    TryLater,
    /// Root is needed.
    NoPermission,
    /// A release or the boot file is wrong.
    Configuration,
    /// A command failed with this exit status.
    Command(u8),
    /// A signal asked for the end.
    Interrupted(Signal),
}

/// Why work on the parent ended early, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The kind of the failure.
    pub kind: Kind,
    /// The event, the expectation and the remedy.
    pub line: String,
}

impl Failed {
    /// A failure of `kind` that `line` explains.
    #[must_use]
    pub fn new(kind: Kind, line: impl fmt::Display) -> Self {
        Self { kind, line: line.to_string() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line)
    }
}

impl std::error::Error for Failed {}

impl From<NitroCliFailed> for Failed {
    fn from(failed: NitroCliFailed) -> Self {
        Self::new(Kind::Unavailable, failed)
    }
}
