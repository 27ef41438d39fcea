//! The options of every command that mints tickets.

use std::path::PathBuf;

use clap::Args;
use signerctl::ticket::TicketSecret;

use crate::failure::{EX_DATAERR, Failure};
use crate::secret_input;

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
        let bytes = secret_input::from_file_or_variable(
            self.ticket_secret_file.as_deref(),
            "--ticket-secret-file",
            TICKET_SECRET_VARIABLE,
            "ticket secret",
        )?;
        TicketSecret::new(&bytes).map_err(|error| Failure::new(EX_DATAERR, error))
    }
}
