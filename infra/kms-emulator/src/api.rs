//! The KMS API over HTTP.

use std::future::pending;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, DATE, EXPIRES, HeaderName, HeaderValue, PRAGMA,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use crate::api_error::{ApiError, ErrorKind};
use crate::call_log::Call;
use crate::emulator::Emulator;
use crate::fault::{Fault, FaultKind};
use crate::operation::Operation;
use crate::reply::{Dropped, Reply, read_body, with_body};
use crate::service::Asked;
use crate::sigv4::authenticate;

const JSON: &str = "application/x-amz-json-1.1";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

pub(crate) const THROTTLED: &str =
    "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";

/// Answers one request, with the headers of `infra/tests/transcripts/kms/success-headers.http`.
///
/// # Errors
///
/// When there is to be no answer.
pub(crate) async fn answer(emulator: &Emulator, request: Request<Incoming>) -> Result<Reply, Dropped> {
    let (parts, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(reply) => return Ok(reply),
    };
    let (status, text) = match answer_parts(emulator, &parts, &body).await? {
        Ok(json) => (StatusCode::OK, json.to_string()),
        Err(Failed::Refused(error)) => (error.status(), error.to_json().to_string()),
        Err(Failed::Scripted(status, body)) => (status, body),
    };
    // AWS closes the connection after a signature that is wrong.
    let closes = status != StatusCode::OK && text.contains(ErrorKind::InvalidSignature.name());
    let mut reply = with_body(status, JSON, text);
    let headers = reply.headers_mut();
    headers.insert(REQUEST_ID, request_id());
    let caching = HeaderValue::from_static("no-cache, no-store, must-revalidate, private");
    headers.insert(CACHE_CONTROL, caching);
    headers.insert(EXPIRES, HeaderValue::from_static("0"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let date = httpdate::fmt_http_date(emulator.clock.shifted_now().into());
    // Clients correct their clocks by this header, so it has to be the shifted time.
    headers.insert(DATE, HeaderValue::try_from(date).expect("a date is a header value"));
    Ok(reply)
}

/// The answer in place of a result.
enum Failed {
    Refused(ApiError),
    /// As the control port said.
    Scripted(StatusCode, String),
}

async fn answer_parts(
    emulator: &Emulator,
    parts: &Parts,
    body: &Bytes,
) -> Result<Result<Value, Failed>, Dropped> {
    let operation = match operation(parts) {
        Ok(operation) => operation,
        Err(error) => return Ok(Err(Failed::Refused(error))),
    };
    let now = (emulator.clock.shifted_now(), emulator.clock.now());
    let credentials = match authenticate(parts, body, &emulator.region, &emulator.credentials, now) {
        Ok(credentials) => credentials,
        Err(error) => return Ok(Err(Failed::Refused(error))),
    };
    let principal = &credentials.principal;
    let mut call = Call {
        operation: operation.name(),
        principal: principal.identity_arn().to_owned(),
        ..Call::default()
    };
    if let Some(fault) = emulator.faults.take(operation)
        && let Some(failed) = fail(emulator, fault, &call).await?
    {
        return Ok(Err(failed));
    }
    let now_unix_ms = emulator.clock.now_unix_ms();
    let mut asked = Asked { principal, now_unix_ms, call: &mut call };
    let result = emulator.service.answer(operation, body, &mut asked);
    call.outcome = result.as_ref().map_or_else(|error| error.kind().name(), |_| "ok");
    emulator.calls.add(call);
    Ok(result.map_err(Failed::Refused))
}

/// Makes a fault; `None` when the request is to be answered all the same.
async fn fail(emulator: &Emulator, fault: Fault, call: &Call) -> Result<Option<Failed>, Dropped> {
    let record = |outcome| emulator.calls.add(Call { outcome, ..call.clone() });
    let error = match fault.kind() {
        FaultKind::Delay => {
            sleep(Duration::from_millis(fault.delay_ms)).await;
            return Ok(None);
        }
        FaultKind::Drop => {
            record("drop");
            return Err(Dropped);
        }
        FaultKind::Hang => {
            record("hang");
            return pending().await;
        }
        FaultKind::Answer => {
            record("answer");
            let (status, body) = fault.into_answer();
            return Ok(Some(Failed::Scripted(status, body)));
        }
        FaultKind::Throttle => ApiError::new(ErrorKind::Throttling, THROTTLED),
        FaultKind::Internal => ApiError::without_message(ErrorKind::KmsInternal),
    };
    record(error.kind().name());
    Ok(Some(Failed::Refused(error)))
}

fn operation(parts: &Parts) -> Result<Operation, ApiError> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let is_api = parts.method == Method::POST
        && parts.uri.path() == "/"
        && parts.uri.query().is_none()
        && header(CONTENT_TYPE.as_str()) == Some(JSON);
    let target = header("x-amz-target").filter(|_| is_api);
    target
        .and_then(|target| Operation::from_name(target.strip_prefix("TrentService.")?))
        .ok_or_else(|| ApiError::without_message(ErrorKind::UnknownOperation))
}

/// As random and of the same form as a UUID of version 4.
fn request_id() -> HeaderValue {
    let digits = hex::encode(rand::random::<[u8; 16]>());
    let id = format!(
        "{}-{}-4{}-8{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..]
    );
    HeaderValue::try_from(id).expect("hexadecimal digits are a header value")
}
