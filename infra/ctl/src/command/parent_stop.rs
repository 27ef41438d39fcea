//! `signerctl parent stop`

use clap::Args;
use signerctl::parent::running::stop;

use super::parent_instance::{ReleaseFolder, instance};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
The keys in the enclaves are gone; backups bring them back. Where systemd sets SERVICE_RESULT to anything but success, as
after a watch that failed, this leaves the enclaves to the next watch.

Exit status: 0 no enclave of ours runs, 64 wrong command line, 66 no such release, 69 a service or nitro-cli fails, 73 the
output cannot be written, 75 another run is at work, 77 not root, 78 release wrong, 129, 130 or 143 interrupted.

Example:
  signerctl parent stop")]
pub(crate) struct ParentStop {
    #[command(flatten)]
    release: ReleaseFolder,
}

impl ParentStop {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let instance = instance()?;
        Ok(stop(&instance, &self.release.of(&instance))?)
    }
}
