//! The checks of one document that a signer gives now, each with its result.

use std::fmt;

use attestation::{DEFAULT_MAX_AGE, DEFAULT_MAX_AHEAD, Document, Refused, authenticate};
use aws_lc_rs::digest::{SHA256, digest};

use crate::doubt::Doubt;
use crate::expectation::{Expectation, Image};
use crate::key_proof::{KeyProof, Origin, PublicKey};
use crate::nonce::Nonce;
use crate::reply::{self, Claim};

/// The checks, in their order. The content of a document counts only if the document is authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The reply is JSON with a document.
    Reply,
    /// The document has the form of those of AWS's module.
    Form,
    /// Its certificates lead to the pinned root, now.
    Certificates,
    /// The module signed it.
    Signature,
    /// The enclave is not in debug mode.
    DebugMode,
    /// It was made just now.
    Freshness,
    /// It was made for this request.
    Nonce,
    /// The enclave runs an expected image.
    Image,
    /// It is for the TLS key of this very connection.
    TlsKey,
    /// It says what such a document has to say: of the endpoint, the digest of the TLS key; of a key, where that is
    /// from.
    Statement,
}

impl Check {
    /// All of them, in their order.
    pub const ALL: [Self; 10] = [
        Self::Reply,
        Self::Form,
        Self::Certificates,
        Self::Signature,
        Self::DebugMode,
        Self::Freshness,
        Self::Nonce,
        Self::Image,
        Self::TlsKey,
        Self::Statement,
    ];

    /// A name for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Form => "form",
            Self::Certificates => "certificates",
            Self::Signature => "signature",
            Self::DebugMode => "debug_mode",
            Self::Freshness => "freshness",
            Self::Nonce => "nonce",
            Self::Image => "image",
            Self::TlsKey => "tls_key",
            Self::Statement => "statement",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Good,
    /// Not made, since the caller asked for that.
    Waived,
    /// Not as it should be.
    Doubtful(Doubt),
    /// Not made, since an earlier one failed that it builds on.
    NotReached,
}

/// All checks of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    findings: [Finding; Check::ALL.len()],
    document: Option<Document>,
    image: Image,
}

/// The expected enclave. There is no other way to one than to pass each check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    document: Document,
    image: Image,
}

/// A signing key in the expected enclave, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedKey {
    /// The enclave.
    pub enclave: Attested,
    /// The key.
    pub public_key: PublicKey,
    /// Where it comes from.
    pub origin: Origin,
}

/// All checks of a document about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyExamination {
    /// The checks.
    pub examination: Examination,
    claim: Option<Claim>,
}

impl Attested {
    /// The document's content.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// Which of the expected images it runs.
    #[must_use]
    pub const fn image(&self) -> Image {
        self.image
    }
}

impl Examination {
    /// Each check with what came of it, in their order.
    pub fn findings(&self) -> impl Iterator<Item = (Check, Finding)> {
        Check::ALL.into_iter().zip(self.findings)
    }

    /// The document, if it is authentic. It may be of any age, enclave and mode: that is what the findings tell.
    #[must_use]
    pub const fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// The first doubt, if there is any.
    ///
    /// # Errors
    /// [`Doubt`]
    pub fn verdict(self) -> Result<Attested, Doubt> {
        let doubt = self.findings.into_iter().find_map(|finding| match finding {
            Finding::Doubtful(doubt) => Some(doubt),
            _ => None,
        });
        match (doubt, self.document) {
            (None, Some(document)) => Ok(Attested { document, image: self.image }),
            // Without a document there is a doubt, too.
            (doubt, _) => Err(doubt.unwrap_or(Doubt::NotJson)),
        }
    }

    fn failed(check: Check, doubt: Doubt) -> Self {
        let findings = Check::ALL.map(|other| match (other as usize).cmp(&(check as usize)) {
            std::cmp::Ordering::Less => Finding::Good,
            std::cmp::Ordering::Equal => Finding::Doubtful(doubt),
            std::cmp::Ordering::Greater => Finding::NotReached,
        });
        Self { findings, document: None, image: Image::Any }
    }
}

impl KeyExamination {
    /// The first doubt, if there is any.
    ///
    /// # Errors
    /// [`Doubt`]
    pub fn verdict(self) -> Result<AttestedKey, Doubt> {
        let enclave = self.examination.verdict()?;
        let Claim { public_key, origin } = self.claim.ok_or(Doubt::NotJson)?;
        Ok(AttestedKey { enclave, public_key, origin })
    }
}

/// Examines the reply of `GET /.well-known/attestation?nonce=…`, which came over a connection whose other end holds the
/// key `tls_spki`, a DER `SubjectPublicKeyInfo`; none without TLS.
#[must_use]
pub fn examine(
    reply: &[u8],
    nonce: &Nonce,
    tls_spki: Option<&[u8]>,
    expectation: &Expectation,
    now_unix_ms: u64,
) -> Examination {
    let document = match reply::document(reply) {
        Ok(document) => document,
        Err(doubt) => return Examination::failed(Check::Reply, doubt),
    };
    examine_document(&document, nonce, tls_spki, expectation, now_unix_ms, |document| {
        let expected = document.public_key.as_deref().map(|spki| digest(&SHA256, spki));
        if document.user_data.as_deref() == expected.as_ref().map(AsRef::as_ref) {
            Ok(())
        } else {
            Err(Doubt::NotOfTheEndpoint)
        }
    })
}

/// As [`examine`], of the reply of `POST /internal/attest` for this identity.
#[must_use]
pub fn examine_key(
    reply: &[u8],
    identity: [u8; 16],
    nonce: &Nonce,
    tls_spki: Option<&[u8]>,
    expectation: &Expectation,
    now_unix_ms: u64,
) -> KeyExamination {
    let (document, claim) = match reply::document_and_claim(reply) {
        Ok(read) => read,
        Err(doubt) => {
            return KeyExamination { examination: Examination::failed(Check::Reply, doubt), claim: None };
        }
    };
    let proof = KeyProof { identity, public_key: claim.public_key };
    let examination = examine_document(&document, nonce, tls_spki, expectation, now_unix_ms, |document| {
        match proof.origin_in(document) {
            Some(origin) if origin == claim.origin => Ok(()),
            Some(origin) => Err(Doubt::OriginMisstated(origin)),
            None => Err(Doubt::NotOfThisKey),
        }
    });
    KeyExamination { examination, claim: Some(claim) }
}

fn examine_document(
    bytes: &[u8],
    nonce: &Nonce,
    tls_spki: Option<&[u8]>,
    expectation: &Expectation,
    now_unix_ms: u64,
    statement: impl FnOnce(&Document) -> Result<(), Doubt>,
) -> Examination {
    let document = match authenticate(bytes, expectation.root(), now_unix_ms) {
        Ok(document) => document,
        Err(refused) => return Examination::failed(failed_check(refused), Doubt::of_refused(refused, bytes)),
    };
    let image = expectation.image_of(&document);
    let statement = statement(&document);
    let finding = |result: Result<(), Doubt>| result.map_or_else(Finding::Doubtful, |()| Finding::Good);
    let findings = Check::ALL.map(|check| match check {
        Check::Reply | Check::Form | Check::Certificates | Check::Signature => Finding::Good,
        Check::DebugMode => finding(check_debug_mode(&document)),
        Check::Freshness => finding(check_freshness(&document, now_unix_ms)),
        Check::Nonce => finding(match document.nonce.as_deref() {
            None => Err(Doubt::NoNonce),
            Some(said) if said != nonce.as_bytes() => Err(Doubt::Replayed),
            Some(_) => Ok(()),
        }),
        Check::Image => match image {
            Ok(Image::Expected(_)) => Finding::Good,
            Ok(Image::Any) => Finding::Waived,
            Err(doubt) => Finding::Doubtful(doubt),
        },
        Check::TlsKey => match (tls_spki, document.public_key.as_deref()) {
            (Some(held), Some(said)) if held == said => Finding::Good,
            (Some(_), Some(_)) => Finding::Doubtful(Doubt::OtherTlsKey),
            (Some(_), None) => Finding::Doubtful(Doubt::NotBoundToTls),
            (None, Some(_)) => Finding::Doubtful(Doubt::TlsEndsElsewhere),
            (None, None) if expectation.accepts_http() => Finding::Waived,
            (None, None) => Finding::Doubtful(Doubt::NoTls),
        },
        Check::Statement => finding(statement),
    });
    Examination { findings, document: Some(document), image: image.unwrap_or(Image::Any) }
}

/// Checks that the enclave was not started in debug mode, in which the parent reads its console and pcr0 is all zeros.
///
/// # Errors
/// [`Refused::DebugMode`]; and [`Doubt::PcrMissing`], for then nothing tells.
pub fn check_debug_mode(document: &Document) -> Result<(), Doubt> {
    match document.pcrs.get(0) {
        None => Err(Doubt::PcrMissing(0)),
        Some(pcr0) if pcr0.iter().all(|byte| *byte == 0) => Err(Refused::DebugMode.into()),
        Some(_) => Ok(()),
    }
}

fn check_freshness(document: &Document, now_unix_ms: u64) -> Result<(), Doubt> {
    let age_ms = now_unix_ms.saturating_sub(document.timestamp_unix_ms);
    let ahead_ms = document.timestamp_unix_ms.saturating_sub(now_unix_ms);
    if u128::from(age_ms) > DEFAULT_MAX_AGE.as_millis() {
        return Err(Refused::Stale.into());
    }
    if u128::from(ahead_ms) > DEFAULT_MAX_AHEAD.as_millis() {
        return Err(Refused::FromTheFuture.into());
    }
    Ok(())
}

/// The check of authenticity that a document failed.
const fn failed_check(refused: Refused) -> Check {
    match refused {
        Refused::BadSignature => Check::Signature,
        Refused::TooLarge
        | Refused::MalformedEnvelope
        | Refused::WrongAlgorithm
        | Refused::MalformedPayload
        | Refused::UnknownField
        | Refused::DuplicateField(_)
        | Refused::MissingField(_)
        | Refused::InvalidField(_) => Check::Form,
        _ => Check::Certificates,
    }
}
