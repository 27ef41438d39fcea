//! `signerctl health`

use clap::Args;
use serde_json::json;

use super::server::Server;
use crate::failure::{EX_UNAVAILABLE, Failure, NOT_GOOD, print};
use crate::wait::wait_for;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 it can sign, 1 it answers and cannot sign (it boots or stops), or is not the attested one, 64 wrong command
line, 65 a file is not what it should be, 66 a file cannot be read, 69 it does not answer, or is no signer, 73 the output
cannot be written.

Example:
  signerctl health http://127.0.0.1:7001")]
pub(crate) struct Health {
    #[command(flatten)]
    server: Server,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Health {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.client()?;
        let answer = wait_for(async { client.connect().await?.get("/health").await })?
            .map_err(|error| Failure::new(EX_UNAVAILABLE, format_args!("{}: {error}", client.endpoint())))?;
        if !answer.is_ready() && !answer.is_not_ready() {
            let line = format!("{}: this is no signer, status {}", client.endpoint(), answer.status);
            return Err(Failure::new(EX_UNAVAILABLE, line));
        }
        let ready = answer.is_ready();
        if self.json {
            print(json!({ "url": client.endpoint().to_string(), "ready": ready, "status": answer.status }))?;
        } else if ready {
            print("ready")?;
        }
        if ready {
            return Ok(());
        }
        Err(Failure::new(
            NOT_GOOD,
            format_args!("{}: not ready, status {}", client.endpoint(), answer.status),
        ))
    }
}
