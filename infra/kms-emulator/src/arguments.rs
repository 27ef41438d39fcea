//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use transport::Address;

use crate::key_arn::KeyArn;
use crate::principal::Principal;

/// A KMS for tests and local work: it checks what AWS's checks, and fails on request.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Addresses: tcp:IP:PORT (port 0 takes any free one), unix:/path, vsock:CID:PORT, hybrid:/path.sock:PORT

Example:
  kms-emulator --listen tcp:127.0.0.1:0 --ca-out ca.pem --region eu-central-1 \\
      --key arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555=policy.json \\
      --principal AKIAIOSFODNN7EXAMPLE:secret=arn:aws:iam::111122223333:role/nitro-signer-secret-sealer \\
      --imds-listen tcp:127.0.0.1:0 --imds-role arn:aws:iam::111122223333:role/nitro-signer-instance \\
      --control-listen tcp:127.0.0.1:0

Exit status: 0 after SIGTERM or SIGINT, 64 wrong command line, 69 an address cannot be bound,
70 internal error, 71 operating system error, 78 a file named here cannot be used."
)]
pub(crate) struct Arguments {
    /// Serves the KMS API over TLS on this address
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    pub(crate) listen: Address,

    /// Writes the certificate of the CA that signed the emulator's, in PEM
    #[arg(long, value_name = "PATH")]
    pub(crate) ca_out: PathBuf,

    /// The region of every key and signature
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub(crate) region: String,

    /// A key and the file with its policy; may be repeated
    #[arg(long = "key", value_name = "ARN=POLICY.json", required = true)]
    pub(crate) keys: Vec<KeyArgument>,

    /// An access key and the role or user it is of; may be repeated
    #[arg(long = "principal", value_name = "ACCESS_KEY_ID:SECRET=ARN")]
    pub(crate) principals: Vec<PrincipalArgument>,

    /// Believes attestation documents that lead to this root, in PEM; read at each check
    #[arg(long, value_name = "PATH")]
    pub(crate) attestation_root: Option<PathBuf>,

    /// Accepts the documents of QEMU, which have no signature
    #[arg(long)]
    pub(crate) accept_unsigned_attestation: bool,

    /// Serves IMDSv2 on this address
    #[arg(long, value_name = "ADDRESS", requires = "imds_role", value_parser = listen_address)]
    pub(crate) imds_listen: Option<Address>,

    /// The role whose credentials IMDSv2 gives out
    #[arg(long, value_name = "ROLE_ARN", requires = "imds_listen")]
    pub(crate) imds_role: Option<String>,

    /// How long credentials from IMDSv2 are good, in seconds
    #[arg(long, value_name = "N", default_value_t = 22_500,
          value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pub(crate) imds_credential_lifetime_s: u32,

    /// Serves the control API on this address
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    pub(crate) control_listen: Option<Address>,

    /// Keeps key material and CA in this file, for the next start
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
}

/// `ARN=POLICY.json`.
#[derive(Clone, Debug)]
pub(crate) struct KeyArgument {
    pub(crate) arn: KeyArn,
    pub(crate) policy: PathBuf,
}

impl FromStr for KeyArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (arn, policy) = text.split_once('=').ok_or("no '=' between ARN and policy file")?;
        let arn = arn.parse().map_err(|error| format!("key is {error}"))?;
        Ok(Self { arn, policy: policy.into() })
    }
}

/// `ACCESS_KEY_ID:SECRET=ARN`.
#[derive(Clone)]
pub(crate) struct PrincipalArgument {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) principal: Principal,
}

impl std::fmt::Debug for PrincipalArgument {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PrincipalArgument")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl FromStr for PrincipalArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A secret may end with '='.
        let at = text.rfind("=arn:").ok_or("no '=' between secret and ARN")?;
        let (access_key_id, secret) =
            text[..at].split_once(':').ok_or("no ':' between access key id and secret")?;
        if access_key_id.is_empty() || secret.is_empty() {
            return Err("access key id or secret is empty".into());
        }
        let principal = text[at + 1..].parse().map_err(|error| format!("principal is {error}"))?;
        Ok(Self { access_key_id: access_key_id.into(), secret_access_key: secret.into(), principal })
    }
}

fn listen_address(text: &str) -> Result<Address, transport::InvalidAddress> {
    let address: Address = text.parse()?;
    address.check_listen()?;
    Ok(address)
}

fn region(text: &str) -> Result<String, &'static str> {
    let is_region = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_region { Ok(text.to_owned()) } else { Err("not the name of a region") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/a";

    fn parse(more: &[&str]) -> Result<Arguments, String> {
        let needed = ["kms-emulator", "--listen=tcp:127.0.0.1:0", "--ca-out=ca.pem", "--region=eu-central-1"];
        Arguments::try_parse_from([&needed, more].concat()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_secret_may_have_any_character() {
        let key = format!("--key={KEY}=a=b.json");
        let principal = "--principal=AKIA:a:b=c==arn:aws:iam::111122223333:user/x";
        let arguments = parse(&[&key, principal]).unwrap();
        assert_eq!(arguments.keys[0].policy.to_str(), Some("a=b.json"));
        assert_eq!(arguments.principals[0].secret_access_key, "a:b=c=");
        assert!(!format!("{arguments:?}").contains("a:b=c="));
    }

    #[test]
    fn nonsense_is_refused() {
        let key = format!("--key={KEY}=policy.json");
        for wrong in [
            &[][..],
            &["--key=policy.json"],
            &[&key, "--region=a/b"],
            &[&key, "--principal=AKIA=arn:aws:iam::111122223333:user/x"],
            &[&key, "--principal=AKIA:secret=x"],
            &[&key, "--imds-listen=tcp:127.0.0.1:0"],
            &[&key, "--imds-role=arn:aws:iam::111122223333:role/x"],
            &[&key, "--control-listen=tcp:localhost:0"],
            &[&key, "--imds-credential-lifetime-s=0"],
        ] {
            parse(wrong).unwrap_err();
        }
    }
}
