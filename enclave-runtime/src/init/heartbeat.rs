//! One byte that tells `nitro-cli` that the image has started. Without it, `nitro-cli` ends the enclave after three
//! minutes (aws-nitro-enclaves-cli, `eif_loader/src/lib.rs`).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use configuration::HEARTBEAT_PORT;

use crate::relay::{ParentCid, Relay};

const HEARTBEAT: u8 = 0xb7;

/// For all of it. The parent listens before it starts the enclave.
const PATIENCE: Duration = Duration::from_secs(20);

/// For a CID. nitro-cli reads from the first connection that it accepts and from no other, so a connection may be
/// given up by the kernel only, which does it after two seconds.
const KERNELS_PATIENCE: Duration = Duration::from_millis(2500);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Sends it and waits for the answer. `parent` learns where the parent is.
pub(super) fn send(parent: &ParentCid) -> io::Result<()> {
    // The signer's own threads are for later.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let relay = Relay::of_parent(parent, HEARTBEAT_PORT);
    let beat = async {
        let stream = loop {
            match relay.dial_patiently(KERNELS_PATIENCE).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        // Once: what comes after the first byte is no heartbeat.
        exchange(stream).await
    };
    runtime
        .block_on(async { timeout(PATIENCE, beat).await })
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(&[HEARTBEAT]).await?;
    match stream.read_u8().await? {
        HEARTBEAT => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is another byte")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::exchange;

    #[tokio::test]
    async fn one_byte_goes_out_and_has_to_come_back() {
        for (answer, good) in [(&[0xb7][..], true), (&[0xb6], false), (&[], false)] {
            let (ours, mut parents) = duplex(8);
            let parent = async {
                assert_eq!(parents.read_u8().await.unwrap(), 0xb7);
                parents.write_all(answer).await.unwrap();
                parents.shutdown().await.unwrap();
                assert_eq!(parents.read(&mut [0]).await.unwrap(), 0, "nothing more");
            };
            let (outcome, ()) = tokio::join!(exchange(ours), parent);
            assert_eq!(outcome.is_ok(), good, "{answer:?}: {outcome:?}");
        }
    }
}
