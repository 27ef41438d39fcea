//! Answers: the one place that knows status codes.

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use enclave_core::{Faults, FieldFault, KeyBinding, MAX_REPLY_BYTES, Refusal, Reply};
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::nonce_query::InvalidNonce;
use crate::entropy::EntropyUnavailable;

/// What a client gets.
#[derive(Debug)]
pub enum Answer {
    /// Whether the signer can sign.
    Health {
        /// It can.
        ready: bool,
    },
    /// A key was made; the reply that says so.
    Created(Bytes),
    /// Something was done; the reply that says so.
    Done(Bytes),
    /// Nothing was done.
    Failed(Failure),
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The head, or the framing of the body, breaks HTTP's rules.
    MalformedHttp,
    /// The head is over its limits.
    HeadTooLarge,
    /// It came in the clear, where TLS is spoken.
    NotTls,
    /// No API key, or none that is known.
    InvalidApiKey,
    /// The role of the API key does not allow the operation.
    NotAllowed,
    /// No such path.
    NoSuchPath,
    /// The path has other methods: these.
    NoSuchMethod(&'static str),
    /// The body is over its limit.
    BodyTooLarge,
    /// The body is declared as something else than JSON.
    NotDeclaredJson,
    /// The body is compressed.
    ContentEncoded,
    /// Too many requests in flight, or the signer is stopping.
    Busy,
    /// The core refused.
    Refused(Refusal),
    /// The sealed key has no known form.
    MalformedSealedKey,
    /// The sealed key does not open.
    UnopenableSealedKey,
    /// Randomness, NSM or KMS failed.
    KeyServiceUnavailable,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Failure {
    /// The status table.
    const fn status(&self) -> StatusCode {
        match self {
            Self::MalformedHttp | Self::NotTls => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::InvalidApiKey => StatusCode::UNAUTHORIZED,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotDeclaredJson | Self::ContentEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(refusal) => match refusal {
                Refusal::InvalidJson | Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
                Refusal::InvalidTicket => StatusCode::UNAUTHORIZED,
                Refusal::WrongScope | Refusal::IdentityMismatch | Refusal::DigestMismatch => {
                    StatusCode::FORBIDDEN
                }
                Refusal::KeyNotFound => StatusCode::NOT_FOUND,
                Refusal::KeyExists | Refusal::Replay => StatusCode::CONFLICT,
                Refusal::AtCapacity => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::MalformedSealedKey => StatusCode::BAD_REQUEST,
            Self::UnopenableSealedKey => StatusCode::INTERNAL_SERVER_ERROR,
            Self::KeyServiceUnavailable => StatusCode::BAD_GATEWAY,
        }
    }

    /// The body. What is not HTTP gets none: whoever sent it will not read JSON either.
    fn body(&self) -> Bytes {
        let text = match self {
            Self::MalformedHttp | Self::HeadTooLarge => return Bytes::new(),
            Self::Refused(refusal) => return reply(&Reply::Refused(refusal)),
            Self::NotTls => "Client sent an HTTP request to an HTTPS port",
            Self::InvalidApiKey => "Invalid internal API key",
            Self::NotAllowed => "Not allowed for this API key",
            Self::NoSuchPath => "Not found",
            Self::NoSuchMethod(_) => "Method not allowed",
            Self::BodyTooLarge => "Request body too large",
            Self::NotDeclaredJson => "Content-Type must be application/json",
            Self::ContentEncoded => "Content-Encoding is not supported",
            Self::Busy => return reply(&Reply::Refused(&Refusal::AtCapacity)),
            Self::MalformedSealedKey => "Malformed sealed key",
            Self::UnopenableSealedKey => "Unable to open sealed key",
            Self::KeyServiceUnavailable => "Key service unavailable",
        };
        Bytes::from(format!("{{\"error\":\"{text}\"}}"))
    }

    /// Whether nothing that follows on the connection can be trusted to be a request.
    const fn ends_connection(&self) -> bool {
        matches!(self, Self::MalformedHttp | Self::HeadTooLarge | Self::NotTls | Self::BodyTooLarge)
    }
}

impl Answer {
    /// The response; `body_unread` if some of the request's body may still be on its way.
    pub(super) fn into_response(self, body_unread: bool) -> Response<Full<Bytes>> {
        let (status, body) = match &self {
            Self::Health { ready: true } => {
                (StatusCode::OK, Bytes::from_static(b"{\"ok\":true,\"service\":\"nitro-enclave\"}"))
            }
            Self::Health { ready: false } => (
                StatusCode::SERVICE_UNAVAILABLE,
                Bytes::from_static(b"{\"ok\":false,\"service\":\"nitro-enclave\"}"),
            ),
            Self::Created(body) => (StatusCode::CREATED, body.clone()),
            Self::Done(body) => (StatusCode::OK, body.clone()),
            Self::Failed(failure) => (failure.status(), failure.body()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if !matches!(self, Self::Failed(Failure::MalformedHttp | Failure::HeadTooLarge)) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let mut close = body_unread;
        if let Self::Failed(failure) = &self {
            close |= failure.ends_connection();
            if let Failure::NoSuchMethod(allowed) = failure {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            match failure {
                Failure::Busy | Failure::Refused(Refusal::AtCapacity) => {
                    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                Failure::Refused(Refusal::TooManyRequests { retry_after_s }) => {
                    headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
                }
                _ => {}
            }
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<EntropyUnavailable> for Failure {
    fn from(_: EntropyUnavailable) -> Self {
        Self::KeyServiceUnavailable
    }
}

/// As it is told of a body's field.
impl From<InvalidNonce> for Failure {
    fn from(InvalidNonce: InvalidNonce) -> Self {
        let fields = [Some(("nonce", FieldFault::InvalidNonce)), None, None];
        Self::Refused(Refusal::Invalid(Faults::Fields(fields)))
    }
}

/// Writes the reply that holds an attestation document.
pub(crate) fn attestation_reply(document: &[u8]) -> Bytes {
    Bytes::from(format!("{{\"attestation_doc\":\"{}\"}}", Base64::encode_string(document)))
}

/// Writes the reply that holds one about a key.
pub(crate) fn key_proof_reply(document: &[u8], binding: &KeyBinding) -> Bytes {
    Bytes::from(format!(
        r#"{{"attestation_doc":"{}","public_key":"{:x}","origin":"{}"}}"#,
        Base64::encode_string(document),
        base16ct::HexDisplay(binding.public_key.as_bytes()),
        binding.origin.name()
    ))
}

/// Writes a reply that is not a sealed key.
pub(crate) fn reply(reply: &Reply<'_>) -> Bytes {
    let mut buffer = [0; MAX_REPLY_BYTES];
    let written = reply.write(&mut buffer).expect("MAX_REPLY_BYTES holds every reply but a sealed key");
    Bytes::copy_from_slice(written)
}

/// Writes the reply that is.
pub(crate) fn sealed_reply(sealed_key: &str) -> Bytes {
    let mut buffer = vec![0; MAX_REPLY_BYTES + sealed_key.len()];
    let written = Reply::SealedKey(sealed_key).write(&mut buffer).expect("there is room for the sealed key");
    let length = written.len();
    buffer.truncate(length);
    Bytes::from(buffer)
}
