//! Responses: the one place that knows status codes and the JSON of replies.

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use enclave_core::{FieldError, KeyBinding, MAX_REPLY_BYTES, Refusal, Reply, ValidationErrors};
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::nonce_query::InvalidNonce;
use crate::outcome::{Failure, Outcome};

/// An answer, before it is HTTP.
pub(super) enum Answer {
    /// Whether the signer can sign.
    Health {
        /// It can.
        ready: bool,
    },
    /// Something was done.
    Done(Outcome),
    /// Nothing was done.
    Failed(Rejection),
}

/// Why nothing was done: HTTP's reasons, and those of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The head, or the framing of the body, breaks HTTP's rules.
    MalformedHttp,
    /// The head is over its limits.
    HeadTooLarge,
    /// It came in the clear, where TLS is spoken.
    NotTls,
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
    /// The service did nothing.
    Service(Failure),
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        Self::Service(failure)
    }
}

/// Tells of the query's nonce as of a body's field.
impl From<InvalidNonce> for Rejection {
    fn from(InvalidNonce: InvalidNonce) -> Self {
        let fields = [Some(("nonce", FieldError::InvalidNonce)), None, None];
        Self::Service(Failure::Refused(Refusal::Invalid(ValidationErrors::Fields(fields))))
    }
}

impl Rejection {
    /// The status table.
    const fn status(&self) -> StatusCode {
        match self {
            Self::MalformedHttp | Self::NotTls => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotDeclaredJson | Self::ContentEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Service(failure) => match failure {
                Failure::InvalidApiKey => StatusCode::UNAUTHORIZED,
                Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
                Failure::Refused(refusal) => match refusal {
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
                Failure::MalformedSealedKey => StatusCode::BAD_REQUEST,
                Failure::UnopenableSealedKey => StatusCode::INTERNAL_SERVER_ERROR,
                Failure::KeyServiceUnavailable => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// The body. A client that does not speak HTTP gets none: it will not read JSON either.
    fn body(&self) -> Bytes {
        let text = match self {
            Self::MalformedHttp | Self::HeadTooLarge => return Bytes::new(),
            Self::NotTls => "Client sent an HTTP request to an HTTPS port",
            Self::NotAllowed => "Not allowed for this API key",
            Self::NoSuchPath => "Not found",
            Self::NoSuchMethod(_) => "Method not allowed",
            Self::BodyTooLarge => "Request body too large",
            Self::NotDeclaredJson => "Content-Type must be application/json",
            Self::ContentEncoded => "Content-Encoding is not supported",
            Self::Service(failure) => match failure {
                Failure::InvalidApiKey => "Invalid internal API key",
                Failure::Busy => return reply(&Reply::Refused(&Refusal::AtCapacity)),
                Failure::Refused(refusal) => return reply(&Reply::Refused(refusal)),
                Failure::MalformedSealedKey => "Malformed sealed key",
                Failure::UnopenableSealedKey => "Unable to open sealed key",
                Failure::KeyServiceUnavailable => "Key service unavailable",
            },
        };
        Bytes::from(format!("{{\"error\":\"{text}\"}}"))
    }

    /// Whether nothing that follows on the connection can be trusted to be a request.
    const fn ends_connection(&self) -> bool {
        matches!(self, Self::MalformedHttp | Self::HeadTooLarge | Self::NotTls | Self::BodyTooLarge)
    }
}

impl From<Result<Outcome, Failure>> for Answer {
    fn from(result: Result<Outcome, Failure>) -> Self {
        result.map_or_else(|failure| Self::Failed(failure.into()), Self::Done)
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
            Self::Done(outcome) => done(outcome),
            Self::Failed(rejection) => (rejection.status(), rejection.body()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if !matches!(self, Self::Failed(Rejection::MalformedHttp | Rejection::HeadTooLarge)) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let mut close = body_unread;
        if let Self::Failed(rejection) = &self {
            close |= rejection.ends_connection();
            match rejection {
                Rejection::NoSuchMethod(allowed) => {
                    headers.insert(ALLOW, HeaderValue::from_static(allowed));
                }
                Rejection::Service(Failure::Busy | Failure::Refused(Refusal::AtCapacity)) => {
                    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                Rejection::Service(Failure::Refused(Refusal::TooManyRequests { retry_after_s })) => {
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

/// The status and the body that tell what was done.
fn done(outcome: &Outcome) -> (StatusCode, Bytes) {
    let body = match outcome {
        Outcome::Generated(public_key) => {
            return (StatusCode::CREATED, reply(&Reply::PublicKey(public_key)));
        }
        Outcome::Signed(signature) => reply(&Reply::Signature(signature)),
        Outcome::Destroyed | Outcome::Imported => reply(&Reply::Done),
        Outcome::Exported(sealed_key) => sealed_reply(sealed_key),
        Outcome::Attested(document) => attestation_reply(document),
        Outcome::KeyAttested { document, binding } => key_proof_reply(document, binding),
    };
    (StatusCode::OK, body)
}

/// Writes the reply that holds an attestation document.
fn attestation_reply(document: &[u8]) -> Bytes {
    Bytes::from(format!("{{\"attestation_doc\":\"{}\"}}", Base64::encode_string(document)))
}

/// Writes the reply that holds an attestation document about a key.
fn key_proof_reply(document: &[u8], binding: &KeyBinding) -> Bytes {
    Bytes::from(format!(
        r#"{{"attestation_doc":"{}","public_key":"{:x}","origin":"{}"}}"#,
        Base64::encode_string(document),
        base16ct::HexDisplay(binding.public_key.as_bytes()),
        binding.origin.name()
    ))
}

/// Writes a reply that is not a sealed key.
fn reply(reply: &Reply<'_>) -> Bytes {
    let mut buffer = [0; MAX_REPLY_BYTES];
    let written = reply.write(&mut buffer).expect("MAX_REPLY_BYTES holds every reply but a sealed key");
    Bytes::copy_from_slice(written)
}

/// Writes the reply that holds a sealed key.
fn sealed_reply(sealed_key: &str) -> Bytes {
    let mut buffer = vec![0; MAX_REPLY_BYTES + sealed_key.len()];
    let written = Reply::SealedKey(sealed_key).write(&mut buffer).expect("there is room for the sealed key");
    let length = written.len();
    buffer.truncate(length);
    Bytes::from(buffer)
}
