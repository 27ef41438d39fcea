//! The actions on a key that matter here (AWS KMS, "Actions", and the API reference for `Recipient`).

/// The harm of an action to the key's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    /// A caller gets sealed secrets, or keys that will seal.
    Opens,
    /// Sealed secrets move under another key.
    Moves,
    /// A stranger's secrets are taken for the signer's.
    Plants,
    /// Others are let in past the policy.
    Grants,
    /// The key gets a copy with another policy.
    Copies,
    /// The policy becomes another.
    Governs,
    /// Sealed secrets are lost.
    Destroys,
}

/// An action, in lower case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) harm: Harm,
    /// Whether it can come with an attestation document.
    pub(super) has_recipient: bool,
}

const fn with_recipient(name: &'static str) -> Action {
    Action { name, harm: Harm::Opens, has_recipient: true }
}

const fn action(name: &'static str, harm: Harm) -> Action {
    Action { name, harm, has_recipient: false }
}

/// With a key.
pub(super) const OF_KMS: [Action; 18] = [
    with_recipient("kms:Decrypt"),
    with_recipient("kms:GenerateDataKey"),
    with_recipient("kms:GenerateDataKeyPair"),
    with_recipient("kms:DeriveSharedSecret"),
    action("kms:GenerateDataKeyWithoutPlaintext", Harm::Opens),
    action("kms:GenerateDataKeyPairWithoutPlaintext", Harm::Opens),
    action("kms:ReEncryptFrom", Harm::Moves),
    action("kms:ReEncryptTo", Harm::Plants),
    action(ENCRYPT, Harm::Plants),
    action("kms:ImportKeyMaterial", Harm::Plants),
    action("kms:CreateGrant", Harm::Grants),
    action("kms:ReplicateKey", Harm::Copies),
    action(PUT_KEY_POLICY, Harm::Governs),
    action("kms:ScheduleKeyDeletion", Harm::Destroys),
    action("kms:DisableKey", Harm::Destroys),
    action("kms:DeleteImportedKeyMaterial", Harm::Destroys),
    action("kms:RetireGrant", Harm::Destroys),
    action("kms:RevokeGrant", Harm::Destroys),
];

/// Boot secrets are made by it.
pub(super) const ENCRYPT: &str = "kms:Encrypt";

/// A key's policy becomes another by it.
pub(super) const PUT_KEY_POLICY: &str = "kms:PutKeyPolicy";

/// Actions of IAM that only read begin so, in lower case.
const READS: [&str; 2] = ["iam:get", "iam:list"];

/// The beginnings, in lower case, of the actions by which an identity becomes another or gets other policies.
const ESCALATES: [&str; 2] = ["iam:", "sts:assume"];

/// Patterns of actions, in lower case, that between them are all that escalate.
pub(super) const ALL_ESCALATIONS: [&str; 2] = ["iam:*", "sts:assume*"];

/// Whether an action that escalates may be described by this pattern, in lower case.
pub(super) fn may_escalate(pattern: &str) -> bool {
    let fixed = pattern.split(['*', '?']).next().unwrap_or_default();
    let is_pattern = fixed.len() < pattern.len();
    let escalates =
        ESCALATES.iter().any(|start| fixed.starts_with(start) || is_pattern && start.starts_with(fixed));
    escalates && !READS.iter().any(|start| fixed.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::may_escalate;

    #[test]
    fn what_only_reads_does_not_escalate() {
        for escalates in [
            "*",
            "iam:*",
            "i*",
            "iam:createaccesskey",
            "iam:g*",
            "iam:?etrole",
            "sts:assumerole",
            "sts:*",
            "?ts:assumerole",
        ] {
            assert!(may_escalate(escalates), "{escalates}");
        }
        for reads in ["", "i", "iam:get*", "iam:listroles", "kms:*", "sts:getcalleridentity", "s3:*"] {
            assert!(!may_escalate(reads), "{reads}");
        }
    }
}
