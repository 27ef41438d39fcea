//! The account at the ACME server: made once, and kept (RFC 8555 §7.3).

use serde_json::json;

use super::account_key::{AccountKey, Signer};
use super::client::AcmeClient;
use super::fault::AcmeFault;
use super::resource::url;

/// An account that the server knows.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) key: AccountKey,
    /// What the server calls it. Nothing secret: a CAA record names it (RFC 8657).
    pub(crate) url: String,
}

impl Account {
    /// A new one, whose owner may be written to at `contact`.
    pub(crate) async fn create(client: &mut AcmeClient<'_>, contact: &[String]) -> Result<Self, AcmeFault> {
        let key = AccountKey::generate()?;
        let mut payload = json!({"termsOfServiceAgreed": true});
        if !contact.is_empty()
            && let Some(members) = payload.as_object_mut()
        {
            members.insert("contact".to_owned(), json!(contact));
        }
        let new_account = client.directory().new_account.clone();
        let answer = client.post(Signer::Key(&key), &new_account, &payload).await?;
        let location = answer.location.ok_or(AcmeFault::Unintelligible("it names no account"))?;
        let url = url(client.home(), "account", &location)?.to_string();
        Ok(Self { key, url })
    }

    pub(crate) fn signer(&self) -> Signer<'_> {
        Signer::Account(&self.key, &self.url)
    }
}
