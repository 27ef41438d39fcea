//! Short-lived credentials of the instance's role.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::credentials::{CredentialStore, Credentials, Session};
use crate::principal::{InvalidPrincipal, Principal, role_name};

/// The session of the role is named after it.
pub(crate) const INSTANCE_ID: &str = "i-0123456789abcdef0";

/// EC2 has new credentials at least this long before the old ones expire.
const ROTATED_BEFORE: Duration = Duration::minutes(5);

/// Base32 as in real access key ids.
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Makes credentials for one role.
pub(crate) struct Issuer {
    principal: Principal,
    role_name: String,
    lifetime: Duration,
    current: Mutex<Option<Arc<Credentials>>>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl Issuer {
    /// # Errors
    ///
    /// When the text is not the ARN of a role.
    pub(crate) fn new(role_arn: &str, lifetime_s: u32) -> Result<Self, InvalidPrincipal> {
        Ok(Self {
            principal: Principal::of_role(role_arn, INSTANCE_ID)?,
            role_name: role_name(role_arn).ok_or(InvalidPrincipal)?.to_owned(),
            lifetime: Duration::seconds(lifetime_s.into()),
            current: Mutex::new(None),
        })
    }

    pub(crate) fn role_name(&self) -> &str {
        &self.role_name
    }

    pub(crate) fn account(&self) -> &str {
        self.principal.account()
    }

    /// The present credentials, new ones when they are about to expire.
    pub(crate) fn credentials_json(&self, store: &CredentialStore, now: OffsetDateTime) -> Value {
        let credentials = self.credentials(store, now);
        let time = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        let session = credentials.session.as_ref();
        json!({
            "Code": "Success",
            "LastUpdated": session.map(|session| time(session.issued_at)),
            "Type": "AWS-HMAC",
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": session.map(|session| &session.token),
            "Expiration": session.map(|session| time(session.expires_at)),
        })
    }

    fn credentials(&self, store: &CredentialStore, now: OffsetDateTime) -> Arc<Credentials> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let rotated_before = ROTATED_BEFORE.min(self.lifetime / 2);
        let lasts = |credentials: &&Arc<Credentials>| {
            credentials.session.as_ref().is_some_and(|session| now < session.expires_at - rotated_before)
        };
        if let Some(credentials) = current.as_ref().filter(lasts) {
            return Arc::clone(credentials);
        }
        // Whole seconds are what clients are told.
        let issued_at = now.replace_nanosecond(0).unwrap_or(now);
        let new = Arc::new(Credentials {
            access_key_id: access_key_id(),
            secret_access_key: hex::encode(rand::random::<[u8; 20]>()),
            session: Some(Session {
                token: hex::encode(rand::random::<[u8; 64]>()),
                issued_at,
                expires_at: issued_at + self.lifetime,
            }),
            principal: self.principal.clone(),
        });
        store.add(Arc::clone(&new));
        *current = Some(Arc::clone(&new));
        new
    }
}

/// Sixteen characters after the prefix of temporary keys.
fn access_key_id() -> String {
    let random: [u8; 16] = rand::random();
    let characters = random.iter().map(|byte| char::from(ID_ALPHABET[usize::from(byte % 32)]));
    std::iter::once("ASIA".to_owned()).chain(characters.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_new_before_the_old_expire() {
        let store = CredentialStore::default();
        for (lifetime_s, rotated_before_s) in [(3_600, 300), (60, 30)] {
            let issuer = Issuer::new("arn:aws:iam::111122223333:role/a/signer", lifetime_s).unwrap();
            assert_eq!(issuer.role_name(), "signer");
            let now = OffsetDateTime::UNIX_EPOCH;
            let rotation = now + Duration::seconds(i64::from(lifetime_s) - rotated_before_s);
            let first = issuer.credentials(&store, now);
            let same = issuer.credentials(&store, rotation - Duration::seconds(1));
            assert_eq!(same.access_key_id, first.access_key_id);
            let second = issuer.credentials(&store, rotation);
            assert_ne!(second.access_key_id, first.access_key_id);
            // The old ones are good until they expire.
            assert!(store.find(&first.access_key_id).is_some());
            let expiry = first.session.as_ref().unwrap().expires_at;
            assert_eq!(expiry, now + Duration::seconds(lifetime_s.into()));
        }
    }
}
