//! The options of every command that talks to a signer.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::Args;
use signerctl::api_key::ApiKey;
use signerctl::attestation::{NotAttested, attest};
use signerctl::connection::Client;
use signerctl::endpoint::Endpoint;
use signerctl::tls_trust::TlsTrust;
use verification::{Doubt, Expectation, ExpectedPcrs, MAX_MEASUREMENTS_BYTES};

use super::attestation_report::warn;
use super::input_files::{MAX_ROOTS_BYTES, attestation_root};
use crate::failure::{EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, Failure, NOT_GOOD, read, read_text};
use crate::secret_input;
use crate::wait::wait_for;

/// The variable that the signer's own boot file has.
const API_KEY_VARIABLE: &str = "INTERNAL_API_KEY";

/// The signer, and the servers that may pass for it.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The signer, as in the API's ENCLAVE_BASE_URL
    #[arg(value_name = "URL")]
    url: Endpoint,

    /// Authorities whose certificates are trusted instead of the public ones, in PEM; for https only
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Trusts the enclave whose measurements are in this nitro.toml or measurements.json, whatever its certificate
    /// says: its attestation is checked before anything else is sent. What the image gives away by this file is a
    /// warning. May be repeated during a roll-over; for https only
    #[arg(long, value_name = "FILE", conflicts_with = "ca")]
    attested_by: Vec<PathBuf>,

    /// Believes attestation documents under this root, in PEM, instead of AWS's. For tests: a holder of its
    /// key passes for any enclave
    #[arg(long, value_name = "FILE", requires = "attested_by")]
    attestation_root: Option<PathBuf>,
}

impl Server {
    /// A client of this signer. With `--attested-by` this connects and attests the enclave, and the client trusts the
    /// attested TLS key from then on. Blocks, so do not call it from asynchronous code.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        if !self.attested_by.is_empty() {
            return self.attested_client();
        }
        let trust = match &self.ca {
            None => TlsTrust::WebPki,
            Some(_) if !self.url.has_tls() => {
                return Err(Failure::new(EX_USAGE, "--ca is for https URLs"));
            }
            Some(path) => roots(path)?,
        };
        Ok(Client::new(self.url.clone(), &trust))
    }

    pub(crate) const fn has_tls(&self) -> bool {
        self.url.has_tls()
    }

    /// For commands that begin work: a signer that answers and can sign.
    pub(crate) async fn is_ready(&self, client: &Client) -> Result<(), Failure> {
        let answer = async { client.connect().await?.get("/health").await }.await;
        let unavailable =
            |error: &dyn Display| Failure::new(EX_UNAVAILABLE, format_args!("{}: {error}", self.url));
        match answer {
            Ok(answer) if answer.is_ready() => Ok(()),
            Ok(answer) if answer.is_not_ready() => Err(unavailable(&"not ready: it boots or stops")),
            Ok(answer) => Err(unavailable(&format_args!("this is no signer, status {}", answer.status))),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn attested_client(&self) -> Result<Client, Failure> {
        if !self.url.has_tls() {
            return Err(Failure::new(EX_USAGE, "--attested-by is for https URLs"));
        }
        let images = self.attested_by.iter().map(|path| {
            let text = read_text(path, MAX_MEASUREMENTS_BYTES)?;
            ExpectedPcrs::from_text(&text).map_err(|error| Failure::of_file(EX_DATAERR, path, error))
        });
        let images = images.collect::<Result<_, Failure>>()?;
        let mut expectation = Expectation::one_of(images).map_err(|doubt| Failure::new(EX_USAGE, doubt))?;
        if let Some(path) = &self.attestation_root {
            expectation = expectation.with_root(attestation_root(path)?);
        }
        let stranger = Client::new(self.url.clone(), &TlsTrust::Anyone);
        let (image, tls_key) = wait_for(async {
            let mut connection = stranger.connect().await?;
            let attested = attest(&mut connection, &expectation).await?;
            Ok::<_, NotAttested>((attested.image(), connection.tls_key().map(<[u8]>::to_vec)))
        })?
        .map_err(|error| not_attested(&self.url, &error))?;
        for exposure in expectation.exposures_of(image) {
            warn(exposure.description());
        }
        // An enclave is attested by the key of its connection, or not at all.
        let tls_key = tls_key.ok_or_else(|| Failure::new(NOT_GOOD, Doubt::NoTls))?;
        Ok(Client::new(self.url.clone(), &TlsTrust::Key(tls_key)))
    }
}

/// The reason why a command ends after asking for the other end's document.
pub(crate) fn not_attested(url: &Endpoint, error: &NotAttested) -> Failure {
    let code = if error.is_doubt() { NOT_GOOD } else { EX_UNAVAILABLE };
    Failure::new(code, format_args!("{url}: {error}"))
}

/// Authorities of TLS certificates.
pub(crate) fn roots(path: &Path) -> Result<TlsTrust, Failure> {
    TlsTrust::roots_of_pem(&read(path, MAX_ROOTS_BYTES)?)
        .map_err(|error| Failure::of_file(EX_DATAERR, path, error))
}

/// Where the API key comes from.
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The file with the API key, if it is not in the variable INTERNAL_API_KEY
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl Key {
    pub(crate) fn read(&self) -> Result<ApiKey, Failure> {
        let bytes = secret_input::from_file_or_variable(
            self.api_key_file.as_deref(),
            "--api-key-file",
            API_KEY_VARIABLE,
            "API key",
        )?;
        ApiKey::new(bytes).map_err(|error| Failure::new(EX_DATAERR, error))
    }
}
