//! `signerctl parent watch`

use clap::Args;
use signerctl::parent::watch::watch;

use super::parent_instance::{Patience, instance};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Does what `signerctl parent ensure` does, tells systemd that it is ready, and looks every 10 s. It fails when the enclave
does not answer three times in a row, so that systemd starts it again. While a deployment is at work, it does not look.

Exit status: 0 systemd ended it, 64 wrong command line, 66 nothing was started yet, 69 a service, a tool or nitro-cli
fails, 70 the enclave is dead or did not get ready, 73 the output cannot be written, 75 no room or another run is at work,
77 not root, 78 release or boot file wrong, 129 or 130 interrupted.

Example:
  signerctl parent watch")]
pub(crate) struct ParentWatch {
    #[command(flatten)]
    patience: Patience,
}

impl ParentWatch {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Ok(watch(&instance()?, self.patience.into())?)
    }
}
