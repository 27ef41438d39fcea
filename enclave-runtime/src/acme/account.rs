//! The account at the ACME server: created once, then stored (RFC 8555 §7.3).

use serde_json::json;

use super::account_key::{AccountKey, Signer};
use super::client::AcmeClient;
use super::error::AcmeError;
use super::resource::url;

/// An account that the server knows.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) key: AccountKey,
    /// The account's URL. It is not secret: a CAA record can name it (RFC 8657).
    pub(crate) url: String,
}

impl Account {
    /// Creates an account with the contact addresses `contact`.
    pub(crate) async fn create(client: &mut AcmeClient<'_>, contact: &[String]) -> Result<Self, AcmeError> {
        let key = AccountKey::generate()?;
        let mut payload = json!({"termsOfServiceAgreed": true});
        if !contact.is_empty()
            && let Some(members) = payload.as_object_mut()
        {
            members.insert("contact".to_owned(), json!(contact));
        }
        let new_account = client.directory().new_account.clone();
        let answer = client.post(Signer::Key(&key), &new_account, &payload).await?;
        let location = answer.location.ok_or(AcmeError::Unintelligible("it names no account"))?;
        let url = url(client.home(), "account", &location)?.to_string();
        Ok(Self { key, url })
    }

    pub(crate) fn signer(&self) -> Signer<'_> {
        Signer::Account(&self.key, &self.url)
    }
}
