//! `signerctl policy check`

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::json;
use signerctl::eif::MeasurementSet;
use signerctl::key_policy::{INSTANCE_ROLE, Subjects};
use signerctl::nitro_toml::NitroToml;
use signerctl::policy_check::{
    Doubt, Expectation, Finding, InvalidPolicy, MAX_POLICY_BYTES, check_key_policy, check_role_policy,
};
use verification::Exposure;

use super::input_files::{read_measurements, read_nitro_toml};
use super::pinned_parent::PinnedParent;
use crate::failure::{EX_CONFIG, EX_DATAERR, EX_USAGE, Failure, NOT_GOOD, print, read_text};

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("policies").required(true).multiple(true).args(["policy", "iam_policy"])),
    group(ArgGroup::new("expected").required(true).multiple(true).args(["nitro_toml", "measurements"])),
    after_help = "\
Names each statement that lets anybody but the image decrypt, make data keys, or copy, grant or move the key; the
instance or whomever IAM lets encrypt boot secrets, change the policy or delete the key; and the sealer encrypt anything
else than boot secrets. What is not surely denied counts as allowed, and what IAM decides, as allowed by it. Grants that
exist already are in no policy: `aws kms list-grants` shows them.

--pin-role and --pin-instance are those of `policy render`: what does not ask for PCR3 or PCR4 is a doubt then, and so
is the PCR4 of any other instance.

It also names each setting for tests by which an image gives trust away: the key would open for it. A nitro.toml tells,
and so do measurements of `signerctl eif build`. Those of nitro-cli do not. A note names a key that only has to open old
backups, and that nitro.toml lets open boot secrets too.

Exit status: 0 no doubt, 1 doubts, 64 wrong command line, 65 a file is no policy, or one with placeholders, or no
measurements, 66 a file cannot be read, 73 the output cannot be written, 78 nitro.toml is wrong, or has no measurements.

Examples:
  signerctl policy check target/image/kms-key-policy.json --nitro-toml infra/nitro.toml \\
      --iam-policy target/image/iam-policy.json
  aws kms get-key-policy --key-id \"$KEY_ARN\" --query Policy --output text | \\
      signerctl policy check /dev/stdin --measurements target/image/measurements.json"
)]
pub(crate) struct PolicyCheck {
    /// The policy of the key
    #[arg(value_name = "FILE")]
    policy: Option<PathBuf>,

    /// A policy of the instance's role
    #[arg(long, value_name = "FILE")]
    iam_policy: Option<PathBuf>,

    /// Takes the keys from this file, and, without --measurements, the image's measurements from its [pcr]
    #[arg(long, value_name = "FILE")]
    nitro_toml: Option<PathBuf>,

    /// Measurements of an image that may use the key, as `signerctl eif build` prints them; may be repeated
    #[arg(long, value_name = "FILE")]
    measurements: Vec<PathBuf>,

    /// The role of the instance, if it is not nitro-signer-instance
    #[arg(long, value_name = "ARN")]
    instance_role: Option<String>,

    #[command(flatten)]
    pinned: PinnedParent,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

type Check = fn(&str, &Expectation<'_>) -> Result<Finding, InvalidPolicy>;

impl PolicyCheck {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let nitro_toml = self.nitro_toml.as_deref().map(read_nitro_toml).transpose()?;
        let mut images: Vec<MeasurementSet> = Vec::new();
        let mut exposures = nitro_toml.as_ref().map_or_else(Vec::new, |it| it.exposures().to_vec());
        for path in &self.measurements {
            let (measurements, given_away) = read_measurements(path)?;
            images.push(measurements);
            exposures.extend(given_away);
        }
        // In the order of `ALL`, and each once, whichever files name it.
        let exposures: Vec<Exposure> = Exposure::ALL
            .into_iter()
            .filter(|exposure| exposure.is_for_tests() && exposures.contains(exposure))
            .collect();
        if let (true, Some(path), Some(nitro_toml)) = (images.is_empty(), &self.nitro_toml, &nitro_toml) {
            let noted = nitro_toml.noted_measurements().cloned();
            let none = "no measurements under [pcr], or zeros: build the image, or name --measurements";
            images.push(noted.ok_or_else(|| Failure::of_file(EX_CONFIG, path, none))?);
        }
        if self.instance_role.as_ref().is_some_and(|arn| !arn.contains(":role/")) {
            return Err(Failure::new(EX_USAGE, "--instance-role is not the ARN of a role"));
        }
        let settings_notes = nitro_toml.as_ref().map(NitroToml::notes).unwrap_or_default();
        let keys = nitro_toml.as_ref().map(|it| it.configuration().kms.key_arns()).unwrap_or_default();
        let usual_role = (!keys.is_empty()).then(|| Subjects::of_keys(&keys).role_arn(INSTANCE_ROLE));
        let instance_role = self.instance_role.as_deref();
        let unknown_role =
            || Failure::new(EX_USAGE, "--pin-role needs --instance-role, or --nitro-toml with keys");
        let pins = self.pinned.pins(instance_role.or(usual_role.as_deref())).ok_or_else(unknown_role)?;
        let expectation = Expectation { images: &images, keys: &keys, instance_role, pins: &pins };
        let checks: [(Option<&Path>, Check); 2] =
            [(self.policy.as_deref(), check_key_policy), (self.iam_policy.as_deref(), check_role_policy)];
        let (mut reports, mut doubts) = (Vec::new(), exposures.len());
        for (path, check) in checks.into_iter().filter_map(|(path, check)| Some((path?, check))) {
            let finding = check(&read_text(path, MAX_POLICY_BYTES)?, &expectation)
                .map_err(|error| Failure::of_file(EX_DATAERR, path, error))?;
            doubts += finding.doubts.len();
            let name = path.display();
            let notes: Vec<&String> = finding.lacks.iter().chain(&finding.notes).collect();
            if self.json {
                reports.push(json!({
                    "policy": name.to_string(),
                    "doubts": finding.doubts.iter().map(Doubt::to_json).collect::<Vec<_>>(),
                    "notes": notes,
                }));
                continue;
            }
            for doubt in &finding.doubts {
                print(format_args!("{name}: {doubt}"))?;
            }
            for note in notes {
                print(format_args!("{name}: note: {note}"))?;
            }
            if finding.doubts.is_empty() {
                print(format_args!("{name}: no doubt: it opens the key for no other image"))?;
            }
        }
        if self.json {
            let given_away: Vec<&str> = exposures.iter().map(|exposure| exposure.description()).collect();
            let report = json!({
                "good": doubts == 0,
                "image_gives_away": given_away,
                "notes": settings_notes,
                "policies": reports,
            });
            print(format_args!("{report:#}"))?;
        } else {
            settings_notes.iter().try_for_each(|note| print(format_args!("nitro.toml: note: {note}")))?;
            exposures.iter().try_for_each(|exposure| print(format_args!("the image: {exposure}")))?;
        }
        match doubts {
            0 => Ok(()),
            1 => Err(Failure::new(NOT_GOOD, "1 doubt")),
            many => Err(Failure::new(NOT_GOOD, format_args!("{many} doubts"))),
        }
    }
}
