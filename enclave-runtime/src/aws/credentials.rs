//! Credentials at hand: fetched when needed, renewed before they expire, kept when a renewal fails.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::imds::{Imds, NoCredentials};

/// How long before their end credentials are renewed. IMDS has new ones five minutes before (EC2 user guide).
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Once there are any, IMDS is asked no more often than this, whether it fails or hands out what expires soon.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// The instance's credentials, from IMDS.
pub(crate) struct CredentialCache {
    imds: Imds,
    held: Mutex<Option<Held>>,
}

struct Held {
    credentials: Credentials,
    expiry: SystemTime,
    asked: Instant,
}

impl CredentialCache {
    pub(crate) fn new(imds: Imds) -> Self {
        Self { imds, held: Mutex::new(None) }
    }

    /// The credentials to use at `now`. Old ones, even expired, when there are no new ones: whether they still do is
    /// for AWS to say, and an outage of IMDS is no reason not to ask.
    ///
    /// # Errors
    /// [`NoCredentials`] if there never were any.
    pub(crate) async fn current(&self, now: SystemTime) -> Result<Credentials, NoCredentials> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref()
            && (held.asked.elapsed() < MIN_INTERVAL || !ends_soon(held.expiry, now))
        {
            return Ok(held.credentials.clone());
        }
        match self.imds.credentials().await {
            Ok(issued) => {
                *held = Some(Held {
                    credentials: issued.credentials.clone(),
                    expiry: issued.expiry,
                    asked: Instant::now(),
                });
                Ok(issued.credentials)
            }
            Err(error) => {
                let old = held.as_mut().ok_or(error)?;
                tracing::warn!(%error, "no new credentials; going on with the old ones");
                old.asked = Instant::now();
                Ok(old.credentials.clone())
            }
        }
    }

    /// Forgets `refused`, which AWS does not accept, so that the next use asks IMDS.
    pub(crate) async fn forget(&self, refused: &Credentials) {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_mut()
            && held.credentials.access_key_id() == refused.access_key_id()
            && held.asked.elapsed() >= MIN_INTERVAL
        {
            held.expiry = SystemTime::UNIX_EPOCH;
        }
    }
}

fn ends_soon(expiry: SystemTime, now: SystemTime) -> bool {
    now.checked_add(RENEW_BEFORE).is_none_or(|soon| soon >= expiry)
}

impl std::fmt::Debug for CredentialCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CredentialCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, SystemTime};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use transport::{Address, Listener};

    use super::{CredentialCache, Imds, MIN_INTERVAL};
    use crate::relay::Relay;

    /// A metadata service that hands out another access key on each visit, good until `expiration`.
    struct Service {
        _folder: tempfile::TempDir,
        visits: Arc<AtomicU32>,
        serving: tokio::task::JoinHandle<()>,
        cache: CredentialCache,
    }

    async fn service(expiration: &'static str) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("unix:{}", folder.path().join("imds").display()).parse().unwrap();
        let listener = Listener::bind(&address).await.unwrap();
        let visits = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&visits);
        let serving = tokio::spawn(async move {
            loop {
                let mut stream = listener.accept().await.unwrap();
                let visit = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let document = format!(
                    r#"{{"Code":"Success","AccessKeyId":"KEY{visit}","SecretAccessKey":"s","Token":"t",
                        "Expiration":"{expiration}"}}"#
                );
                for (index, answer) in ["token", "role", document.as_str()].into_iter().enumerate() {
                    // A connection for each answer, as the service of EC2 has it.
                    if index > 0 {
                        stream = listener.accept().await.unwrap();
                    }
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap());
                    }
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                        answer.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let cache = CredentialCache::new(Imds::new(Relay::at(address)));
        Service { _folder: folder, visits, serving, cache }
    }

    impl Service {
        async fn current(&self) -> String {
            self.cache.current(SystemTime::now()).await.unwrap().access_key_id().to_owned()
        }
    }

    #[tokio::test]
    async fn good_credentials_are_fetched_once() {
        let service = service("2999-01-01T00:00:00Z").await;
        for _ in 0..3 {
            assert_eq!(service.current().await, "KEY1");
        }
        assert_eq!(service.visits.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_end_are_renewed_but_not_every_time() {
        let service = service("2001-01-01T00:00:00Z").await;
        assert_eq!(service.current().await, "KEY1");
        assert_eq!(service.current().await, "KEY1");
        tokio::time::advance(MIN_INTERVAL).await;
        assert_eq!(service.current().await, "KEY2");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_ones_are_fetched_anew() {
        let service = service("2999-01-01T00:00:00Z").await;
        let refused = service.cache.current(SystemTime::now()).await.unwrap();
        tokio::time::advance(MIN_INTERVAL).await;
        assert_eq!(service.current().await, "KEY1");
        service.cache.forget(&refused).await;
        assert_eq!(service.current().await, "KEY2");
        // A late refusal concerns credentials that are no longer held.
        tokio::time::advance(MIN_INTERVAL).await;
        service.cache.forget(&refused).await;
        assert_eq!(service.current().await, "KEY2");
    }

    #[tokio::test(start_paused = true)]
    async fn old_ones_outlive_the_service() {
        let service = service("2001-01-01T00:00:00Z").await;
        assert_eq!(service.current().await, "KEY1");
        service.serving.abort();
        for _ in 0..3 {
            tokio::time::advance(MIN_INTERVAL + Duration::from_secs(1)).await;
            assert_eq!(service.current().await, "KEY1");
        }
    }

    #[tokio::test]
    async fn without_any_there_are_none() {
        let relay = Relay::at("unix:/nowhere/imds".parse().unwrap());
        assert!(CredentialCache::new(Imds::new(relay)).current(SystemTime::now()).await.is_err());
    }
}
