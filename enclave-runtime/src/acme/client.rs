//! Requests to the ACME server: each signed, with a nonce, to a URL on its own host (RFC 8555 §6).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::account_key::Signer;
use super::fault::AcmeFault;
use super::problem::{Problem, ProblemMessage};
use super::resource::Directory;
use super::server::{AcmeServer, Connection};
use crate::configuration::HttpsUrl;

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// Tries with a new nonce each. A server may refuse one for having forgotten it; one that refuses this many has another
/// reason.
const MAX_NONCES: u32 = 5;

/// A nonce is repeated in a request; public servers' have 60 bytes at most.
const MAX_NONCE_BYTES: usize = 256;

/// A server that asks for more patience than a day is asked once a day all the same.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A client that knows where on its server everything is.
pub(crate) struct AcmeClient<'s> {
    server: &'s AcmeServer,
    connection: Option<Connection>,
    nonce: Option<String>,
    new_nonce: HttpsUrl,
    pub(crate) new_account: HttpsUrl,
    pub(crate) new_order: HttpsUrl,
}

/// What the server answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Where what was asked for is.
    pub(crate) location: Option<String>,
    /// When the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl<'s> AcmeClient<'s> {
    /// Connects to the server and asks it where everything is.
    pub(crate) async fn open(server: &'s AcmeServer) -> Result<Self, AcmeFault> {
        let mut connection = server.connect().await?;
        let request = server.request(Method::GET, server.directory(), None)?;
        let response = connection.exchange(request).await?;
        let retry_after = retry_after(response.headers(), SystemTime::now());
        if response.status() != StatusCode::OK {
            return Err(refusal(response.status(), response.body(), retry_after));
        }
        let directory: Directory = read(response.body(), "its directory")?;
        if directory.meta.external_account_required {
            return Err(AcmeFault::Ourselves(
                "the acme server wants an account with external binding, which this version does not make",
            ));
        }
        Ok(Self {
            server,
            connection: Some(connection),
            nonce: None,
            new_nonce: server.url("newNonce", &directory.new_nonce)?,
            new_account: server.url("newAccount", &directory.new_account)?,
            new_order: server.url("newOrder", &directory.new_order)?,
        })
    }

    /// Reads a URL of the server's, `what` in an error.
    pub(crate) fn url(&self, what: &'static str, text: &str) -> Result<HttpsUrl, AcmeFault> {
        self.server.url(what, text)
    }

    /// Asks to see what is at `url`.
    pub(crate) async fn look(&mut self, signer: Signer<'_>, url: &HttpsUrl) -> Result<Answer, AcmeFault> {
        self.send(signer, url, None).await
    }

    /// Sends `payload` to `url`.
    pub(crate) async fn post(
        &mut self,
        signer: Signer<'_>,
        url: &HttpsUrl,
        payload: &Value,
    ) -> Result<Answer, AcmeFault> {
        self.send(signer, url, Some(payload)).await
    }

    async fn send(
        &mut self,
        signer: Signer<'_>,
        url: &HttpsUrl,
        payload: Option<&Value>,
    ) -> Result<Answer, AcmeFault> {
        let mut tries = 0;
        loop {
            let nonce = self.take_nonce().await?;
            let body = signer.request(&url.to_string(), &nonce, payload)?;
            let request = self.server.request(Method::POST, url, Some(body))?;
            let response = self.exchange(request).await?;
            self.nonce = nonce_of(response.headers());
            let retry_after = retry_after(response.headers(), SystemTime::now());
            if response.status().is_success() {
                let location = response.headers().get(LOCATION).and_then(|it| it.to_str().ok());
                let location = location.map(str::to_owned);
                return Ok(Answer { location, retry_after, body: response.into_body() });
            }
            let fault = refusal(response.status(), response.body(), retry_after);
            tries += 1;
            let may_retry = matches!(&fault, AcmeFault::Refused(problem) if problem.is("badNonce"));
            if !may_retry || tries == MAX_NONCES {
                return Err(fault);
            }
        }
    }

    async fn take_nonce(&mut self) -> Result<String, AcmeFault> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        let request = self.server.request(Method::HEAD, &self.new_nonce, None)?;
        let response = self.exchange(request).await?;
        if !response.status().is_success() {
            let retry_after = retry_after(response.headers(), SystemTime::now());
            return Err(AcmeFault::Refused(Problem::of_status(response.status().as_u16(), retry_after)));
        }
        nonce_of(response.headers()).ok_or(AcmeFault::Unintelligible("it gives no nonce"))
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<hyper::Response<Bytes>, AcmeFault> {
        let open = self.connection.take().filter(Connection::is_open);
        let mut connection = match open {
            Some(connection) => connection,
            None => self.server.connect().await?,
        };
        let response = connection.exchange(request).await?;
        // One that failed is not used again.
        self.connection = Some(connection);
        Ok(response)
    }
}

impl Answer {
    /// What the body says, `what` in an error.
    pub(crate) fn read<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, AcmeFault> {
        read(&self.body, what)
    }
}

fn read<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, AcmeFault> {
    // The parser's error would repeat what it read.
    serde_json::from_slice(body).map_err(|_| AcmeFault::Unintelligible(what))
}

fn refusal(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> AcmeFault {
    AcmeFault::Refused(match serde_json::from_slice::<ProblemMessage>(body) {
        Ok(message) => Problem::of(&message, retry_after),
        Err(_) => Problem::of_status(status.as_u16(), retry_after),
    })
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
