//! A signer as two hash maps and a clock, and a client that knows what to expect of the real one.

use std::collections::HashMap;

use secp256k1::schnorr::Signature;
use sha2::{Digest as _, Sha256};

use crate::core_signer::{CoreSigner, MAX_KEYS, MAX_NONCES};
use crate::identity::{hex, to_hex};
use crate::ledger::{Answer, Ledger};
use crate::script::{Flaw, MAX_TICKET_TTL_S, Operation};
use crate::ticket::{Bend, Question, TicketError, judge, mint, uuid};

const OK: &str = r#"{"ok":true}"#;
const EXISTS: &str = r#"{"error":"Identity key already exists in enclave"}"#;
const NOT_FOUND: &str = r#"{"error":"Identity key not found"}"#;
const FULL: &str = r#"{"error":"Signer is at capacity"}"#;
const INVALID_TICKET: &str = r#"{"error":"Invalid ticket signature or expiry"}"#;
const WRONG_SCOPE: &str = r#"{"error":"Invalid ticket scope"}"#;
const WRONG_IDENTITY: &str = r#"{"error":"Ticket identity mismatch"}"#;
const WRONG_DIGEST: &str = r#"{"error":"Ticket digest mismatch"}"#;
const REPLAY: &str = r#"{"error":"Replay detected for ticket nonce"}"#;
const NOT_JSON: &str = r#"{"error":"Invalid JSON body"}"#;

/// Signatures in one run: each costs as much as hundreds of other operations under a sanitizer, and changes nothing
/// that its permit has not changed.
const MAX_SIGNATURES: usize = 2;

const JUNK: [&[u8]; 4] = [b"", b"{", b"{\"identity_id\":\"", b"\xEF\xBB\xBF{}"];

/// The model, and what it has sent.
#[derive(Debug)]
pub struct Client {
    /// Each with the name of its origin.
    keys: HashMap<u8, ([u8; 32], &'static str)>,
    nonces: Ledger,
    now_unix_ms: u64,
    sent: Vec<SignBody>,
    signatures: usize,
    steps: u8,
}

#[derive(Clone, Debug)]
struct SignBody {
    identity: u8,
    digest: [u8; 32],
    ticket: String,
    nonce: String,
    exp_unix_ms: u64,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            nonces: Ledger::new(MAX_NONCES),
            now_unix_ms: 1_800_000_000_000,
            sent: Vec::new(),
            signatures: 0,
            steps: 0,
        }
    }
}

impl Client {
    /// Does one step with the core and judges its reply.
    ///
    /// # Panics
    /// If the reply is not as the contract has it.
    pub fn step(&mut self, core: &mut CoreSigner<'_>, operation: Operation) {
        self.steps = self.steps.wrapping_add(1);
        match operation {
            Operation::Generate { identity, key } => {
                // Zero and the curve's order are no keys: the next draw is.
                let draws = [[0; 32], secp256k1::constants::CURVE_ORDER, secret(key)];
                let body = self.body(identity, r#","alg":"secp256k1""#);
                let expected = match self.keys.contains_key(&identity) {
                    true => EXISTS.to_owned(),
                    false => {
                        self.insert(identity, (secret(key), "generated"), public_key_reply(&secret(key)))
                    }
                };
                assert_eq!(core.generate(&body, &draws), expected);
            }
            Operation::Import { identity, key } => {
                let sealed_key = to_hex(&secret(key));
                let body = self.body(identity, &format!(r#","sealed_key":"{sealed_key}","alg":"secp256k1""#));
                let expected = match self.keys.get(&identity) {
                    Some((held, _)) if *held == secret(key) => OK.to_owned(),
                    Some(_) => EXISTS.to_owned(),
                    None => self.insert(identity, (secret(key), "imported"), OK.to_owned()),
                };
                assert_eq!(core.import(&body), expected);
            }
            Operation::Export { identity } => {
                let expected = self.keys.get(&identity).map_or(NOT_FOUND.to_owned(), |(key, _)| {
                    format!(r#"{{"alg":"secp256k1","sealed_key":"{}"}}"#, to_hex(key))
                });
                assert_eq!(core.export(&self.body(identity, "")), expected);
            }
            Operation::Prove { identity } => {
                let expected = self.keys.get(&identity).map_or(NOT_FOUND.to_owned(), |(key, origin)| {
                    let hash = binding(&identity_of(identity), key, origin);
                    format!("{} {origin} {}", public_key_reply(key), to_hex(&hash))
                });
                assert_eq!(core.attest(&self.body(identity, "")), expected);
            }
            Operation::Destroy { identity } => {
                let expected = self.keys.remove(&identity).map_or(NOT_FOUND, |_| OK);
                assert_eq!(core.destroy(&self.body(identity, "")), expected);
            }
            Operation::Sign { identity, nonce, flaw, life_ms } => {
                let body = SignBody::new(identity, nonce, flaw, life_ms, self.now_unix_ms);
                self.sign(core, &body);
                self.sent.push(body);
            }
            Operation::Resend { request } => {
                if let Some(body) = self.sent.iter().nth_back(usize::from(request)).cloned() {
                    self.sign(core, &body);
                }
            }
            Operation::Advance { ms } => self.now_unix_ms += ms,
            Operation::SetBack { ms } => self.now_unix_ms -= ms,
            Operation::Junk { body } => {
                let body = JUNK[usize::from(body) % JUNK.len()];
                assert_eq!(core.generate(body, &[]), NOT_JSON);
                assert_eq!(core.import(body), NOT_JSON);
                assert_eq!(core.export(body), NOT_JSON);
                assert_eq!(core.attest(body), NOT_JSON);
                assert_eq!(core.destroy(body), NOT_JSON);
                assert_eq!(core.sign(body, self.now_unix_ms, None), NOT_JSON);
            }
        }
    }

    fn insert(&mut self, identity: u8, key: ([u8; 32], &'static str), reply: String) -> String {
        if self.keys.len() == MAX_KEYS {
            return FULL.to_owned();
        }
        self.keys.insert(identity, key);
        reply
    }

    fn sign(&mut self, core: &mut CoreSigner<'_>, sign: &SignBody) {
        let SignBody { identity, digest, ticket, nonce, exp_unix_ms } = sign;
        let body = self.body(*identity, &format!(r#","digest":"{}","ticket":"{ticket}""#, to_hex(digest)));
        let aux = [self.steps; 32];
        let reply = core.sign(&body, self.now_unix_ms, (self.signatures < MAX_SIGNATURES).then_some(&aux));
        let Some((key, _)) = self.keys.get(identity) else {
            assert_eq!(reply, NOT_FOUND);
            return;
        };
        let question = Question {
            identity: identity_of(*identity),
            digest: *digest,
            now_unix_ms: self.now_unix_ms,
            max_ttl_s: MAX_TICKET_TTL_S,
        };
        let expected = match judge(ticket, &question) {
            Ok(()) => {
                let answer = match reply.as_str() {
                    REPLAY => Answer::Replay,
                    FULL => Answer::Full,
                    INVALID_TICKET => Answer::Forgotten,
                    "" if self.signatures == MAX_SIGNATURES => Answer::Recorded,
                    signed => {
                        verify(key, digest, signed);
                        self.signatures += 1;
                        Answer::Recorded
                    }
                };
                self.nonces.judge(nonce, exp_unix_ms.div_ceil(1000), self.now_unix_ms / 1000, answer);
                return;
            }
            Err(TicketError::Invalid) => INVALID_TICKET,
            Err(TicketError::Scope) => WRONG_SCOPE,
            Err(TicketError::Identity) => WRONG_IDENTITY,
            Err(TicketError::Digest) => WRONG_DIGEST,
        };
        assert_eq!(reply, expected, "{ticket}");
    }

    /// A body about an identity, in one of the spellings that must make no difference.
    fn body(&self, identity: u8, more: &str) -> Vec<u8> {
        let id = uuid(&identity_of(identity));
        match self.steps % 4 {
            0 => format!(r#"{{"identity_id":"{id}"{more}}}"#),
            1 => format!(r#"{{"identity_id":"{}"{more}}}"#, id.to_uppercase()),
            2 => format!("\t{{ \"else\" : [{{}}, 1e999],\r\n\"identity_id\" : \"{id}\" {more}}} "),
            _ => format!(r#"{{"identity\u005Fid":"\u0037{}"{more}}}"#, &id[1..]),
        }
        .into_bytes()
    }
}

impl SignBody {
    fn new(identity: u8, nonce: u8, flaw: Flaw, life_ms: u64, now_unix_ms: u64) -> Self {
        let digest = [nonce * 16 + identity; 32];
        let nonce = format!("nonce {nonce}");
        let exp_unix_ms = if flaw == Flaw::Expired { now_unix_ms } else { now_unix_ms + life_ms };
        let nbf_unix_ms = if flaw == Flaw::NotYet { now_unix_ms + 5001 } else { now_unix_ms + 4999 };
        let date = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let claims = format!(
            r#"{{"scope":"{}","identity_id":"{}","digest_hash":"{}","{}":"{nonce}","exp":{},"nbf":{}}}"#,
            if flaw == Flaw::Scope { "Sign" } else { "sign" },
            uuid(&identity_of(if flaw == Flaw::Identity { identity + 1 } else { identity })),
            to_hex(&Sha256::digest(if flaw == Flaw::Digest { [0xFF; 32] } else { digest })),
            if flaw == Flaw::NoNonce { "jti" } else { "nonce" },
            date(exp_unix_ms),
            date(nbf_unix_ms),
        );
        let bends: &[Bend] = if flaw == Flaw::Mac { &[Bend::WrongMac] } else { &[] };
        let ticket = mint(br#"{"alg":"HS256","typ":"JWT"}"#, claims.as_bytes(), bends);
        Self { identity, digest, ticket, nonce, exp_unix_ms }
    }
}

fn identity_of(number: u8) -> [u8; 16] {
    let mut identity = *b"\x7b\x1c\xf0\xa2\x00\x00\x40\x00\x80\x00\x00\x00\x00\x00\x00\x00";
    identity[15] = number;
    identity
}

/// Small scalars, of which 6 and 9 have an odd y: BIP-340 signs with their negatives.
fn secret(key: u8) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[31] = key + 6;
    secret
}

fn public_key(key: &[u8; 32]) -> [u8; 33] {
    secp256k1::SecretKey::from_secret_bytes(*key).expect("a key").public_key().serialize()
}

fn public_key_reply(key: &[u8; 32]) -> String {
    format!(r#"{{"public_key":"{}"}}"#, to_hex(&public_key(key)))
}

/// The binding that a document holds.
fn binding(identity: &[u8; 16], key: &[u8; 32], origin: &str) -> [u8; 32] {
    let hashed = [b"nitro-signer/key/v1", &identity[..], &public_key(key), origin.as_bytes()].concat();
    Sha256::digest(hashed).into()
}

fn verify(key: &[u8; 32], digest: &[u8; 32], reply: &str) {
    let signature = reply
        .strip_prefix(r#"{"signature":""#)
        .and_then(|rest| rest.strip_suffix(r#""}"#))
        .filter(|digits| !digits.contains(|digit: char| digit.is_ascii_uppercase()))
        .and_then(|digits| hex(digits.as_bytes())?.try_into().ok())
        .unwrap_or_else(|| panic!("no signature: {reply}"));
    let key = secp256k1::SecretKey::from_secret_bytes(*key).expect("a key");
    let (public, _) = key.public_key().x_only_public_key();
    secp256k1::schnorr::verify(&Signature::from_byte_array(signature), digest, &public)
        .expect("a signature that verifies");
}
