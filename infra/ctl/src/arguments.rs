//! The command line.

use clap::{Parser, Subcommand};

use crate::command::{EifBuild, EifDescribe, EifDiff, Health, PolicyCheck, PolicyRender};
use crate::failure::Failure;

/// The operator's command: images, policies, boot secrets, and signers that run.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "signerctl",
    after_help = "\
Exit status: 0 done, 1 what was looked at is not as it should be, 64 wrong command line, 65 a file is not what it
should be, 66 a file cannot be read, 69 a service does not answer, 73 a file cannot be written, 78 nitro.toml is wrong."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) subject: Subject,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subject {
    /// Enclave images
    #[command(subcommand)]
    Eif(EifVerb),
    /// Policies for KMS and IAM
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Asks a signer whether it can sign
    Health(Health),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EifVerb {
    /// Puts an image together and prints its measurements
    Build(EifBuild),
    /// Prints what an image holds and measures
    Describe(EifDescribe),
    /// Prints what differs between two images
    Diff(EifDiff),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Prints a policy for the images with these measurements
    Render(PolicyRender),
    /// Says which statements let anybody but the image use the key
    Check(PolicyCheck),
}

impl Subject {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Eif(EifVerb::Build(build)) => build.run(),
            Self::Eif(EifVerb::Describe(describe)) => describe.run(),
            Self::Eif(EifVerb::Diff(diff)) => diff.run(),
            Self::Policy(PolicyVerb::Render(render)) => render.run(),
            Self::Policy(PolicyVerb::Check(check)) => check.run(),
            Self::Health(health) => health.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}
