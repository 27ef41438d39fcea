//! `signerctl attest show`

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use signerctl::attestation::now_unix_ms;
use signerctl::identity::Identity;
use signerctl::printable::json_in_ascii;
use verification::{
    Document, Doubt, Image, KeyProof, MAX_SAVED_BYTES, Origin, PublicKey, Refused, authenticate_at_its_time,
    check_debug_mode, document_in, read_unverified, verify_saved_key,
};

use super::attestation_report::{document_json, document_text, limits_of_document};
use super::expected_enclave::{Expected, ExpectedEnclave};
use crate::failure::{EX_DATAERR, EX_NOINPUT, Failure, NOT_GOOD, print, read};

#[derive(Debug, Args)]
#[command(after_help = "\
The file holds a document, its base64, or the JSON that a signer replied. It is judged at the time at which it says that
it was made, so its age, its nonce and whose connection it was for are not: this tells what was, not who answers now.
What it proves less than all, such as for want of an image to compare with, is in lines with LIMITED, or in `limits`.

Exit status: 0 it is authentic, not of debug mode, and of the expected image and key if they are named; 1 it is not; 64
wrong command line; 65 the file holds no document, or another one is not what it should be; 66 a file cannot be read; 73
the output cannot be written.

Examples:
  signerctl attest show document.cose
  curl -s https://signer.example.com:7001/.well-known/attestation | signerctl attest show -
  signerctl attest show proof.cose --nitro-toml infra/nitro.toml \\
      --identity 9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f \\
      --public-key 02dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659")]
pub(crate) struct AttestShow {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Says where the key of this identity comes from, by a document that `attest key` saved
    #[arg(long, value_name = "UUID", requires = "public_key")]
    identity: Option<Identity>,

    /// That key, compressed, in 66 hex digits
    #[arg(long, value_name = "HEX", requires = "identity")]
    public_key: Option<PublicKey>,

    #[command(flatten)]
    expected: ExpectedEnclave,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl AttestShow {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let expected = self.expected.read_or_any()?;
        let judged = self.judge(&expected)?;
        if self.json {
            print(json_in_ascii(&judged.json(&expected)))?;
        } else {
            print(format_args!("{}\n", judged.text(&expected)))?;
            print(document_text(&judged.document, now_unix_ms()).trim_end())?;
        }
        match judged.doubt {
            None => Ok(()),
            Some(doubt) => Err(Failure::of_file(NOT_GOOD, &self.file, doubt)),
        }
    }

    /// Judges the document in the file.
    fn judge<'e>(&self, expected: &'e Expected) -> Result<Judged<'e>, Failure> {
        let bytes =
            document_in(&self.input()?).map_err(|doubt| Failure::of_file(EX_DATAERR, &self.file, doubt))?;
        let authentic = authenticate_at_its_time(&bytes, expected.expectation.root());
        let document = match &authentic {
            Ok(document) => document.clone(),
            // Anybody may have written it.
            Err(_) => {
                read_unverified(&bytes).map_err(|doubt| Failure::of_file(NOT_GOOD, &self.file, doubt))?
            }
        };
        let debug_mode = check_debug_mode(&document);
        let is_debug = matches!(debug_mode, Err(Doubt::Refused(Refused::DebugMode)));
        // A document of an unknown author is compared with nothing.
        let image = authentic.clone().and_then(|document| expected.expectation.image_of(&document));
        let key = match (&self.identity, &self.public_key) {
            (Some(identity), Some(public_key)) => {
                let proof = KeyProof { identity: *identity.as_bytes(), public_key: *public_key };
                Some(verify_saved_key(&bytes, &proof, &expected.expectation))
            }
            _ => None,
        };
        let authentic = authentic.map(drop);
        let doubt = match (authentic, debug_mode, image, key) {
            (Err(doubt), ..) => Some(doubt),
            (Ok(()), Err(doubt), ..) => Some(doubt),
            (Ok(()), Ok(()), Err(doubt), _) | (Ok(()), Ok(()), Ok(_), Some(Err(doubt))) => Some(doubt),
            (Ok(()), Ok(()), Ok(_), _) => None,
        };
        let limits = match (doubt, image) {
            (None, Ok(image)) => limits_of_document(image, expected),
            _ => Vec::new(),
        };
        Ok(Judged {
            authentic,
            is_debug,
            image,
            name: image.ok().and_then(|image| expected.name_of(image)),
            origin: key.and_then(Result::ok),
            doubt,
            limits,
            document,
        })
    }

    fn input(&self) -> Result<Vec<u8>, Failure> {
        if self.file != Path::new("-") {
            return read(&self.file, MAX_SAVED_BYTES);
        }
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            // One byte more shows that it is too long.
            .take(MAX_SAVED_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::of_file(EX_NOINPUT, &self.file, error))?;
        Ok(bytes)
    }
}

/// The findings about one document.
struct Judged<'e> {
    authentic: Result<(), Doubt>,
    is_debug: bool,
    image: Result<Image, Doubt>,
    /// The name of the expected image that it is.
    name: Option<&'e str>,
    /// The origin of the key that was asked about.
    origin: Option<Origin>,
    /// The first reason not to trust it.
    doubt: Option<Doubt>,
    limits: Vec<&'static str>,
    document: Document,
}

impl Judged<'_> {
    fn json(&self, expected: &Expected) -> Value {
        json!({
            "authentic": self.authentic.is_ok(),
            "root": expected.root,
            "debug_mode": self.is_debug,
            "image": self.name,
            "key_origin": self.origin.map(Origin::as_str),
            "doubt": self.doubt.map(|doubt| doubt.to_string()),
            "limits": self.limits,
            "document": document_json(&self.document),
        })
    }

    /// The verdict in lines, without the document.
    fn text(&self, expected: &Expected) -> String {
        let mut lines = match self.authentic {
            Ok(()) => vec![format!(
                "AUTHENTIC at its own time: its certificates lead to {}, and its signature fits",
                expected.root
            )],
            Err(doubt) => {
                vec![format!("NOT AUTHENTIC: {doubt}"), "anybody may have written what follows".to_owned()]
            }
        };
        if self.is_debug {
            lines
                .push("DEBUG MODE: pcr0 is all zeros, and the parent reads the enclave's console".to_owned());
        }
        lines.push(match (self.authentic.is_ok(), self.image, self.name) {
            (false, ..) => "image: not checked".to_owned(),
            (true, Ok(_), Some(name)) => format!("image: that of {name}"),
            (true, Ok(_), None) => {
                "image: not compared with any; --nitro-toml or --measurements does".to_owned()
            }
            (true, Err(doubt), _) => format!("image: NOT EXPECTED: {doubt}"),
        });
        if let Some(origin) = self.origin {
            lines.push(format!("key: {origin}, by what this enclave said"));
        }
        lines.extend(self.limits.iter().map(|limit| format!("LIMITED: {limit}")));
        lines.join("\n")
    }
}
