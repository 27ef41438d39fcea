//! Documents under a root of our own: each way to be refused, and how far from it is accepted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "own_chain/cbor.rs"]
mod cbor;
#[path = "own_chain/chain.rs"]
mod chain;
#[path = "own_chain/draft.rs"]
mod draft;
#[path = "own_chain/envelopes.rs"]
mod envelopes;
#[path = "own_chain/expectations.rs"]
mod expectations;
#[path = "own_chain/paths.rs"]
mod paths;
#[path = "own_chain/payloads.rs"]
mod payloads;
#[path = "own_chain/roots.rs"]
mod roots;

use attestation::{Document, Expectation, Refused, verify};

use crate::chain::{Chain, NOW_UNIX_S};
use crate::draft::Draft;

/// The verdict on a payload that `chain` signs, at the time of most tests.
fn verdict(chain: &Chain, draft: &Draft) -> Result<Document, Refused> {
    verify(&chain.document(&draft.payload()), &chain.root(), &Expectation::at(NOW_UNIX_S * 1000))
}
