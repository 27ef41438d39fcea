//! Signature version 4, checked as AWS checks it.

mod authorization;
mod canonical;
mod signing_key;

use std::sync::Arc;

use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use crate::api_error::{ApiError, ErrorKind};
use crate::credentials::{CredentialStore, Credentials};
use crate::sigv4::authorization::Authorization;
use crate::sigv4::canonical::canonical_request;
use crate::sigv4::signing_key::{hmac, signing_key};

/// How far the clock of a client may be off.
const SKEW: Duration = Duration::minutes(5);

/// Headers without whose signature a request could be sent to another host, at another time, for another
/// operation.
const MUST_BE_SIGNED: [&str; 3] = ["host", "x-amz-date", "x-amz-target"];

const TOKEN_HEADER: &str = "x-amz-security-token";

pub(crate) const INVALID_TOKEN: &str = "The security token included in the request is invalid.";

pub(crate) const EXPIRED_TOKEN: &str = "The security token included in the request is expired";

pub(crate) const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. \
Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";

/// The principal that signed a request.
///
/// `now` is what the time of the signature is compared with, `real_now` what the expiry of credentials is.
///
/// # Errors
///
/// The caller of a request, or AWS's answer to a request that is not signed, or wrongly.
pub(crate) fn authenticate(
    parts: &Parts,
    body: &[u8],
    region: &str,
    store: &CredentialStore,
    (now, real_now): (OffsetDateTime, OffsetDateTime),
) -> Result<Arc<Credentials>, ApiError> {
    let header = header(parts, "authorization").ok_or_else(|| {
        ApiError::new(ErrorKind::MissingAuthenticationToken, "Missing Authentication Token")
    })?;
    let authorization = Authorization::parse(header)?;
    authorization.check_scope(region, "kms")?;
    for name in MUST_BE_SIGNED {
        if !authorization.signs(name) {
            let message = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
            return Err(ApiError::new(ErrorKind::InvalidSignature, message));
        }
    }
    let time = self::header(parts, "x-amz-date").unwrap_or_default();
    check_time(time, authorization.date, now)?;

    let credentials = store
        .find(authorization.access_key_id)
        .ok_or_else(|| ApiError::new(ErrorKind::UnrecognizedClient, INVALID_TOKEN))?;
    check_session(parts, &authorization, &credentials, real_now)?;
    let expected = signature(parts, body, &authorization, time, &credentials.secret_access_key)?;
    if expected != authorization.signature {
        return Err(ApiError::new(ErrorKind::InvalidSignature, MISMATCH));
    }
    Ok(credentials)
}

fn check_session(
    parts: &Parts,
    authorization: &Authorization<'_>,
    credentials: &Credentials,
    now: OffsetDateTime,
) -> Result<(), ApiError> {
    let sent = header(parts, TOKEN_HEADER);
    if sent.is_some() && !authorization.signs(TOKEN_HEADER) {
        let message = format!("'{TOKEN_HEADER}' must be a 'SignedHeader' in the AWS Authorization.");
        return Err(ApiError::new(ErrorKind::InvalidSignature, message));
    }
    let issued = credentials.session.as_ref();
    if sent != issued.map(|session| session.token.as_str()) {
        return Err(ApiError::new(ErrorKind::UnrecognizedClient, INVALID_TOKEN));
    }
    if issued.is_some_and(|session| session.expires_at <= now) {
        return Err(ApiError::new(ErrorKind::ExpiredToken, EXPIRED_TOKEN));
    }
    Ok(())
}

fn check_time(text: &str, scope_date: &str, now: OffsetDateTime) -> Result<(), ApiError> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = PrimitiveDateTime::parse(text, format).map_err(|_| {
        let message = format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        );
        ApiError::new(ErrorKind::IncompleteSignature, message)
    })?;
    if !text.starts_with(scope_date) || scope_date.len() != "YYYYMMDD".len() {
        let day = text.get(.."YYYYMMDD".len()).unwrap_or_default();
        let message = format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '{scope_date}' != '{day}', from '{text}'."
        );
        return Err(ApiError::new(ErrorKind::InvalidSignature, message));
    }
    let iso = |time: OffsetDateTime| time.format(format).unwrap_or_default();
    let signed_at = time.assume_utc();
    let message = if signed_at < now - SKEW {
        format!("Signature expired: {text} is now earlier than {} ({} - 5 min.)", iso(now - SKEW), iso(now))
    } else if signed_at > now + SKEW {
        format!(
            "Signature not yet current: {text} is still later than {} ({} + 5 min.)",
            iso(now + SKEW),
            iso(now)
        )
    } else {
        return Ok(());
    };
    Err(ApiError::new(ErrorKind::InvalidSignature, message))
}

/// The signature that the request should have.
fn signature(
    parts: &Parts,
    body: &[u8],
    authorization: &Authorization<'_>,
    time: &str,
    secret: &str,
) -> Result<String, ApiError> {
    let payload_hash = hex::encode(Sha256::digest(body));
    if header(parts, "x-amz-content-sha256").is_some_and(|sent| sent != payload_hash) {
        return Err(ApiError::new(ErrorKind::InvalidSignature, MISMATCH));
    }
    let canonical = canonical_request(parts, authorization.signed_headers, &payload_hash)
        .ok_or_else(|| ApiError::new(ErrorKind::InvalidSignature, MISMATCH))?;
    let Authorization { date, region, service, .. } = authorization;
    let string_to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{date}/{region}/{service}/aws4_request\n{}",
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    Ok(hex::encode(hmac(&signing_key(secret, date, region, service), string_to_sign.as_bytes())))
}

/// A header that occurs once and is text.
fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let mut values = parts.headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests;
