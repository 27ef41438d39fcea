//! Answers of KMS (KMS API reference).

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::error::KmsError;
use configuration::KeyArn;

/// An answer of one operation.
pub(super) trait Answer: DeserializeOwned {
    /// The ARN of the key that KMS used.
    fn key_id(&self) -> &str;

    /// Checks that KMS used one of `keys`. The parent chooses credentials and ciphertexts, and so the key.
    fn check(&self, keys: &[KeyArn]) -> Result<(), KmsError> {
        let is_one = keys.iter().any(|key| key.as_str() == self.key_id());
        if is_one { Ok(()) } else { Err(KmsError::ForeignKey) }
    }

    /// Reads it; members that we do not use are passed over.
    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// Of `GenerateDataKey` with a recipient.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataKeyAnswer {
    #[serde(default, rename = "Plaintext", deserialize_with = "nothing")]
    _plaintext: (),
    pub(super) key_id: String,
    pub(super) ciphertext_blob: String,
    pub(super) ciphertext_for_recipient: String,
}

/// Of `Decrypt` with a recipient.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DecryptAnswer {
    #[serde(default, rename = "Plaintext", deserialize_with = "nothing")]
    _plaintext: (),
    pub(super) key_id: String,
    pub(super) ciphertext_for_recipient: String,
}

/// A `Plaintext` beside an envelope: "null or empty" (KMS API reference). Anything longer was not asked for.
fn nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    match Option::<&str>::deserialize(deserializer)? {
        None | Some("") => Ok(()),
        Some(_) => Err(D::Error::custom("a plaintext beside its envelope")),
    }
}

impl Answer for DataKeyAnswer {
    fn key_id(&self) -> &str {
        &self.key_id
    }
}

impl Answer for DecryptAnswer {
    fn key_id(&self) -> &str {
        &self.key_id
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, DataKeyAnswer, DecryptAnswer};
    use crate::kms::KmsError;
    use configuration::KeyArn;

    const OURS: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-000000000001";
    const THEIRS: &str = "arn:aws:kms:eu-central-1:666666666666:key/1234abcd-12ab-34cd-56ef-000000000001";

    fn check<A: Answer>(key_id: &str) -> Option<Result<(), KmsError>> {
        let keys: [KeyArn; 1] = [OURS.parse().unwrap()];
        let body = format!(
            r#"{{"KeyId":"{key_id}","CiphertextBlob":"AA==","CiphertextForRecipient":"AA==","KeyMaterialId":"x"}}"#
        );
        A::parse(body.as_bytes()).map(|answer| answer.check(&keys))
    }

    #[test]
    fn an_answer_of_another_key_is_refused() {
        assert_eq!(check::<DataKeyAnswer>(OURS), Some(Ok(())));
        assert_eq!(check::<DecryptAnswer>(OURS), Some(Ok(())));
        for key_id in [THEIRS, "", "1234abcd-12ab-34cd-56ef-000000000001", &OURS.to_uppercase()] {
            assert_eq!(check::<DataKeyAnswer>(key_id), Some(Err(KmsError::ForeignKey)), "{key_id}");
            assert_eq!(check::<DecryptAnswer>(key_id), Some(Err(KmsError::ForeignKey)), "{key_id}");
        }
    }

    /// The answer of a KMS that got no recipient, or does not know recipients.
    #[test]
    fn a_plaintext_is_no_answer() {
        let body = format!(r#"{{"KeyId":"{OURS}","CiphertextBlob":"AA==","Plaintext":"AA=="}}"#);
        assert!(DataKeyAnswer::parse(body.as_bytes()).is_none());
        assert!(DecryptAnswer::parse(body.as_bytes()).is_none());
        assert!(DecryptAnswer::parse(b"{}").is_none());
        for (plaintext, is_answer) in [("null", true), ("\"\"", true), ("\"AA==\"", false), ("7", false)] {
            let envelope = r#""CiphertextBlob":"AA==","CiphertextForRecipient":"AA==""#;
            let body = format!(r#"{{{envelope},"KeyId":"{OURS}","Plaintext":{plaintext}}}"#);
            assert_eq!(DataKeyAnswer::parse(body.as_bytes()).is_some(), is_answer, "{plaintext}");
            assert_eq!(DecryptAnswer::parse(body.as_bytes()).is_some(), is_answer, "{plaintext}");
        }
    }
}
