//! Errors of calls to KMS, in words for the log. Clients learn that the key service is unavailable, or that a backup
//! does not open.

use std::fmt;

use hyper::StatusCode;
use serde::Deserialize;

use crate::aws::imds::NoCredentials;

/// Bytes of an error's name or message that are logged; KMS's own are shorter.
const MAX_LOGGED_BYTES: usize = 512;

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KmsError {
    /// No connection, or it was cut.
    Unreachable(&'static str),
    /// IMDS gave no credentials.
    NoCredentials(NoCredentials),
    /// The Nitro Security Module gave no document.
    NotAttested,
    /// A call has just failed for good; nothing was asked.
    Resting,
    /// Clients sent too much that KMS refuses; nothing was asked.
    Crowded,
    /// The time of our signatures was wrong and is corrected.
    ClockCorrected,
    /// KMS is in trouble, or has too much to do.
    Troubled {
        /// `__type` of the answer, or its status.
        kind: String,
        /// The message of KMS.
        message: String,
    },
    /// KMS says no.
    Refused {
        /// `__type` of the answer, or its status.
        kind: String,
        /// The message of KMS.
        message: String,
    },
    /// The bytes are no ciphertext of KMS, are damaged, or are bound to another context.
    InvalidCiphertext,
    /// KMS did as asked, but with a key that is not measured for this purpose.
    ForeignKey,
    /// The answer is not what KMS answers an enclave.
    Unintelligible,
    /// No place for a data key is left in locked memory.
    NoPlace,
    /// The call was not finished.
    Lost,
}

impl fmt::Display for KmsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(formatter, "KMS cannot be reached: {reason}"),
            Self::NoCredentials(reason) => write!(formatter, "no credentials: {reason}"),
            Self::NotAttested => formatter.write_str("no attestation document to ask KMS with"),
            Self::Resting => formatter.write_str("KMS was not asked again so soon after it failed"),
            Self::Crowded => {
                formatter.write_str("KMS was not asked: it refuses too much of what clients send")
            }
            Self::ClockCorrected => formatter.write_str("the time of the signature was wrong"),
            Self::Troubled { kind, message } | Self::Refused { kind, message } => {
                write!(formatter, "{kind}: {message}")
            }
            Self::InvalidCiphertext => formatter.write_str("not a ciphertext that KMS can decrypt as asked"),
            Self::ForeignKey => formatter.write_str("KMS used a key that nitro.toml does not allow for this"),
            Self::Unintelligible => formatter.write_str("the answer is not what KMS answers an enclave"),
            Self::NoPlace => formatter.write_str("no place for a data key is left in locked memory"),
            Self::Lost => formatter.write_str("the call was not finished"),
        }
    }
}

impl std::error::Error for KmsError {}

/// The error document. Its members' case differs between services and errors.
#[derive(Deserialize)]
struct ErrorDocument {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

impl KmsError {
    /// Reads the answer to a call that failed.
    pub(super) fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        let document: Option<ErrorDocument> = serde_json::from_slice(body).ok();
        let (kind, message) = document.map_or((None, None), |document| (document.kind, document.message));
        // Some services put a namespace and `#` before the name.
        let kind = kind.as_deref().map(|kind| kind.rsplit('#').next().unwrap_or(kind));
        let kind = kind.map_or_else(|| format!("HTTP status {}", status.as_u16()), printable);
        let message = message.as_deref().map_or_else(|| "no message".to_owned(), printable);
        match kind.as_str() {
            "InvalidCiphertextException" | "IncorrectKeyException" => Self::InvalidCiphertext,
            "ThrottlingException"
            | "LimitExceededException"
            | "DependencyTimeoutException"
            | "KeyUnavailableException"
            | "KMSInternalException" => Self::Troubled { kind, message },
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Self::Troubled { kind, message }
            }
            _ => Self::Refused { kind, message },
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NoCredentials(_) | Self::ClockCorrected | Self::Troubled { .. } => {
                true
            }
            Self::Refused { .. } => self.is_of_credentials(),
            Self::NotAttested
            | Self::Resting
            | Self::Crowded
            | Self::InvalidCiphertext
            | Self::ForeignKey
            | Self::Unintelligible
            | Self::NoPlace
            | Self::Lost => false,
        }
    }

    /// Whether it is KMS's last word on what was to be decrypted.
    pub(crate) fn is_of_ciphertext(&self) -> bool {
        matches!(self, Self::InvalidCiphertext | Self::ForeignKey)
    }

    /// Whether KMS answered and did not decrypt what was asked.
    pub(crate) fn is_refusal(&self) -> bool {
        self.is_of_ciphertext() || matches!(self, Self::Refused { .. })
    }

    /// Whether KMS does not accept the signature: the clock is wrong, the secret is, or the request was bent.
    pub(super) fn is_of_signature(&self) -> bool {
        matches!(self, Self::Refused { kind, .. }
            if ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"]
                .contains(&kind.as_str()))
    }

    /// Whether newer credentials may do.
    pub(super) fn is_of_credentials(&self) -> bool {
        matches!(self, Self::Refused { kind, .. }
            if ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"]
                .contains(&kind.as_str()))
    }
}

/// The first line, without control characters: the parent reads our log, and what follows the first line of a message
/// about a signature is the request.
fn printable(text: &str) -> String {
    let mut line = String::new();
    let first = text.trim_start().lines().next().unwrap_or_default();
    for character in first.chars().filter(|character| !character.is_control()) {
        if line.len() + character.len_utf8() > MAX_LOGGED_BYTES {
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::KmsError;

    fn error(status: u16, body: &str) -> KmsError {
        KmsError::of_answer(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn errors_are_told_by_type_and_message_in_either_case() {
        let denied = r#"{"__type":"AccessDeniedException","Message":"User: x is not authorized"}"#;
        assert_eq!(error(400, denied).to_string(), "AccessDeniedException: User: x is not authorized");
        let namespaced =
            r#"{"__type":"com.amazonaws.kms#NotFoundException","message":"no\tkey\n\nyou asked: x"}"#;
        assert_eq!(error(400, namespaced).to_string(), "NotFoundException: nokey");
        assert_eq!(error(400, r#"{"__type":"InvalidCiphertextException"}"#), KmsError::InvalidCiphertext);
        assert_eq!(error(503, "<html>").to_string(), "HTTP status 503: no message");
        let long = format!(r#"{{"__type":"X","message":"{}"}}"#, "\u{e4}".repeat(10_000));
        assert_eq!(error(400, &long).to_string().len(), 3 + 512);
    }

    /// A file of `infra/tests/transcripts/kms`, and what is to be made of it.
    macro_rules! transcripts {
        ($($file:literal: $check:expr,)*) => {
            [$(($file, include_str!(concat!("../../../infra/tests/transcripts/kms/", $file)), $check as fn(&KmsError) -> bool),)*]
        };
    }

    #[test]
    fn each_error_that_kms_sent_is_understood() {
        let is_final = |error: &KmsError| {
            matches!(error, KmsError::Refused { .. })
                && !error.is_worth_another_try()
                && !error.is_of_signature()
        };
        let is_of_signature = |error: &KmsError| error.is_of_signature();
        for (file, body, check) in transcripts! {
            "access-denied-explicit-deny.json": is_final,
            "access-denied-not-allowed.json": is_final,
            "access-denied-identity-policy.json": is_final,
            "access-denied-unknown-key.json": is_final,
            "invalid-ciphertext.json": |error| *error == KmsError::InvalidCiphertext,
            "incorrect-key.json": |error| *error == KmsError::InvalidCiphertext,
            "disabled.json": is_final,
            "invalid-state.json": is_final,
            "not-found.json": is_final,
            "dry-run.json": is_final,
            "throttling.json": |error| matches!(error, KmsError::Troubled { .. }) && error.is_worth_another_try(),
            "invalid-signature.json": is_of_signature,
            "signature-expired.json": is_of_signature,
            "signature-not-yet-current.json": is_of_signature,
            "expired-token.json": |error| error.is_of_credentials() && error.is_worth_another_try(),
            "unrecognized-client.json": |error| error.is_of_credentials() && error.is_worth_another_try(),
        } {
            let whole = error(400, body);
            assert!(check(&whole), "{file}: {whole}");
            assert!(
                !whole.to_string().contains("no message") || file == "invalid-ciphertext.json",
                "{whole}"
            );
            for at in 0..body.trim_end().len() {
                let cut = error(400, &body[..at]);
                assert_eq!(cut.to_string(), "HTTP status 400: no message", "{file}, cut at {at}");
            }
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for (status, kind, again) in [
            (400, "ThrottlingException", true),
            (500, "KMSInternalException", true),
            (500, "DependencyTimeoutException", true),
            (503, "Anything", true),
            (429, "Anything", true),
            (400, "ExpiredTokenException", true),
            (400, "UnrecognizedClientException", true),
            (400, "AccessDeniedException", false),
            (400, "InvalidSignatureException", false),
            (400, "NotFoundException", false),
            (400, "DisabledException", false),
            (400, "InvalidCiphertextException", false),
        ] {
            let body = format!(r#"{{"__type":"{kind}"}}"#);
            assert_eq!(error(status, &body).is_worth_another_try(), again, "{kind}");
        }
    }

    #[test]
    fn signature_and_credentials_are_told_apart() {
        assert!(error(400, r#"{"__type":"InvalidSignatureException"}"#).is_of_signature());
        assert!(error(403, r#"{"__type":"RequestExpired"}"#).is_of_signature());
        assert!(!error(400, r#"{"__type":"AccessDeniedException"}"#).is_of_signature());
        assert!(error(400, r#"{"__type":"ExpiredTokenException"}"#).is_of_credentials());
        assert!(!error(400, r#"{"__type":"AccessDeniedException"}"#).is_of_credentials());
    }
}
