//! An answer of an ACME server, in the parts that all answers have (RFC 8555 §6).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::error::AcmeError;
use super::problem::{Problem, ProblemMessage};

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// The nonce is repeated in a request. Nonces of public servers have 60 bytes at most.
const MAX_NONCE_BYTES: usize = 256;

/// The longest wait. A longer `Retry-After` is cut to a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    /// The nonce for the next request: base64url of 256 bytes at most.
    pub nonce: Option<String>,
    /// The URL of the created resource, unchecked.
    pub location: Option<String>,
    /// How long the server wants the client to wait: a day at most.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Parses `response`, received at `now`.
    #[must_use]
    pub fn of(response: Response<Bytes>, now: SystemTime) -> Self {
        let headers = response.headers();
        Self {
            status: response.status(),
            nonce: nonce_of(headers),
            location: headers.get(LOCATION).and_then(|it| it.to_str().ok()).map(str::to_owned),
            retry_after: retry_after(headers, now),
            body: response.into_body(),
        }
    }

    /// The answer, unless it is a refusal.
    ///
    /// # Errors
    /// [`AcmeError::Refused`]
    pub fn accepted(self) -> Result<Self, AcmeError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(AcmeError::Refused(match serde_json::from_slice::<ProblemMessage>(&self.body) {
            Ok(message) => Problem::of(&message, self.retry_after),
            Err(_) => Problem::of_status(self.status.as_u16(), self.retry_after),
        }))
    }
}

/// A nonce that is not base64url is ignored (RFC 8555 §6.5.1).
fn nonce_of(headers: &HeaderMap) -> Option<String> {
    let nonce = headers.get(REPLAY_NONCE)?.to_str().ok()?;
    let is_nonce = (1..=MAX_NONCE_BYTES).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_nonce.then(|| nonce.to_owned())
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::{REPLAY_NONCE, nonce_of, retry_after};

    #[test]
    fn retry_after_is_at_most_a_day() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("86400"), Some(86_400));
        assert_eq!(wait("18446744073709551615"), Some(86_400));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:30 GMT"), Some(0), "the date has passed");
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_nonce_is_base64url() {
        let nonce = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REPLAY_NONCE, HeaderValue::from_str(text).unwrap());
            nonce_of(&headers)
        };
        assert_eq!(nonce("aZ09-_").as_deref(), Some("aZ09-_"));
        for bad in ["", "a=", "a b", "a\"", "a+", &"a".repeat(257)] {
            assert_eq!(nonce(bad), None, "{bad:?}");
        }
    }
}
