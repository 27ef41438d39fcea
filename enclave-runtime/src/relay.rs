//! The way out of the enclave: services of the parent instance, which moves the bytes and is not trusted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use transport::{Address, Stream, dial};

/// The parent of a Nitro enclave (AWS, Nitro Enclaves user guide).
const NITRO_PARENT_CID: u32 = 3;

/// The host of a virtual machine (`VMADDR_CID_HOST`): where a VMM that is not Nitro's keeps the parent's services.
const VMM_HOST_CID: u32 = 2;

/// Time for one address while there is another. A relay on this machine answers in milliseconds; a CID that nobody has
/// makes the kernel wait for two seconds.
const OTHERS_LEFT_PATIENCE: Duration = Duration::from_millis(700);

/// Which of the parent's CIDs answered last. All relays of one parent share it, so that one of them finds it out.
#[derive(Clone, Debug, Default)]
pub struct ParentCid(Arc<AtomicUsize>);

/// Where one service of the parent may be. The address that answered last is tried first.
#[derive(Debug)]
pub struct Relay {
    addresses: Vec<Address>,
    preferred: ParentCid,
}

impl Relay {
    /// The service on vsock `port` of the parent, or of the VMM's host where no parent has CID 3.
    #[must_use]
    pub fn of_parent(cid: &ParentCid, port: u32) -> Self {
        let addresses = [NITRO_PARENT_CID, VMM_HOST_CID].map(|cid| Address::Vsock { cid, port });
        Self { addresses: addresses.into(), preferred: cid.clone() }
    }

    /// The service at one address.
    #[must_use]
    pub fn at(address: Address) -> Self {
        Self { addresses: vec![address], preferred: ParentCid::default() }
    }

    /// Connects. Has no deadline: the caller's patience ends it.
    ///
    /// # Errors
    /// The error of dialing the last address.
    pub(crate) async fn dial(&self) -> io::Result<Stream> {
        self.dial_patiently(OTHERS_LEFT_PATIENCE).await
    }

    /// As [`Relay::dial`], but gives up an address after `others_left_patience`, while there is another.
    ///
    /// # Errors
    /// The error of dialing the last address.
    pub(crate) async fn dial_patiently(&self, others_left_patience: Duration) -> io::Result<Stream> {
        let count = self.addresses.len();
        let first = self.preferred.0.load(Ordering::Relaxed);
        let mut last_error = io::Error::from(io::ErrorKind::NotFound);
        for step in 0..count {
            let index = (first + step) % count;
            let attempt = dial(&self.addresses[index]);
            let outcome = if step + 1 == count {
                attempt.await
            } else {
                timeout(others_left_patience, attempt)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            };
            match outcome {
                Ok(stream) => {
                    self.preferred.0.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }
}

#[cfg(test)]
mod tests {
    use transport::{Address, Listener};

    use super::{ParentCid, Relay};

    #[tokio::test]
    async fn what_answered_last_is_tried_first() {
        let folder = tempfile::tempdir().unwrap();
        let address = |name: &str| -> Address {
            format!("unix:{}", folder.path().join(name).display()).parse().unwrap()
        };
        let relay = Relay { addresses: vec![address("a"), address("b")], ..Relay::at(address("a")) };
        assert!(relay.dial().await.is_err());

        let b = Listener::bind(&address("b")).await.unwrap();
        relay.dial().await.unwrap();
        b.accept().await.unwrap();
        let a = Listener::bind(&address("a")).await.unwrap();
        relay.dial().await.unwrap();
        b.accept().await.unwrap();
        drop(b);
        relay.dial().await.unwrap();
        a.accept().await.unwrap();
    }

    #[tokio::test]
    async fn where_the_parent_is_one_relay_finds_out_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let address = |name: &str| -> Address {
            format!("unix:{}", folder.path().join(name).display()).parse().unwrap()
        };
        let cid = ParentCid::default();
        let relay = |names: [&str; 2]| Relay { addresses: names.map(address).into(), preferred: cid.clone() };
        let second = Listener::bind(&address("second")).await.unwrap();
        relay(["first", "second"]).dial().await.unwrap();
        second.accept().await.unwrap();

        let [other_first, other_second] = ["other first", "other second"].map(address);
        let _other_first = Listener::bind(&other_first).await.unwrap();
        let other_second = Listener::bind(&other_second).await.unwrap();
        relay(["other first", "other second"]).dial().await.unwrap();
        other_second.accept().await.unwrap();
    }

    #[test]
    fn the_parent_has_two_names() {
        let relay = Relay::of_parent(&ParentCid::default(), 8000);
        let texts: Vec<String> = relay.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["vsock:3:8000", "vsock:2:8000"]);
    }
}
