//! `signerctl sign`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use signerctl::bip340::{is_key, is_signed};
use signerctl::connection::Answer;
use signerctl::printable::{MAX_WORDS_CHARS, printable};
use verification::PublicKey;

use super::server::{Key, Server};
use super::ticket_mint::{Minting, Order};
use crate::failure::{EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, Failure, NOT_GOOD, print};
use crate::secret_input;
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 signed, 1 the signer refuses, is not the attested one, or its signature is not the key's, 64 wrong command
line or a secret is missing, 65 its answer is none, or a file or secret is not what it should be, 66 a file cannot be read,
69 it cannot be reached, or is not able to now, 73 the output cannot be written.

Example:
  signerctl sign http://127.0.0.1:7001 --identity 9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f \\
      --digest 243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89 --ticket-secret-file ticket-secret \\
      --public-key 02dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659")]
pub(crate) struct Sign {
    #[command(flatten)]
    server: Server,

    #[command(flatten)]
    key: Key,

    #[command(flatten)]
    order: Order,

    /// The file with the ticket; without it, one is made with the ticket secret
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ticket_secret_file", "ttl_s"])]
    ticket_file: Option<PathBuf>,

    #[command(flatten)]
    minting: Minting,

    /// The key's public key, as it was given when the key was made: the signature is verified
    #[arg(long, value_name = "HEX")]
    public_key: Option<PublicKey>,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.public_key.is_some_and(|key| !is_key(key.as_bytes())) {
            return Err(Failure::new(EX_USAGE, "--public-key is no point of secp256k1"));
        }
        let client = self.server.client()?;
        let api_key = self.key.read()?;
        let ticket = match &self.ticket_file {
            Some(path) => {
                let bytes = secret_input::from_file_or_variable(Some(path), "--ticket-file", "", "ticket")?;
                String::from_utf8(bytes.to_vec())
                    .map_err(|_| Failure::of_file(EX_DATAERR, path, "not text in UTF-8"))?
            }
            None => self.minting.mint(&self.order)?,
        };
        let body = json!({
            "identity_id": self.order.identity.to_string(),
            "digest": self.order.digest.to_string(),
            "ticket": ticket,
        });
        let exchange =
            async { client.connect().await?.post("/internal/sign", &api_key, body.to_string()).await };
        let answer = wait_for(exchange)?
            .map_err(|error| Failure::new(EX_UNAVAILABLE, format_args!("{}: {error}", client.endpoint())))?;
        let about = |error: &dyn std::fmt::Display| format!("{}: {error}", client.endpoint());
        if !answer.is_success() {
            let (code, line) = refusal(&answer);
            return Err(Failure::new(code, about(&line)));
        }
        let signature = answer.text("signature").and_then(|text| Some((signature_of(&text)?, text)));
        let (bytes, signature) =
            signature.ok_or_else(|| Failure::new(EX_DATAERR, about(&"its answer is no signature")))?;
        let is_verified = match &self.public_key {
            None => None,
            Some(key) if is_signed(key.as_bytes(), self.order.digest.as_bytes(), &bytes) => Some(true),
            Some(_) => {
                let line = "its signature does not verify under --public-key: another key, or another signer";
                return Err(Failure::new(NOT_GOOD, about(&line)));
            }
        };
        if self.json {
            print(json!({ "signature": signature, "verified": is_verified }))
        } else {
            print(signature)
        }
    }
}

/// The identity as the signer writes it.
fn signature_of(hex: &str) -> Option<[u8; 64]> {
    let mut bytes = [0; 64];
    (base16ct::lower::decode(hex, &mut bytes).ok()?.len() == 64).then_some(bytes)
}

/// The line for an answer that is no success: the signer's word for it, and its meaning here.
fn refusal(answer: &Answer) -> (u8, String) {
    let said = answer.text("error").unwrap_or_else(|| "no reason".to_owned());
    let (code, meaning) = match (answer.status, &said[..]) {
        (401, "Invalid internal API key") => (NOT_GOOD, "the API key is another than the signer's"),
        (401, _) => (NOT_GOOD, "the ticket has expired, lives too long, or is signed with another secret"),
        (403, "Not allowed for this API key") => {
            (NOT_GOOD, "the role of the API key does not allow signatures")
        }
        (403, _) => (NOT_GOOD, "the ticket is for another identity, digest or purpose"),
        (404, "Identity key not found") => {
            (NOT_GOOD, "the signer has no such key: import its backup, and try the same ticket again")
        }
        (404, _) => (NOT_GOOD, "this is no signer"),
        (409, _) => (NOT_GOOD, "the ticket was used before"),
        (400 | 413 | 415, _) => (NOT_GOOD, "the signer does not take the request"),
        (429, _) => {
            (EX_UNAVAILABLE, "a rate limit of the signer is reached: try the same ticket again later")
        }
        (502, _) => (EX_UNAVAILABLE, "the signer does not get what it needs of KMS or the NSM"),
        (503, _) => (EX_UNAVAILABLE, "the signer is busy, starts or stops: try again"),
        _ => (EX_DATAERR, "this is no answer of a signer"),
    };
    (code, format!("{meaning} ({} {})", answer.status, printable(&said, MAX_WORDS_CHARS)))
}
