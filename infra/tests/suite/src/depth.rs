//! How deep a run looks. `infra/test.sh --help` says what each depth has.

use std::str::FromStr;

/// The depths, each of which has every step of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// For a change that is being worked on.
    Quick,
    /// For a change that is ready.
    Default,
    /// For a release, and every night.
    Thorough,
}

impl Depth {
    /// As `infra/test.sh` passes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Default => "default",
            Self::Thorough => "thorough",
        }
    }
}

impl FromStr for Depth {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Quick, Self::Default, Self::Thorough].into_iter().find(|depth| depth.name() == name).ok_or(())
    }
}
