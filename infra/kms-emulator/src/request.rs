//! The bodies of requests.
//!
//! KMS ignores members that it does not know; here they are errors, since in a test they are misspelt.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api_error::{ApiError, ErrorKind};
use crate::blob::Blob;

/// The only algorithm of symmetric keys.
pub(crate) const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";

pub(crate) type EncryptionContext = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct EncryptRequest {
    pub(crate) key_id: String,
    pub(crate) plaintext: Blob,
    #[serde(default)]
    pub(crate) encryption_context: EncryptionContext,
    pub(crate) encryption_algorithm: Option<String>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    pub(crate) _grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct DecryptRequest {
    pub(crate) ciphertext_blob: Blob,
    pub(crate) key_id: Option<String>,
    #[serde(default)]
    pub(crate) encryption_context: EncryptionContext,
    pub(crate) encryption_algorithm: Option<String>,
    pub(crate) recipient: Option<RecipientRequest>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    pub(crate) _grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct GenerateDataKeyRequest {
    pub(crate) key_id: String,
    pub(crate) key_spec: Option<String>,
    pub(crate) number_of_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) encryption_context: EncryptionContext,
    pub(crate) recipient: Option<RecipientRequest>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    pub(crate) _grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct GenerateRandomRequest {
    pub(crate) number_of_bytes: Option<u64>,
    pub(crate) recipient: Option<RecipientRequest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct DescribeKeyRequest {
    pub(crate) key_id: String,
    #[serde(default, rename = "GrantTokens")]
    pub(crate) _grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct ReEncryptRequest {
    pub(crate) ciphertext_blob: Blob,
    pub(crate) source_key_id: Option<String>,
    #[serde(default)]
    pub(crate) source_encryption_context: EncryptionContext,
    pub(crate) source_encryption_algorithm: Option<String>,
    pub(crate) destination_key_id: String,
    #[serde(default)]
    pub(crate) destination_encryption_context: EncryptionContext,
    pub(crate) destination_encryption_algorithm: Option<String>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default, rename = "GrantTokens")]
    pub(crate) _grant_tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct RecipientRequest {
    pub(crate) attestation_document: Blob,
    pub(crate) key_encryption_algorithm: Option<String>,
}

/// Reads a body.
///
/// # Errors
///
/// `ValidationException` when a member is missing, else `SerializationException`.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let reason = error.to_string();
        let kind = if reason.starts_with("missing field") {
            ErrorKind::Validation
        } else {
            ErrorKind::Serialization
        };
        ApiError::new(kind, reason)
    })
}
