//! The resources of an ACME server (RFC 8555 §7.1), in the members that the signer uses, compared with its request.
//! Unknown members are ignored.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::AcmeError;
use super::problem::{Problem, ProblemMessage};
use configuration::HttpsUrl;

/// The only kind of challenge that the enclave answers.
const KIND: &str = "tls-alpn-01";

/// A token has at least 22 bytes (RFC 8555 §8.3), and 43 on public servers.
const MAX_TOKEN_BYTES: usize = 256;

/// The URLs of the server. All have the host and port of the directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Directory {
    /// Returns nonces.
    pub new_nonce: HttpsUrl,
    /// Creates accounts.
    pub new_account: HttpsUrl,
    /// Creates orders.
    pub new_order: HttpsUrl,
}

/// The wire form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryMessage {
    new_nonce: String,
    new_account: String,
    new_order: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    external_account_required: bool,
}

impl Directory {
    /// Parses the directory at `home`.
    ///
    /// # Errors
    /// [`AcmeError`], also if the server demands external account binding.
    pub fn read(body: &[u8], home: &HttpsUrl) -> Result<Self, AcmeError> {
        let message: DirectoryMessage = read(body, "its directory")?;
        if message.meta.external_account_required {
            return Err(AcmeError::Ourselves(
                "the acme server wants an account with external binding, which this version does not make",
            ));
        }
        Ok(Self {
            new_nonce: url(home, "newNonce", &message.new_nonce)?,
            new_account: url(home, "newAccount", &message.new_account)?,
            new_order: url(home, "newOrder", &message.new_order)?,
        })
    }
}

/// The state of an order. Every URL has the host and port of the directory.
#[derive(Debug)]
pub struct Order {
    /// The status.
    pub status: OrderStatus,
    /// At most one for each name.
    pub authorizations: Vec<HttpsUrl>,
    /// Accepts the CSR.
    pub finalize: HttpsUrl,
    /// Returns the issued certificate.
    pub certificate: Option<HttpsUrl>,
    error: Option<ProblemMessage>,
}

/// The status of an order.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as RFC 8555 §7.1.6 explains them")]
pub enum OrderStatus {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// The wire form.
#[derive(Deserialize)]
struct OrderMessage {
    status: OrderStatus,
    #[serde(default)]
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    error: Option<ProblemMessage>,
}

impl Order {
    /// Parses an order for `names`. `home` is the URL of the server's directory.
    ///
    /// # Errors
    /// [`AcmeError`]
    pub fn read(body: &[u8], home: &HttpsUrl, names: &[String]) -> Result<Self, AcmeError> {
        let message: OrderMessage = read(body, "its order")?;
        // One for each name at most. Otherwise the server would validate names that were not requested.
        if message.authorizations.len() > names.len() {
            return Err(AcmeError::Unintelligible("it wants more authorizations than there are names"));
        }
        let authorizations = message.authorizations.iter().map(|it| url(home, "authorization", it));
        Ok(Self {
            status: message.status,
            authorizations: authorizations.collect::<Result<_, _>>()?,
            finalize: url(home, "finalize", &message.finalize)?,
            certificate: message.certificate.map(|it| url(home, "certificate", &it)).transpose()?,
            error: message.error,
        })
    }

    /// Why the server does not issue, in its own words.
    #[must_use]
    pub fn refusal(&self, retry_after: Option<Duration>) -> AcmeError {
        refusal(self.error.as_ref(), retry_after)
    }
}

/// The state of a requested validation.
#[derive(Debug)]
pub struct Authorization {
    /// The status.
    pub status: AuthorizationStatus,
    /// The name to validate.
    pub name: String,
    challenges: Vec<ChallengeMessage>,
}

/// The status of an authorization.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as RFC 8555 §7.1.6 explains them")]
pub enum AuthorizationStatus {
    Pending,
    Valid,
    Invalid,
    Deactivated,
    Expired,
    Revoked,
}

/// The TLS-ALPN-01 challenge.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The URL to notify once the answer is in place. It has the host and port of the directory.
    pub url: HttpsUrl,
    /// The token of the answer: base64url of 256 bytes at most.
    pub token: &'a str,
}

/// The wire form.
#[derive(Deserialize)]
struct AuthorizationMessage {
    status: AuthorizationStatus,
    identifier: Identifier,
    #[serde(default)]
    challenges: Vec<ChallengeMessage>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Deserialize, Debug)]
struct ChallengeMessage {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    token: Option<String>,
    error: Option<ProblemMessage>,
}

impl Authorization {
    /// Parses the authorization of one of `names`.
    ///
    /// # Errors
    /// [`AcmeError`]
    pub fn read(body: &[u8], names: &[String]) -> Result<Self, AcmeError> {
        let AuthorizationMessage { status, identifier, challenges } = read(body, "its authorization")?;
        if identifier.kind != "dns" || !names.contains(&identifier.value) {
            return Err(AcmeError::Unintelligible("it wants to validate a name that was not asked for"));
        }
        Ok(Self { status, name: identifier.value, challenges })
    }

    /// The TLS-ALPN-01 challenge. `home` is the URL of the server's directory.
    ///
    /// # Errors
    /// [`AcmeError`]
    pub fn challenge(&self, home: &HttpsUrl) -> Result<Challenge<'_>, AcmeError> {
        let challenge = self.challenges.iter().find(|challenge| challenge.kind == KIND);
        let challenge =
            challenge.ok_or(AcmeError::Unintelligible("it offers no challenge of tls-alpn-01"))?;
        let token = challenge.token.as_deref().filter(|token| is_token(token));
        let token = token.ok_or(AcmeError::Unintelligible("its challenge has no token"))?;
        Ok(Challenge { url: url(home, "challenge", &challenge.url)?, token })
    }

    /// Why the name is not validated, in the server's own words.
    #[must_use]
    pub fn refusal(&self, retry_after: Option<Duration>) -> AcmeError {
        refusal(self.challenges.iter().find_map(|challenge| challenge.error.as_ref()), retry_after)
    }
}

fn read<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, AcmeError> {
    // The parser's error would repeat its input, so it is dropped.
    serde_json::from_slice(body).map_err(|_| AcmeError::Unintelligible(what))
}

/// Parses a URL that the relay leads to. Errors call it `what`.
pub(crate) fn url(home: &HttpsUrl, what: &'static str, text: &str) -> Result<HttpsUrl, AcmeError> {
    home.beside(text).ok_or(AcmeError::Elsewhere(what))
}

/// The token becomes part of signed data, so it must be base64url (RFC 8555 §8.1).
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn refusal(error: Option<&ProblemMessage>, retry_after: Option<Duration>) -> AcmeError {
    AcmeError::Refused(Problem::of(error.unwrap_or(&ProblemMessage::default()), retry_after))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Authorization, AuthorizationStatus, Directory, Order, OrderStatus};
    use crate::acme::AcmeError;
    use configuration::HttpsUrl;

    const NAME: &str = "www.example.org";

    fn home() -> HttpsUrl {
        "https://example.com/acme/directory".parse().unwrap()
    }

    fn order(body: &Value) -> Result<Order, AcmeError> {
        Order::read(body.to_string().as_bytes(), &home(), &[NAME.to_owned()])
    }

    fn authorization(body: &Value) -> Result<Authorization, AcmeError> {
        Authorization::read(body.to_string().as_bytes(), &[NAME.to_owned()])
    }

    /// The error of `read` for `good` with one changed member.
    fn refusals<T: std::fmt::Debug>(
        good: &Value,
        read: impl Fn(&Value) -> Result<T, AcmeError>,
        cases: &[(&str, Value, &str)],
    ) {
        assert!(read(good).is_ok());
        for (pointer, value, said) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value.clone();
            let error = read(&bad).unwrap_err().to_string();
            assert!(error.contains(said), "{pointer} {value}: {error}");
        }
    }

    /// RFC 8555 §7.1.1.
    #[test]
    fn a_directory_has_only_urls_of_its_own_host() {
        let directory = json!({
            "newNonce": "https://example.com/acme/new-nonce",
            "newAccount": "https://example.com/acme/new-account",
            "newOrder": "https://example.com/acme/new-order",
            "newAuthz": "https://example.com/acme/new-authz",
            "meta": {"caaIdentities": ["example.com"], "externalAccountRequired": false}
        });
        refusals(
            &directory,
            |body| Directory::read(body.to_string().as_bytes(), &home()),
            &[
                ("/newNonce", json!("https://example.com:444/"), "names a newNonce that"),
                ("/newAccount", json!("http://example.com/"), "names a newAccount that"),
                ("/newOrder", json!("https://example.org/"), "names a newOrder that"),
                ("/newOrder", json!(1), "violates the protocol: its directory"),
                ("/meta/externalAccountRequired", json!(true), "external binding"),
            ],
        );
    }

    /// RFC 8555 §7.1.3.
    #[test]
    fn an_order_covers_only_the_requested_names() {
        let good = json!({
            "status": "valid",
            "expires": "2016-01-20T14:09:07.99Z",
            "identifiers": [{"type": "dns", "value": NAME}],
            "authorizations": ["https://example.com/acme/authz/PAniVnsZcis"],
            "finalize": "https://example.com/acme/order/TOlocE8rfgo/finalize",
            "certificate": "https://example.com/acme/cert/mAt3xBGaobw"
        });
        assert_eq!(order(&good).unwrap().status, OrderStatus::Valid);
        let elsewhere = json!("https://example.org/");
        refusals(
            &good,
            order,
            &[
                ("/status", json!("unknown"), "violates the protocol: its order"),
                ("/authorizations", json!(["a", "b"]), "more authorizations than there are names"),
                ("/authorizations/0", elsewhere.clone(), "names a authorization that"),
                ("/finalize", elsewhere.clone(), "names a finalize that"),
                ("/certificate", elsewhere, "names a certificate that"),
            ],
        );
    }

    /// RFC 8555 §7.1.4, RFC 8737 §3.
    #[test]
    fn an_authorization_is_for_a_requested_name() {
        let good = json!({
            "status": "pending",
            "identifier": {"type": "dns", "value": NAME},
            "challenges": [
                {"type": "http-01", "url": "https://elsewhere.example/", "token": "not looked at"},
                {"type": "tls-alpn-01", "url": "https://example.com/acme/chall/prV_B7yEyA4", "token": "aZ09-_"}
            ]
        });
        let read = authorization(&good).unwrap();
        assert_eq!((read.status, &*read.name), (AuthorizationStatus::Pending, NAME));
        let challenge = read.challenge(&home()).unwrap();
        assert_eq!((challenge.url.path(), challenge.token), ("/acme/chall/prV_B7yEyA4", "aZ09-_"));
        refusals(
            &good,
            |body| authorization(body)?.challenge(&home()).map(|it| it.url),
            &[
                ("/identifier/type", json!("ip"), "a name that was not asked for"),
                ("/identifier/value", json!("example.org"), "a name that was not asked for"),
                ("/challenges", json!([]), "no challenge of tls-alpn-01"),
                ("/challenges/1/token", json!(null), "has no token"),
                ("/challenges/1/token", json!(""), "has no token"),
                ("/challenges/1/token", json!("a/b"), "has no token"),
                ("/challenges/1/token", json!("a".repeat(257)), "has no token"),
                ("/challenges/1/url", json!("https://example.org/"), "names a challenge that"),
            ],
        );
    }
}
