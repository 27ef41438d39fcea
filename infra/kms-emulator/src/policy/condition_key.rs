//! The condition keys that can be evaluated.

/// The most that a Nitro Security Module has, less one.
const LAST_PCR: u8 = 31;

/// A condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConditionKey {
    lower_case_name: String,
    multivalued: bool,
}

impl ConditionKey {
    /// `None` for a key that nothing here knows the value of.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let lower_case_name = name.to_lowercase();
        let (known, multivalued) = match lower_case_name.as_str() {
            "aws:principalarn" | "aws:principalaccount" | "kms:calleraccount" => (true, false),
            "kms:recipientattestation:imagesha384" => (true, false),
            "kms:encryptioncontextkeys" => (true, true),
            other => {
                let context = other.strip_prefix("kms:encryptioncontext:");
                let pcr = other.strip_prefix("kms:recipientattestation:pcr");
                let is_pcr = |index: &str| {
                    index.parse::<u8>().is_ok_and(|pcr| pcr <= LAST_PCR && pcr.to_string() == index)
                };
                (context.is_some_and(|name| !name.is_empty()) || pcr.is_some_and(is_pcr), false)
            }
        };
        known.then_some(Self { lower_case_name, multivalued })
    }

    pub(crate) fn lower_case_name(&self) -> &str {
        &self.lower_case_name
    }

    /// Whether a request can have several values of it.
    pub(crate) fn is_multivalued(&self) -> bool {
        self.multivalued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_with_a_known_value_are_taken() {
        for known in [
            "kms:RecipientAttestation:ImageSha384",
            "kms:RecipientAttestation:PCR0",
            "kms:RecipientAttestation:PCR31",
            "kms:EncryptionContext:nitro-signer",
            "KMS:encryptioncontextKEYS",
            "aws:PrincipalArn",
        ] {
            assert!(ConditionKey::parse(known).is_some(), "{known}");
        }
        for unknown in [
            "kms:RecipientAttestation:PCR32",
            "kms:RecipientAttestation:PCR00",
            "kms:RecipientAttestation:PCR",
            "kms:EncryptionContext:",
            "kms:EncryptionContext",
            "kms:ViaService",
            "aws:SourceIp",
            "",
        ] {
            assert_eq!(ConditionKey::parse(unknown), None, "{unknown}");
        }
    }
}
