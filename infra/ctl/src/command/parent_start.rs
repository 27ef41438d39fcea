//! `signerctl parent start`

use clap::Args;
use signerctl::parent::deployment::{Options, plan, start};

use super::parent_instance::{Patience, ReleaseFolder, instance};
use crate::failure::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = "\
The proxy (nitro-parent.service) reads the enclave's CID from /etc/nitro-signer/env for each connection, so it is not
restarted. Whatever fails before the new enclave has taken over, it is ended again, and the old one goes on.

An enclave of ours is recorded by its ID in /var/lib/nitro-signer/enclaves.json. One that is not recorded is ours by its
name: that of nitro.toml, perhaps with _1, _2 and so on, which nitro-cli adds to a name that is taken. Others are left
alone.

Exit status: 0 it serves, 64 wrong command line, 66 no such release, 69 a service, a tool or nitro-cli fails, 70 the
enclave did not get ready, 73 the output cannot be written, 75 no room without --replace or another run is at work, 77 not
root, 78 release or boot file wrong, 129, 130 or 143 interrupted.

Examples:
  signerctl parent start --release .
  signerctl parent start --release image --dry-run
  signerctl parent start --replace")]
pub(crate) struct ParentStart {
    #[command(flatten)]
    release: ReleaseFolder,

    /// Where there is no room for both, ends the old enclave first: nobody is served until the new one is ready. If
    /// that fails, starts again what was last started with success
    #[arg(long)]
    replace: bool,

    /// Starts it with a console, and with PCRs that are zero, so that KMS gives it nothing: never with keys that matter
    #[arg(long)]
    debug_mode: bool,

    #[command(flatten)]
    patience: Patience,

    /// Checks everything, prints what it would run and changes nothing
    #[arg(long)]
    dry_run: bool,
}

impl ParentStart {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let instance = instance()?;
        let options = Options {
            release: self.release.of(&instance),
            is_replacing: self.replace,
            is_debugged: self.debug_mode,
            times: self.patience.into(),
        };
        if self.dry_run {
            return plan(&instance, &options)?.iter().try_for_each(|line| print(format_args!("+ {line}")));
        }
        Ok(start(&instance, &options)?)
    }
}
