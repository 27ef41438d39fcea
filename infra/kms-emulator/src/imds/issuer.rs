//! Short-lived credentials of the instance's role.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::credentials::{CredentialStore, Credentials, Session};
use crate::principal::{InvalidPrincipal, Principal, role_name};

/// The session of the role is named after it.
pub(crate) const INSTANCE_ID: &str = "i-0123456789abcdef0";

/// EC2 has new credentials at least this long before the old ones expire (EC2 user guide).
const ROTATED_BEFORE: Duration = Duration::minutes(5);

/// EC2 usually has new credentials after about an hour, while the old ones are good for five more.
const ROTATED_AFTER: Duration = Duration::hours(1);

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
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Issuer").field("principal", &self.principal).finish_non_exhaustive()
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

    /// The present credentials, new ones when they are due, in the layout of EC2.
    pub(crate) fn credentials_document(&self, store: &CredentialStore, now: OffsetDateTime) -> String {
        let credentials = self.credentials(store, now);
        let session = credentials.session.as_ref();
        let time = |time: Option<OffsetDateTime>| time.and_then(|time| time.format(&Rfc3339).ok());
        document(&[
            ("Code", Some("Success".into())),
            ("LastUpdated", time(session.map(|session| session.issued_at))),
            ("Type", Some("AWS-HMAC".into())),
            ("AccessKeyId", Some(credentials.access_key_id.clone())),
            ("SecretAccessKey", Some(credentials.secret_access_key.clone())),
            ("Token", session.map(|session| session.token.clone())),
            ("Expiration", time(session.map(|session| session.expires_at))),
        ])
    }

    /// The answer of EC2 when the role's trust policy does not name it.
    pub(crate) fn not_assumable(&self, now: OffsetDateTime) -> String {
        let message = format!(
            "EC2 cannot assume the role {}.  Please see documentation at \
             http://docs.amazonwebservices.com/IAM/latest/UserGuide/RolesTroubleshooting.html.",
            self.role_name
        );
        document(&[
            ("Code", Some("AssumeRoleUnauthorizedAccess".into())),
            ("Message", Some(message)),
            ("LastUpdated", now.replace_nanosecond(0).ok().and_then(|time| time.format(&Rfc3339).ok())),
        ])
    }

    /// The instance identity document.
    pub(crate) fn identity_document(&self, region: &str) -> String {
        document(&[
            ("accountId", Some(self.principal.account().to_owned())),
            ("architecture", Some("x86_64".into())),
            ("availabilityZone", Some(format!("{region}a"))),
            ("billingProducts", None),
            ("devpayProductCodes", None),
            ("marketplaceProductCodes", None),
            ("imageId", Some("ami-0123456789abcdef0".into())),
            ("instanceId", Some(INSTANCE_ID.to_owned())),
            ("instanceType", Some("m5.xlarge".into())),
            ("kernelId", None),
            ("pendingTime", Some("2026-01-01T00:00:00Z".into())),
            ("privateIp", Some("10.0.0.10".into())),
            ("ramdiskId", None),
            ("region", Some(region.to_owned())),
            ("version", Some("2017-09-30".into())),
        ])
    }

    fn credentials(&self, store: &CredentialStore, now: OffsetDateTime) -> Arc<Credentials> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let rotated_before = ROTATED_BEFORE.min(self.lifetime / 2);
        let lasts = |credentials: &&Arc<Credentials>| {
            credentials.session.as_ref().is_some_and(|session| {
                now < session.expires_at - rotated_before && now < session.issued_at + ROTATED_AFTER
            })
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

/// An object of texts and nulls, with EC2's blanks around each colon, and no line break at its end.
fn document(members: &[(&str, Option<String>)]) -> String {
    let lines: Vec<_> =
        members.iter().map(|(name, value)| format!("  \"{name}\" : {}", json!(value))).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
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
        for (lifetime_s, rotated_before_s) in [(3600, 300), (60, 30), (22_500, 22_500 - 3600)] {
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
