//! HTTP replies and the bodies of requests.

use std::fmt;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// An attestation document and a ciphertext of the sizes that KMS takes, in base64, several times over.
const BODY_MAX_BYTES: usize = 256 * 1024;

pub(crate) type Reply = Response<Full<Bytes>>;

/// The connection is to end without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("dropped")
    }
}

impl std::error::Error for Dropped {}

pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    with_body(status, "text/plain", body)
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Reply {
    with_body(status, "application/json", body.to_string())
}

/// # Errors
///
/// The reply to a body that is too long, or that broke off.
pub(crate) async fn read_body(body: Incoming) -> Result<Bytes, Reply> {
    match Limited::new(body, BODY_MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => Err(text(StatusCode::PAYLOAD_TOO_LARGE, "body is too long or incomplete\n")),
    }
}
