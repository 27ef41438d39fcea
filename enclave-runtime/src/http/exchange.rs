//! One request and its answer: what is checked before the body is read, in the order of
//! `docs/api.md`, "4. Order of checks before the body", and the body's limits.

use std::time::Duration;

use bytes::Bytes;
use configuration::Operation;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::head_gate::{BodyError, HeadVerdict, MAX_CHUNK_BYTES};
use super::nonce_query::nonce_of;
use super::places::RequestInProgress;
use super::response::{Answer, Rejection};
use super::shared_state::{Channel, Peer, Server};
use crate::outcome::Failure;
use crate::sealer::Sealer;

/// Largest body: the longest sealed key of the API takes a quarter of it.
pub(super) const MAX_BODY_BYTES: usize = 32_768;

const _: () =
    assert!(MAX_CHUNK_BYTES == MAX_BODY_BYTES as u64, "a chunk over the one is a body over the other");

/// How long an answer waits for a body that it does not need: long enough for bytes that are already on their way.
const UNWANTED_BODY_PATIENCE: Duration = Duration::from_millis(50);

const API_KEY: HeaderName = HeaderName::from_static("x-internal-api-key");

/// The request did not arrive whole. The connection ends without an answer.
#[derive(Debug)]
pub(super) struct Abandoned;

impl std::fmt::Display for Abandoned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the request body did not arrive")
    }
}

impl std::error::Error for Abandoned {}

/// Answers one request of `peer`. Drops `in_progress` when it does nothing more for the request.
pub(super) async fn answer<S: Sealer>(
    server: &Server<S>,
    peer: &Peer,
    in_progress: RequestInProgress<'_>,
    verdict: HeadVerdict,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Abandoned> {
    let failed = |rejection| Answer::Failed(rejection).into_response(true);
    if matches!(peer.channel, Channel::NotTls) {
        return Ok(failed(Rejection::NotTls));
    }
    match verdict {
        HeadVerdict::Accepted => {}
        HeadVerdict::Malformed => return Ok(failed(Rejection::MalformedHttp)),
        HeadVerdict::TooLarge => return Ok(failed(Rejection::HeadTooLarge)),
    }
    let operation = match before_body(server, &request) {
        Ok(Target::Health) => {
            return Ok(early(Answer::Health { ready: server.service.is_ready() }, request, in_progress).await);
        }
        Ok(Target::Attestation { nonce }) => {
            let Ok(_waiting) = nonce.as_ref().map(|_| server.attestations.try_acquire()).transpose() else {
                return Ok(early(Answer::Failed(Failure::Busy.into()), request, in_progress).await);
            };
            let attested = server.service.attest(nonce, peer.channel.tls_spki()).await;
            return Ok(early(attested.into(), request, in_progress).await);
        }
        Ok(Target::Operation(operation)) => {
            in_progress.shows_key();
            operation
        }
        Err(rejection) => {
            if rejection == Rejection::Service(Failure::InvalidApiKey)
                && let Some(count) = server.unauthorized.due()
            {
                let client = peer.address.map(tracing::field::display);
                tracing::warn!(client, count, "refused a request without the API key");
            }
            return Ok(early(Answer::Failed(rejection), request, in_progress).await);
        }
    };
    let Ok(_in_flight) = server.requests_in_flight.try_acquire() else {
        return Ok(early(Answer::Failed(Failure::Busy.into()), request, in_progress).await);
    };
    let mut body = match timeout(server.limits.body_deadline, read_body(request.into_body())).await {
        Ok(Ok(body)) => body,
        Ok(Err(BodyLoss::Rejected(rejection))) => return Ok(failed(rejection)),
        Ok(Err(BodyLoss::Cut)) | Err(_) => return Err(Abandoned),
    };
    let waits_in = match operation {
        Operation::Export => Some(&server.exports),
        Operation::Attest => Some(&server.key_proofs),
        // An import takes its place when it has to wait: most of a restore does not.
        Operation::Import | Operation::Generate | Operation::Sign | Operation::Destroy => None,
    };
    let Ok(_waiting) = waits_in.map(Semaphore::try_acquire).transpose() else {
        return Ok(Answer::Failed(Failure::Busy.into()).into_response(false));
    };
    let spki = peer.channel.tls_spki();
    let outcome = server.service.perform(operation, &mut body, spki, &server.restores, &peer.standing).await;
    Ok(Answer::from(outcome).into_response(false))
}

/// The response to a request that would have to wait at the end of a drain. Nothing was done for it.
pub(super) fn turned_away() -> Response<Full<Bytes>> {
    Answer::Failed(Failure::Busy.into()).into_response(true)
}

/// The response to a request whose body is not needed. The connection stays open if the body is short and arrives at
/// once. Otherwise the rest of the body would be read as the next request.
///
/// A connection that never presented the API key counts as idle meanwhile. Otherwise bodies that come late would keep
/// places.
async fn early(
    answer: Answer,
    request: Request<Incoming>,
    in_progress: RequestInProgress<'_>,
) -> Response<Full<Bytes>> {
    let _in_progress = in_progress.has_shown_key().then_some(in_progress);
    // Reading from a client that waits for "100 Continue" would send it.
    let waits = request.headers().contains_key(EXPECT);
    let body = request.into_body();
    let is_short = body.size_hint().upper().is_some_and(|bytes| bytes <= MAX_BODY_BYTES as u64);
    let unread = !body.is_end_stream()
        && (waits
            || !is_short
            || !matches!(timeout(UNWANTED_BODY_PATIENCE, read_body(body)).await, Ok(Ok(_))));
    answer.into_response(unread)
}

enum Target {
    Health,
    Attestation { nonce: Option<Vec<u8>> },
    Operation(Operation),
}

/// Checks that need the head only.
fn before_body<S: Sealer>(server: &Server<S>, request: &Request<Incoming>) -> Result<Target, Rejection> {
    let path = request.uri().path();
    if path == "/health" {
        return match *request.method() {
            Method::GET | Method::HEAD => Ok(Target::Health),
            _ => Err(Rejection::NoSuchMethod("GET, HEAD")),
        };
    }
    if path == "/.well-known/attestation" {
        if request.method() != Method::GET {
            return Err(Rejection::NoSuchMethod("GET"));
        }
        return Ok(Target::Attestation { nonce: nonce_of(request.uri().query())? });
    }
    let headers = request.headers();
    let role = server.service.admit(only(headers, &API_KEY).map(HeaderValue::as_bytes))?;
    let operation = match path {
        "/internal/generate" => Operation::Generate,
        "/internal/sign" => Operation::Sign,
        "/internal/destroy" => Operation::Destroy,
        "/internal/backup/export" => Operation::Export,
        "/internal/backup/import" => Operation::Import,
        "/internal/attest" => Operation::Attest,
        _ => return Err(Rejection::NoSuchPath),
    };
    if request.method() != Method::POST {
        return Err(Rejection::NoSuchMethod("POST"));
    }
    if !role.allows(operation) {
        return Err(Rejection::NotAllowed);
    }
    if request.body().size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Rejection::BodyTooLarge);
    }
    if !only(headers, &CONTENT_TYPE).is_some_and(declares_json) {
        return Err(Rejection::NotDeclaredJson);
    }
    let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return Err(Rejection::ContentEncoded);
    }
    Ok(Target::Operation(operation))
}

/// The value of a header that occurs once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether a media type is `application/json`, with `charset=utf-8` or without parameters (RFC 9110 §8.3.1).
fn declares_json(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| {
            ["charset=utf-8", "charset=\"utf-8\""]
                .iter()
                .any(|charset| parameter.eq_ignore_ascii_case(charset))
        })
}

enum BodyLoss {
    Rejected(Rejection),
    /// The client went away.
    Cut,
}

async fn read_body(mut body: Incoming) -> Result<Vec<u8>, BodyLoss> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(MAX_BODY_BYTES);
    let mut bytes = Vec::with_capacity(declared.min(MAX_BODY_BYTES));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match BodyError::find(&error) {
            Some(BodyError::ChunkTooLarge) => BodyLoss::Rejected(Rejection::BodyTooLarge),
            Some(_) => BodyLoss::Rejected(Rejection::MalformedHttp),
            None => BodyLoss::Cut,
        })?;
        // The gate checks trailers, and nothing here reads them.
        if let Some(data) = frame.data_ref() {
            if data.len() > MAX_BODY_BYTES - bytes.len() {
                return Err(BodyLoss::Rejected(Rejection::BodyTooLarge));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{HeaderValue, declares_json};

    #[test]
    fn json_is_declared_one_way() {
        for declared in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ;\tcharset=\"utf-8\"",
        ] {
            assert!(declares_json(&HeaderValue::from_static(declared)), "{declared}");
        }
        for other in [
            "",
            "text/plain",
            "application/json5",
            "application/json;",
            "application/json; charset=latin1",
            "application/json; charset=utf-8; boundary=x",
            "application/json, application/json",
            "application/ld+json",
            "text/json",
        ] {
            assert!(!declares_json(&HeaderValue::from_static(other)), "{other}");
        }
    }
}
