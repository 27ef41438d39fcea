//! `signerctl attest key`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use signerctl::attestation::{NotAttested, check_status, now_unix_ms};
use signerctl::identity::Identity;
use signerctl::printable::{MAX_WORDS_CHARS, json_in_ascii, printable};
use verification::{Nonce, Origin, document_in, examine_key};

use super::attest_verify::{Asked, Peer};
use super::attestation_report::limits;
use super::server::{Key, not_attested};
use crate::failure::{EX_UNAVAILABLE, Failure, NOT_GOOD, print, write};
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
First checks, as `attest verify` does, that the expected enclave is at the other end. Then it asks, on that connection,
for a document about the key, and checks that too: it says whether the key was generated in an enclave with that image or
came from a backup. A saved document convinces others, with `attest show --identity UUID --public-key HEX`.

Exit status: 0 the document proves it, 1 a doubt, no such key, or another origin than the required one, 64 wrong command line,
no API key, or nothing to expect was said, 65 a file or the API key is not what it should be, 66 a file cannot be read,
69 it does not answer, 73 a file cannot be written.

Example:
  signerctl attest key https://signer.example.com:7001 --nitro-toml infra/nitro.toml --require-origin generated \\
      --identity 9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f --api-key-file api-key --save proof.cose")]
pub(crate) struct AttestKey {
    #[command(flatten)]
    peer: Peer,

    #[command(flatten)]
    api_key: Key,

    /// Whose key
    #[arg(long, value_name = "UUID")]
    identity: Identity,

    /// Takes another origin for a doubt
    #[arg(long, value_name = "ORIGIN")]
    require_origin: Option<RequiredOrigin>,

    /// Writes the document about the key to this file, in its binary form, also one that is doubted
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RequiredOrigin {
    Generated,
    Imported,
}

impl From<RequiredOrigin> for Origin {
    fn from(required: RequiredOrigin) -> Self {
        match required {
            RequiredOrigin::Generated => Self::Generated,
            RequiredOrigin::Imported => Self::Imported,
        }
    }
}

impl AttestKey {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api_key = self.api_key.read()?;
        wait_for(async {
            let Asked { mut connection, questioned, expected } = self.peer.ask().await?;
            questioned.examination.verdict().map_err(|doubt| self.peer.doubt(doubt))?;

            let nonce = Nonce::random();
            let order = json!({ "identity_id": self.identity.to_string(), "nonce": nonce.to_string() });
            let answer = connection
                .post("/internal/attest", &api_key, order.to_string())
                .await
                .map_err(|error| not_attested(&self.peer.url, &NotAttested::from(error)))?;
            if let Err(error) = check_status(answer.status) {
                let code = if error.is_doubt() { NOT_GOOD } else { EX_UNAVAILABLE };
                let said =
                    answer.text("error").map(|said| format!(": {}", printable(&said, MAX_WORDS_CHARS)));
                let line = format!("{}: {error}{}", self.peer.url, said.unwrap_or_default());
                return Err(Failure::new(code, line));
            }
            if let (Some(path), Ok(document)) = (&self.save, document_in(&answer.body)) {
                write(path, &document)?;
            }
            let (identity, tls_key) = (*self.identity.as_bytes(), connection.tls_key());
            let key =
                examine_key(&answer.body, identity, &nonce, tls_key, &expected.expectation, now_unix_ms())
                    .verdict()
                    .map_err(|doubt| self.peer.doubt(doubt))?;
            let limits = limits(key.enclave.image(), tls_key.is_some(), &expected);
            let image = expected.name_of(key.enclave.image());
            if self.json {
                print(json_in_ascii(&json!({
                    "url": self.peer.url.to_string(),
                    "identity_id": self.identity.to_string(),
                    "public_key": key.public_key.to_string(),
                    "origin": key.origin.as_str(),
                    "image": image,
                    "root": expected.root,
                    "limits": limits,
                    "module_id": key.enclave.document().module_id,
                })))?;
            } else {
                print(format_args!("{:<14}{}", "identity", self.identity))?;
                print(format_args!("{:<14}{}", "public key", key.public_key))?;
                print(format_args!("{:<14}{}", "origin", key.origin))?;
                print(format_args!("{:<14}{}", "image", image.unwrap_or("any")))?;
                for limit in &limits {
                    print(format_args!("LIMITED: {limit}"))?;
                }
            }
            match self.require_origin.map(Origin::from) {
                Some(required) if required != key.origin => {
                    let line = format!("{}: the key was {}, not {required}", self.peer.url, key.origin);
                    Err(Failure::new(NOT_GOOD, line))
                }
                _ => Ok(()),
            }
        })?
    }
}
