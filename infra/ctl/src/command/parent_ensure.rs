//! `signerctl parent ensure`

use clap::Args;
use signerctl::parent::watch::ensure;

use super::parent_instance::{Patience, instance};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Starts what was last started with success, ending what is in its way, unless our enclave answers already. Any answer of
/health is enough: what a new enclave would wait for too is no reason to start one.

Exit status: 0 it answers, 64 wrong command line, 66 nothing was started yet, 69 a service, a tool or nitro-cli fails, 70
the enclave did not get ready, 73 the output cannot be written, 75 no room or another run is at work, 77 not root, 78
release or boot file wrong, 129, 130 or 143 interrupted.

Example:
  signerctl parent ensure")]
pub(crate) struct ParentEnsure {
    #[command(flatten)]
    patience: Patience,
}

impl ParentEnsure {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(ensure(&instance()?, self.patience.into())?)
    }
}
