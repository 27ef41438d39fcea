//! An NSM without hardware, for development. Its documents are signed like Nitro's, by a root of its own. A verifier
//! with that root checks them like Nitro's, and any other verifier refuses them.

mod chain;
mod root;

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_nitro_enclaves_nsm_api::api::{AttestationDoc, Digest as PcrDigest};
use serde_cbor::Value;
use sha2::{Digest as _, Sha384};
use zeroize::Zeroizing;

use super::{AttestationRequest, Nsm, NsmUnavailable, Pcr};
use chain::Chain;
use root::Root;

/// The most that Nitro's GetRandom returns in one answer.
const RANDOM_BYTES: usize = 256;

/// A register of SHA-384.
const PCR_BYTES: usize = 48;

/// Registers that Nitro has.
const PCRS: u16 = 32;

/// Registers that Nitro locks at boot, which are those in its documents.
const LOCKED_PCRS: u16 = 16;

/// {1: -35}: ES384.
const PROTECTED_HEADER: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// The name of every failure in here: the hardware's for its own.
const INTERNAL_ERROR: NsmUnavailable = NsmUnavailable::Refused("InternalError");

/// The software NSM.
pub struct SoftwareNsm {
    module_id: String,
    pcrs: Pcrs,
    clock: ClockError,
    refuses_after: Option<Duration>,
    started: Instant,
    /// When it was first asked for the time. A start that takes seconds adds no drift.
    first_told: OnceLock<Instant>,
    root: Root,
    chain: Mutex<Chain>,
}

/// The measurements that the software NSM reports. The other registers are zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcrs {
    /// The image.
    pub pcr0: [u8; PCR_BYTES],
    /// The kernel and the first ramdisk.
    pub pcr1: [u8; PCR_BYTES],
    /// The application.
    pub pcr2: [u8; PCR_BYTES],
}

/// The error of this machine's clock, relative to the software NSM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockError {
    /// How many seconds the NSM is ahead of it in its first document; behind it if negative.
    pub offset_s: i32,
    /// How many millionths of a second the NSM gains on it each second. Below -1,000,000 the NSM's time goes back.
    pub drift_ppm: i32,
}

/// Why there is no software NSM.
#[derive(Debug)]
pub enum NoSoftwareNsm {
    /// A file of the root, which is named, cannot be read or written.
    NotKept(&'static str, std::io::Error),
    /// A file of the root, which is named, holds something else.
    Damaged(&'static str),
    /// The two files of the root do not belong together.
    OtherKey,
    /// A certificate could not be made, or there is no randomness.
    NotMade,
}

impl std::fmt::Display for NoSoftwareNsm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotKept(file, error) => write!(formatter, "the software nsm cannot keep {file}: {error}"),
            Self::Damaged(file) => write!(formatter, "the software nsm's {file} is damaged"),
            Self::OtherKey => {
                formatter.write_str("the software nsm's root.pem is not of the key in root-key.pem")
            }
            Self::NotMade => formatter.write_str("the software nsm's certificates cannot be made"),
        }
    }
}

impl std::error::Error for NoSoftwareNsm {}

impl Default for Pcrs {
    fn default() -> Self {
        let measured =
            |register: u8| Sha384::digest(format!("nitro-signer software NSM PCR{register}")).into();
        Self { pcr0: measured(0), pcr1: measured(1), pcr2: measured(2) }
    }
}

impl std::fmt::Debug for SoftwareNsm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SoftwareNsm").finish_non_exhaustive()
    }
}

impl SoftwareNsm {
    /// Signs with the root in `root.pem` and `root-key.pem` of `directory`, which are made if they are missing:
    /// after a restart it is the same root.
    ///
    /// # Errors
    /// [`NoSoftwareNsm`]
    pub fn with_root(directory: &Path) -> Result<Self, NoSoftwareNsm> {
        Self::new(Root::kept_in(directory, SystemTime::now())?)
    }

    /// Signs with a root that is forgotten with it.
    ///
    /// # Errors
    /// [`NoSoftwareNsm::NotMade`]
    pub fn ephemeral() -> Result<Self, NoSoftwareNsm> {
        Self::new(Root::new(SystemTime::now())?)
    }

    fn new(root: Root) -> Result<Self, NoSoftwareNsm> {
        // i-<17 digits>-enc<16 digits>, as EC2 and Nitro number theirs.
        let mut digits = [0; 17];
        crate::entropy::fill(&mut digits).map_err(|_| NoSoftwareNsm::NotMade)?;
        let digits = base16ct::lower::encode_string(&digits);
        let module_id = format!("i-{}-enc{}", &digits[..17], &digits[17..33]);
        let chain = Chain::issue(&root, &module_id, SystemTime::now()).ok_or(NoSoftwareNsm::NotMade)?;
        Ok(Self {
            module_id,
            pcrs: Pcrs::default(),
            clock: ClockError::default(),
            refuses_after: None,
            started: Instant::now(),
            first_told: OnceLock::new(),
            root,
            chain: Mutex::new(chain),
        })
    }

    /// The same, but with other registers.
    #[must_use]
    pub fn measuring(self, pcrs: Pcrs) -> Self {
        Self { pcrs, ..self }
    }

    /// The same, but with a clock that differs from this machine's.
    #[must_use]
    pub fn with_clock(self, clock: ClockError) -> Self {
        Self { clock, ..self }
    }

    /// The same, but it gives no more documents once it is this old.
    #[must_use]
    pub fn refusing_after(self, age: Duration) -> Self {
        Self { refuses_after: Some(age), ..self }
    }

    /// The root's certificate, for verifiers.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        self.root.pem()
    }

    fn attest_at(&self, request: &AttestationRequest<'_>, now: SystemTime) -> Option<Vec<u8>> {
        let unix_ms = u64::try_from(now.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
        // One that was being replaced when a thread panicked is whole: the old one or the new one.
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        if !chain.serves(now) {
            *chain = Chain::issue(&self.root, &self.module_id, now)?;
        }
        let pcrs = (0..LOCKED_PCRS).map(|index| (usize::from(index), self.pcr(index).to_vec()));
        let payload = AttestationDoc::new(
            self.module_id.clone(),
            PcrDigest::SHA384,
            unix_ms,
            pcrs.collect(),
            chain.certificate().to_vec(),
            chain.cabundle().to_vec(),
            request.user_data.map(<[u8]>::to_vec),
            request.nonce.map(<[u8]>::to_vec),
            request.public_key.map(<[u8]>::to_vec),
        )
        .to_binary();
        let signature = chain.key().sign(&SystemRandom::new(), &signed_text(&payload)?).ok()?;
        sign1(payload, signature.as_ref())
    }

    fn now(&self) -> SystemTime {
        let ClockError { offset_s, drift_ppm } = self.clock;
        let drift =
            self.first_told.get_or_init(Instant::now).elapsed() * drift_ppm.unsigned_abs() / 1_000_000;
        let offset = Duration::from_secs(offset_s.unsigned_abs().into());
        let now = SystemTime::now();
        let now = if drift_ppm < 0 { now - drift } else { now + drift };
        if offset_s < 0 { now - offset } else { now + offset }
    }

    fn pcr(&self, index: u16) -> [u8; PCR_BYTES] {
        match index {
            0 => self.pcrs.pcr0,
            1 => self.pcrs.pcr1,
            2 => self.pcrs.pcr2,
            _ => [0; PCR_BYTES],
        }
    }
}

impl Nsm for SoftwareNsm {
    fn attest(&self, request: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable> {
        request.check()?;
        if self.refuses_after.is_some_and(|age| self.started.elapsed() >= age) {
            return Err(INTERNAL_ERROR);
        }
        self.attest_at(request, self.now()).ok_or(INTERNAL_ERROR)
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
        let mut random = Zeroizing::new(vec![0; RANDOM_BYTES]);
        getrandom::fill(&mut random).map_err(|_| INTERNAL_ERROR)?;
        Ok(random)
    }

    fn describe_pcr(&self, index: u16) -> Result<Pcr, NsmUnavailable> {
        if index >= PCRS {
            return Err(NsmUnavailable::Refused("InvalidIndex"));
        }
        Ok(Pcr { locked: index < LOCKED_PCRS, value: self.pcr(index).to_vec() })
    }
}

/// The signed bytes of a COSE_Sign1 (RFC 9052 §4.4).
fn signed_text(payload: &[u8]) -> Option<Vec<u8>> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let context = Value::Text("Signature1".to_owned());
    serde_cbor::to_vec(&[context, bytes(&PROTECTED_HEADER), bytes(&[]), bytes(payload)]).ok()
}

/// COSE_Sign1 (RFC 9052 §4.2), without the tag, as Nitro's.
fn sign1(payload: Vec<u8>, signature: &[u8]) -> Option<Vec<u8>> {
    let unprotected = Value::Map([].into());
    let protected = Value::Bytes(PROTECTED_HEADER.to_vec());
    serde_cbor::to_vec(&[protected, unprotected, Value::Bytes(payload), Value::Bytes(signature.to_vec())])
        .ok()
}

#[cfg(test)]
mod tests;
