//! Access keys and their principals.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use crate::principal::Principal;

/// One access key.
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    /// The additional parts of temporary credentials.
    pub(crate) session: Option<Session>,
    pub(crate) principal: Principal,
}

/// The parts that make credentials temporary.
pub(crate) struct Session {
    pub(crate) token: String,
    pub(crate) issued_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Every access key that is known, expired ones included, which are refused in other words than unknown ones.
#[derive(Debug, Default)]
pub(crate) struct CredentialStore {
    by_access_key_id: Mutex<HashMap<String, Arc<Credentials>>>,
}

impl CredentialStore {
    /// Adds credentials; those of the same access key id are replaced.
    pub(crate) fn add(&self, credentials: Arc<Credentials>) {
        let mut all = self.by_access_key_id.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(credentials.access_key_id.clone(), credentials);
    }

    pub(crate) fn find(&self, access_key_id: &str) -> Option<Arc<Credentials>> {
        let all = self.by_access_key_id.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(access_key_id).cloned()
    }
}
