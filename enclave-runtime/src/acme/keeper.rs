//! Keeps a certificate in front: the one that is kept, then a new one in time, for ever.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::account_key::AccountKey;
use super::client::AcmeClient;
use super::fault::AcmeFault;
use super::order::{Issued, order};
use super::resource::url;
use super::server::AcmeServer;
use super::state::{AcmeState, KeptCertificate};
use super::store::{Found, Store, StoreFault};
use crate::aws::backoff::Backoff;
use crate::data_key_cache::DataKeyCache;
use crate::kms::KmsFault;
use crate::relay::Relay;
use crate::remote_server::UnusableServer;
use crate::tls::{Expiry, TlsFront, TlsIdentity};
use crate::trusted_clock::TrustedClock;
use configuration::Acme;
use configuration::tls_pair::check_pair;

/// After an order that failed. Public servers count them by the hour: Let's Encrypt takes five of one name.
const BETWEEN_ORDERS: Backoff =
    Backoff { base: Duration::from_secs(10 * 60), cap: Duration::from_secs(4 * 60 * 60) };

/// After a server that was not reached, which has counted nothing.
const BETWEEN_CONNECTIONS: Backoff =
    Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(15 * 60) };

/// After a certificate that is of no use, by a wrong clock or a server's mistake. Let's Encrypt issues five of the same
/// names in a week.
const AFTER_NO_USE: Duration = Duration::from_secs(6 * 60 * 60);

/// The least wait after a failure: jitter alone might ask at once, and again.
const MIN_WAIT: Duration = Duration::from_secs(2);

/// While the parent's store or KMS is not there.
const BETWEEN_READS: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// Reads of what looks damaged, is not sent, or is under a key that KMS refuses: a relay that was cut looks the same, and
/// a policy takes seconds to be in force everywhere. Then a new order costs less than no certificate.
const MAX_READS: u32 = 5;

/// How long the start waits for what is kept: as long as these reads take. Whoever can write the store, or cut the way to
/// it, holds up a certificate for longer, and never the signer.
pub(crate) const RESTORE_PATIENCE: Duration = Duration::from_secs(30);

/// From one certificate to the next order, whatever the dates of the first: one that has no time left when it comes, by a
/// clock or a server that is wrong, would be renewed at once, for ever. A certificate of a minute, as tests have them,
/// is still renewed in time.
const MIN_BETWEEN_ORDERS: Duration = Duration::from_secs(30);

/// The clock may be corrected, and the machine may be paused: it is looked at this often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60 * 60);

/// While what has to be kept is not kept.
const BETWEEN_SAVES: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(10 * 60) };

/// The ways to the ACME server and to the store.
#[derive(Debug)]
pub struct AcmeRelays {
    /// Reaches the ACME server.
    pub server: Relay,
    /// Sends what is kept.
    pub store: Relay,
    /// Keeps what it is sent.
    pub store_write: Relay,
}

/// Keeps a certificate in front.
pub(crate) struct Keeper {
    server: Arc<AcmeServer>,
    names: Vec<String>,
    contact: Vec<String>,
    store: Store,
    front: Arc<TlsFront>,
    clock: Arc<TrustedClock>,
    /// What is or should be in the store.
    state: Option<AcmeState>,
    account: Option<Account>,
    /// Whether what is kept is taken over or given up. Until then nothing is ordered: it may have an account.
    is_restored: bool,
    /// Of what is kept, in vain.
    failed_reads: u32,
    presented: Option<Presented>,
    expiry: Option<Expiry>,
    ordered: Option<Instant>,
    is_unsaved: bool,
    /// Since it was kept last.
    failed_saves: u32,
}

/// The dates of the certificate in front.
#[derive(Clone, Copy)]
struct Presented {
    obtained_unix_s: u64,
    /// Of the server's certificate, which an order renews; those of issuers are the same the next time.
    not_after_unix_s: u64,
    /// Of the first one of the chain that expires.
    chain_not_after_unix_s: u64,
}

impl Keeper {
    /// A keeper that has done nothing yet.
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
            state: None,
            account: None,
            is_restored: false,
            failed_reads: 0,
            presented: None,
            expiry: None,
            ordered: None,
            is_unsaved: false,
            failed_saves: 0,
        })
    }

    /// Seals and opens what is kept with `data_keys` from now on.
    pub(crate) fn unlock(&mut self, data_keys: Arc<DataKeyCache>) {
        self.store.unlock(data_keys);
    }

    /// Presents what the parent has kept, if it is still good. Waits for the store only so long, and for a KMS that does
    /// not answer for ever. May be dropped and begun again: it goes on where it was.
    pub(crate) async fn restore(&mut self) {
        let mut failures = 0;
        while !self.is_restored {
            match self.store.load().await {
                Ok(Found::State(state)) => {
                    self.is_restored = true;
                    return self.adopt(state);
                }
                Ok(Found::Nothing) => {
                    self.is_restored = true;
                    tracing::info!("the parent keeps no certificate yet");
                    return;
                }
                Ok(Found::Damaged) => {
                    self.failed_reads += 1;
                    let reads = self.failed_reads;
                    tracing::warn!(
                        reads,
                        "what the parent keeps is cut, bent, or not sealed under the sealing key"
                    );
                }
                Err(StoreFault::Kms(fault)) if !is_for_good(&fault) => {
                    tracing::warn!(%fault, "KMS does not open the kept certificate yet");
                }
                Err(fault) => {
                    self.failed_reads += 1;
                    tracing::warn!(%fault, reads = self.failed_reads, "the kept certificate cannot be read");
                }
            }
            if self.failed_reads >= MAX_READS {
                self.is_restored = true;
                tracing::error!("the kept certificate is given up, and a new one ordered");
                return;
            }
            failures += 1;
            sleep(BETWEEN_READS.wait(failures)).await;
        }
    }

    /// Takes over what is in `state`, as far as it is of use.
    fn adopt(&mut self, mut state: AcmeState) {
        if state.directory != self.server.directory().to_string() {
            // Of no use here, and overwritten: the measured configuration trusts in that server's word no longer.
            tracing::info!("what the parent keeps is of another acme server");
            return;
        }
        let key = AccountKey::from_pkcs8(&state.account_key);
        let url = url(self.server.directory(), "account", &state.account_url);
        let (Some(key), Ok(url)) = (key, url) else {
            tracing::warn!("the account that the parent keeps is of no use");
            return;
        };
        tracing::info!(account = %url, "the acme account is the one that was kept");
        self.account = Some(Account { key, url: url.to_string() });
        if let Some(certificate) = state.certificate.take() {
            match self.present(&certificate) {
                Ok(()) => state.certificate = Some(certificate),
                Err(fault) => tracing::info!(%fault, "the kept certificate is not presented"),
            }
        }
        self.state = Some(state);
    }

    /// Puts a certificate in front, if it is good now.
    fn present(&mut self, certificate: &KeptCertificate) -> Result<(), AcmeFault> {
        if certificate.names != self.names {
            return Err(AcmeFault::Unusable("it was ordered for other names"));
        }
        let (identity, not_after_unix_s) = identity(certificate, self.clock.unix_time())?;
        let presented = Presented {
            obtained_unix_s: certificate.obtained_unix_s,
            not_after_unix_s,
            chain_not_after_unix_s: identity.not_after_unix_s(),
        };
        self.front.present(identity);
        self.presented = Some(presented);
        self.expiry = Some(Expiry::of(presented.chain_not_after_unix_s));
        tracing::info!(
            names = self.names.join(","),
            not_after_unix_s = presented.chain_not_after_unix_s,
            renewal_unix_s = presented.renewal_unix_s(),
            "a certificate of the acme server is presented"
        );
        Ok(())
    }

    /// Renews for ever.
    pub(crate) async fn keep(mut self) {
        self.restore().await;
        let (mut orders, mut connections) = (0, 0);
        loop {
            if self.is_unsaved {
                self.save().await;
            }
            let now_unix_s = self.clock.unix_time().as_secs();
            if let Some(presented) = self.presented
                && now_unix_s < presented.renewal_unix_s()
            {
                let left = Duration::from_secs(presented.renewal_unix_s() - now_unix_s);
                let look =
                    if self.is_unsaved { BETWEEN_SAVES.wait(self.failed_saves) } else { BETWEEN_LOOKS };
                self.pause(left.min(look)).await;
                continue;
            }
            if let Some(ordered) = self.ordered {
                self.pause(MIN_BETWEEN_ORDERS.saturating_sub(ordered.elapsed())).await;
            }
            if self.adopt_newer().await {
                continue;
            }
            let Err(fault) = self.obtain().await else {
                (orders, connections) = (0, 0);
                self.ordered = Some(Instant::now());
                continue;
            };
            let wait = if fault.is_after_issuance() {
                AFTER_NO_USE
            } else if matches!(fault, AcmeFault::Unreachable(_)) {
                connections += 1;
                BETWEEN_CONNECTIONS.wait(connections)
            } else {
                orders += 1;
                BETWEEN_ORDERS.wait(orders)
            };
            let wait = wait.max(fault.retry_after().unwrap_or_default()).max(MIN_WAIT);
            tracing::warn!(%fault, next_try_in_s = wait.as_secs(), "no new certificate yet");
            self.pause(wait).await;
        }
    }

    /// Sleeps for `wait`, and says meanwhile what there is to say of the certificate's end, if no renewal comes before.
    async fn pause(&mut self, mut wait: Duration) {
        loop {
            let now_unix_s = self.clock.unix_time().as_secs();
            if let (Some(presented), Some(expiry)) = (self.presented, &mut self.expiry)
                && presented.is_overdue(now_unix_s)
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

    /// Another enclave, on the same parent, may have renewed already.
    async fn adopt_newer(&mut self) -> bool {
        let Some(presented) = self.presented else { return false };
        let Ok(Found::State(state)) = self.store.load().await else { return false };
        let is_newer = |it: &KeptCertificate| it.obtained_unix_s > presented.obtained_unix_s;
        if self.is_unsaved || !state.certificate.as_ref().is_some_and(is_newer) {
            return false;
        }
        tracing::info!("another enclave has renewed the certificate");
        self.adopt(state);
        self.presented.is_some_and(|now| now.obtained_unix_s > presented.obtained_unix_s)
    }

    /// Orders a certificate, and puts it in front.
    async fn obtain(&mut self) -> Result<(), AcmeFault> {
        let server = Arc::clone(&self.server);
        let mut client = AcmeClient::open(&server).await?;
        let had_account = self.account.is_some();
        if !had_account {
            self.account = Some(self.new_account(&mut client).await?);
        }
        let issued = match self.order(&mut client).await {
            Err(fault) if had_account && fault.is_of_a_lost_account() => {
                tracing::warn!("the acme server does not know the kept account");
                self.account = Some(self.new_account(&mut client).await?);
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
        if let Some(state) = &mut self.state {
            state.certificate = Some(certificate);
        }
        self.is_unsaved = true;
        Ok(())
    }

    async fn order(&self, client: &mut AcmeClient<'_>) -> Result<Issued, AcmeFault> {
        let account = self.account.as_ref().ok_or(AcmeFault::Ourselves("there is no acme account"))?;
        order(client, account, &self.names, &self.front).await
    }

    /// Makes an account, and asks the parent to keep it before anything is ordered. If the signer ends before it is kept,
    /// nobody has its key, and the next start makes another; a parent that does not keep it is asked again, and is no
    /// reason not to order.
    async fn new_account(&mut self, client: &mut AcmeClient<'_>) -> Result<Account, AcmeFault> {
        let account = Account::create(client, &self.contact).await?;
        tracing::info!(
            account = account.url,
            "the acme account is new; a CAA record with this accounturi keeps others from ordering"
        );
        let account_key =
            account.key.pkcs8().ok_or(AcmeFault::Ourselves("the key of the acme account cannot be kept"))?;
        let certificate = self.state.take().and_then(|state| state.certificate);
        self.state = Some(AcmeState {
            directory: self.server.directory().to_string(),
            account_url: account.url.clone(),
            account_key,
            certificate,
        });
        self.is_unsaved = true;
        self.save().await;
        Ok(account)
    }

    async fn save(&mut self) {
        let Some(state) = &self.state else { return };
        match self.store.save(state).await {
            Ok(()) => {
                (self.is_unsaved, self.failed_saves) = (false, 0);
                tracing::info!(
                    certificate = state.certificate.is_some(),
                    "the parent keeps the acme account"
                );
            }
            Err(fault) => {
                self.failed_saves += 1;
                tracing::warn!(%fault, "the parent does not keep the acme account and certificate yet");
            }
        }
    }
}

/// A key that is gone, disabled, or whose policy denies us: another try helps only who has just changed that.
const fn is_for_good(fault: &KmsFault) -> bool {
    matches!(fault, KmsFault::Refused { .. })
}

impl Presented {
    /// With a third of its time left.
    const fn renewal_unix_s(self) -> u64 {
        let lifetime_s = self.not_after_unix_s.saturating_sub(self.obtained_unix_s);
        self.obtained_unix_s.saturating_add(lifetime_s / 3 * 2)
    }

    /// Whether its end is news: it should have been renewed, or one of an issuer's expires before it is.
    const fn is_overdue(self, now_unix_s: u64) -> bool {
        let renewal_unix_s = self.renewal_unix_s();
        now_unix_s >= renewal_unix_s || self.chain_not_after_unix_s <= renewal_unix_s
    }
}

/// Checks what was issued, or kept, as a client will. Gives the end of the server's certificate too.
fn identity(certificate: &KeptCertificate, now: UnixTime) -> Result<(TlsIdentity, u64), AcmeFault> {
    let pair = check_pair(certificate.chain_pem.as_bytes(), &certificate.key, now);
    let (chain, key) = pair.map_err(AcmeFault::UnusablePair)?;
    let leaf = chain.certificates().first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    let leaf = leaf.ok_or(AcmeFault::Unusable("it is not one of X.509"))?;
    for name in &certificate.names {
        let name =
            ServerName::try_from(name.as_str()).map_err(|_| AcmeFault::Unusable("its names are none"))?;
        verify_server_name(&leaf, &name)
            .map_err(|_| AcmeFault::Unusable("it is not for the names that were ordered"))?;
    }
    let not_after_unix_s = chain.server_not_after_unix_s();
    let identity = TlsIdentity::new((chain, key));
    identity
        .map(|identity| (identity, not_after_unix_s))
        .map_err(|_| AcmeFault::Unusable("TLS cannot be spoken with it"))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{Presented, identity};
    use crate::acme::KeptCertificate;
    use crate::tls::test_ca::{AUTHORITY, Issued, P256, SERVER, TestCa, in_days};
    use configuration::tls_pair::{MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES};

    fn presented(obtained_unix_s: u64, not_after_unix_s: u64) -> Presented {
        Presented { obtained_unix_s, not_after_unix_s, chain_not_after_unix_s: not_after_unix_s }
    }

    #[test]
    fn renews_with_a_third_of_the_time_left() {
        let renewal =
            |obtained_unix_s, not_after_unix_s| presented(obtained_unix_s, not_after_unix_s).renewal_unix_s();
        assert_eq!(renewal(1000, 1090), 1060);
        assert_eq!(renewal(1000, 1000), 1000);
        assert_eq!(renewal(1000, 10), 1000, "by a clock that went back");
        assert_eq!(renewal(u64::MAX - 1, u64::MAX), u64::MAX - 1);
        assert_eq!(renewal(0, u64::MAX), u64::MAX / 3 * 2);
    }

    #[test]
    fn an_end_is_news_when_no_renewal_comes_before() {
        let good = presented(1000, 1090);
        assert!(!good.is_overdue(1059) && good.is_overdue(1060) && good.is_overdue(2000));
        assert!(Presented { chain_not_after_unix_s: 1060, ..good }.is_overdue(1000));
        assert!(!Presented { chain_not_after_unix_s: 1061, ..good }.is_overdue(1000));
    }

    /// What becomes of `chain` with the key of `issued`, ordered for `names`, `days` from now.
    fn outcome(names: &[&str], chain: &str, issued: &Issued, days: i64) -> Result<u64, String> {
        let certificate = KeptCertificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            obtained_unix_s: 0,
            chain_pem: chain.to_owned(),
            key: Zeroizing::new(issued.key.clone().into_bytes()),
        };
        identity(&certificate, in_days(days))
            .map(|(_, not_after_unix_s)| not_after_unix_s)
            .map_err(|fault| fault.to_string())
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

    /// An issuer's that expires before is no reason to order: the next chain would have it too.
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
