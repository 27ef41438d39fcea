//! `signerctl attest verify`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use signerctl::attestation::{NotAttested, Questioned, question};
use signerctl::certificate::Certificate;
use signerctl::connection::{Client, Connection, Unreachable};
use signerctl::endpoint::Endpoint;
use signerctl::printable::json_in_ascii;
use signerctl::time::utc;
use signerctl::tls_trust::TlsTrust;
use verification::{Attested, document_in};

use super::attestation_report::{
    document_json, document_text, findings_json, findings_text, limits, sha256, tls_expiry_warning, warn,
};
use super::expected_enclave::{Expected, ExpectedEnclave};
use super::server::{not_attested, roots};
use crate::failure::{EX_UNAVAILABLE, EX_USAGE, Failure, NOT_GOOD, print, write};
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
Checks on one connection: the reply; the document's certificates, up to AWS's root; its signature; that the enclave is
not in debug mode; that the document is fresh and answers this very request; that the image is the expected one; and
that it is for the TLS key of this connection, so that nobody is in between. The TLS certificate itself may be
anybody's: its key counts.

ATTESTED is the verdict if all of this holds. LIMITED lines name what was waived, and what the image gives away by its
settings, such as a left-over kms.trust_anchors. A nitro.toml tells, and measurements.json of the build, and no --pcr.

Exit status: 0 it is the expected enclave, perhaps with LIMITED lines; 1 there is a doubt; 64 wrong command line, or
nothing to expect was said; 65 a file is not what it should be; 66 a file cannot be read; 69 it does not answer; 73 a
file cannot be written.

Examples:
  signerctl attest verify https://signer.example.com:7001 --nitro-toml infra/nitro.toml
  signerctl attest verify https://signer.example.com:7001 --json \\
      --measurements old/measurements.json --measurements new/measurements.json")]
pub(crate) struct AttestVerify {
    #[command(flatten)]
    peer: Peer,

    /// Writes the document to this file, in its binary form; also one that is doubted
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// The signer to ask, and the expectations.
#[derive(Debug, Args)]
pub(super) struct Peer {
    /// The signer, as in the API's ENCLAVE_BASE_URL
    #[arg(value_name = "URL")]
    pub(super) url: Endpoint,

    #[command(flatten)]
    expected: ExpectedEnclave,

    /// Accepts http, over which a document does not prove that the enclave is the one you talk to
    #[arg(long)]
    accept_http: bool,

    /// Checks the TLS certificate too: its name and dates, and that one of these authorities, in PEM, made it
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A connection whose other end was asked for its document.
pub(super) struct Asked {
    pub(super) connection: Connection,
    pub(super) questioned: Questioned,
    pub(super) expected: Expected,
}

impl Peer {
    /// Connects, and requests the other end's document.
    pub(super) async fn ask(&self) -> Result<Asked, Failure> {
        let mut expected = self.expected.read()?;
        if self.accept_http {
            expected.expectation = expected.expectation.accepting_http();
        }
        let trust = match &self.ca {
            None => TlsTrust::Anyone,
            Some(_) if !self.url.has_tls() => {
                return Err(Failure::new(EX_USAGE, "--ca is for https URLs"));
            }
            Some(path) => roots(path)?,
        };
        let client = Client::new(self.url.clone(), &trust);
        let mut connection = client.connect().await.map_err(|error| {
            let code = if is_about_the_certificate(&error) { NOT_GOOD } else { EX_UNAVAILABLE };
            Failure::new(code, format_args!("{}: {error}", self.url))
        })?;
        let questioned = question(&mut connection, &expected.expectation)
            .await
            .map_err(|error| not_attested(&self.url, &error))?;
        Ok(Asked { connection, questioned, expected })
    }

    /// Why this signer is not trusted.
    pub(super) fn doubt(&self, doubt: verification::Doubt) -> Failure {
        not_attested(&self.url, &NotAttested::Doubtful(doubt))
    }
}

/// The other end shows a certificate that is refused.
fn is_about_the_certificate(error: &Unreachable) -> bool {
    let Unreachable::Tls(error) = error else { return false };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

impl AttestVerify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let asked = wait_for(self.peer.ask())??;
        let Asked { connection, questioned, expected } = &asked;
        if let (Some(path), Ok(document)) = (&self.save, document_in(&questioned.reply)) {
            write(path, &document)?;
        }
        let certificate = connection.certificate().and_then(|der| Certificate::from_der(der));
        let verdict = questioned.examination.clone().verdict();
        let warning = certificate
            .as_ref()
            .and_then(|certificate| tls_expiry_warning(certificate, questioned.now_unix_ms));
        let limits = verdict.as_ref().map_or_else(
            |_| Vec::new(),
            |attested| limits(attested.image(), connection.tls_key().is_some(), expected),
        );
        let tls = connection.tls_key().map(|key| {
            json!({
                "spki_sha256": sha256(key),
                "not_after": certificate.as_ref().map(|certificate| utc(certificate.not_after_unix_s)),
            })
        });
        if self.json {
            print(json_in_ascii(&self.report_json(&asked, &verdict, &limits, tls, warning.as_deref())))?;
        } else {
            print(findings_text(questioned, expected))?;
            if let Some(document) = questioned.examination.document() {
                print(document_text(document, questioned.now_unix_ms).trim_end())?;
            }
            if let Some(key) = connection.tls_key() {
                print(format_args!("{:<14}SHA-256 {}", "tls key", sha256(key)))?;
            }
            if let Some(certificate) = &certificate {
                print(format_args!("{:<14}until {}", "tls cert.", utc(certificate.not_after_unix_s)))?;
            }
            if let Some(warning) = &warning {
                warn(warning);
            }
        }
        let attested = verdict.map_err(|doubt| self.peer.doubt(doubt))?;
        if !self.json {
            print(conclusion(&attested, &limits, expected))?;
        }
        Ok(())
    }

    fn report_json(
        &self,
        asked: &Asked,
        verdict: &Result<Attested, verification::Doubt>,
        limits: &[&str],
        tls: Option<Value>,
        warning: Option<&str>,
    ) -> Value {
        let name = match verdict {
            Err(_) => "doubtful",
            Ok(_) if limits.is_empty() => "attested",
            Ok(_) => "limited",
        };
        let image = verdict.as_ref().ok().and_then(|attested| asked.expected.name_of(attested.image()));
        json!({
            "url": self.peer.url.to_string(),
            "verdict": name,
            "doubt": verdict.as_ref().err().map(ToString::to_string),
            "limits": limits,
            "root": asked.expected.root,
            "image": image,
            "checks": findings_json(&asked.questioned),
            "document": asked.questioned.examination.document().map(document_json),
            "age_ms": asked.questioned.examination.document().map(|document| {
                i128::from(asked.questioned.now_unix_ms) - i128::from(document.timestamp_unix_ms)
            }),
            "tls": tls,
            "warnings": warning.into_iter().collect::<Vec<_>>(),
        })
    }
}

/// The last line: all was checked, or the checks that were not made.
fn conclusion(attested: &Attested, limits: &[&str], expected: &Expected) -> String {
    if limits.is_empty() {
        let name = expected.name_of(attested.image()).unwrap_or_default();
        return format!(
            "\nATTESTED: the other end of this connection is an enclave with the image of {name}"
        );
    }
    let limits: Vec<String> = limits.iter().map(|limit| format!("\nLIMITED: {limit}")).collect();
    limits.concat()
}
