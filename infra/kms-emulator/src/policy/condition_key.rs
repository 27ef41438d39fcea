//! The condition keys that the emulator evaluates.

/// The highest index of a PCR of a Nitro Security Module.
const LAST_PCR: u8 = 31;

/// A condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConditionKey {
    lower_case_name: String,
    multivalued: bool,
    measurement: bool,
}

impl ConditionKey {
    /// `None` for a key without a known value.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let lower_case_name = name.to_lowercase();
        let is_pcr =
            |index: &str| index.parse::<u8>().is_ok_and(|pcr| pcr <= LAST_PCR && pcr.to_string() == index);
        let measurement = lower_case_name
            .strip_prefix("kms:recipientattestation:")
            .is_some_and(|name| name == "imagesha384" || name.strip_prefix("pcr").is_some_and(is_pcr));
        let multivalued = lower_case_name == "kms:encryptioncontextkeys";
        let known = match lower_case_name.as_str() {
            "aws:principalarn" | "aws:principalaccount" | "kms:calleraccount" => true,
            other => other.strip_prefix("kms:encryptioncontext:").is_some_and(|name| !name.is_empty()),
        };
        (known || measurement || multivalued).then_some(Self { lower_case_name, multivalued, measurement })
    }

    pub(crate) fn lower_case_name(&self) -> &str {
        &self.lower_case_name
    }

    /// Whether a request can have several values of it.
    pub(crate) fn is_multivalued(&self) -> bool {
        self.multivalued
    }

    /// Whether its value is a PCR, in hexadecimal.
    pub(crate) fn is_measurement(&self) -> bool {
        self.measurement
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
