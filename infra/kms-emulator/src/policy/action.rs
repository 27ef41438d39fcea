//! The actions of KMS.

use crate::policy::wildcard;

/// Every action a key policy can name, so that a misspelt one is noticed.
const ALL: [&str; 51] = [
    "kms:CancelKeyDeletion",
    "kms:ConnectCustomKeyStore",
    "kms:CreateAlias",
    "kms:CreateCustomKeyStore",
    "kms:CreateGrant",
    "kms:CreateKey",
    "kms:Decrypt",
    "kms:DeleteAlias",
    "kms:DeleteCustomKeyStore",
    "kms:DeleteImportedKeyMaterial",
    "kms:DeriveSharedSecret",
    "kms:DescribeCustomKeyStores",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:DisconnectCustomKeyStore",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateMac",
    "kms:GenerateRandom",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:GetParametersForImport",
    "kms:GetPublicKey",
    "kms:ImportKeyMaterial",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListKeys",
    "kms:ListResourceTags",
    "kms:ListRetirableGrants",
    "kms:PutKeyPolicy",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:ReplicateKey",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:Sign",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
    "kms:Verify",
];

/// A pattern of actions.
#[derive(Debug)]
pub(crate) struct ActionPattern(String);

impl ActionPattern {
    /// `None` for a pattern that describes no action.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let pattern = Self(text.to_lowercase());
        ALL.iter().any(|action| pattern.matches(action)).then_some(pattern)
    }

    pub(crate) fn matches(&self, action: &str) -> bool {
        wildcard::matches(&self.0, &action.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_describes_at_least_one_action() {
        for known in ["kms:Decrypt", "KMS:decrypt", "kms:*", "*", "kms:ReEncrypt*", "kms:Generate????Key"] {
            assert!(ActionPattern::parse(known).is_some(), "{known}");
        }
        for unknown in ["kms:Decript", "s3:GetObject", "kms:", "", "Decrypt"] {
            assert!(ActionPattern::parse(unknown).is_none(), "{unknown}");
        }
        assert!(!ActionPattern::parse("kms:GenerateDataKey").unwrap().matches("kms:GenerateDataKeyPair"));
    }
}
