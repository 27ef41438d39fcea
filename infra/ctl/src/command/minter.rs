//! What every command that mints tickets is told.

use std::path::PathBuf;

use clap::Args;
use signerctl::ticket::TicketSecret;

use super::secret::read_secret;
use crate::failure::{EX_DATAERR, Failure};

/// KMS encrypts no longer one for a boot file.
const MAX_TICKET_SECRET_BYTES: usize = 4096;

/// The variable that the API has.
const TICKET_SECRET_VARIABLE: &str = "TICKET_SIGNING_SECRET";

/// Where the ticket secret comes from.
#[derive(Debug, Args)]
pub(crate) struct Minter {
    /// The file with the ticket secret, if it is not in the variable TICKET_SIGNING_SECRET
    #[arg(long, value_name = "FILE")]
    ticket_secret_file: Option<PathBuf>,
}

impl Minter {
    pub(crate) fn read(&self) -> Result<TicketSecret, Failure> {
        let file = self.ticket_secret_file.as_deref();
        let bytes =
            read_secret(file, TICKET_SECRET_VARIABLE, "--ticket-secret-file", MAX_TICKET_SECRET_BYTES)?;
        TicketSecret::new(&bytes).map_err(|fault| Failure::new(EX_DATAERR, fault))
    }
}
