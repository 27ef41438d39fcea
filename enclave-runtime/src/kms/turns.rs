//! Turns for calls of KMS.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, timeout};

use super::error::KmsError;
use crate::restore::Lane;

/// Calls at one time. At the 60 ms that KMS takes for one, 130 are done in a second: 500 backups that each need a call
/// are back in 4 s. More would only wait for the NSM, which makes one attestation document at a time.
const MAX_CALLS_IN_FLIGHT: usize = 8;

/// Calls for unproven clients among those that wait for a turn. Turns are given in the order of arrival, so 16 proven
/// clients get four turns of five beside any number of others. Without proven clients, the others get all turns.
const MAX_UNPROVEN_IN_LINE: usize = 2;

/// The longest wait for others' calls, which take as long when KMS is slow.
const TURN_PATIENCE: Duration = Duration::from_secs(20);

/// Calls in flight and those in line.
pub(super) struct Turns {
    in_flight: Semaphore,
    unproven_in_line: Semaphore,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self {
            in_flight: Semaphore::const_new(MAX_CALLS_IN_FLIGHT),
            unproven_in_line: Semaphore::const_new(MAX_UNPROVEN_IN_LINE),
        }
    }

    /// Waits for a turn. The call of a signer itself is in [`Lane::Proven`].
    ///
    /// # Errors
    /// [`KmsError::Unreachable`] if the calls before this one take too long.
    pub(super) async fn take(&self, lane: Lane) -> Result<SemaphorePermit<'_>, KmsError> {
        let turn = async {
            let _in_line =
                if lane == Lane::Proven { None } else { Some(self.unproven_in_line.acquire().await) };
            self.in_flight.acquire().await
        };
        match timeout(TURN_PATIENCE, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(KmsError::Unreachable("the calls before this one take too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::{MAX_CALLS_IN_FLIGHT, Turns};
    use crate::restore::Lane;

    const LATENCY: Duration = Duration::from_millis(60);

    /// Calls that so many clients have answered in a minute, if each calls again at once.
    async fn calls_in_a_minute(clients: &[(Lane, usize)]) -> Vec<u32> {
        let turns = Arc::new(Turns::new());
        let mut calling = JoinSet::new();
        let mut counts = Vec::new();
        for (lane, clients) in clients.iter().copied() {
            let count = Arc::new(AtomicU32::new(0));
            for _ in 0..clients {
                let (turns, count) = (Arc::clone(&turns), Arc::clone(&count));
                calling.spawn(async move {
                    loop {
                        let _turn = turns.take(lane).await.unwrap();
                        tokio::time::sleep(LATENCY).await;
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            counts.push(count);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        counts.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn proven_clients_get_four_turns_of_five_beside_a_crowd() {
        let all = u32::try_from(MAX_CALLS_IN_FLIGHT * 60_000 / 60).unwrap();
        let counts = calls_in_a_minute(&[(Lane::Unknown, 60), (Lane::Proven, 16)]).await;
        assert!(counts[1] >= all * 3 / 4 && counts[0] >= all / 8, "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn unproven_clients_get_all_turns_that_nobody_else_wants() {
        let all = u32::try_from(MAX_CALLS_IN_FLIGHT * 60_000 / 60).unwrap();
        let counts = calls_in_a_minute(&[(Lane::Unknown, 60)]).await;
        assert!(counts[0] >= all - 16, "{counts:?}");
    }
}
