//! The ways in which a server is not the expected enclave, and the words in which clients say so.

use crate::cbor;
use crate::chain::Chain;
use crate::enclave::{
    CHAIN, EARLY, EXPIRED, LONG_EXPIRED, OLD, STRANGER, good, now_unix_s, payload, reply, sha256,
};
use crate::process::Outcome;
use crate::server::{Answer, Request, TlsIdentity};

/// One way, and what each client says of it.
pub(crate) struct Pretence {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    /// Under which root its documents are.
    pub(crate) root: &'static str,
    /// For a nonce and a TLS key.
    pub(crate) answer: fn(&[u8], &[u8]) -> Answer,
}

fn documented(chain: &Chain, nonce: &[u8], spki: Option<&[u8]>, changes: &[(&str, Vec<u8>)]) -> Answer {
    let draft =
        changes.iter().fold(payload(chain, nonce, spki), |draft, (name, value)| draft.with(name, &value[..]));
    reply(&chain.document(&draft.payload()))
}

fn pcrs(pcrs: &[(u64, u8)]) -> Vec<u8> {
    let pairs = pcrs.iter().map(|(index, byte)| (cbor::uint(*index), cbor::bytes(&[*byte; 48])));
    cbor::map(&pairs.collect::<Vec<_>>())
}

pub(crate) const PRETENCES: &[Pretence] = &[
    Pretence {
        name: "debug mode",
        words: "enclave is in debug mode: pcr0 is all zeros",
        root: "root.pem",
        answer: |nonce, spki| {
            documented(&CHAIN, nonce, Some(spki), &[("pcrs", pcrs(&[(0, 0), (1, 0), (2, 0)]))])
        },
    },
    Pretence {
        name: "another root",
        words: "certificate path leads to another root than the pinned one",
        root: "root.pem",
        answer: |nonce, spki| documented(&STRANGER, nonce, Some(spki), &[]),
    },
    Pretence {
        name: "genuine certificates over what somebody else signed",
        words: "signature of the attestation document is wrong",
        root: "root.pem",
        answer: |nonce, spki| reply(&STRANGER.document(&payload(&CHAIN, nonce, Some(spki)).payload())),
    },
    Pretence {
        name: "an emulator's document",
        words: "attestation document is an emulator's, without a signature",
        root: "root.pem",
        answer: |nonce, spki| {
            let payload = payload(&CHAIN, nonce, Some(spki)).payload();
            reply(&[b"\x84\x43\xa1\x01\x20\xa0", &*cbor::bytes(&payload), &cbor::bytes(&[0; 64])].concat())
        },
    },
    Pretence {
        name: "stale",
        words: "attestation document is stale",
        root: "old-root.pem",
        answer: |nonce, spki| {
            let then = cbor::uint((now_unix_s() - 400) * 1000);
            documented(&OLD, nonce, Some(spki), &[("timestamp", then)])
        },
    },
    Pretence {
        name: "from the future",
        words: "attestation document is from the future",
        root: "root.pem",
        answer: |nonce, spki| {
            let then = cbor::uint((now_unix_s() + 120) * 1000);
            documented(&CHAIN, nonce, Some(spki), &[("timestamp", then)])
        },
    },
    Pretence {
        name: "certificates that have just expired",
        words: "certificate has expired less than a week ago; check the clock of this machine",
        root: "expired-root.pem",
        answer: |nonce, spki| documented(&EXPIRED, nonce, Some(spki), &[]),
    },
    Pretence {
        name: "expired certificates",
        words: "certificate has expired",
        root: "long-expired-root.pem",
        answer: |nonce, spki| documented(&LONG_EXPIRED, nonce, Some(spki), &[]),
    },
    Pretence {
        name: "certificates of the future",
        words: "certificate is not yet in force; check the clock of this machine",
        root: "early-root.pem",
        answer: |nonce, spki| documented(&EARLY, nonce, Some(spki), &[]),
    },
    Pretence {
        name: "a field that no document has",
        words: "attestation document has an unknown field",
        root: "root.pem",
        answer: |nonce, spki| {
            let payload = payload(&CHAIN, nonce, Some(spki)).and(cbor::text("later"), cbor::uint(1));
            reply(&CHAIN.document(&payload.payload()))
        },
    },
    Pretence {
        name: "replayed",
        words: "attestation document is replayed: it has the nonce of another request",
        root: "root.pem",
        answer: |_, spki| good(&[7; 32], Some(spki)),
    },
    Pretence {
        name: "no nonce",
        words: "attestation document has no nonce, so it may be of any request",
        root: "root.pem",
        answer: |nonce, spki| documented(&CHAIN, nonce, Some(spki), &[("nonce", cbor::NULL.to_vec())]),
    },
    Pretence {
        name: "another TLS key",
        words: "attestation document is for another tls key: another server relays it, and reads along",
        root: "root.pem",
        answer: |nonce, _| good(nonce, Some(b"the key behind the relay")),
    },
    Pretence {
        name: "no TLS key",
        words: "attestation document is bound to no tls key: tls of this connection does not end in the enclave",
        root: "root.pem",
        answer: |nonce, _| good(nonce, None),
    },
    Pretence {
        name: "a document about a signing key",
        words: "attestation document is not the endpoint's: its user data is not the digest of the tls key",
        root: "root.pem",
        answer: |nonce, spki| {
            documented(&CHAIN, nonce, Some(spki), &[("user_data", cbor::bytes(&sha256(b"about a key")))])
        },
    },
    Pretence {
        name: "another image",
        words: "enclave runs another image: pcr1 is not the expected one",
        root: "root.pem",
        answer: |nonce, spki| {
            documented(&CHAIN, nonce, Some(spki), &[("pcrs", pcrs(&[(0, 1), (1, 9), (2, 3)]))])
        },
    },
    Pretence {
        name: "a register is missing",
        words: "pcr2 is missing",
        root: "root.pem",
        answer: |nonce, spki| documented(&CHAIN, nonce, Some(spki), &[("pcrs", pcrs(&[(0, 1), (1, 2)]))]),
    },
    Pretence {
        name: "a malformed document",
        words: "attestation document is not a well-formed cose_sign1",
        root: "root.pem",
        answer: |_, _| reply(b"no document"),
    },
    Pretence {
        name: "a malformed certificate",
        words: "certificate in the attestation document is malformed",
        root: "root.pem",
        answer: |nonce, spki| {
            let mut leaf = CHAIN.leaf().to_vec();
            // Version 7 of X.509, for which Python has an exception of its own.
            let version = leaf.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap();
            leaf[version + 4] = 6;
            documented(&CHAIN, nonce, Some(spki), &[("certificate", cbor::bytes(&leaf))])
        },
    },
    Pretence {
        name: "not base64",
        words: "attestation document is not in base64",
        root: "root.pem",
        answer: |_, _| Answer { status: 200, body: br#"{"attestation_doc":"hEQ"}"#.to_vec() },
    },
    Pretence {
        name: "not JSON",
        words: "reply is not the json of an attestation document",
        root: "root.pem",
        answer: |_, _| Answer { status: 200, body: b"<html>welcome</html>".to_vec() },
    },
    Pretence {
        name: "a long reply",
        words: "reply is longer than any attestation document",
        root: "root.pem",
        answer: |_, _| {
            let body = format!(r#"{{"attestation_doc":"{}"}}"#, "AAAA".repeat(6 * 1024));
            Answer { status: 200, body: body.into_bytes() }
        },
    },
    Pretence {
        name: "a very long reply",
        words: "reply is longer than any attestation document",
        root: "root.pem",
        answer: |_, _| Answer { status: 200, body: vec![b' '; 1024 * 1024] },
    },
    Pretence {
        name: "no documents at all",
        words: "no attestation document: status 404",
        root: "root.pem",
        answer: |_, _| crate::enclave::not_found(),
    },
];

impl Pretence {
    /// A client doubted it, in its words.
    #[track_caller]
    pub(crate) fn is_seen(&self, outcome: &Outcome) {
        assert!(outcome.stderr.contains(self.words), "{}: {outcome:?}", self.name);
        outcome.doubts(self.words);
    }

    /// A server that does this.
    pub(crate) fn server(&self) -> crate::server::Server {
        let identity = TlsIdentity::new();
        let (answer, spki) = (self.answer, identity.spki.clone());
        crate::server::Server::start(Some(&identity), move |request: &Request| {
            request.nonce().map_or_else(crate::enclave::not_found, |nonce| answer(&nonce, &spki))
        })
    }
}
