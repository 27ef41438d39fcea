//! What every command that talks to a signer is told.

use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;
use signerctl::api_key::ApiKey;
use signerctl::connection::Client;
use signerctl::endpoint::Endpoint;
use signerctl::tls_trust::TlsTrust;

use super::secret::read_secret;
use crate::failure::{EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, Failure, read};

/// Some dozen certificates.
const MAX_ROOTS_BYTES: usize = 256 * 1024;

/// No header that the signer takes is longer.
const MAX_API_KEY_BYTES: usize = 16 * 1024;

/// The variable that the signer's own boot file has.
const API_KEY_VARIABLE: &str = "INTERNAL_API_KEY";

/// Which signer, and who may pass for it.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The signer, as in the API's ENCLAVE_BASE_URL
    #[arg(value_name = "URL")]
    url: Endpoint,

    /// Authorities whose certificates are trusted instead of the public ones, in PEM; for https only
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Server {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let trust = match &self.ca {
            None => TlsTrust::WebPki,
            Some(_) if !self.url.has_tls() => {
                return Err(Failure::new(EX_USAGE, "--ca is for https URLs"));
            }
            Some(path) => TlsTrust::roots_of_pem(&read(path, MAX_ROOTS_BYTES)?)
                .map_err(|fault| Failure::of_file(EX_DATAERR, path, fault))?,
        };
        Ok(Client::new(self.url.clone(), &trust))
    }

    pub(crate) const fn has_tls(&self) -> bool {
        self.url.has_tls()
    }

    /// For those who begin something: a signer that is there and can sign.
    pub(crate) async fn is_ready(&self, client: &Client) -> Result<(), Failure> {
        let answer = async { client.connect().await?.get("/health").await }.await;
        let unavailable =
            |fault: &dyn Display| Failure::new(EX_UNAVAILABLE, format_args!("{}: {fault}", self.url));
        match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(unavailable(&format_args!("not ready, status {}", answer.status))),
            Err(fault) => Err(unavailable(&fault)),
        }
    }
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
        let file = self.api_key_file.as_deref();
        let bytes = read_secret(file, API_KEY_VARIABLE, "--api-key-file", MAX_API_KEY_BYTES)?;
        ApiKey::new(bytes).map_err(|fault| Failure::new(EX_DATAERR, fault))
    }
}
