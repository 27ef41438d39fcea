//! The requests of a run to a signer, read from bytes that a person can write too.
//!
//! An operation is a letter and its parameters, one character each, of which the digits count from zero; white space
//! is ignored. `g00 s0000 r0` makes key 0, signs with it, and sends the same ticket again.

/// Milliseconds that a clock moves at a time: below, at and above the seconds, lives and turns of the ledger's wheel.
const CLOCK_STEPS_MS: [u64; 10] = [1, 499, 500, 1000, 2000, 3000, 8000, 10_000, 11_000, 100_000];

/// Milliseconds that a ticket lives; the last is over the limit.
const LIVES_MS: [u64; 10] = [1, 500, 999, 1000, 2000, 2500, 5000, 7999, 8000, 8001];

/// The longest life of a ticket.
pub const MAX_TICKET_TTL_S: u32 = 8;

/// How many identities there are.
pub const IDENTITIES: u8 = 5;

/// How many nonces there are.
pub const NONCES: u8 = 10;

/// How many keys there are.
pub const KEYS: u8 = 4;

/// One step.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// `gIK`: generate, the random source's first draw that is a key being the K-th.
    Generate {
        /// The identity.
        identity: u8,
        /// Which.
        key: u8,
    },
    /// `iIK`: import.
    Import {
        /// The identity.
        identity: u8,
        /// Which.
        key: u8,
    },
    /// `eI`: export.
    Export {
        /// The identity.
        identity: u8,
    },
    /// `pI`: prove where a key came from.
    Prove {
        /// The identity.
        identity: u8,
    },
    /// `dI`: destroy.
    Destroy {
        /// The identity.
        identity: u8,
    },
    /// `sINFL`: sign with a new ticket.
    Sign {
        /// The identity of the ticket.
        identity: u8,
        /// The nonce of the ticket.
        nonce: u8,
        /// The error of the ticket.
        flaw: Flaw,
        /// How long it lives.
        life_ms: u64,
    },
    /// `rT`: send the T-th last sign request again.
    Resend {
        /// Which, from the last.
        request: u8,
    },
    /// `aM`: time passes.
    Advance {
        /// How much.
        ms: u64,
    },
    /// `bM`: the clock is set back.
    SetBack {
        /// How much.
        ms: u64,
    },
    /// `jI`: a body that is none, to every operation.
    Junk {
        /// Which.
        body: u8,
    },
}

/// The error of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: every other digit.
    None,
    /// Its scope.
    Scope,
    /// Its identity.
    Identity,
    /// Its digest hash.
    Digest,
    /// Its time: it is over.
    Expired,
    /// Its time: it is yet to come.
    NotYet,
    /// Its MAC.
    Mac,
    /// It has no nonce.
    NoNonce,
}

/// Reads a script to its end, or to an operation that is cut short.
pub fn operations(script: &[u8]) -> impl Iterator<Item = Operation> {
    let mut bytes = script.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    std::iter::from_fn(move || {
        loop {
            let verb = bytes.next()?;
            let mut parameter = |count: u8| Some(bytes.next()?.wrapping_sub(b'0') % count);
            return Some(match verb {
                b'g' => Operation::Generate { identity: parameter(IDENTITIES)?, key: parameter(KEYS)? },
                b'i' => Operation::Import { identity: parameter(IDENTITIES)?, key: parameter(KEYS)? },
                b'e' => Operation::Export { identity: parameter(IDENTITIES)? },
                b'p' => Operation::Prove { identity: parameter(IDENTITIES)? },
                b'd' => Operation::Destroy { identity: parameter(IDENTITIES)? },
                b's' => Operation::Sign {
                    identity: parameter(IDENTITIES)?,
                    nonce: parameter(NONCES)?,
                    flaw: Flaw::from_digit(parameter(16)?),
                    life_ms: LIVES_MS[usize::from(parameter(10)?)],
                },
                b'r' => Operation::Resend { request: parameter(10)? },
                b'a' => Operation::Advance { ms: CLOCK_STEPS_MS[usize::from(parameter(10)?)] },
                b'b' => Operation::SetBack { ms: CLOCK_STEPS_MS[usize::from(parameter(10)?)] },
                b'j' => Operation::Junk { body: parameter(10)? },
                _ => continue,
            });
        }
    })
}

impl Flaw {
    const fn from_digit(digit: u8) -> Self {
        match digit {
            1 => Self::Scope,
            2 => Self::Identity,
            3 => Self::Digest,
            4 => Self::Expired,
            5 => Self::NotYet,
            6 => Self::Mac,
            7 => Self::NoNonce,
            _ => Self::None,
        }
    }
}
