//! Refusals, as AWS words them.

use hyper::StatusCode;
use serde_json::{Value, json};

/// An error reply of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    kind: ErrorKind,
    message: Option<String>,
}

/// The `__type` of an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    AccessDenied,
    DryRunOperation,
    ExpiredToken,
    IncompleteSignature,
    IncorrectKey,
    InvalidCiphertext,
    InvalidSignature,
    KmsInternal,
    MissingAuthenticationToken,
    NotFound,
    Serialization,
    Throttling,
    UnknownOperation,
    UnrecognizedClient,
    Validation,
}

impl ErrorKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::DryRunOperation => "DryRunOperationException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::KmsInternal => "KMSInternalException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::NotFound => "NotFoundException",
            Self::Serialization => "SerializationException",
            Self::Throttling => "ThrottlingException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::Validation => "ValidationException",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::KmsInternal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: Some(message.into()) }
    }

    /// An error whose reply is its type and nothing else, as KMS answers a ciphertext it cannot open.
    pub(crate) fn without_message(kind: ErrorKind) -> Self {
        Self { kind, message: None }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Validation, message)
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut reply = json!({ "__type": self.kind.name() });
        if let Some(message) = &self.message {
            // Clients have to read both spellings: AWS writes this one with a capital.
            let name = if self.kind == ErrorKind::AccessDenied { "Message" } else { "message" };
            reply[name] = Value::from(message.as_str());
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, ErrorKind};
    use crate::api::THROTTLED;
    use crate::sigv4::{EXPIRED_TOKEN, INVALID_TOKEN, MISMATCH};

    /// A file of `infra/tests/transcripts/kms`.
    macro_rules! transcript {
        ($file:literal) => {
            include_str!(concat!("../../tests/transcripts/kms/", $file)).trim_end()
        };
    }

    #[test]
    fn errors_are_those_of_kms_byte_for_byte() {
        for (kind, message, transcript) in [
            (ErrorKind::Throttling, THROTTLED, transcript!("throttling.json")),
            (ErrorKind::InvalidSignature, MISMATCH, transcript!("invalid-signature.json")),
            (ErrorKind::ExpiredToken, EXPIRED_TOKEN, transcript!("expired-token.json")),
            (ErrorKind::UnrecognizedClient, INVALID_TOKEN, transcript!("unrecognized-client.json")),
        ] {
            assert_eq!(ApiError::new(kind, message).to_json().to_string(), transcript);
        }
        let without_message = ApiError::without_message(ErrorKind::InvalidCiphertext);
        assert_eq!(without_message.to_json().to_string(), transcript!("invalid-ciphertext.json"));
        assert_eq!(without_message.status(), 400);
    }
}
