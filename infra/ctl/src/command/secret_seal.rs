//! `signerctl secret seal`

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr as _;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command};
use configuration::KeyArn;
use configuration::tls_pair::MAX_CHAIN_BYTES;
use serde_json::json;
use signerctl::aws_credentials;
use signerctl::boot_secret::SecretName;
use signerctl::connection::Client;
use signerctl::endpoint::Endpoint;
use signerctl::kms::encrypt;
use signerctl::nitro_toml::NitroToml;
use signerctl::tls_trust::TlsTrust;
use verification::Exposure;

use super::input_files::{MAX_ROOTS_BYTES, read_nitro_toml};
use crate::failure::{EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, Failure, NOT_GOOD, print, read};
use crate::secret_input;
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
Reads the secret from standard input, to its end, or asks for it twice on a terminal; it is never an argument. One line
break at its end is not part of it, except in a TLS_KEY, which is a file. The command refuses what the signer would refuse.

Credentials are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or, without these, what
`aws configure export-credentials` gives, which goes by profiles and single sign-on. Not on the parent instance, which
must not see the secret; its role may not encrypt anyway.

A nitro.toml with kms.trust_anchors is for tests: anybody with a key of these authorities can pass for KMS and read the
secret. It takes --accept kms.trust_anchors, or --ca.

With secrets.generation in nitro.toml the secret is bound to that generation, and the value begins with
generation-NUMBER. An image of a lower generation does not open it.

Exit status: 0 sealed, 1 KMS refuses or there are no credentials, 64 wrong command line, 65 the secret is none or a file
is not what it should be, 66 the secret or a file cannot be read, 69 KMS cannot be reached, 73 the output cannot be
written, 78 nitro.toml is wrong or for tests, 129, 130, 131 and 143 stopped by a signal while it asked.

Examples:
  openssl rand -base64 32 | signerctl secret seal TICKET_SIGNING_SECRET --nitro-toml infra/nitro.toml
  AWS_PROFILE=sealer signerctl secret seal TICKET_SIGNING_SECRET --nitro-toml infra/nitro.toml
  signerctl secret seal TLS_KEY --certificate chain.pem --nitro-toml infra/nitro.toml < key.pem")]
pub(crate) struct SecretSeal {
    /// The secret's variable: INTERNAL_API_KEY, another API key's variable under [api_keys] of nitro.toml,
    /// TICKET_SIGNING_SECRET or TLS_KEY
    #[arg(value_name = "NAME", value_parser = SecretNameParser)]
    name: SecretName,

    /// The certificates of a TLS_KEY in PEM, the server's first, as they will be in TLS_CERT_CHAIN: the pair is checked
    #[arg(long, value_name = "FILE", required_if_eq("name", "TLS_KEY"))]
    certificate: Option<PathBuf>,

    /// The configuration of the signer. Encrypts under the first of its kms.boot_secret_key_arns, by default the
    /// sealing key
    #[arg(long, value_name = "FILE")]
    nitro_toml: PathBuf,

    /// Encrypts under another of its kms.boot_secret_key_arns
    #[arg(long, value_name = "ARN")]
    key_arn: Option<KeyArn>,

    /// Another KMS than AWS's of the region, for tests
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,

    /// Authorities whose certificates are trusted instead of those that the signer trusts, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Sends the secret to a KMS that the authorities of kms.trust_anchors in nitro.toml vouch for, for tests
    #[arg(long, value_name = "SETTING", value_parser = ["kms.trust_anchors"], conflicts_with = "ca")]
    accept: Option<String>,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Takes the variable of any API key, and offers to shells the names that every signer has.
#[derive(Clone)]
struct SecretNameParser;

impl TypedValueParser for SecretNameParser {
    type Value = SecretName;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<SecretName, clap::Error> {
        SecretName::from_str.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = ["INTERNAL_API_KEY", "TICKET_SIGNING_SECRET", "TLS_KEY"];
        Some(Box::new(names.into_iter().map(PossibleValue::new)))
    }
}

impl SecretSeal {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let nitro_toml = read_nitro_toml(&self.nitro_toml)?;
        let configuration = nitro_toml.configuration();
        let of_configuration = |line: String| Failure::of_file(EX_CONFIG, &self.nitro_toml, line);
        if !self.name.is_from_kms(configuration) {
            let line = format!("has not {}: the signer would refuse a ciphertext", self.name.setting());
            return Err(of_configuration(line));
        }
        if !self.name.is_listed(configuration) {
            let line = format!("has no {} under [api_keys]: the signer would refuse it", self.name);
            return Err(of_configuration(line));
        }
        let allowed = &configuration.kms.boot_secret_key_arns;
        let key = match &self.key_arn {
            Some(key) => allowed.iter().find(|other| *other == key),
            None => allowed.first(),
        };
        let key = key.ok_or_else(|| {
            Failure::new(EX_USAGE, "--key-arn is none of the keys for boot secrets in nitro.toml")
        })?;
        let client = self.client(&nitro_toml)?;
        let chain = match &self.certificate {
            Some(_) if self.name != SecretName::TlsKey => {
                return Err(Failure::new(EX_USAGE, "--certificate is for TLS_KEY"));
            }
            Some(path) => Some(read(path, MAX_CHAIN_BYTES)?),
            None => None,
        };
        // Before an operator types a secret in vain.
        let credentials = aws_credentials::find().map_err(|error| Failure::new(NOT_GOOD, error))?;
        wait_for(async {
            let secret = secret_input::from_stdin(self.name.as_str(), self.name.is_text()).await?;
            let checked = self.name.check(&secret, chain.as_deref());
            checked.map_err(|error| Failure::new(EX_DATAERR, error))?;
            let generation = configuration.secrets.generations.own;
            let sealed = encrypt(&client, &credentials, key, &self.name, generation, &secret).await;
            let sealed = sealed.map_err(|error| {
                let code = if error.is_refusal() { NOT_GOOD } else { EX_UNAVAILABLE };
                Failure::new(code, format_args!("{}: {error}", client.endpoint()))
            })?;
            let variable = format!("{}_CIPHERTEXT", self.name);
            if self.json {
                let generation = generation.map(|generation| generation.get());
                print(json!({
                    "variable": variable,
                    "value": sealed.to_string(),
                    "key_arn": key.as_str(),
                    "generation": generation,
                }))
            } else {
                print(format_args!("{variable}={sealed}"))
            }
        })?
    }

    fn client(&self, nitro_toml: &NitroToml) -> Result<Client, Failure> {
        let kms = &nitro_toml.configuration().kms;
        let exposure = Exposure::KmsTrustAnchors;
        let has_anchors = nitro_toml.exposures().contains(&exposure);
        // An option that outlives its setting would accept it again unseen.
        if self.accept.is_some() && !has_anchors {
            let line =
                "--accept kms.trust_anchors: nitro.toml does not set kms.trust_anchors; leave the option out";
            return Err(Failure::new(EX_USAGE, line));
        }
        if has_anchors && self.accept.is_none() && self.ca.is_none() {
            let line = format!("{exposure}; correct it, or seal for tests with --accept kms.trust_anchors");
            return Err(Failure::of_file(EX_CONFIG, &self.nitro_toml, line));
        }
        let endpoint = match &self.endpoint {
            Some(endpoint) if endpoint.has_tls() => endpoint.clone(),
            Some(_) => return Err(Failure::new(EX_USAGE, "--endpoint has to be https: a secret goes there")),
            None => format!("https://{}", kms.endpoint_host())
                .parse()
                .map_err(|error| Failure::of_file(EX_CONFIG, &self.nitro_toml, error))?,
        };
        let trust = match &self.ca {
            Some(path) => TlsTrust::roots_of_pem(&read(path, MAX_ROOTS_BYTES)?)
                .map_err(|error| Failure::of_file(EX_DATAERR, path, error))?,
            None => {
                TlsTrust::of_kms(kms).map_err(|error| Failure::of_file(EX_CONFIG, &self.nitro_toml, error))?
            }
        };
        Ok(Client::new(endpoint, &trust))
    }
}
