//! The operations, for a caller whose signature was good.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::api_error::{ApiError, ErrorKind};
use crate::blob::Blob;
use crate::call_log::Call;
use crate::envelope::EnvelopeShape;
use crate::key::Key;
use crate::key_ring::KeyRing;
use crate::operation::Operation;
use crate::policy::{Decision, Facts};
use crate::principal::Principal;
use crate::recipient_document::{DocumentCheck, Recipient};
use crate::request::{
    DecryptRequest, DescribeKeyRequest, EncryptRequest, EncryptionContext, GenerateDataKeyRequest,
    GenerateRandomRequest, ReEncryptRequest, RecipientRequest, SYMMETRIC, read,
};

/// The longest ciphertext that KMS accepts.
const CIPHERTEXT_MAX_BYTES: usize = 6144;

/// The longest plaintext that KMS encrypts.
const PLAINTEXT_MAX_BYTES: usize = 4096;

/// The most random bytes that KMS makes at once.
const RANDOM_MAX_BYTES: u64 = 1024;

/// KMS without its HTTP.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) keys: KeyRing,
    pub(crate) documents: DocumentCheck,
    pub(crate) envelope_shape: Mutex<EnvelopeShape>,
    pub(crate) started_at: OffsetDateTime,
}

/// One request: its caller, its operation, its time, and its record, which fills during the request.
pub(crate) struct Asked<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) now_unix_ms: u64,
    pub(crate) call: &'a mut Call,
}

impl Service {
    /// # Errors
    ///
    /// Those of KMS.
    pub(crate) fn answer(
        &self,
        operation: Operation,
        body: &[u8],
        asked: &mut Asked<'_>,
    ) -> Result<Value, ApiError> {
        match operation {
            Operation::Decrypt => self.decrypt(read(body)?, asked),
            Operation::DescribeKey => self.describe_key(&read(body)?, asked),
            Operation::Encrypt => self.encrypt(read(body)?, asked),
            Operation::GenerateDataKey => self.generate_data_key(read(body)?, asked),
            Operation::GenerateRandom => self.generate_random(&read(body)?, asked),
            Operation::ReEncrypt => self.re_encrypt(read(body)?, asked),
        }
    }

    fn encrypt(&self, request: EncryptRequest, asked: &mut Asked<'_>) -> Result<Value, ApiError> {
        asked.call.encryption_context = request.encryption_context;
        check_context(&asked.call.encryption_context)?;
        check_algorithm(request.encryption_algorithm.as_deref())?;
        check_length("plaintext", &request.plaintext, PLAINTEXT_MAX_BYTES)?;
        let key = self.keys.by_id(&request.key_id, asked.principal)?;
        authorize(key, "kms:Encrypt", None, asked)?;
        check_dry_run(request.dry_run)?;
        Ok(json!({
            "CiphertextBlob": Blob(key.seal(&request.plaintext.0, &asked.call.encryption_context)),
            "EncryptionAlgorithm": SYMMETRIC,
            "KeyId": key.arn().as_str(),
        }))
    }

    fn decrypt(&self, request: DecryptRequest, asked: &mut Asked<'_>) -> Result<Value, ApiError> {
        asked.call.encryption_context = request.encryption_context;
        check_context(&asked.call.encryption_context)?;
        check_algorithm(request.encryption_algorithm.as_deref())?;
        check_length("ciphertextBlob", &request.ciphertext_blob, CIPHERTEXT_MAX_BYTES)?;
        let recipient = self.recipient(request.recipient.as_ref(), asked)?;
        let key = self.key_of(&request.ciphertext_blob, request.key_id.as_deref(), "kms:Decrypt", asked)?;
        authorize(key, "kms:Decrypt", recipient.as_ref(), asked)?;
        let plaintext = open(key, &request.ciphertext_blob, &asked.call.encryption_context)?;
        check_dry_run(request.dry_run)?;
        let reply = json!({ "EncryptionAlgorithm": SYMMETRIC, "KeyId": key.arn().as_str() });
        Ok(self.with_plaintext(reply, plaintext, recipient.as_ref(), Some(key)))
    }

    fn generate_data_key(
        &self,
        request: GenerateDataKeyRequest,
        asked: &mut Asked<'_>,
    ) -> Result<Value, ApiError> {
        asked.call.encryption_context = request.encryption_context;
        check_context(&asked.call.encryption_context)?;
        let bytes = match (request.key_spec.as_deref(), request.number_of_bytes) {
            (Some("AES_256"), None) => 32,
            (Some("AES_128"), None) => 16,
            (None, Some(bytes)) => check_number(bytes)?,
            (Some("AES_256" | "AES_128") | None, _) => {
                return Err(ApiError::validation("Please specify either number of bytes or key spec."));
            }
            (Some(_), _) => {
                return Err(constraint("keySpec", "Member must satisfy enum value set: [AES_256, AES_128]"));
            }
        };
        let recipient = self.recipient(request.recipient.as_ref(), asked)?;
        let key = self.keys.by_id(&request.key_id, asked.principal)?;
        authorize(key, "kms:GenerateDataKey", recipient.as_ref(), asked)?;
        check_dry_run(request.dry_run)?;
        let plaintext = random(bytes);
        let reply = json!({
            "CiphertextBlob": Blob(key.seal(&plaintext, &asked.call.encryption_context)),
            "KeyId": key.arn().as_str(),
        });
        Ok(self.with_plaintext(reply, plaintext, recipient.as_ref(), Some(key)))
    }

    /// Needs no key, so no key policy is asked: the identity policies of the caller are taken to allow it.
    fn generate_random(
        &self,
        request: &GenerateRandomRequest,
        asked: &mut Asked<'_>,
    ) -> Result<Value, ApiError> {
        let bytes =
            request.number_of_bytes.ok_or_else(|| constraint("numberOfBytes", "Member must not be null"))?;
        let bytes = check_number(bytes)?;
        let recipient = self.recipient(request.recipient.as_ref(), asked)?;
        Ok(self.with_plaintext(json!({}), random(bytes), recipient.as_ref(), None))
    }

    fn describe_key(&self, request: &DescribeKeyRequest, asked: &mut Asked<'_>) -> Result<Value, ApiError> {
        let key = self.keys.by_id(&request.key_id, asked.principal)?;
        authorize(key, "kms:DescribeKey", None, asked)?;
        let arn = key.arn();
        Ok(json!({ "KeyMetadata": {
            "AWSAccountId": arn.account(),
            "Arn": arn.as_str(),
            "CreationDate": self.started_at.unix_timestamp(),
            "CurrentKeyMaterialId": key.material_id(),
            "CustomerMasterKeySpec": SYMMETRIC,
            "Description": "",
            "Enabled": true,
            "EncryptionAlgorithms": [SYMMETRIC],
            "KeyId": arn.id(),
            "KeyManager": "CUSTOMER",
            "KeySpec": SYMMETRIC,
            "KeyState": "Enabled",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "MultiRegion": false,
            "Origin": "AWS_KMS",
        }}))
    }

    fn re_encrypt(&self, request: ReEncryptRequest, asked: &mut Asked<'_>) -> Result<Value, ApiError> {
        asked.call.encryption_context = request.source_encryption_context;
        check_context(&asked.call.encryption_context)?;
        check_context(&request.destination_encryption_context)?;
        check_algorithm(request.source_encryption_algorithm.as_deref())?;
        check_algorithm(request.destination_encryption_algorithm.as_deref())?;
        check_length("ciphertextBlob", &request.ciphertext_blob, CIPHERTEXT_MAX_BYTES)?;
        let source = self.key_of(
            &request.ciphertext_blob,
            request.source_key_id.as_deref(),
            "kms:ReEncryptFrom",
            asked,
        )?;
        authorize(source, "kms:ReEncryptFrom", None, asked)?;
        let destination = self.keys.by_id(&request.destination_key_id, asked.principal)?;
        let source_context = asked.call.encryption_context.clone();
        // The call is on record under what it would make.
        asked.call.encryption_context = request.destination_encryption_context;
        authorize(destination, "kms:ReEncryptTo", None, asked)?;
        let plaintext = open(source, &request.ciphertext_blob, &source_context)?;
        check_dry_run(request.dry_run)?;
        Ok(json!({
            "CiphertextBlob": Blob(destination.seal(&plaintext, &asked.call.encryption_context)),
            "DestinationEncryptionAlgorithm": SYMMETRIC,
            "DestinationKeyMaterialId": destination.material_id(),
            "KeyId": destination.arn().as_str(),
            "SourceEncryptionAlgorithm": SYMMETRIC,
            "SourceKeyId": source.arn().as_str(),
            "SourceKeyMaterialId": source.material_id(),
        }))
    }

    fn recipient(
        &self,
        request: Option<&RecipientRequest>,
        asked: &mut Asked<'_>,
    ) -> Result<Option<Recipient>, ApiError> {
        let Some(request) = request else { return Ok(None) };
        asked.call.with_recipient = true;
        if request.key_encryption_algorithm.as_deref() != Some("RSAES_OAEP_SHA_256") {
            let rule = "Member must satisfy enum value set: [RSAES_OAEP_SHA_256]";
            return Err(constraint("recipient.keyEncryptionAlgorithm", rule));
        }
        self.documents.check(&request.attestation_document.0, asked.now_unix_ms).map(Some)
    }

    /// The key of a ciphertext, which has to be the named one if one is named.
    fn key_of(
        &self,
        ciphertext: &Blob,
        key_id: Option<&str>,
        action: &str,
        asked: &Asked<'_>,
    ) -> Result<&Key, ApiError> {
        let by_ciphertext = || self.keys.by_ciphertext(&ciphertext.0, asked.principal, action);
        let Some(key_id) = key_id else { return by_ciphertext() };
        let named = self.keys.by_id(key_id, asked.principal)?;
        let key = by_ciphertext()?;
        if named.arn() != key.arn() {
            let message =
                "The key ID in the request does not identify a CMK that can perform this operation.";
            return Err(ApiError::new(ErrorKind::IncorrectKey, message));
        }
        Ok(key)
    }

    /// Adds a plaintext to a reply, or the envelope of it when there is a recipient.
    fn with_plaintext(
        &self,
        mut reply: Value,
        plaintext: Vec<u8>,
        recipient: Option<&Recipient>,
        key: Option<&Key>,
    ) -> Value {
        match recipient {
            Some(recipient) => {
                let shape = *self.envelope_shape.lock().unwrap_or_else(PoisonError::into_inner);
                reply["CiphertextForRecipient"] = json!(Blob(recipient.key.seal(&plaintext, shape)));
                // As in the examples of AWS's own model of the API.
                reply["Plaintext"] = json!("");
            }
            None => {
                reply["Plaintext"] = json!(Blob(plaintext));
                if let Some(key) = key {
                    reply["KeyMaterialId"] = json!(key.material_id());
                }
            }
        }
        reply
    }
}

/// Asks the policy of the key.
fn authorize(
    key: &Key,
    action: &str,
    recipient: Option<&Recipient>,
    asked: &mut Asked<'_>,
) -> Result<(), ApiError> {
    let arn = key.arn();
    asked.call.key_arn = Some(arn.to_string());
    let mut facts = Facts::new(asked.principal, action, arn, &asked.call.encryption_context);
    if let Some(recipient) = recipient {
        facts = facts.with_recipient(&recipient.pcrs);
    }
    let reason = match key.policy().decide(&facts) {
        Decision::Allowed => return Ok(()),
        Decision::NotAllowed => format!("because no resource-based policy allows the {action} action"),
        Decision::Denied => "with an explicit deny in a resource-based policy".to_owned(),
    };
    let caller = asked.principal.caller_arn();
    let message =
        format!("User: {caller} is not authorized to perform: {action} on resource: {arn} {reason}");
    Err(ApiError::new(ErrorKind::AccessDenied, message))
}

fn open(key: &Key, ciphertext: &Blob, context: &EncryptionContext) -> Result<Vec<u8>, ApiError> {
    key.open(&ciphertext.0, context).map_err(|_| ApiError::without_message(ErrorKind::InvalidCiphertext))
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random[..]);
    random
}

fn constraint(member: &str, rule: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: {rule}"
    ))
}

/// Condition keys have no case: of two names that differ in nothing else, a policy would see one.
fn check_context(context: &EncryptionContext) -> Result<(), ApiError> {
    let names: BTreeSet<String> = context.keys().map(|name| name.to_lowercase()).collect();
    if names.len() == context.len() {
        return Ok(());
    }
    Err(constraint("encryptionContext", "Names must differ in more than case"))
}

fn check_algorithm(algorithm: Option<&str>) -> Result<(), ApiError> {
    if algorithm.is_none_or(|name| name == SYMMETRIC) {
        return Ok(());
    }
    Err(constraint("encryptionAlgorithm", "Member must satisfy enum value set: [SYMMETRIC_DEFAULT]"))
}

fn check_length(member: &str, blob: &Blob, max_bytes: usize) -> Result<(), ApiError> {
    if blob.0.is_empty() {
        return Err(constraint(member, "Member must have length greater than or equal to 1"));
    }
    if blob.0.len() > max_bytes {
        return Err(constraint(
            member,
            &format!("Member must have length less than or equal to {max_bytes}"),
        ));
    }
    Ok(())
}

fn check_number(bytes: u64) -> Result<usize, ApiError> {
    let number = usize::try_from(bytes).ok().filter(|_| (1..=RANDOM_MAX_BYTES).contains(&bytes));
    number.ok_or_else(|| {
        constraint("numberOfBytes", "Member must have value between 1 and 1024, both included")
    })
}

fn check_dry_run(dry_run: bool) -> Result<(), ApiError> {
    if !dry_run {
        return Ok(());
    }
    let message = "The request would have succeeded, but the DryRun option is set.";
    Err(ApiError::new(ErrorKind::DryRunOperation, message))
}
