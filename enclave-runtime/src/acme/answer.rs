//! What an ACME server answers with, before anybody looks at what it is about (RFC 8555 §6).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::fault::AcmeFault;
use super::problem::{Problem, ProblemMessage};

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// A nonce is repeated in a request; public servers' have 60 bytes at most.
const MAX_NONCE_BYTES: usize = 256;

/// A server that asks for more patience than a day is asked once a day all the same.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What the server answered with.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    /// For the next request: base64url of 256 bytes at most.
    pub nonce: Option<String>,
    /// Where what was asked for is, as the server has it.
    pub location: Option<String>,
    /// When the server wants to be asked again: in a day at most.
    pub retry_after: Option<Duration>,
    /// What the server says of it.
    pub body: Bytes,
}

impl Answer {
    /// Reads `response`, which came at `now`.
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

    /// The same, unless the server refuses with it.
    ///
    /// # Errors
    /// [`AcmeFault::Refused`]
    pub fn accepted(self) -> Result<Self, AcmeFault> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(AcmeFault::Refused(match serde_json::from_slice::<ProblemMessage>(&self.body) {
            Ok(message) => Problem::of(&message, self.retry_after),
            Err(_) => Problem::of_status(self.status.as_u16(), self.retry_after),
        }))
    }
}

/// RFC 8555 §6.5.1: base64url, or it is to be passed over.
fn nonce_of(headers: &HeaderMap) -> Option<String> {
    let nonce = headers.get(REPLAY_NONCE)?.to_str().ok()?;
    let is_nonce = (1..=MAX_NONCE_BYTES).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_nonce.then(|| nonce.to_owned())
}

/// RFC 9110 §10.2.3: seconds, or a date.
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
    fn a_server_may_ask_for_patience_up_to_a_day() {
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
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:30 GMT"), Some(0), "it has passed");
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
