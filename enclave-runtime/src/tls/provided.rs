//! A certificate that the parent provides while the signer runs: the boot file is read again, and a new certificate in
//! it is presented. No connection is dropped. A certificate that cannot be presented changes nothing.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::TlsFront;
use super::expiry::Expiry;
use crate::boot::{BootRefused, NotDecrypted, TLS_KEY, decrypt_once, fetch_whole, identity};
use crate::kms::Kms;
use crate::relay::Relay;
use crate::trusted_clock::TrustedClock;
use configuration::tls_pair::{CertificateChain, InvalidChain, InvalidPair};
use configuration::{Generations, TlsVariables};

/// Soon enough for who has just put a certificate there, and no burden for the parent. KMS is asked only when something
/// has changed.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_mins(1);

const KEPT: &str = "the TLS certificate stays as it is";

/// The state of the boot file's certificate.
pub(crate) struct Provided {
    expiry: Expiry,
    presented: [u8; 32],
    /// The last complaint, so that each is logged once.
    refused: Option<Complaint>,
}

#[derive(PartialEq, Eq)]
enum Complaint {
    NoFile,
    Unreadable([u8; 32]),
    /// Looked at again each time: one that is not valid yet will be, and a clock that is wrong is corrected.
    Chain([u8; 32], InvalidChain),
    /// For a reason that time does not change.
    Pair([u8; 32]),
}

impl Provided {
    /// Begins with what `front` presents, which was made of `variables`.
    pub(crate) fn new(front: &TlsFront, variables: &TlsVariables) -> Self {
        Self {
            expiry: Expiry::of(front.current().not_after_unix_s()),
            presented: digest(variables),
            refused: None,
        }
    }

    /// Looks at the boot file again and again, `interval` after the last time.
    pub(crate) async fn keep_fresh(
        mut self,
        front: &TlsFront,
        boot_file: &Relay,
        kms: &Kms,
        clock: &TrustedClock,
        generations: Generations,
        interval: Duration,
    ) {
        loop {
            self.expiry.watch(clock.unix_time().as_secs());
            tokio::time::sleep(interval).await;
            self.look(front, boot_file, kms, clock, generations).await;
        }
    }

    async fn look(
        &mut self,
        front: &TlsFront,
        boot_file: &Relay,
        kms: &Kms,
        clock: &TrustedClock,
        generations: Generations,
    ) {
        let Some(bytes) = fetch_whole(boot_file).await else {
            if self.is_new(Complaint::NoFile) {
                tracing::warn!("the parent does not send a boot file whose last line is whole: {KEPT}");
            }
            return;
        };
        let variables = match TlsVariables::parse(&bytes, generations) {
            Ok(variables) => variables,
            Err(error) => {
                if self.is_new(Complaint::Unreadable(Sha256::digest(&bytes[..]).into())) {
                    tracing::error!("{error}: {KEPT}");
                }
                return;
            }
        };
        drop(bytes);
        let digest = digest(&variables);
        if digest == self.presented {
            self.refused = None;
            return;
        }
        // Before KMS is asked, once a minute for as long as it takes.
        if let Err(error) = CertificateChain::from_pem(&variables.cert_chain, clock.unix_time()) {
            self.refuse_chain(digest, error);
            return;
        }
        if self.refused == Some(Complaint::Pair(digest)) {
            return;
        }
        let outcome = match decrypt_once(kms, TLS_KEY, &variables.key_ciphertext).await {
            Ok(key) => identity(&variables, &key, clock.unix_time()),
            Err(NotDecrypted::ForGood(refused)) => Err(refused),
            Err(NotDecrypted::Yet(error)) => {
                tracing::warn!(%error, "KMS does not give the key of a new TLS certificate yet");
                return;
            }
        };
        match outcome {
            Ok(identity) => {
                tracing::info!(
                    not_after_unix_s = identity.not_after_unix_s(),
                    "presenting a new TLS certificate"
                );
                self.expiry = Expiry::of(identity.not_after_unix_s());
                self.presented = digest;
                self.refused = None;
                front.present(identity);
            }
            // Since it was looked at above.
            Err(BootRefused::Tls(InvalidPair::Chain(error))) => self.refuse_chain(digest, error),
            Err(error) => {
                tracing::error!("{error}: {KEPT}");
                self.refused = Some(Complaint::Pair(digest));
            }
        }
    }

    fn refuse_chain(&mut self, digest: [u8; 32], error: InvalidChain) {
        if self.is_new(Complaint::Chain(digest, error)) {
            tracing::error!("{}: {KEPT}", InvalidPair::Chain(error));
        }
    }

    fn is_new(&mut self, complaint: Complaint) -> bool {
        let is_new = self.refused.as_ref() != Some(&complaint);
        self.refused = Some(complaint);
        is_new
    }
}

fn digest(variables: &TlsVariables) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((variables.cert_chain.len() as u64).to_be_bytes());
    hasher.update(&variables.cert_chain);
    // With its generation: one that was wrong may be corrected.
    hasher.update(variables.key_ciphertext.to_string());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{Complaint, Provided};
    use crate::tls::expiry::Expiry;
    use configuration::tls_pair::InvalidChain;

    #[test]
    fn what_is_wrong_with_a_chain_is_said_once_and_holds_for_nothing_later() {
        let mut provided = Provided { expiry: Expiry::of(0), presented: [0; 32], refused: None };
        let (pair, early) = ([1; 32], InvalidChain::NotYetValid(1));
        assert!(provided.is_new(Complaint::Chain(pair, early)));
        assert!(!provided.is_new(Complaint::Chain(pair, early)));
        // The reason why KMS is not called again is another complaint.
        assert!(provided.refused != Some(Complaint::Pair(pair)));
        assert!(provided.is_new(Complaint::Chain(pair, InvalidChain::Expired(1))));
        assert!(provided.is_new(Complaint::Chain([2; 32], early)));
    }
}
