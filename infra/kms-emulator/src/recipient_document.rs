//! The attestation document of a recipient.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use attestation::{DEFAULT_MAX_AGE, DEFAULT_MAX_AHEAD, Document, Expectation, Refused, Root, verify};
use serde_cbor::Value;

use crate::api_error::ApiError;
use crate::envelope::RecipientKey;

/// `{1: -1}`, the protected header by which QEMU marks a document without a signature.
const UNSIGNED: &[u8] = &[0xa1, 0x01, 0x20];

/// Which documents are believed.
#[derive(Debug)]
pub(crate) struct DocumentCheck {
    /// Read at each check, so that the root may be made after the emulator was started.
    pub(crate) root_pem: Option<PathBuf>,
    pub(crate) accept_unsigned: bool,
}

/// The recipient of the plaintext, by a document that was verified.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) key: RecipientKey,
    /// All zeros for an enclave in debug mode, which policies then refuse.
    pub(crate) pcrs: BTreeMap<u8, Vec<u8>>,
}

/// The needed facts about a document.
struct Claims {
    pcrs: BTreeMap<u8, Vec<u8>>,
    public_key: Option<Vec<u8>>,
}

impl DocumentCheck {
    /// # Errors
    ///
    /// `ValidationException`, with the reason in our words, since those of KMS are not known.
    pub(crate) fn check(&self, document: &[u8], now_unix_ms: u64) -> Result<Recipient, ApiError> {
        let unsigned = if self.accept_unsigned { read_unsigned(document) } else { None };
        let claims = match unsigned {
            Some((claims, timestamp_unix_ms)) => {
                check_age(timestamp_unix_ms, now_unix_ms)?;
                claims
            }
            None => self.check_signed(document, now_unix_ms)?,
        };
        let public_key = claims.public_key.ok_or_else(|| invalid("it has no public key"))?;
        let key = RecipientKey::from_spki(&public_key).map_err(invalid)?;
        Ok(Recipient { key, pcrs: claims.pcrs })
    }

    fn check_signed(&self, document: &[u8], now_unix_ms: u64) -> Result<Claims, ApiError> {
        let path =
            self.root_pem.as_ref().ok_or_else(|| invalid("the emulator was given no --attestation-root"))?;
        let pem =
            fs::read_to_string(path).map_err(|error| invalid(format!("{}: {error}", path.display())))?;
        let root = Root::from_pem(&pem).map_err(|error| invalid(format!("{}: {error}", path.display())))?;
        let document = match verify(document, &root, &Expectation::at(now_unix_ms)) {
            // The last of the checks, after those of origin and age: to KMS these are measurements as any others.
            Err(Refused::DebugMode) => Document::parse(document),
            other => other,
        };
        let document = document.map_err(invalid)?;
        let pcrs = document.pcrs.iter().map(|(index, value)| (index, value.to_vec())).collect();
        Ok(Claims { pcrs, public_key: document.public_key })
    }
}

fn invalid(reason: impl std::fmt::Display) -> ApiError {
    ApiError::validation(format!("The attestation document is not valid: {reason}"))
}

fn check_age(timestamp_unix_ms: u64, now_unix_ms: u64) -> Result<(), ApiError> {
    if u128::from(now_unix_ms.saturating_sub(timestamp_unix_ms)) > DEFAULT_MAX_AGE.as_millis() {
        return Err(invalid("it is stale"));
    }
    if u128::from(timestamp_unix_ms.saturating_sub(now_unix_ms)) > DEFAULT_MAX_AHEAD.as_millis() {
        return Err(invalid("it is from the future"));
    }
    Ok(())
}

/// Reads a document of QEMU's module, with its time; `None` if it is anything else.
fn read_unsigned(document: &[u8]) -> Option<(Claims, u64)> {
    let Value::Array(parts) = serde_cbor::from_slice(document).ok()? else { return None };
    let [Value::Bytes(protected), Value::Map(_), Value::Bytes(payload), Value::Bytes(_)] = &parts[..] else {
        return None;
    };
    if protected != UNSIGNED {
        return None;
    }
    let Value::Map(mut fields) = serde_cbor::from_slice(payload).ok()? else { return None };
    let mut field = |name: &str| fields.remove(&Value::Text(name.into()));
    let Value::Integer(timestamp_unix_ms) = field("timestamp")? else { return None };
    let Value::Map(pcrs) = field("pcrs")? else { return None };
    let pcrs = pcrs.into_iter().map(|entry| match entry {
        (Value::Integer(index), Value::Bytes(value)) => Some((u8::try_from(index).ok()?, value)),
        _ => None,
    });
    let public_key = match field("public_key") {
        Some(Value::Bytes(key)) => Some(key),
        _ => None,
    };
    let claims = Claims { pcrs: pcrs.collect::<Option<_>>()?, public_key };
    Some((claims, u64::try_from(timestamp_unix_ms).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document as QEMU 10 writes it.
    fn unsigned(protected: &[u8], timestamp_unix_ms: u64) -> Vec<u8> {
        let text = |text: &str| Value::Text(text.into());
        let payload = Value::Map(BTreeMap::from([
            (text("module_id"), text("i-234-enc5678")),
            (text("digest"), text("SHA384")),
            (text("timestamp"), Value::Integer(timestamp_unix_ms.into())),
            (text("pcrs"), Value::Map(BTreeMap::from([(Value::Integer(0), Value::Bytes(vec![7; 48]))]))),
            (text("certificate"), Value::Bytes(vec![0; 64])),
            (text("cabundle"), Value::Array(vec![Value::Bytes(vec![0; 64])])),
            (text("public_key"), Value::Bytes(include_bytes!("../tests/data/rsa-2048.spki.der").to_vec())),
            (text("user_data"), Value::Null),
            (text("nonce"), Value::Null),
        ]));
        let payload = serde_cbor::to_vec(&payload).unwrap();
        let parts = [
            Value::Bytes(protected.to_vec()),
            Value::Map(BTreeMap::new()),
            Value::Bytes(payload),
            Value::Bytes(vec![0; 64]),
        ];
        serde_cbor::to_vec(&Value::Array(parts.to_vec())).unwrap()
    }

    const NOW_UNIX_MS: u64 = 1_767_323_045_000;

    #[test]
    fn an_unsigned_document_is_believed_on_request_only() {
        let document = unsigned(UNSIGNED, NOW_UNIX_MS);
        let check = |accept_unsigned| DocumentCheck { root_pem: None, accept_unsigned };
        let recipient = check(true).check(&document, NOW_UNIX_MS).unwrap();
        assert_eq!(recipient.pcrs, BTreeMap::from([(0, vec![7; 48])]));
        check(false).check(&document, NOW_UNIX_MS).unwrap_err();
        // One that says it is signed is treated as such.
        check(true).check(&unsigned(&[0xa1, 0x01, 0x38, 0x22], NOW_UNIX_MS), NOW_UNIX_MS).unwrap_err();
        check(true).check(&[], NOW_UNIX_MS).unwrap_err();
    }

    #[test]
    fn an_unsigned_document_has_to_be_fresh() {
        let check = DocumentCheck { root_pem: None, accept_unsigned: true };
        for (offset_ms, reason) in [(-301_000, "stale"), (61_000, "future")] {
            let document = unsigned(UNSIGNED, NOW_UNIX_MS.saturating_add_signed(offset_ms));
            let error = check.check(&document, NOW_UNIX_MS).unwrap_err();
            assert!(error.message().contains(reason), "{}", error.message());
        }
    }
}
