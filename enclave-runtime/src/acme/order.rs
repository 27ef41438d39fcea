//! One order, from its names to a certificate (RFC 8555 §7.4).
//!
//! ```text
//! new order ─▶ for each name: challenge ─▶ answer on the front ─▶ validated ─▶ new key, CSR ─▶ issued ─▶ chain
//! ```

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use rcgen::{CertificateParams, DistinguishedName};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::account::Account;
use super::answer::Answer;
use super::certificate_key::CertificateKey;
use super::challenge;
use super::client::AcmeClient;
use super::error::AcmeError;
use super::resource::{Authorization, AuthorizationStatus, Challenge, Order, OrderStatus, url};
use crate::tls::TlsFront;
use configuration::HttpsUrl;

/// The deadline for the server to validate one name, or to issue. Public servers take seconds, or minutes when
/// overloaded.
const PATIENCE: Duration = Duration::from_secs(180);

/// The time between polls, unless the server sets another.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// The longest time between polls that a server may set.
const MAX_BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// An issued certificate. Only its encoding as text has been checked.
pub(crate) struct Issued {
    pub(crate) chain_pem: String,
    /// PKCS#8.
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// A challenge that is answered until this is dropped.
struct Presented<'f>(&'f TlsFront);

impl Drop for Presented<'_> {
    fn drop(&mut self) {
        self.0.answer_challenges_with(None);
    }
}

/// Orders a certificate for `names`. `front` answers the validations.
pub(crate) async fn order(
    client: &mut AcmeClient<'_>,
    account: &Account,
    names: &[String],
    front: &TlsFront,
) -> Result<Issued, AcmeError> {
    let identifiers: Vec<Value> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
    let new_order = client.directory().new_order.clone();
    let answer = client.post(account.signer(), &new_order, &json!({"identifiers": identifiers})).await?;
    let location = answer.location.as_deref().ok_or(AcmeError::Unintelligible("it names no order"))?;
    let url = url(client.home(), "order", location)?;
    let placed = Order::read(&answer.body, client.home(), names)?;
    tracing::info!(names = names.join(","), "ordered a certificate");
    for authorization in &placed.authorizations {
        authorize(client, account, names, authorization, front).await?;
    }
    let key = CertificateKey::generate()?;
    let request = json!({"csr": signing_request(&key, names)?});
    let key = key.pkcs8().ok_or(AcmeError::Ourselves("the key of the certificate cannot be encoded"))?;
    // The order must be ready: a validated name may not yet have changed the order.
    let ready = watch(client, account, names, &url, |status| status != OrderStatus::Pending).await?;
    if ready.status == OrderStatus::Ready {
        client.post(account.signer(), &ready.finalize, &request).await?;
    }
    let issued = watch(client, account, names, &url, |status| status == OrderStatus::Valid).await?;
    let certificate =
        issued.certificate.ok_or(AcmeError::Unintelligible("its order is valid and has no certificate"))?;
    let answer = client.look(account.signer(), &certificate).await?;
    let chain_pem = String::from_utf8(answer.body.into())
        .map_err(|_| AcmeError::Unintelligible("its certificate is not in PEM"))?;
    tracing::info!(names = names.join(","), "the certificate is issued");
    Ok(Issued { chain_pem, key })
}

/// Has the server validate the name of one authorization.
async fn authorize(
    client: &mut AcmeClient<'_>,
    account: &Account,
    names: &[String],
    url: &HttpsUrl,
    front: &TlsFront,
) -> Result<(), AcmeError> {
    let answer = client.look(account.signer(), url).await?;
    let authorization = Authorization::read(&answer.body, names)?;
    if authorization.status == AuthorizationStatus::Valid {
        // An authorization of an earlier order is still valid.
        return Ok(());
    }
    let name = &authorization.name;
    let Challenge { url: challenge_url, token } = authorization.challenge(client.home())?;
    let answer = challenge::answer(name, &account.key.key_authorization_digest(token))?;
    let _presented = Presented(front);
    front.answer_challenges_with(Some(answer));
    tracing::info!(name, "the acme server may validate");
    client.post(account.signer(), &challenge_url, &json!({})).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.look(account.signer(), url).await?;
        let authorization = Authorization::read(&answer.body, names)?;
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(()),
            AuthorizationStatus::Pending => wait(&answer, deadline, "the validation of a name").await?,
            _ => return Err(authorization.refusal(answer.retry_after)),
        }
    }
}

/// Polls the order until its status allows the next step.
async fn watch(
    client: &mut AcmeClient<'_>,
    account: &Account,
    names: &[String],
    url: &HttpsUrl,
    is_enough: impl Fn(OrderStatus) -> bool,
) -> Result<Order, AcmeError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.look(account.signer(), url).await?;
        let order = Order::read(&answer.body, client.home(), names)?;
        if order.status == OrderStatus::Invalid {
            return Err(order.refusal(answer.retry_after));
        }
        if is_enough(order.status) {
            return Ok(order);
        }
        wait(&answer, deadline, "the order").await?;
    }
}

/// Waits before another poll, as long as the server asks, unless the deadline comes first.
async fn wait(answer: &Answer, deadline: Instant, what: &'static str) -> Result<(), AcmeError> {
    let wait = answer.retry_after.unwrap_or(BETWEEN_LOOKS).clamp(BETWEEN_LOOKS, MAX_BETWEEN_LOOKS);
    if Instant::now() + wait > deadline {
        return Err(AcmeError::TooSlow(what));
    }
    sleep(wait).await;
    Ok(())
}

/// A CSR in DER, encoded as base64url.
fn signing_request(key: &CertificateKey, names: &[String]) -> Result<String, AcmeError> {
    const NOT_MADE: AcmeError = AcmeError::Ourselves("the request for the certificate cannot be made");
    let mut parameters = CertificateParams::new(names).map_err(|_| NOT_MADE)?;
    // subjectAltName has the names. Public servers ignore the rest of the subject.
    parameters.distinguished_name = DistinguishedName::new();
    let request = parameters.serialize_request(key).map_err(|_| NOT_MADE)?;
    Ok(Base64UrlUnpadded::encode_string(request.der()))
}
