//! Presents a certificate of the ACME server: first the one of the parent's store, then a new one before each end.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::account_key::AccountKey;
use super::client::AcmeClient;
use super::error::AcmeError;
use super::order::{Issued, order};
use super::resource::url;
use super::server::AcmeServer;
use super::state::{AcmeState, KeptCertificate};
use super::store::{Found, Store, StoreError};
use crate::aws::backoff::Backoff;
use crate::data_key_cache::DataKeyCache;
use crate::kms::KmsError;
use crate::relay::Relay;
use crate::remote_server::UnusableServer;
use crate::tls::{Expiry, TlsFront, TlsIdentity};
use crate::trusted_clock::TrustedClock;
use configuration::Acme;
use configuration::tls_pair::check_pair;

/// After an order that failed. Public servers count them by the hour: Let's Encrypt takes five of one name.
const BETWEEN_ORDERS: Backoff =
    Backoff { base: Duration::from_secs(10 * 60), cap: Duration::from_secs(4 * 60 * 60) };

/// After a server that was not reached: it counted nothing.
const BETWEEN_CONNECTIONS: Backoff =
    Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(15 * 60) };

/// After a certificate that cannot be presented, by a wrong clock or a server's mistake. Let's Encrypt issues five of
/// the same names in a week.
const AFTER_NO_USE: Duration = Duration::from_secs(6 * 60 * 60);

/// The least wait after a failure: jitter alone might order again at once.
const MIN_WAIT: Duration = Duration::from_secs(2);

/// While the parent's store or KMS does not answer.
const BETWEEN_READS: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// Reads of a store that is damaged, sends nothing, or is sealed under a key that KMS refuses. A relay that was cut
/// looks the same, and a policy takes seconds to be in force everywhere. After so many, a new order costs less than no
/// certificate.
const MAX_READS: u32 = 5;

/// How long the start waits for the store: as long as these reads take. An attacker who can write the store, or cut the
/// way to it, delays a certificate for longer, and never the signer.
pub(crate) const RESTORE_PATIENCE: Duration = Duration::from_secs(30);

/// From one certificate to the next order, whatever the dates of the first. Otherwise a certificate without time left,
/// by a wrong clock or server, would be renewed in a loop. A certificate of a minute, as in tests, is still renewed in
/// time.
const MIN_BETWEEN_ORDERS: Duration = Duration::from_secs(30);

/// Between two looks at the clock: it may be corrected, and the machine may be paused.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60 * 60);

/// Between two attempts to send the store to the parent.
const BETWEEN_SAVES: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(10 * 60) };

/// The ways to the ACME server and to the store.
#[derive(Debug)]
pub struct AcmeRelays {
    /// Reaches the ACME server.
    pub server: Relay,
    /// Sends the content of the store.
    pub store: Relay,
    /// Replaces the content of the store.
    pub store_write: Relay,
}

/// Presents a certificate, and renews it.
pub(crate) struct Keeper {
    server: Arc<AcmeServer>,
    names: Vec<String>,
    contact: Vec<String>,
    store: Store,
    front: Arc<TlsFront>,
    clock: Arc<TrustedClock>,
    stage: Stage,
    presented: Option<Presented>,
}

/// How far the keeper is with its account.
enum Stage {
    /// It reads the store. It orders nothing yet, because the store may hold an account.
    Restoring { failed_reads: u32 },
    /// The store held no account that it can use.
    Unregistered,
    /// It has an account at the ACME server.
    Registered(Box<Registration>),
}

/// An account, and the parent's copy of it.
struct Registration {
    account: Account,
    /// The content that the store has, or gets next.
    state: AcmeState,
    copy: StoreCopy,
}

/// Whether the parent's store holds the present state.
enum StoreCopy {
    Current,
    /// The store has an older state, or none, after so many attempts since it was current.
    Behind {
        failed_saves: u32,
    },
}

/// The certificate that clients get.
struct Presented {
    validity: Validity,
    expiry: Expiry,
}

/// The dates of a certificate.
#[derive(Clone, Copy)]
struct Validity {
    obtained_unix_s: u64,
    /// The end of the server's certificate, which an order renews. Certificates of issuers are the same the next time.
    not_after_unix_s: u64,
    /// The first end in the chain.
    chain_not_after_unix_s: u64,
}

impl Keeper {
    /// A keeper that has read nothing yet.
    ///
    /// # Errors
    /// [`UnusableServer`]
    pub(crate) fn new(
        configuration: &Acme,
        relays: AcmeRelays,
        front: Arc<TlsFront>,
        clock: Arc<TrustedClock>,
    ) -> Result<Self, UnusableServer> {
        Ok(Self {
            server: Arc::new(AcmeServer::new(configuration, relays.server, Arc::clone(&clock))?),
            names: configuration.server_names.clone(),
            contact: configuration.contact.clone(),
            store: Store::new(relays.store, relays.store_write),
            front,
            clock,
            stage: Stage::Restoring { failed_reads: 0 },
            presented: None,
        })
    }

    /// Seals and opens the store with `data_keys` from now on.
    pub(crate) fn unlock(&mut self, data_keys: Arc<DataKeyCache>) {
        self.store.unlock(data_keys);
    }

    /// Reads the parent's store, and presents its certificate if it is still good. Waits for the store for a limited
    /// time, and without end for a KMS that does not answer. May be dropped and called again: the count of failed reads
    /// goes on.
    pub(crate) async fn restore(&mut self) {
        let mut failures = 0;
        while let Stage::Restoring { failed_reads } = &mut self.stage {
            match self.store.load().await {
                Ok(Found::State(state)) => {
                    self.stage = Stage::Unregistered;
                    return self.adopt(state);
                }
                Ok(Found::Nothing) => {
                    self.stage = Stage::Unregistered;
                    tracing::info!("the parent keeps no certificate yet");
                    return;
                }
                Ok(Found::Damaged) => {
                    *failed_reads += 1;
                    let reads = *failed_reads;
                    tracing::warn!(
                        reads,
                        "what the parent keeps is cut, bent, or not sealed under the sealing key"
                    );
                }
                Err(StoreError::Kms(error)) if !is_permanent(&error) => {
                    tracing::warn!(%error, "KMS does not open the kept certificate yet");
                }
                Err(error) => {
                    *failed_reads += 1;
                    tracing::warn!(%error, reads = *failed_reads, "the kept certificate cannot be read");
                }
            }
            if *failed_reads >= MAX_READS {
                self.stage = Stage::Unregistered;
                tracing::error!("the kept certificate is given up, and a new one ordered");
                return;
            }
            failures += 1;
            sleep(BETWEEN_READS.wait(failures)).await;
        }
    }

    /// Takes over the account of `state`, and its certificate if that can be presented. Changes nothing if the account
    /// cannot be used.
    fn adopt(&mut self, mut state: AcmeState) {
        if state.directory != self.server.directory().to_string() {
            // It will be overwritten: the measured configuration trusts that server no longer.
            tracing::info!("what the parent keeps is of another acme server");
            return;
        }
        let key = AccountKey::from_pkcs8(&state.account_key);
        let url = url(self.server.directory(), "account", &state.account_url);
        let (Some(key), Ok(url)) = (key, url) else {
            tracing::warn!("the account that the parent keeps cannot be used");
            return;
        };
        tracing::info!(account = %url, "the acme account is the one that was kept");
        if let Some(certificate) = state.certificate.take() {
            match self.present(&certificate) {
                Ok(()) => state.certificate = Some(certificate),
                Err(error) => tracing::info!(%error, "the kept certificate is not presented"),
            }
        }
        let account = Account { key, url: url.to_string() };
        self.stage = Stage::Registered(Box::new(Registration { account, state, copy: StoreCopy::Current }));
    }

    /// Presents `certificate`, if it is good now.
    fn present(&mut self, certificate: &KeptCertificate) -> Result<(), AcmeError> {
        if certificate.names != self.names {
            return Err(AcmeError::Unusable("it was ordered for other names"));
        }
        let (identity, not_after_unix_s) = identity(certificate, self.clock.unix_time())?;
        let validity = Validity {
            obtained_unix_s: certificate.obtained_unix_s,
            not_after_unix_s,
            chain_not_after_unix_s: identity.not_after_unix_s(),
        };
        self.front.present(identity);
        self.presented = Some(Presented { validity, expiry: Expiry::of(validity.chain_not_after_unix_s) });
        tracing::info!(
            names = self.names.join(","),
            not_after_unix_s = validity.chain_not_after_unix_s,
            renewal_unix_s = validity.renewal_unix_s(),
            "a certificate of the acme server is presented"
        );
        Ok(())
    }

    /// Restores, orders and renews. Does not end.
    pub(crate) async fn keep(mut self) {
        self.restore().await;
        let (mut orders, mut connections) = (0, 0);
        let mut last_order: Option<Instant> = None;
        loop {
            self.save().await;
            if let Some(time_left) = self.time_to_renewal() {
                let look = self.next_save().unwrap_or(BETWEEN_LOOKS);
                self.pause(time_left.min(look)).await;
                continue;
            }
            if let Some(last_order) = last_order {
                self.pause(MIN_BETWEEN_ORDERS.saturating_sub(last_order.elapsed())).await;
            }
            if self.adopt_newer().await {
                continue;
            }
            let Err(error) = self.obtain().await else {
                (orders, connections) = (0, 0);
                last_order = Some(Instant::now());
                continue;
            };
            let wait = if error.is_after_issuance() {
                AFTER_NO_USE
            } else if matches!(error, AcmeError::Unreachable(_)) {
                connections += 1;
                BETWEEN_CONNECTIONS.wait(connections)
            } else {
                orders += 1;
                BETWEEN_ORDERS.wait(orders)
            };
            let wait = wait.max(error.retry_after().unwrap_or_default()).max(MIN_WAIT);
            tracing::warn!(%error, next_try_in_s = wait.as_secs(), "no new certificate yet");
            self.pause(wait).await;
        }
    }

    /// How long the presented certificate is good without a renewal. `None` if one is due, or nothing is presented.
    fn time_to_renewal(&self) -> Option<Duration> {
        let renewal_unix_s = self.presented.as_ref()?.validity.renewal_unix_s();
        let left_s = renewal_unix_s.checked_sub(self.clock.unix_time().as_secs())?;
        (left_s > 0).then(|| Duration::from_secs(left_s))
    }

    /// How long to wait before the store is sent to the parent again. `None` if the parent has it.
    fn next_save(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Registered(registration) => match registration.copy {
                StoreCopy::Behind { failed_saves } => Some(BETWEEN_SAVES.wait(failed_saves)),
                StoreCopy::Current => None,
            },
            Stage::Restoring { .. } | Stage::Unregistered => None,
        }
    }

    /// Sleeps for `wait`. Meanwhile warns of the certificate's end, if no renewal comes before.
    async fn pause(&mut self, mut wait: Duration) {
        loop {
            let now_unix_s = self.clock.unix_time().as_secs();
            if let Some(Presented { validity, expiry }) = &mut self.presented
                && validity.is_overdue(now_unix_s)
            {
                expiry.watch(now_unix_s);
            }
            let part = wait.min(BETWEEN_LOOKS);
            sleep(part).await;
            wait -= part;
            if wait.is_zero() {
                return;
            }
        }
    }

    /// Presents the certificate of the store, if another enclave of the same parent has renewed it. Whether it did.
    async fn adopt_newer(&mut self) -> bool {
        let obtained_unix_s = |keeper: &Self| keeper.presented.as_ref().map(|it| it.validity.obtained_unix_s);
        let Some(ours) = obtained_unix_s(self) else { return false };
        let Ok(Found::State(state)) = self.store.load().await else { return false };
        let is_newer = state.certificate.as_ref().is_some_and(|it| it.obtained_unix_s > ours);
        if !is_newer || self.next_save().is_some() {
            return false;
        }
        tracing::info!("another enclave has renewed the certificate");
        self.adopt(state);
        obtained_unix_s(self).is_some_and(|now| now > ours)
    }

    /// Orders a certificate, and presents it.
    async fn obtain(&mut self) -> Result<(), AcmeError> {
        let server = Arc::clone(&self.server);
        let mut client = AcmeClient::open(&server).await?;
        let was_registered = matches!(self.stage, Stage::Registered(_));
        if !was_registered {
            self.register(&mut client).await?;
        }
        let issued = match self.order(&mut client).await {
            Err(error) if was_registered && error.is_of_a_lost_account() => {
                tracing::warn!("the acme server does not know the kept account");
                self.register(&mut client).await?;
                self.order(&mut client).await?
            }
            outcome => outcome?,
        };
        let certificate = KeptCertificate {
            names: self.names.clone(),
            obtained_unix_s: self.clock.unix_time().as_secs(),
            chain_pem: issued.chain_pem,
            key: issued.key,
        };
        self.present(&certificate)?;
        if let Stage::Registered(registration) = &mut self.stage {
            registration.state.certificate = Some(certificate);
            if matches!(registration.copy, StoreCopy::Current) {
                registration.copy = StoreCopy::Behind { failed_saves: 0 };
            }
        }
        Ok(())
    }

    async fn order(&self, client: &mut AcmeClient<'_>) -> Result<Issued, AcmeError> {
        let Stage::Registered(registration) = &self.stage else {
            return Err(AcmeError::Ourselves("there is no acme account"));
        };
        order(client, &registration.account, &self.names, &self.front).await
    }

    /// Makes an account, and sends it to the parent before anything is ordered. If the signer ends before the parent
    /// keeps it, its key is lost, and the next start makes another. A parent that does not keep it gets it again later,
    /// and does not prevent an order.
    async fn register(&mut self, client: &mut AcmeClient<'_>) -> Result<(), AcmeError> {
        let account = Account::create(client, &self.contact).await?;
        tracing::info!(
            account = account.url,
            "the acme account is new; a CAA record with this accounturi keeps others from ordering"
        );
        let account_key =
            account.key.pkcs8().ok_or(AcmeError::Ourselves("the key of the acme account cannot be kept"))?;
        let certificate = match std::mem::replace(&mut self.stage, Stage::Unregistered) {
            Stage::Registered(lost) => lost.state.certificate,
            Stage::Restoring { .. } | Stage::Unregistered => None,
        };
        let state = AcmeState {
            directory: self.server.directory().to_string(),
            account_url: account.url.clone(),
            account_key,
            certificate,
        };
        let copy = StoreCopy::Behind { failed_saves: 0 };
        self.stage = Stage::Registered(Box::new(Registration { account, state, copy }));
        self.save().await;
        Ok(())
    }

    /// Sends the store to the parent, unless the parent has it.
    async fn save(&mut self) {
        let Stage::Registered(registration) = &mut self.stage else { return };
        let Registration { state, copy, account: _ } = &mut **registration;
        let StoreCopy::Behind { failed_saves } = copy else { return };
        match self.store.save(state).await {
            Ok(()) => {
                *copy = StoreCopy::Current;
                tracing::info!(
                    certificate = state.certificate.is_some(),
                    "the parent keeps the acme account"
                );
            }
            Err(error) => {
                *failed_saves += 1;
                tracing::warn!(%error, "the parent does not keep the acme account and certificate yet");
            }
        }
    }
}

/// Whether KMS refuses the key: it is gone, disabled, or its policy denies the call. Another try helps only after a
/// change of that.
const fn is_permanent(error: &KmsError) -> bool {
    matches!(error, KmsError::Refused { .. })
}

impl Validity {
    /// The moment at which a third of its time is left.
    const fn renewal_unix_s(self) -> u64 {
        let lifetime_s = self.not_after_unix_s.saturating_sub(self.obtained_unix_s);
        self.obtained_unix_s.saturating_add(lifetime_s / 3 * 2)
    }

    /// Whether its end is worth a warning: a renewal is late, or an issuer's certificate expires before it.
    const fn is_overdue(self, now_unix_s: u64) -> bool {
        let renewal_unix_s = self.renewal_unix_s();
        now_unix_s >= renewal_unix_s || self.chain_not_after_unix_s <= renewal_unix_s
    }
}

/// The TLS identity of `certificate`, checked as a client checks it, and the end of the server's certificate, in Unix
/// seconds.
fn identity(certificate: &KeptCertificate, now: UnixTime) -> Result<(TlsIdentity, u64), AcmeError> {
    let pair = check_pair(certificate.chain_pem.as_bytes(), &certificate.key, now);
    let (chain, key) = pair.map_err(AcmeError::UnusablePair)?;
    let leaf = chain.certificates().first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    let leaf = leaf.ok_or(AcmeError::Unusable("it is not one of X.509"))?;
    for name in &certificate.names {
        let name =
            ServerName::try_from(name.as_str()).map_err(|_| AcmeError::Unusable("its names are none"))?;
        verify_server_name(&leaf, &name)
            .map_err(|_| AcmeError::Unusable("it is not for the names that were ordered"))?;
    }
    let not_after_unix_s = chain.server_not_after_unix_s();
    let identity = TlsIdentity::new((chain, key));
    identity
        .map(|identity| (identity, not_after_unix_s))
        .map_err(|_| AcmeError::Unusable("TLS cannot be spoken with it"))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{Validity, identity};
    use crate::acme::KeptCertificate;
    use crate::tls::test_ca::{AUTHORITY, Issued, P256, SERVER, TestCa, in_days};
    use configuration::tls_pair::{MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES};

    fn validity(obtained_unix_s: u64, not_after_unix_s: u64) -> Validity {
        Validity { obtained_unix_s, not_after_unix_s, chain_not_after_unix_s: not_after_unix_s }
    }

    #[test]
    fn renews_with_a_third_of_the_time_left() {
        let renewal =
            |obtained_unix_s, not_after_unix_s| validity(obtained_unix_s, not_after_unix_s).renewal_unix_s();
        assert_eq!(renewal(1000, 1090), 1060);
        assert_eq!(renewal(1000, 1000), 1000);
        assert_eq!(renewal(1000, 10), 1000, "by a clock that went back");
        assert_eq!(renewal(u64::MAX - 1, u64::MAX), u64::MAX - 1);
        assert_eq!(renewal(0, u64::MAX), u64::MAX / 3 * 2);
    }

    #[test]
    fn an_end_is_news_when_no_renewal_comes_before() {
        let good = validity(1000, 1090);
        assert!(!good.is_overdue(1059) && good.is_overdue(1060) && good.is_overdue(2000));
        assert!(Validity { chain_not_after_unix_s: 1060, ..good }.is_overdue(1000));
        assert!(!Validity { chain_not_after_unix_s: 1061, ..good }.is_overdue(1000));
    }

    /// The end of the server's certificate, or the refusal, of `chain` with the key of `issued`, ordered for `names`,
    /// `days` from now.
    fn outcome(names: &[&str], chain: &str, issued: &Issued, days: i64) -> Result<u64, String> {
        let certificate = KeptCertificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            obtained_unix_s: 0,
            chain_pem: chain.to_owned(),
            key: Zeroizing::new(issued.key.clone().into_bytes()),
        };
        identity(&certificate, in_days(days))
            .map(|(_, not_after_unix_s)| not_after_unix_s)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_for_our_key_and_names_and_valid_now_is_presented() {
        const NAME: &str = "signer.example.com";
        let ca = TestCa::new();
        let root = ca.issue(P256, "root", AUTHORITY, None);
        let server = ca.issue(P256, "server", SERVER, Some(&root));
        let other = ca.issue(P256, "server", SERVER, Some(&root));
        let chain = [&*server.certificate, &root.certificate].concat();
        assert!(outcome(&[NAME], &chain, &server, 0).is_ok());
        assert!(outcome(&[NAME], &server.certificate, &server, 0).is_ok());

        let refusal = |names: &[&str], chain: &str, days| outcome(names, chain, &server, days).unwrap_err();
        for names in [&["other.example.com"][..], &[NAME, "other.example.com"], &["example.com"]] {
            assert!(refusal(names, &chain, 0).contains("not for the names that were ordered"), "{names:?}");
        }
        assert!(refusal(&["no name"], &chain, 0).contains("its names are none"));
        let another_key = outcome(&[NAME], &chain, &other, 0).unwrap_err();
        assert!(another_key.contains("it is for another key"), "{another_key}");
        assert!(refusal(&[NAME], &chain, 91).contains("certificate 1 has expired"));
        assert!(refusal(&[NAME], &chain, -1).contains("certificate 1 is not valid yet"));

        let authority = format!("{AUTHORITY}subjectAltName=DNS:{NAME}\n");
        let authority = ca.issue(P256, "authority", &authority, None);
        let as_leaf = outcome(&[NAME], &authority.certificate, &authority, 0).unwrap_err();
        assert!(as_leaf.contains("certificate 1 is that of an authority"), "{as_leaf}");

        for garbage in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(outcome(&[NAME], garbage, &server, 0).is_err(), "{garbage}");
        }
        let many = [&*server.certificate, &root.certificate.repeat(MAX_CHAIN_CERTIFICATES)].concat();
        assert!(refusal(&[NAME], &many, 0).contains("more than 8 certificates"));
        let long = chain.repeat(MAX_CHAIN_BYTES / chain.len() + 1);
        assert!(refusal(&[NAME], &long, 0).contains("longer than 32 KiB"));
    }

    /// An issuer's certificate that expires before does not cause an order: the next chain would have it too.
    #[test]
    fn the_renewal_goes_by_the_servers_certificate() {
        let ca = TestCa::new();
        let root = ca.issue_with(P256, "root", AUTHORITY, None, &["-days", "30"]);
        let server = ca.issue(P256, "server", SERVER, Some(&root));
        let chain = [&*server.certificate, &root.certificate].concat();
        let not_after_unix_s = outcome(&["signer.example.com"], &chain, &server, 0).unwrap();
        assert!(not_after_unix_s > in_days(80).as_secs());
    }
}
