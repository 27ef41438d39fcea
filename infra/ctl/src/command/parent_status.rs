//! `signerctl parent status`

use clap::Args;
use signerctl::parent::running::status;

use super::parent_instance::{ReleaseFolder, instance};
use crate::failure::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints a line for each enclave of ours, also for one that nitro-cli renamed; then the CID that the proxy dials, and what
/health answers through it.

Exit status: 0 printed, 64 wrong command line, 66 no such release, 69 nitro-cli fails, 73 the output cannot be written, 77
not root, 78 release or boot file wrong.

Example:
  signerctl parent status")]
pub(crate) struct ParentStatus {
    #[command(flatten)]
    release: ReleaseFolder,
}

impl ParentStatus {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let instance = instance()?;
        status(&instance, &self.release.of(&instance))?.iter().try_for_each(print)
    }
}
