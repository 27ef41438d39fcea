//! The keys of a load: generated for it, and destroyed after it.

use std::fmt;
use std::sync::Arc;

use serde_json::json;
use verification::PublicKey;

use crate::api_key::ApiKey;
use crate::connection::{Answer, Client, Connection, Unreachable};
use crate::identity::Identity;
use crate::printable::{MAX_WORDS_CHARS, printable};

/// How often a key is tried to be destroyed, each time over a new connection.
const DESTROY_ATTEMPTS: usize = 3;

/// Keys of our own in a signer.
pub struct Keys {
    client: Client,
    api_key: Arc<ApiKey>,
    keys: Vec<Key>,
}

/// A key of our own.
pub(super) struct Key {
    pub(super) identity: Identity,
    pub(super) public_key: [u8; 33],
}

/// Why there are no keys to sign with.
#[derive(Debug)]
pub enum NotGenerated {
    /// The signer was not reached.
    Unreachable(Unreachable),
    /// The signer takes another API key.
    KeyRefused,
    /// It answered with this status, and these words.
    Refused(u16, String),
}

impl fmt::Display for NotGenerated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(formatter, "{error}"),
            Self::KeyRefused => formatter.write_str("the signer refuses the API key"),
            Self::Refused(status, words) => write!(formatter, "the signer makes no key: {status} {words}"),
        }
    }
}

impl std::error::Error for NotGenerated {}

impl Keys {
    /// None yet.
    #[must_use]
    pub fn none(client: Client, api_key: Arc<ApiKey>) -> Self {
        Self { client, api_key, keys: Vec::new() }
    }

    /// Has the signer make so many.
    ///
    /// # Errors
    /// [`NotGenerated`]. Those that were made are here, to be [destroyed](Self::destroy).
    pub async fn generate(&mut self, count: usize) -> Result<(), NotGenerated> {
        let mut connection = self.client.connect().await.map_err(NotGenerated::Unreachable)?;
        for _ in 0..count {
            let identity = Identity::random();
            // Before it is made: whether it is may remain unknown.
            self.keys.push(Key { identity, public_key: [0; 33] });
            let body = json!({ "identity_id": identity.to_string(), "alg": "secp256k1" }).to_string();
            let answer = connection.post("/internal/generate", &self.api_key, body).await;
            let answer = answer.map_err(NotGenerated::Unreachable)?;
            match (answer.status, public_key_of(&answer)) {
                (201, Some(public_key)) => {
                    if let Some(key) = self.keys.last_mut() {
                        key.public_key = public_key;
                    }
                }
                (status, _) => {
                    // The signer reports itself that it made none; a server between it and the client cannot know.
                    if status != 201 && answer.text("error").is_some() {
                        self.keys.pop();
                    }
                    return Err(match status {
                        401 => NotGenerated::KeyRefused,
                        _ => {
                            let words = answer.text("error").unwrap_or_default();
                            NotGenerated::Refused(status, printable(&words, MAX_WORDS_CHARS))
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Destroys all of them, as far as the signer lets us, and gives those that it may still have.
    pub async fn destroy(&mut self) -> Vec<Identity> {
        let mut left = std::mem::take(&mut self.keys);
        for _ in 0..DESTROY_ATTEMPTS {
            let Ok(mut connection) = self.client.connect().await else { continue };
            let mut still_left = Vec::new();
            for key in left {
                if !self.is_destroyed(&mut connection, &key.identity).await {
                    still_left.push(key);
                }
            }
            left = still_left;
            if left.is_empty() {
                break;
            }
        }
        left.iter().map(|key| key.identity).collect()
    }

    async fn is_destroyed(&self, connection: &mut Connection, identity: &Identity) -> bool {
        let body = json!({ "identity_id": identity.to_string() }).to_string();
        let answer = connection.post("/internal/destroy", &self.api_key, body).await;
        answer.is_ok_and(|answer| matches!(answer.status, 200 | 404))
    }

    pub(super) fn list(&self) -> &[Key] {
        &self.keys
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn api_key(&self) -> &ApiKey {
        &self.api_key
    }
}

fn public_key_of(answer: &Answer) -> Option<[u8; 33]> {
    let key: PublicKey = answer.text("public_key")?.parse().ok()?;
    Some(*key.as_bytes())
}
