//! `signerctl ticket mint`

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use signerctl::digest::Digest;
use signerctl::identity::Identity;
use signerctl::ticket::{DEFAULT_TTL_S, MAX_TTL_S, Nonce, mint};

use super::minter::Minter;
use crate::failure::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = "\
For trials, where the API runs: a holder of the secret can sign with every key. A ticket is good once.

Exit status: 0 minted, 64 wrong command line or no secret, 65 the secret is none, 66 its file cannot be read, 73 the output
cannot be written.

Example:
  TICKET_SIGNING_SECRET=\"$(cat secret)\" signerctl ticket mint --identity 9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f \\
      --digest 243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89")]
pub(crate) struct TicketMint {
    #[command(flatten)]
    order: Order,

    #[command(flatten)]
    minting: Minting,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// The digest to sign, and the key to sign with.
#[derive(Debug, Args)]
pub(crate) struct Order {
    /// The key's identity, a UUID
    #[arg(long, value_name = "UUID")]
    pub(crate) identity: Identity,

    /// The 32 bytes to sign, in hex
    #[arg(long, value_name = "HEX")]
    pub(crate) digest: Digest,
}

/// How a ticket is made.
#[derive(Debug, Args)]
pub(crate) struct Minting {
    /// For how many seconds the ticket is good
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL_S,
          value_parser = clap::value_parser!(u64).range(1..=MAX_TTL_S))]
    ttl_s: u64,

    #[command(flatten)]
    minter: Minter,
}

impl Minting {
    pub(crate) fn mint(&self, order: &Order) -> Result<String, Failure> {
        let secret = self.minter.read()?;
        let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let exp_unix_s = now_unix_s.saturating_add(self.ttl_s);
        Ok(mint(&secret, &order.identity, order.digest.as_bytes(), exp_unix_s, &Nonce::random()))
    }
}

impl TicketMint {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let ticket = self.minting.mint(&self.order)?;
        if self.json { print(json!({ "ticket": ticket })) } else { print(ticket) }
    }
}
