//! Replies with documents under a root of our own: each way to be doubted, and what is taken.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "../../attestation/tests/own_chain/cbor.rs"]
mod cbor;
#[allow(dead_code, reason = "attestation's tests bend more")]
#[path = "../../attestation/tests/own_chain/chain.rs"]
mod chain;
#[path = "documents/doubts.rs"]
mod doubts;
#[allow(dead_code, reason = "attestation's tests bend more")]
#[path = "../../attestation/tests/own_chain/draft.rs"]
mod draft;
#[path = "documents/keys.rs"]
mod keys;
#[path = "documents/properties.rs"]
mod properties;
#[path = "documents/saved.rs"]
mod saved;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding as _};
use verification::{Attested, Doubt, Expectation, ExpectedPcrs, Nonce, verify};

use crate::chain::{Chain, NOW_UNIX_S};
use crate::draft::Draft;

const NOW_UNIX_MS: u64 = NOW_UNIX_S * 1000;
const NONCE: [u8; 32] = [0xa5; 32];
const TLS_KEY: &[u8] = b"the key of this connection";

static CHAIN: LazyLock<Chain> = LazyLock::new(Chain::good);

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// The payload of an endpoint's document for [`TLS_KEY`].
fn good() -> Draft {
    Draft::good(&CHAIN)
        .with("nonce", cbor::bytes(&NONCE))
        .with("public_key", cbor::bytes(TLS_KEY))
        .with("user_data", cbor::bytes(&sha256(TLS_KEY)))
}

/// The same without TLS.
fn good_without_tls() -> Draft {
    good().with("public_key", cbor::NULL).with("user_data", cbor::NULL)
}

fn document(draft: &Draft) -> Vec<u8> {
    CHAIN.document(&draft.payload())
}

fn reply(document: &[u8]) -> Vec<u8> {
    format!(r#"{{"attestation_doc":"{}"}}"#, Base64::encode_string(document)).into_bytes()
}

/// The registers that [`good`] has, and `others` besides or instead.
fn registers(others: &[(u8, u8)]) -> ExpectedPcrs {
    let mut expected = vec![(0, 1), (1, 2), (2, 3)];
    expected.retain(|(index, _)| others.iter().all(|(other, _)| other != index));
    expected.extend_from_slice(others);
    let register = |(index, byte): (u8, u8)| format!("{index}={}", format!("{byte:02x}").repeat(48));
    ExpectedPcrs::from_registers(expected.into_iter().map(|pair| register(pair).parse().unwrap())).unwrap()
}

fn expectation() -> Expectation {
    Expectation::one_of(vec![registers(&[])]).unwrap().with_root(CHAIN.root())
}

fn verdict(reply: &[u8], tls_key: Option<&[u8]>, expectation: &Expectation) -> Result<Attested, Doubt> {
    verify(reply, &Nonce::from_bytes(NONCE), tls_key, expectation, NOW_UNIX_MS)
}
