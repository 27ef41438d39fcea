//! The facts that a policy is evaluated against.

use std::collections::BTreeMap;

use crate::key_arn::KeyArn;
use crate::principal::Principal;

/// One action by somebody on a key, and the values of the condition keys.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) principal: &'a Principal,
    /// With its prefix, as `kms:Decrypt`.
    pub(crate) action: &'a str,
    pub(crate) key_arn: &'a KeyArn,
    /// By lower-case name, as the names of condition keys have no case.
    values: BTreeMap<String, Vec<String>>,
}

impl<'a> Facts<'a> {
    /// Without a recipient.
    pub(crate) fn new(
        principal: &'a Principal,
        action: &'a str,
        key_arn: &'a KeyArn,
        encryption_context: &BTreeMap<String, String>,
    ) -> Self {
        let mut facts = Self { principal, action, key_arn, values: BTreeMap::new() };
        facts.set("aws:PrincipalArn", principal.identity_arn().to_owned());
        facts.set("aws:PrincipalAccount", principal.account().to_owned());
        facts.set("kms:CallerAccount", principal.account().to_owned());
        for (name, value) in encryption_context {
            facts.set(&format!("kms:EncryptionContext:{name}"), value.clone());
        }
        if !encryption_context.is_empty() {
            let names = encryption_context.keys().cloned().collect();
            facts.values.insert("kms:encryptioncontextkeys".into(), names);
        }
        facts
    }

    /// Adds what the attestation document of the recipient measures.
    pub(crate) fn with_recipient(mut self, pcrs: &BTreeMap<u8, Vec<u8>>) -> Self {
        for (index, value) in pcrs {
            self.set(&format!("kms:RecipientAttestation:PCR{index}"), hex::encode(value));
            if *index == 0 {
                self.set("kms:RecipientAttestation:ImageSha384", hex::encode(value));
            }
        }
        self
    }

    fn set(&mut self, name: &str, value: String) {
        self.values.insert(name.to_lowercase(), vec![value]);
    }

    /// The values of a condition key, by its lower-case name; none when the request has no such thing.
    pub(crate) fn values(&self, lower_case_name: &str) -> &[String] {
        self.values.get(lower_case_name).map_or(&[], Vec::as_slice)
    }
}
