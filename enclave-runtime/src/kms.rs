//! AWS KMS, called from inside the enclave: TLS ends here, and secrets come encrypted to the enclave's own key.
//!
//! ```text
//! data_keys, boot ─▶ Kms::{generate_data_key, decrypt}
//!      │  a fresh attestation document names the recipient key
//!      ▼
//!   call: 8 at one time; 3 tries, full jitter ─▶ connection (kept alive) ─▶ TLS ─▶ relay ─▶ KMS
//!      ▼
//!   reply: made with a key measured for this purpose? ─▶ recipient key opens CiphertextForRecipient
//! ```
//!
//! A reply counts only if it came over TLS from a server with the name of KMS, and names a key that is measured for
//! this purpose. The parent chooses credentials and ciphertexts. Neither gets it a reply under another key.

mod answer;
mod connection;
mod error;
mod refusal_limit;
mod turns;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName};
use hyper::{Method, Request};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use self::answer::{Answer, DataKeyAnswer, DecryptAnswer};
use self::connection::Connection;
pub(crate) use self::connection::KmsServer;
pub(crate) use self::error::KmsError;
use self::refusal_limit::RefusalLimit;
use self::turns::Turns;
use crate::aws::backoff::Backoff;
use crate::aws::clock::Clock;
use crate::aws::credentials::CredentialCache;
use crate::aws::imds::Imds;
use crate::aws::signature::signed;
use crate::nsm::{AttestationRequest, Nsm};
use crate::paced_log::PacedLog;
use crate::recipient::RecipientKey;
use crate::relay::Relay;
use crate::restore::Lane;
use crate::trusted_clock::TrustedClock;
use configuration::{self, KeyArn};

/// Tries of one call.
const MAX_TRIES: u32 = 3;

/// From dialing the relay to the end of the TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// From sending a request to the end of its answer.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// The longest wait for an attestation document, which takes the NSM milliseconds.
const DOCUMENT_PATIENCE: Duration = Duration::from_secs(5);

const BETWEEN_TRIES: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

/// After a call has failed thrice, those that were waiting for their turn fail with it, and so do the next ones:
/// a KMS in trouble is not helped by everybody who asks us.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Lines at once about backups of clients: one for each error that KMS documents.
const CLIENT_LINES: u32 = 32;

const DECRYPT: &str = "Decrypt";

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The encryption context that KMS binds to a ciphertext. A caller has to repeat it to decrypt.
pub(crate) type EncryptionContext<'c> = &'c [(&'c str, &'c str)];

/// The purpose of a decryption, which decides the keys that the ciphertext may be under.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A backup: the sealing key, and those that only open backups.
    Backup,
    /// A boot secret: the keys for boot secrets.
    BootSecret,
    /// The kept certificate: the sealing key. Under an older one, others may be able to forge a TLS key.
    Certificate,
}

/// A data key, as it is used and as it is kept.
pub(crate) struct GeneratedDataKey {
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    /// KMS's `CiphertextBlob`.
    pub(crate) wrapped: Vec<u8>,
}

/// A client of KMS that asks for an attested enclave.
pub(crate) struct Kms {
    server: KmsServer,
    sealing_key: KeyArn,
    backup_keys: Vec<KeyArn>,
    boot_secret_keys: Vec<KeyArn>,
    credentials: CredentialCache,
    clock: Clock,
    nsm: Arc<dyn Nsm>,
    recipient: RecipientKey,
    turns: Turns,
    refusals: RefusalLimit,
    /// About backups of clients.
    client_lines: PacedLog,
    state: Mutex<State>,
}

/// The state that calls share. A holder of the lock never waits.
#[derive(Default)]
struct State {
    /// Open connections that no call uses, the latest last.
    idle: Vec<Connection>,
    resting_until: Option<Instant>,
}

impl std::fmt::Debug for Kms {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kms").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Recipient<'r> {
    attestation_document: &'r str,
    key_encryption_algorithm: &'static str,
}

/// The parameters of `GenerateDataKey` and `Decrypt` that we use.
#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Parameters<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_spec: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<&'p str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    encryption_context: BTreeMap<&'p str, &'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<Recipient<'p>>,
}

impl Kms {
    /// A client that talks to `server`, takes credentials from `imds`, and uses the keys of `measured` only.
    #[must_use]
    pub(crate) fn new(
        server: KmsServer,
        imds: Relay,
        measured: &configuration::Kms,
        nsm: Arc<dyn Nsm>,
        recipient: RecipientKey,
        clock: Arc<TrustedClock>,
    ) -> Self {
        Self {
            server,
            sealing_key: measured.sealing_key_arn.clone(),
            backup_keys: measured.backup_key_arns(),
            boot_secret_keys: measured.boot_secret_key_arns.clone(),
            credentials: CredentialCache::new(Imds::new(imds)),
            clock: Clock::new(clock),
            nsm,
            recipient,
            turns: Turns::new(),
            refusals: RefusalLimit::new(),
            client_lines: PacedLog::new(CLIENT_LINES),
            state: Mutex::default(),
        }
    }

    /// Has KMS make a data key of 32 bytes under the sealing key.
    ///
    /// # Errors
    /// [`KmsError`]
    pub(crate) async fn generate_data_key(
        &self,
        context: EncryptionContext<'_>,
    ) -> Result<GeneratedDataKey, KmsError> {
        let key = &self.sealing_key;
        let parameters =
            Parameters { key_id: Some(key.as_str()), key_spec: Some("AES_256"), ..Parameters::default() };
        const OPERATION: &str = "GenerateDataKey";
        let answer = self.call::<DataKeyAnswer>(OPERATION, parameters, context, Lane::Proven).await;
        let opened = answer.and_then(|answer| {
            answer.check(std::slice::from_ref(key))?;
            let wrapped =
                Base64::decode_vec(&answer.ciphertext_blob).map_err(|_| KmsError::Unintelligible)?;
            Ok(GeneratedDataKey { plaintext: self.open(&answer.ciphertext_for_recipient)?, wrapped })
        });
        opened.inspect_err(|error| tracing::warn!(operation = OPERATION, %error, "KMS call failed"))
    }

    /// Has KMS decrypt `ciphertext`, which it finds the key for.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::ForeignKey`] if that key is not one for `purpose`.
    pub(crate) async fn decrypt(
        &self,
        ciphertext: &[u8],
        purpose: Purpose,
        context: EncryptionContext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let opened = self.decrypt_in(Lane::Proven, ciphertext, purpose, context).await;
        opened.inspect_err(|error| tracing::warn!(operation = DECRYPT, %error, "KMS call failed"))
    }

    /// As [`Kms::decrypt`], for what a client sends as a backup: KMS is asked within a limit of refusals, when it is
    /// the turn of the client's `lane`.
    ///
    /// # Errors
    /// As there; [`KmsError::Crowded`] if KMS refuses so many that this one waited in vain.
    pub(crate) async fn decrypt_backup(
        &self,
        ciphertext: &[u8],
        context: EncryptionContext<'_>,
        lane: Lane,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let decrypt = async {
            let opened = self.decrypt_in(lane, ciphertext, Purpose::Backup, context).await;
            opened.inspect_err(|error| self.log_of_client(error))
        };
        let outcome = self.refusals.ask(lane, ciphertext, context, decrypt).await;
        outcome.inspect_err(|error| {
            if *error == KmsError::Crowded {
                self.log_of_client(error);
            }
        })
    }

    async fn decrypt_in(
        &self,
        lane: Lane,
        ciphertext: &[u8],
        purpose: Purpose,
        context: EncryptionContext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let ciphertext_blob = Base64::encode_string(ciphertext);
        let parameters = Parameters { ciphertext_blob: Some(&ciphertext_blob), ..Parameters::default() };
        let answer: DecryptAnswer = self.call(DECRYPT, parameters, context, lane).await?;
        answer.check(self.keys_for(purpose))?;
        self.open(&answer.ciphertext_for_recipient)
    }

    /// Logs why a client's backup did not open. A client can send thousands, so most lines are only counted then.
    fn log_of_client(&self, error: &KmsError) {
        if let Some(count) = self.client_lines.due() {
            tracing::warn!(operation = DECRYPT, %error, count, "KMS call failed");
        }
    }

    fn keys_for(&self, purpose: Purpose) -> &[KeyArn] {
        match purpose {
            Purpose::Backup => &self.backup_keys,
            Purpose::BootSecret => &self.boot_secret_keys,
            Purpose::Certificate => std::slice::from_ref(&self.sealing_key),
        }
    }

    fn open(&self, envelope: &str) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let envelope = Base64::decode_vec(envelope).map_err(|_| KmsError::Unintelligible)?;
        self.recipient.open(&envelope).map_err(|_| KmsError::Unintelligible)
    }

    async fn call<'p, A: Answer>(
        &self,
        operation: &'static str,
        mut parameters: Parameters<'p>,
        context: EncryptionContext<'p>,
        lane: Lane,
    ) -> Result<A, KmsError> {
        let _turn = self.turns.take(lane).await?;
        if self.state().resting_until.is_some_and(|until| Instant::now() < until) {
            return Err(KmsError::Resting);
        }
        let document = self.document().await?;
        let document = Base64::encode_string(&document);
        parameters.encryption_context = context.iter().copied().collect();
        parameters.recipient = Some(Recipient {
            attestation_document: &document,
            key_encryption_algorithm: "RSAES_OAEP_SHA_256",
        });
        let body = Bytes::from(serde_json::to_vec(&parameters).map_err(|_| KmsError::Unintelligible)?);

        let mut failures = 0;
        let mut is_signature_refused = false;
        loop {
            let error = match self.try_once(operation, body.clone()).await {
                Ok(answer) => return A::parse(&answer).ok_or(KmsError::Unintelligible),
                Err(error) => error,
            };
            failures += 1;
            // A second refusal of a signature is no accident.
            let is_accident = error.is_of_signature() && !is_signature_refused;
            is_signature_refused |= error.is_of_signature();
            if !is_accident && !error.is_worth_another_try() {
                return Err(error);
            }
            if failures == MAX_TRIES {
                self.state().resting_until = Some(Instant::now() + REST_AFTER_FAILURE);
                return Err(error);
            }
            tracing::warn!(operation, %error, failures, "KMS call failed, trying again");
            tokio::time::sleep(BETWEEN_TRIES.wait(failures)).await;
        }
    }

    /// A fresh one for each call: KMS takes none that is old.
    async fn document(&self) -> Result<Vec<u8>, KmsError> {
        let nsm = Arc::clone(&self.nsm);
        let public_key = self.recipient.public_key_der().to_vec();
        let attest = move || {
            nsm.attest(&AttestationRequest { public_key: Some(&public_key), user_data: None, nonce: None })
        };
        let outcome = timeout(DOCUMENT_PATIENCE, tokio::task::spawn_blocking(attest)).await;
        let Ok(Ok(outcome)) = outcome else { return Err(KmsError::NotAttested) };
        outcome.map_err(|error| {
            tracing::error!(%error, "no attestation document");
            KmsError::NotAttested
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that no other call uses.
    async fn connection(&self) -> Result<Connection, KmsError> {
        let idle = {
            let mut state = self.state();
            state.idle.retain(Connection::is_open);
            state.idle.pop()
        };
        match idle {
            Some(connection) => Ok(connection),
            None => timeout(CONNECT_DEADLINE, self.server.connect())
                .await
                .unwrap_or(Err(KmsError::Unreachable("connecting took too long"))),
        }
    }

    /// Sends one request and gives the body of a good answer. The connection is kept if it may be used again.
    async fn try_once(&self, operation: &'static str, body: Bytes) -> Result<Bytes, KmsError> {
        let credentials =
            self.credentials.current(self.clock.now()).await.map_err(KmsError::NoCredentials)?;
        let mut connection = self.connection().await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(HOST, self.server.host())
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header(TARGET, format!("TrentService.{operation}"))
            .body(Full::new(body.clone()))
            .map_err(|_| KmsError::Unintelligible)?;
        let request = signed(request, &body, &credentials, self.server.region(), "kms", self.clock.now())
            .map_err(|_| {
                KmsError::NoCredentials(crate::aws::imds::NoCredentials("they cannot be signed with"))
            })?;

        let sent_unix_ms = self.clock.trusted_unix_ms();
        let response = timeout(CALL_DEADLINE, connection.exchange(request))
            .await
            .unwrap_or(Err(KmsError::Unreachable("the answer took too long")))
            // KMS may have closed all that were idle as long. One try finds it out, and the next one connects.
            .inspect_err(|_| self.state().idle.clear())?;
        let date = response.headers().get(hyper::header::DATE).and_then(|date| date.to_str().ok());
        let date: Option<SystemTime> = date.and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(date) = date {
            self.clock.compare(sent_unix_ms, date);
        }
        if connection.is_open() {
            self.state().idle.push(connection);
        }
        if response.status() == hyper::StatusCode::OK {
            return Ok(response.into_body());
        }
        let error = KmsError::of_answer(response.status(), response.body());
        if error.is_of_signature()
            && let Some(date) = date
            && self.clock.correct(date)
        {
            tracing::warn!("the clock differs from that of KMS; requests are signed with the time of KMS");
            return Err(KmsError::ClockCorrected);
        }
        // A signature that is wrong at the right time was made with a wrong secret.
        if error.is_of_credentials() || error.is_of_signature() {
            self.credentials.forget(&credentials).await;
        }
        Err(error)
    }
}
