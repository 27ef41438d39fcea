//! The time that judges tickets and certificates and that signs requests to AWS. It comes from the NSM, and the
//! monotonic clock advances it. The parent cannot set it.
//!
//! ```text
//! NSM document, at the start and each minute ─▶ Anchor ─▶ start_unix_ms ─┐
//! CLOCK_MONOTONIC, from the vDSO ─────────────────────▶ elapsed ─────────┴─▶ now_unix_ms
//! ```
//!
//! Invariants:
//!
//! * There is no clock without two documents of the NSM that agree: nothing is judged before. A single wrong one that
//!   is ahead would make every ticket expire, and no later document sets the clock back.
//! * The clock never goes back. One that is ahead stands still until time has caught up with it.
//! * A document counts as made when it was asked for. So the clock is ahead of the NSM's by a round trip at most, and
//!   never behind it: a ticket expires too early rather than too late.
//! * A document that is ahead of the clock is taken at once, because a clock that is behind lets expired tickets
//!   through. If it is more than 2 s ahead, a second document must confirm it: a single wrong one would make every
//!   ticket expire.
//! * A document that is behind the clock moves it by no more than a counter drifts. What no drift explains is refused.
//! * Without a document, or with one that is refused, the clock runs on and allows for a counter that is slow. So it
//!   gets ahead, and tickets expire too early again.
//!
//! `CLOCK_MONOTONIC` and not `CLOCK_BOOTTIME`: the two differ by the time that a machine sleeps, and the image's kernel
//! cannot sleep. The first is in the vDSO of every kernel that an image may have. The documents' signatures are not
//! verified: they come from the device itself, and not by way of the parent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use serde::Deserialize;
use serde_cbor::Value;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::nsm::{AttestationRequest, Nsm, NsmUnavailable};
use crate::token_bucket::TokenBucket;

/// From one anchor to the next. Drift as fast as [`DRIFT_DIVISOR`] allows makes 30 ms of it.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(60);

/// Between two tries at the start. The NSM takes milliseconds.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// A document that takes longer says too little about the present: the clock may be ahead by as much.
const MAX_ROUND_TRIP_MS: u64 = 1000;

/// Two documents at most, of [`MAX_ROUND_TRIP_MS`] each. The kernel waits for the NSM up to 120 s.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// One millisecond in so many, 500 ppm, is what Linux corrects a counter by at most (adjtimex). 10 ppm are reported of
/// enclaves.
const DRIFT_DIVISOR: u64 = 2000;

/// While there is no anchor, one millisecond in so many is added: 50 ppm, five times the reported drift and 4 s a day.
const ALLOWANCE_DIVISOR: u64 = 20_000;

/// The greatest difference of a document from the clock, drift aside, or from another document. It is the longest round
/// trip, and a second more for an NSM that gives whole seconds.
pub(crate) const MAX_DISAGREEMENT_MS: u64 = 2000;

/// Nitro Enclaves are of 2020. Years have four digits. Between the two, no sum below overflows.
const PLAUSIBLE_UNIX_MS: std::ops::Range<u64> = 1_577_836_800_000..253_402_300_800_000;

/// `NSM_RESPONSE_MAX_SIZE` of the kernel's driver.
const MAX_DOCUMENT_BYTES: usize = 0x3000;

/// Lines about what goes wrong, at once. It may go wrong each minute.
const MAX_LINES: u32 = 3;

/// After these, one line each hour.
const LINE_PACE: Duration = Duration::from_hours(1);

/// The NSM's time, carried on.
#[derive(Debug)]
pub struct TrustedClock {
    start: Instant,
    /// The time at `start`, as of the last anchor.
    start_unix_ms: AtomicU64,
    /// From `start` to when the last anchor was asked for.
    anchored_ms: AtomicU64,
    /// The latest time that was told.
    latest_unix_ms: AtomicU64,
}

/// Why there is no time of the NSM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTime {
    /// It gives no document.
    NoDocument(NsmUnavailable),
    /// There is no plausible time in its document.
    Unreadable,
    /// It took more than a second.
    TooLate,
    /// It was more than 2 s ahead of the clock, and the next document did not confirm it.
    Unconfirmed {
        /// How far it was ahead of the clock.
        ahead_ms: u64,
    },
    /// The two documents at the start differed by more than 2 s.
    Contradicted {
        /// How far they were apart.
        apart_ms: u64,
    },
    /// The call was not finished.
    Lost,
}

impl std::fmt::Display for NoTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoDocument(error) => {
                write!(formatter, "the NSM gives no document to take the time from: {error}")
            }
            Self::Unreadable => formatter.write_str("the NSM's document has no time between 2020 and 9999"),
            Self::TooLate => formatter.write_str("the NSM took more than 1 s for a document with the time"),
            Self::Unconfirmed { ahead_ms } => write!(
                formatter,
                "the NSM's time was {ahead_ms} ms ahead of the clock, and its next document differed from that by more \
                 than 2 s"
            ),
            Self::Contradicted { apart_ms } => {
                write!(formatter, "two documents of the NSM in a row have times that differ by {apart_ms} ms")
            }
            Self::Lost => formatter.write_str("the NSM was not asked to the end for the time"),
        }
    }
}

impl std::error::Error for NoTime {}

/// A time of the NSM, and when it was asked for, from the clock's start on.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    unix_ms: u64,
    asked_ms: u64,
}

/// The result of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    /// How far the clock was ahead of the anchor; negative if it was behind.
    ahead_ms: i64,
    is_taken: bool,
}

impl TrustedClock {
    /// Asks `nsm` for the time until two documents in a row agree, for `patience` and for as long as the last try
    /// takes. Blocks.
    ///
    /// # Errors
    /// [`NoTime`], of the last try.
    pub fn start(nsm: &dyn Nsm, patience: Duration) -> Result<Self, NoTime> {
        let start = Instant::now();
        let anchor = loop {
            match ask_twice(nsm, start) {
                Ok(anchor) => break anchor,
                Err(error) if start.elapsed() >= patience => return Err(error),
                Err(error) => tracing::warn!(%error, "waiting for the time"),
            }
            std::thread::sleep(BETWEEN_TRIES);
        };
        let clock = Self::anchored(start, anchor);
        let ahead_ms = unix_ms(SystemTime::now()).cast_signed() - clock.now_unix_ms().cast_signed();
        if ahead_ms.unsigned_abs() > MAX_DISAGREEMENT_MS {
            tracing::warn!(
                ahead_ms,
                "the system clock differs from the NSM's time; only log lines and the header Date go by it"
            );
        }
        Ok(clock)
    }

    /// One that goes by this machine's clock.
    #[cfg(test)]
    pub(crate) fn of_tests() -> Self {
        Self::anchored(Instant::now(), Anchor { unix_ms: unix_ms(SystemTime::now()), asked_ms: 0 })
    }

    fn anchored(start: Instant, anchor: Anchor) -> Self {
        Self {
            start,
            start_unix_ms: AtomicU64::new(anchor.start_unix_ms()),
            anchored_ms: AtomicU64::new(anchor.asked_ms),
            latest_unix_ms: AtomicU64::new(0),
        }
    }

    /// Asks `nsm` for the time each minute. Never returns.
    pub async fn keep_anchored(self: Arc<Self>, nsm: Arc<dyn Nsm>) {
        let (mut record, mut tried_ms) = (Record::new(), elapsed_ms(self.start));
        let mut last_call = None;
        loop {
            tokio::time::sleep(ANCHOR_INTERVAL).await;
            let judged = self.read_in_time(&nsm, &mut last_call).await.map(|anchor| self.anchor(anchor));
            let last_tried_ms = std::mem::replace(&mut tried_ms, elapsed_ms(self.start));
            if !judged.is_ok_and(|judged| judged.is_taken) {
                self.allow_for_drift(tried_ms - last_tried_ms);
            }
            record.add(judged);
        }
    }

    /// Milliseconds since 1970. A read of the monotonic clock and a few atomics: no lock, no system call.
    #[must_use]
    pub fn now_unix_ms(&self) -> u64 {
        self.at(elapsed_ms(self.start))
    }

    /// The same, as the standard library's.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.now_unix_ms())
    }

    /// The same, as rustls's.
    #[must_use]
    pub fn unix_time(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_millis(self.now_unix_ms()))
    }

    fn at(&self, elapsed_ms: u64) -> u64 {
        let now = self.start_unix_ms.load(Ordering::Relaxed).saturating_add(elapsed_ms);
        let latest = self.latest_unix_ms.load(Ordering::Relaxed);
        // Many reads share a millisecond, and write nothing.
        if now <= latest { latest } else { self.latest_unix_ms.fetch_max(now, Ordering::Relaxed).max(now) }
    }

    /// [`Self::read`] on a thread of its own, which is left to itself after [`READ_PATIENCE`].
    ///
    /// While `last_call` still runs, no other is started: each would keep a thread.
    async fn read_in_time(
        self: &Arc<Self>,
        nsm: &Arc<dyn Nsm>,
        last_call: &mut Option<JoinHandle<Result<Anchor, NoTime>>>,
    ) -> Result<Anchor, NoTime> {
        if last_call.as_ref().is_some_and(|call| !call.is_finished()) {
            return Err(NoTime::TooLate);
        }
        let (clock, nsm) = (Arc::clone(self), Arc::clone(nsm));
        let call = last_call.insert(spawn_blocking(move || clock.read(&*nsm)));
        timeout(READ_PATIENCE, call).await.map_err(|_| NoTime::TooLate)?.unwrap_or(Err(NoTime::Lost))
    }

    /// Asks `nsm` for the time, and at once for a second document if the first is far ahead of the clock. Blocks.
    fn read(&self, nsm: &dyn Nsm) -> Result<Anchor, NoTime> {
        let first = ask(nsm, self.start)?;
        let ours = self.start_unix_ms.load(Ordering::Relaxed);
        let ahead_ms = first.start_unix_ms().saturating_sub(ours);
        if ahead_ms <= MAX_DISAGREEMENT_MS {
            return Ok(first);
        }
        let second = ask(nsm, self.start)?;
        if second.apart_ms(first) <= MAX_DISAGREEMENT_MS {
            Ok(second)
        } else {
            Err(NoTime::Unconfirmed { ahead_ms })
        }
    }

    /// Goes by `anchor`, which [`Self::read`] has confirmed, as far as it may. One caller at a time.
    fn anchor(&self, anchor: Anchor) -> Judged {
        let (ours, theirs) = (self.start_unix_ms.load(Ordering::Relaxed), anchor.start_unix_ms());
        let drift_ms =
            anchor.asked_ms.saturating_sub(self.anchored_ms.load(Ordering::Relaxed)) / DRIFT_DIVISOR;
        let ahead_ms = ours.saturating_sub(theirs);
        let next = if ahead_ms > 0 {
            (ahead_ms <= MAX_DISAGREEMENT_MS + drift_ms).then(|| ours - ahead_ms.min(drift_ms))
        } else {
            Some(theirs)
        };
        if let Some(next) = next {
            self.start_unix_ms.store(next, Ordering::Relaxed);
            self.anchored_ms.store(anchor.asked_ms, Ordering::Relaxed);
        }
        Judged { ahead_ms: ours.cast_signed() - theirs.cast_signed(), is_taken: next.is_some() }
    }

    /// Goes ahead by what a slow counter may have lost in `passed_ms` without an anchor.
    fn allow_for_drift(&self, passed_ms: u64) {
        self.start_unix_ms.fetch_add(passed_ms / ALLOWANCE_DIVISOR, Ordering::Relaxed);
    }
}

impl TimeProvider for TrustedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.unix_time())
    }
}

impl Anchor {
    fn start_unix_ms(self) -> u64 {
        self.unix_ms.saturating_sub(self.asked_ms)
    }

    /// How far the times differ, apart from what has passed between the two.
    fn apart_ms(self, other: Self) -> u64 {
        self.start_unix_ms().abs_diff(other.start_unix_ms())
    }
}

/// Errors since the start.
struct Record {
    disagreements: u64,
    refusals: u64,
    failures: u64,
    lines: TokenBucket,
}

impl Record {
    fn new() -> Self {
        Self { disagreements: 0, refusals: 0, failures: 0, lines: TokenBucket::full(MAX_LINES, LINE_PACE) }
    }

    /// Counts `outcome` if something is wrong with it, and logs that now and then. Whether it did.
    fn add(&mut self, outcome: Result<Judged, NoTime>) -> bool {
        match outcome {
            Ok(Judged { ahead_ms, is_taken: true }) if ahead_ms.unsigned_abs() <= MAX_DISAGREEMENT_MS => {
                return false;
            }
            Ok(Judged { is_taken: true, .. }) => self.disagreements += 1,
            Ok(Judged { is_taken: false, .. }) | Err(NoTime::Unconfirmed { .. }) => self.refusals += 1,
            Err(_) => self.failures += 1,
        }
        if self.lines.take().is_err() {
            return false;
        }
        let Self { disagreements, refusals, failures, .. } = *self;
        match outcome {
            Ok(Judged { ahead_ms, is_taken: true }) => tracing::warn!(
                ahead_ms,
                disagreements,
                refusals,
                failures,
                "the clock differed from the NSM's time by more than 2 s, and is corrected"
            ),
            Ok(Judged { ahead_ms, is_taken: false }) => tracing::error!(
                ahead_ms,
                disagreements,
                refusals,
                failures,
                "the NSM's time is refused, because no drift explains it; the clock runs on without it"
            ),
            Err(error) => tracing::error!(
                %error, disagreements, refusals, failures,
                "the clock runs on without the NSM's time"
            ),
        }
        true
    }
}

/// [`ask`], confirmed by a second document.
fn ask_twice(nsm: &dyn Nsm, start: Instant) -> Result<Anchor, NoTime> {
    let (first, second) = (ask(nsm, start)?, ask(nsm, start)?);
    let apart_ms = second.apart_ms(first);
    if apart_ms <= MAX_DISAGREEMENT_MS { Ok(second) } else { Err(NoTime::Contradicted { apart_ms }) }
}

fn ask(nsm: &dyn Nsm, start: Instant) -> Result<Anchor, NoTime> {
    let asked_ms = elapsed_ms(start);
    let document = nsm.attest(&AttestationRequest::default()).map_err(NoTime::NoDocument)?;
    if elapsed_ms(start) - asked_ms > MAX_ROUND_TRIP_MS {
        return Err(NoTime::TooLate);
    }
    Ok(Anchor { unix_ms: timestamp_unix_ms(&document).ok_or(NoTime::Unreadable)?, asked_ms })
}

/// The `timestamp` of an attestation document (COSE_Sign1), if it is plausible.
fn timestamp_unix_ms(document: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Payload {
        timestamp: u64,
    }
    if document.len() > MAX_DOCUMENT_BYTES {
        return None;
    }
    let Value::Array(parts) = serde_cbor::from_slice(document).ok()? else { return None };
    let [_, _, Value::Bytes(payload), _] = &parts[..] else { return None };
    let Payload { timestamp } = serde_cbor::from_slice(payload).ok()?;
    PLAUSIBLE_UNIX_MS.contains(&timestamp).then_some(timestamp)
}

fn elapsed_ms(start: Instant) -> u64 {
    let elapsed = start.elapsed();
    elapsed.as_secs() * 1000 + u64::from(elapsed.subsec_millis())
}

/// Milliseconds since 1970; 0 before.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_secs() * 1000 + u64::from(since_epoch.subsec_millis())
}

#[cfg(test)]
mod tests;
