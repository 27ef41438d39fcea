//! `signerctl policy render`

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use configuration::Region;
use signerctl::key_policy::{INSTANCE_ROLE, NotRendered, ROLES, Subjects, render};

use super::input_files::{read_measurements, read_nitro_toml};
use super::pinned_parent::PinnedParent;
use crate::failure::{EX_DATAERR, EX_USAGE, Failure, print, read_text, write};

/// Twice the limit of KMS.
const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("images").required(true).args(["measurements", "without_image"])),
    group(ArgGroup::new("key").required(true).args(["nitro_toml", "account"])),
    after_help = "\
During a roll-over, name the measurements of the old image and of the new one; afterwards, those of the new one alone.
--pin-role and --pin-instance keep others who have the role's credentials from starting a copy of the image on an
instance of their own. Before an instance is replaced, render for both ids; afterwards, for the new one alone. A role of
the same ARN keeps its PCR3.

Measurements of zeros (debug mode) are refused, and so is a policy in which any placeholder is left.

Exit status: 0 rendered, 64 wrong command line, 65 a file is not what it should be, 66 a file cannot be read, 73 the
policy cannot be written, 78 nitro.toml is wrong.

Examples:
  signerctl policy render --template infra/kms-key-policy.json --nitro-toml infra/nitro.toml \\
      --measurements new/measurements.json --measurements old/measurements.json
  signerctl policy render --template infra/kms-key-policy.json --nitro-toml infra/nitro.toml \\
      --measurements new/measurements.json --pin-role --pin-instance i-0123456789abcdef0
  signerctl policy render --template infra/kms-key-policy.json --without-image \\
      --account 123456789012 --region eu-central-1     # to create the key with, before there is an image"
)]
pub(crate) struct PolicyRender {
    /// The policy with placeholders: infra/kms-key-policy.json or infra/iam-policy.json
    #[arg(long, value_name = "FILE")]
    template: PathBuf,

    /// Measurements of an image, as `signerctl eif build` prints them; may be repeated
    #[arg(long, value_name = "FILE")]
    measurements: Vec<PathBuf>,

    /// Leaves out the actions that only an image may perform
    #[arg(long)]
    without_image: bool,

    /// Takes account, region and keys from [kms] of this file
    #[arg(long, value_name = "FILE")]
    nitro_toml: Option<PathBuf>,

    /// Takes this account, while there is no key to name in nitro.toml
    #[arg(long, value_name = "12 DIGITS", requires = "region")]
    account: Option<String>,

    /// The region that goes with --account
    #[arg(long, value_name = "REGION", requires = "account")]
    region: Option<Region>,

    /// The role of the instance, if it is not nitro-signer-instance
    #[arg(long, value_name = "ARN")]
    instance_role: Option<String>,

    /// The role that encrypts boot secrets, if it is not nitro-signer-secret-sealer
    #[arg(long, value_name = "ARN")]
    sealer_role: Option<String>,

    /// The role that manages the key, if it is not nitro-signer-key-administrator
    #[arg(long, value_name = "ARN")]
    administrator_role: Option<String>,

    #[command(flatten)]
    pinned: PinnedParent,

    /// Where the policy goes, if not to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl PolicyRender {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.without_image && !self.pinned.is_any() {
            return Err(Failure::new(
                EX_USAGE,
                "--pin-role and --pin-instance are for statements of an image",
            ));
        }
        let template = read_text(&self.template, MAX_TEMPLATE_BYTES)?;
        let mut images = Vec::new();
        for path in &self.measurements {
            images.push(read_measurements(path)?.0);
        }
        let mut subjects = match (&self.nitro_toml, &self.account, &self.region) {
            (Some(path), _, _) => Subjects::of_keys(&read_nitro_toml(path)?.configuration().kms.key_arns()),
            (None, Some(account), Some(region)) => {
                Subjects::of_account(account, region).map_err(|error| Failure::new(EX_USAGE, error))?
            }
            _ => unreachable!("clap asks for the one or the others"),
        };
        let given = [self.instance_role, self.sealer_role, self.administrator_role];
        subjects.roles = ROLES.into_iter().zip(given).filter_map(|(role, arn)| Some((role, arn?))).collect();
        let role_arn = subjects.role_arn(INSTANCE_ROLE);
        subjects.pins = self.pinned.pins(Some(&role_arn)).unwrap_or_default();
        let policy = render(&template, &images, &subjects).map_err(|error| match error {
            NotRendered::Role(_)
            | NotRendered::SameImage
            | NotRendered::TooManyImages
            | NotRendered::TooManyInstances => Failure::new(EX_USAGE, error),
            _ => Failure::of_file(EX_DATAERR, &self.template, error),
        })?;
        match &self.output {
            Some(path) => write(path, policy.as_bytes()),
            None => print(policy.trim_end()),
        }
    }
}
