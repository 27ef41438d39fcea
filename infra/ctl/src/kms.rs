//! Has KMS encrypt a boot secret, with the caller's own credentials.
//!
//! The plaintext and its copies here are wiped. The copies that hyper and rustls hold while they send a request are
//! not.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use configuration::{Generation, KeyArn, SecretCiphertext, context_of};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::boot_secret::SecretName;
use crate::connection::{Client, Unreachable};
use crate::printable::printable;

/// The longest ciphertext that KMS accepts in `Decrypt`.
const MAX_CIPHERTEXT_BYTES: usize = 6144;

/// Longest explanation of KMS that is repeated; an ARN or two are in one.
const MAX_MESSAGE_CHARS: usize = 500;

/// KMS did not encrypt.
#[derive(Debug)]
pub enum KmsError {
    /// It was not reached, or sent no answer.
    Unreachable(Unreachable),
    /// The request could not be signed: something in the credentials is no text.
    NotSigned,
    /// It refused.
    Refused {
        /// The status.
        status: u16,
        /// The error's type, such as `AccessDeniedException`.
        kind: String,
        /// The message of KMS.
        message: String,
    },
    /// It used another key than the one that was asked for.
    OtherKey,
    /// Its answer is not one to `Encrypt`.
    Unintelligible,
}

impl fmt::Display for KmsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(formatter),
            Self::NotSigned => formatter.write_str("the request cannot be signed with these credentials"),
            Self::Refused { kind, message, .. } => write!(formatter, "{kind}: {message}"),
            Self::OtherKey => formatter.write_str("KMS used another key than the one that was asked for"),
            Self::Unintelligible => formatter.write_str("the answer is not one of KMS's"),
        }
    }
}

impl std::error::Error for KmsError {}

impl KmsError {
    /// Whether KMS answered and refused.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status < 500,
            Self::NotSigned | Self::OtherKey => true,
            Self::Unreachable(_) | Self::Unintelligible => false,
        }
    }
}

/// Encrypts a boot secret under its encryption context, `generation` included.
///
/// # Errors
/// [`KmsError`]
pub async fn encrypt(
    client: &Client,
    credentials: &Credentials,
    key: &KeyArn,
    name: &SecretName,
    generation: Option<Generation>,
    secret: &[u8],
) -> Result<SecretCiphertext, KmsError> {
    let body = body(key, name, generation, secret).ok_or(KmsError::Unintelligible)?;
    let request = signed(client, body, credentials, key).ok_or(KmsError::NotSigned)?;
    let answer = async { client.connect().await?.exchange(request).await };
    let answer = answer.await.map_err(KmsError::Unreachable)?;
    if answer.status != 200 {
        return Err(refusal(answer.status, &answer.body));
    }
    let encrypted: Encrypted = serde_json::from_slice(&answer.body).map_err(|_| KmsError::Unintelligible)?;
    if encrypted.key_id != key.as_str() {
        return Err(KmsError::OtherKey);
    }
    let bytes = Base64::decode_vec(&encrypted.ciphertext_blob).map_err(|_| KmsError::Unintelligible)?;
    if (1..=MAX_CIPHERTEXT_BYTES).contains(&bytes.len()) {
        Ok(SecretCiphertext { generation, bytes })
    } else {
        Err(KmsError::Unintelligible)
    }
}

/// Written into memory of its final size, because memory that grows leaves copies behind.
fn body(
    key: &KeyArn,
    name: &SecretName,
    generation: Option<Generation>,
    secret: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut encoded = Zeroizing::new(vec![0; Base64::encoded_len(secret)]);
    let plaintext = Base64::encode(secret, &mut encoded).ok()?;
    let generation = generation.map_or_else(String::new, |it| format!(r#","generation":"{it}""#));
    let (context_name, api_key) = context_of(name.as_str());
    let api_key = api_key.map_or_else(String::new, |it| format!(r#","key":"{it}""#));
    // An ARN, the name of a variable of nitro.toml, a number and base64 have nothing that JSON would escape.
    let parts = [
        r#"{"KeyId":""#,
        key.as_str(),
        r#"","EncryptionContext":{"nitro-signer":"boot-secret","name":""#,
        context_name,
        r#"""#,
        &api_key,
        &generation,
        r#"},"Plaintext":""#,
        plaintext,
        r#""}"#,
    ];
    let mut body = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| body.extend_from_slice(part.as_bytes()));
    Some(body)
}

fn signed(
    client: &Client,
    body: Zeroizing<Vec<u8>>,
    credentials: &Credentials,
    key: &KeyArn,
) -> Option<Request<Full<Bytes>>> {
    let endpoint = client.endpoint();
    // A client of AWS's names the port only if it is another than that of HTTPS.
    let authority = endpoint.authority();
    let host = authority.strip_suffix(":443").filter(|_| endpoint.port() == 443).unwrap_or(&authority);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/")
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", "TrentService.Encrypt")
        .body(())
        .ok()?;
    let mut settings = SigningSettings::default();
    // As KMS's own clients sign, so that the hash of the body stands in the request too.
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(key.region().as_str())
        .name("kms")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .ok()?
        .into();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")));
    let signable = SignableRequest::new("POST", "/", headers, SignableBody::Bytes(&body)).ok()?;
    let (instructions, _) = sign(signable, &parameters).ok()?.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    // Wiped when hyper lets it go.
    Some(request.map(|()| Full::new(Bytes::from_owner(body))))
}

#[derive(Deserialize)]
struct Encrypted {
    #[serde(rename = "CiphertextBlob")]
    ciphertext_blob: String,
    #[serde(rename = "KeyId")]
    key_id: String,
}

/// The error document. The case of its members differs between errors.
#[derive(Default, Deserialize)]
struct ErrorDocument {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

fn refusal(status: u16, body: &[u8]) -> KmsError {
    let ErrorDocument { kind, message } = serde_json::from_slice(body).unwrap_or_default();
    // Some services put a namespace and `#` before the name.
    let line = |text: &str| printable(text, MAX_MESSAGE_CHARS);
    let kind = kind.as_deref().map(|kind| line(kind.rsplit('#').next().unwrap_or(kind)));
    let message = message.as_deref().map_or_else(|| "no message".to_owned(), line);
    KmsError::Refused { status, kind: kind.unwrap_or_else(|| format!("HTTP status {status}")), message }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Generation, SecretName, body, refusal};

    #[test]
    fn a_body_is_json_of_its_final_size() {
        let key = "arn:aws:kms:us-east-1:999988887777:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        for (name, mut context) in [
            ("TICKET_SIGNING_SECRET", json!({ "name": "TICKET_SIGNING_SECRET" })),
            ("INTERNAL_API_KEY", json!({ "name": "INTERNAL_API_KEY" })),
            ("INTERNAL_API_KEY_WORKER", json!({ "name": "INTERNAL_API_KEY", "key": "WORKER" })),
        ] {
            context["nitro-signer"] = "boot-secret".into();
            let name: SecretName = name.parse().unwrap();
            for generation in [None, Generation::new(7)] {
                if generation.is_some() {
                    context["generation"] = "7".into();
                }
                let body = body(&key.parse().unwrap(), &name, generation, b"\x00\"\xff").unwrap();
                assert_eq!(body.len(), body.capacity());
                let expected = json!({ "KeyId": key, "EncryptionContext": context, "Plaintext": "ACL/" });
                assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_refusal_is_one_line() {
        for (status, body, line) in [
            (
                400,
                &br#"{"__type":"a.b#AccessDeniedException","Message":"no\nmore"}"#[..],
                r"AccessDeniedException: no\nmore",
            ),
            (
                400,
                br#"{"__type":"NotFoundException","message":"Key does not exist"}"#,
                "NotFoundException: Key does not exist",
            ),
            (503, b"<html>", "HTTP status 503: no message"),
        ] {
            let error = refusal(status, body);
            assert_eq!(error.to_string(), line);
            assert_eq!(error.is_refusal(), status < 500);
        }
    }
}
