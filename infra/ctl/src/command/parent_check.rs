//! `signerctl parent check`

use std::path::PathBuf;

use clap::Args;
use signerctl::endpoint::Endpoint;
use signerctl::parent::check::{Options, check};
use signerctl::parent::imds::Imds;
use signerctl::parent::machine::Machine;
use signerctl::parent::ownership::need_root;
use signerctl::parent::point::Outcome;
use signerctl::parent::release::STORED_RELEASE;
use signerctl::policy_check::MAX_POLICY_BYTES;

use super::input_files::attestation_root;
use super::pinned_parent::PinnedParent;
use super::preflight::IMDS_URL;
use crate::failure::{Failure, NOT_GOOD, print, read_text};
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
Checks the security of a running signer, on its parent instance, and changes nothing. It prints a line for each point:
PASS, FAIL, or SKIP for what could not be looked at, then what was found.

It verifies the enclave's attestation document down to AWS's root, and judges the key's policy as
`signerctl policy check` does. It judges the settings of nitro.toml and those in the release's image, which has to carry
the same. All the same, root on this instance can fake everything that is seen from here. Verify from outside what you
have to trust: `signerctl attest verify`.

--pin-role and --pin-instance are those of `signerctl policy check`. The role is that of --role, or else the one that AWS
names. AWS names it without its path: if it has one, give --role PATH/NAME.

Exit status: 0 nothing FAILed, 1 something did, 64 wrong command line, 65 a file is not what it should be, 66 a file is
missing, 69 a tool is missing, 73 the output cannot be written, 77 not root, 78 the release or the boot file is wrong.

Examples:
  signerctl parent check
  signerctl parent check --pin-role --pin-instance i-0123456789abcdef0
  signerctl parent check --release . --policy kms-key-policy.json --role nitro-signer-instance")]
pub(crate) struct ParentCheck {
    /// The expected release; its nitro.toml may be the one that you reviewed and committed, and its image may be
    /// missing
    /// [default: /var/lib/nitro-signer/release]
    #[arg(long, value_name = "FOLDER")]
    release: Option<PathBuf>,

    /// The KMS key policy, when this instance may not read it from KMS
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The instance's role, when AWS is not to be asked
    #[arg(long, value_name = "NAME")]
    role: Option<String>,

    #[command(flatten)]
    pinned: PinnedParent,

    /// The instance metadata service
    #[arg(long, value_name = "URL", default_value = IMDS_URL)]
    imds_url: Endpoint,

    /// Believes documents under this root, in PEM, instead of AWS's. For tests: everybody with its key passes for any
    /// enclave
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

impl ParentCheck {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let machine = Machine::this();
        need_root(&machine)?;
        let policy = self
            .policy
            .map(|path| Ok::<_, Failure>((read_text(&path, MAX_POLICY_BYTES)?, path.display().to_string())));
        let root =
            self.root.map(|path| Ok::<_, Failure>((attestation_root(&path)?, path.display().to_string())));
        let options = Options {
            release: self.release.unwrap_or_else(|| machine.path(STORED_RELEASE)),
            policy: policy.transpose()?,
            role: self.role,
            is_role_pinned: self.pinned.pin_role,
            pinned_instances: self.pinned.pin_instance,
            imds: Imds::new(self.imds_url),
            root: root.transpose()?,
        };
        let points = wait_for(check(&machine, &options))??;
        points.iter().try_for_each(|point| print(point.line("SKIP")))?;
        match points.iter().filter(|point| point.outcome == Outcome::Fail).count() {
            0 => Ok(()),
            failed => Err(Failure::new(NOT_GOOD, format_args!("{failed} of {} points failed", points.len()))),
        }
    }
}
