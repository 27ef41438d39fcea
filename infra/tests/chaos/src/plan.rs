//! Which faults there are, and when each of them happens in a run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Without faults, between two episodes: here the latency is measured that the latency under faults is compared with.
/// In many short windows, so that both are measured beside the same neighbours.
const QUIET: Duration = Duration::from_millis(1800);

/// How long the faults of an episode last. Faults that end and restart a process take as long as the restart does.
const EPISODE: Duration = Duration::from_millis(3000);

/// The time that is left for restarts when the number of episodes is computed.
const RESTARTS: Duration = Duration::from_millis(1200);

/// A drain that is held up to its deadline takes ten seconds, which a shorter run does not have.
const RUN_WITH_HELD_DRAINS: Duration = Duration::from_secs(100);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL to the signer, which is started again without its keys.
    SignerKilled,
    /// SIGSTOP to the signer, then SIGCONT.
    SignerStopped,
    /// SIGTERM to the signer beside requests that have begun, then another start.
    SignerDrained,
    /// The same, with a request that is not over at the deadline of the drain.
    SignerDrainedToTheDeadline,
    /// SIGKILL to the proxy, which is started again.
    ProxyKilled,
    /// Connections that end at a random byte: in the handshake, in the request, before the answer.
    SocketsCut,
    /// Clients that send many requests and read no answer.
    SlowReaders,
    /// Clients that send a request byte by byte.
    SlowWriters,
    /// Clients that begin a handshake of TLS and say no more.
    StalledHandshakes,
    /// Requests that are refused, of many kinds: ten at a time, with a pause after each ten.
    BadRequests,
    /// KMS answers with ThrottlingException.
    KmsThrottles,
    /// KMS takes calls and does not answer.
    KmsHangs,
    /// SIGKILL to KMS and the metadata service, which are started again.
    KmsDies,
    /// Each write of the proxy to a file fails.
    DiskFull,
    /// KMS's clock jumps, and the signer is started again with an NSM whose clock is off.
    ClockJumps,
}

impl Kind {
    /// Every kind that each run has.
    pub(crate) const ALL: [Self; 14] = [
        Self::SignerKilled,
        Self::SignerStopped,
        Self::SignerDrained,
        Self::ProxyKilled,
        Self::SocketsCut,
        Self::SlowReaders,
        Self::SlowWriters,
        Self::StalledHandshakes,
        Self::BadRequests,
        Self::KmsThrottles,
        Self::KmsHangs,
        Self::KmsDies,
        Self::DiskFull,
        Self::ClockJumps,
    ];

    /// The faults of clients on the network. The others concern processes, one after the other.
    pub(crate) const OF_CLIENTS: [Self; 5] =
        [Self::SocketsCut, Self::SlowReaders, Self::SlowWriters, Self::StalledHandshakes, Self::BadRequests];

    /// As the report names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SignerKilled => "signer killed",
            Self::SignerStopped => "signer stopped and continued",
            Self::SignerDrained => "signer drained",
            Self::SignerDrainedToTheDeadline => "signer drained to the deadline",
            Self::ProxyKilled => "proxy killed",
            Self::SocketsCut => "sockets cut",
            Self::SlowReaders => "slow readers",
            Self::SlowWriters => "slow writers",
            Self::StalledHandshakes => "stalled handshakes",
            Self::BadRequests => "bad requests",
            Self::KmsThrottles => "KMS throttles",
            Self::KmsHangs => "KMS hangs",
            Self::KmsDies => "KMS dies",
            Self::DiskFull => "disk full",
            Self::ClockJumps => "clocks jump",
        }
    }

    /// Whether the signer or the proxy does not run for a part of it.
    pub(crate) fn interrupts_service(self) -> bool {
        matches!(
            self,
            Self::SignerKilled
                | Self::SignerStopped
                | Self::SignerDrained
                | Self::SignerDrainedToTheDeadline
                | Self::ProxyKilled
                | Self::ClockJumps
        )
    }

    /// Whether it is something that clients on the network do.
    pub(crate) fn is_of_clients(self) -> bool {
        Self::OF_CLIENTS.contains(&self)
    }
}

/// Faults that happen at the same time, after a quiet window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Episode {
    /// How long there are no faults before it.
    pub(crate) quiet: Duration,
    /// How long the faults last, restarts not counted.
    pub(crate) lasts: Duration,
    /// The faults, no two alike.
    pub(crate) kinds: Vec<Kind>,
    /// Where the random choices inside the faults come from.
    pub(crate) seed: u64,
}

/// The episodes of a run of about `duration`, with every kind in them. The same seed and duration give the same plan.
pub(crate) fn plan(seed: u64, duration: Duration) -> Vec<Episode> {
    let mut rng = StdRng::seed_from_u64(seed);
    let one = QUIET + EPISODE + RESTARTS;
    let episodes = usize::try_from(duration.as_millis() / one.as_millis()).unwrap_or(usize::MAX).max(1);
    let at_once = Kind::ALL.len().div_ceil(episodes).max(2);
    let mut deck = Vec::new();
    let mut has_held_drain = duration < RUN_WITH_HELD_DRAINS;
    (0..episodes)
        .map(|_| {
            let mut kinds = Vec::new();
            while kinds.len() < at_once {
                if deck.is_empty() {
                    deck = Kind::ALL.to_vec();
                    deck.shuffle(&mut rng);
                }
                let kind = match deck.pop() {
                    Some(Kind::SignerDrained) if !has_held_drain => {
                        has_held_drain = true;
                        Kind::SignerDrainedToTheDeadline
                    }
                    Some(kind) => kind,
                    None => break,
                };
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            // So that faults do not keep step with the deadlines of the product.
            let vary = |rng: &mut StdRng, time: Duration| time.mul_f64(rng.random_range(0.75..1.25));
            Episode {
                quiet: vary(&mut rng, QUIET),
                lasts: vary(&mut rng, EPISODE),
                kinds,
                seed: rng.random(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        let minute = Duration::from_secs(60);
        assert_eq!(plan(7, minute), plan(7, minute));
        assert_ne!(plan(7, minute), plan(8, minute));
    }

    #[test]
    fn every_run_has_every_kind() {
        for (seed, duration_s) in [(1, 30), (2, 60), (3, 120), (4, 600)] {
            let kinds: Vec<Kind> =
                plan(seed, Duration::from_secs(duration_s)).into_iter().flat_map(|it| it.kinds).collect();
            for kind in Kind::ALL {
                let is_there = kinds.contains(&kind)
                    || (kind == Kind::SignerDrained && kinds.contains(&Kind::SignerDrainedToTheDeadline));
                assert!(is_there, "{duration_s} s: no {}", kind.name());
            }
            let is_long = duration_s >= 100;
            assert_eq!(kinds.contains(&Kind::SignerDrainedToTheDeadline), is_long, "{duration_s} s");
        }
    }
}
