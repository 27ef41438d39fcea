use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, prop_assert_eq, proptest};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, advance, sleep};
use zeroize::Zeroizing;

use super::{
    Anchor, Judged, MAX_DISAGREEMENT_MS, MAX_DOCUMENT_BYTES, MAX_LINES, NoTime, PLAUSIBLE_UNIX_MS, Record,
    TrustedClock, timestamp_unix_ms,
};
use crate::nsm::{AttestationRequest, Nsm, NsmUnavailable, Pcr};

const T0_UNIX_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
const WEEK_MINUTES: u64 = 7 * 24 * 60;

/// Anchored at `T0_UNIX_MS`, 0 ms after its start. Tests say what the monotonic clock shows.
fn clock() -> TrustedClock {
    TrustedClock::anchored(Instant::now(), Anchor { unix_ms: T0_UNIX_MS, asked_ms: 0 })
}

fn anchor(unix_ms: u64, asked_ms: u64) -> Anchor {
    Anchor { unix_ms, asked_ms }
}

/// The reading, after `true_ms`, of a monotonic clock that gains `ppm`.
fn counted(true_ms: u64, ppm: i64) -> u64 {
    let drift = i128::from(true_ms) * i128::from(ppm) / 1_000_000;
    u64::try_from(i128::from(true_ms) + drift).unwrap()
}

/// How far the clock is ahead of the time `true_ms` after the start, by a monotonic clock that gains `ppm`.
fn ahead_ms(clock: &TrustedClock, true_ms: u64, ppm: i64) -> i64 {
    clock.at(counted(true_ms, ppm)).cast_signed() - (T0_UNIX_MS + true_ms).cast_signed()
}

#[test]
fn a_week_of_drift_comes_to_nothing() {
    for ppm in [10, -10, 100, -100, 499, -499] {
        let clock = clock();
        for minute in 1..=WEEK_MINUTES {
            let true_ms = minute * MINUTE_MS;
            // Just before the anchor it is off the most.
            let ahead_ms = ahead_ms(&clock, true_ms, ppm);
            assert!(ahead_ms.abs() <= 31, "{ppm} ppm, minute {minute}: {ahead_ms} ms");
            let judged = clock.anchor(anchor(T0_UNIX_MS + true_ms, counted(true_ms, ppm)));
            assert!(judged.is_taken && judged.ahead_ms.unsigned_abs() < MAX_DISAGREEMENT_MS, "{judged:?}");
        }
    }
    // It is the anchors that do it.
    assert_eq!(ahead_ms(&clock(), WEEK_MINUTES * MINUTE_MS, 10), 6048);
    assert_eq!(ahead_ms(&clock(), WEEK_MINUTES * MINUTE_MS, -10), -6048);
}

/// Meanwhile the clock gets ahead, so that no ticket lives longer, and it stands until the time has caught up.
#[test]
fn a_week_without_a_document_is_made_up_for() {
    let week_ms = WEEK_MINUTES * MINUTE_MS;
    for ppm in [10, -10, 49, -49] {
        let clock = clock();
        for minute in 1..=WEEK_MINUTES {
            let ahead_ms = ahead_ms(&clock, minute * MINUTE_MS, ppm);
            assert!((-3..=60_000).contains(&ahead_ms), "{ppm} ppm, minute {minute}: {ahead_ms} ms");
            clock.allow_for_drift(MINUTE_MS);
        }
        let was_ahead_ms = ahead_ms(&clock, week_ms, ppm);
        let judged = clock.anchor(anchor(T0_UNIX_MS + week_ms, counted(week_ms, ppm)));
        assert_eq!(judged, Judged { ahead_ms: was_ahead_ms, is_taken: true });
        assert_eq!(ahead_ms(&clock, week_ms, ppm), was_ahead_ms);
        let caught_up_ms = week_ms + was_ahead_ms.unsigned_abs();
        assert!((0..=3).contains(&ahead_ms(&clock, caught_up_ms, ppm)));
    }
}

/// A ticket of a day ago has expired by the time afterwards, and one of now has not.
#[test]
fn a_step_ahead_that_a_second_document_confirms_is_taken_whatever_its_size() {
    for step_ms in [5 * MAX_DISAGREEMENT_MS, 91_000, DAY_MS, 30 * DAY_MS] {
        for second_off_ms in [0, 1000, -1000] {
            let clock = clock();
            let second_ms = (T0_UNIX_MS + step_ms).checked_add_signed(second_off_ms).unwrap();
            let nsm = Documents(Mutex::new(vec![signed(second_ms), signed(T0_UNIX_MS + step_ms)]));
            let judged = clock.anchor(clock.read(&nsm).unwrap());
            assert!(judged.is_taken && nsm.0.lock().unwrap().is_empty(), "{step_ms}: {judged:?}");
            let now = clock.now_unix_ms();
            assert!((second_ms - 100..second_ms + 10_000).contains(&now), "{step_ms}: {now}");
        }
    }
}

#[test]
fn a_single_wrong_document_that_is_ahead_changes_nothing() {
    for step_ms in [2 * MAX_DISAGREEMENT_MS, 91_000, DAY_MS, 30 * DAY_MS] {
        let clock = clock();
        let before = clock.start_unix_ms.load(Ordering::Relaxed);
        let documents = vec![signed(T0_UNIX_MS), signed(T0_UNIX_MS), signed(T0_UNIX_MS + step_ms)];
        let nsm = Documents(Mutex::new(documents));
        let refused = clock.read(&nsm).unwrap_err();
        assert!(matches!(refused, NoTime::Unconfirmed { ahead_ms } if ahead_ms.abs_diff(step_ms) < 1000));
        assert_eq!(clock.start_unix_ms.load(Ordering::Relaxed), before);
        assert!(clock.anchor(clock.read(&nsm).unwrap()).is_taken, "the next one is right");
    }
}

#[test]
fn a_step_ahead_without_a_second_document_is_refused() {
    let nsm = Documents(Mutex::new(vec![signed(T0_UNIX_MS + DAY_MS)]));
    assert_eq!(clock().read(&nsm).unwrap_err(), NoTime::NoDocument(SILENT));
}

/// The NSM is asked once a minute, not twice, while nothing is wrong.
#[test]
fn a_document_that_is_a_little_ahead_needs_no_second_one() {
    let nsm = Documents(Mutex::new(vec![signed(T0_UNIX_MS + MAX_DISAGREEMENT_MS)]));
    let clock = clock();
    assert!(clock.anchor(clock.read(&nsm).unwrap()).is_taken);
}

/// A document from before the last one is one of these: it is behind by the minute between the two.
#[test]
fn a_document_that_is_behind_by_more_than_drift_is_refused() {
    for (step_ms, is_taken) in [
        (1, true),
        (MAX_DISAGREEMENT_MS + 30, true),
        (MAX_DISAGREEMENT_MS + 31, false),
        (MINUTE_MS, false),
        (MINUTE_MS + 1, false),
        (DAY_MS, false),
        (30 * DAY_MS, false),
    ] {
        let clock = clock();
        let judged = clock.anchor(anchor(T0_UNIX_MS + MINUTE_MS - step_ms, MINUTE_MS));
        assert_eq!(judged, Judged { ahead_ms: step_ms.cast_signed(), is_taken });
        // An accepted document moves the clock by no more than its possible drift.
        let moved_ms = if is_taken { step_ms.min(30) } else { 0 };
        assert_eq!(clock.at(MINUTE_MS), T0_UNIX_MS + MINUTE_MS - moved_ms, "{step_ms}");
    }
}

/// One whose time stands still, or goes at half the speed, keeps no ticket alive.
#[test]
fn an_nsm_whose_time_stands_still_is_refused() {
    let tellers: [fn(u64) -> u64; 2] = [|_| 0, |true_ms| true_ms / 2];
    for told in tellers {
        let clock = clock();
        for minute in 1..=WEEK_MINUTES {
            let true_ms = minute * MINUTE_MS;
            let judged = clock.anchor(anchor(T0_UNIX_MS + told(true_ms), true_ms));
            assert!(!judged.is_taken, "{judged:?}");
            assert_eq!(ahead_ms(&clock, true_ms, 0), 0);
        }
    }
}

/// QEMU's NSM tells whole seconds. The clock is behind by the fraction at most, and never ahead.
#[test]
fn whole_seconds_cost_a_second_at_most() {
    let begin_ms = 617;
    let clock = TrustedClock::anchored(Instant::now(), anchor(T0_UNIX_MS, begin_ms));
    for minute in 1..=1000 {
        let true_ms = begin_ms + minute * 60_037;
        let judged = clock.anchor(anchor((T0_UNIX_MS + true_ms) / 1000 * 1000, true_ms));
        assert!(judged.is_taken && judged.ahead_ms.abs() < 1000, "{judged:?}");
        assert!((-999..=0).contains(&ahead_ms(&clock, true_ms, 0)), "{minute}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_never_goes_back(anchors: Vec<(u32, i32)>, reads: Vec<u16>) {
        let clock = clock();
        let (mut elapsed_ms, mut last) = (0, 0);
        for (index, (after_ms, off_ms)) in anchors.into_iter().enumerate() {
            elapsed_ms += u64::from(after_ms % 200_000);
            let now = clock.at(elapsed_ms);
            prop_assert!(now >= last);
            let unix_ms = (now.cast_signed() + i64::from(off_ms)).cast_unsigned();
            clock.anchor(anchor(unix_ms, elapsed_ms));
            elapsed_ms += u64::from(reads.get(index).copied().unwrap_or_default());
            last = clock.at(elapsed_ms);
            prop_assert!(last >= now);
        }
    }

    #[test]
    fn no_document_makes_it_panic(document: Vec<u8>, timestamp in any::<u64>()) {
        timestamp_unix_ms(&document);
        let plausible = PLAUSIBLE_UNIX_MS.contains(&timestamp);
        prop_assert_eq!(timestamp_unix_ms(&signed(timestamp)), plausible.then_some(timestamp));
    }
}

/// A document with nothing in it but a time.
fn signed(timestamp: u64) -> Vec<u8> {
    let payload = std::collections::BTreeMap::from([("timestamp", timestamp)]);
    let payload = serde_cbor::Value::Bytes(serde_cbor::to_vec(&payload).unwrap());
    let empty = serde_cbor::Value::Bytes(Vec::new());
    let header = serde_cbor::Value::Map([].into());
    serde_cbor::to_vec(&[empty.clone(), header, payload, empty]).unwrap()
}

#[test]
fn the_time_of_a_document_of_nitro_is_read() {
    let nitros = include_bytes!("../../../infra/attestation/tests/data/attestation-doc-2022.cose");
    assert_eq!(timestamp_unix_ms(nitros), Some(1_657_117_102_484));
    for cut in 0..nitros.len() {
        assert_eq!(timestamp_unix_ms(&nitros[..cut]), None, "{cut}");
    }
    assert_eq!(timestamp_unix_ms(&[&nitros[..], &[0]].concat()), None);
    assert_eq!(timestamp_unix_ms(&vec![0x40; MAX_DOCUMENT_BYTES + 1]), None);
    for implausible in [0, 1_577_836_799_999, 253_402_300_800_000, u64::MAX] {
        assert_eq!(timestamp_unix_ms(&signed(implausible)), None, "{implausible}");
    }
}

/// Gives these documents, the last one first, and then none.
struct Documents(Mutex<Vec<Vec<u8>>>);

const SILENT: NsmUnavailable = NsmUnavailable::Refused("InternalError");

impl Nsm for Documents {
    fn attest(&self, request: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable> {
        assert_eq!(*request, AttestationRequest::default());
        self.0.lock().unwrap().pop().ok_or(SILENT)
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
        Err(SILENT)
    }

    fn describe_pcr(&self, _: u16) -> Result<Pcr, NsmUnavailable> {
        Err(SILENT)
    }
}

fn started(documents: Vec<Vec<u8>>) -> Result<TrustedClock, NoTime> {
    TrustedClock::start(&Documents(Mutex::new(documents)), Duration::from_millis(100))
}

#[test]
fn without_a_time_of_the_nsm_there_is_no_clock() {
    assert_eq!(started(vec![]).unwrap_err(), NoTime::NoDocument(SILENT));
    assert_eq!(started(vec![signed(0), signed(0)]).unwrap_err(), NoTime::Unreadable);
    assert_eq!(started(vec![b"no document".to_vec(); 2]).unwrap_err(), NoTime::Unreadable);
    assert_eq!(started(vec![signed(T0_UNIX_MS)]).unwrap_err(), NoTime::NoDocument(SILENT));
}

/// Nothing would set a clock back that starts with a wrong time ahead, and one that is behind would be lenient.
#[test]
fn a_single_wrong_document_at_the_start_is_asked_about_again() {
    for wrong_ms in [T0_UNIX_MS + DAY_MS, T0_UNIX_MS - DAY_MS, T0_UNIX_MS + 2 * MAX_DISAGREEMENT_MS] {
        let right = || signed(T0_UNIX_MS);
        for order in [[right(), signed(wrong_ms)], [signed(wrong_ms), right()]] {
            let [last, first] = order;
            let contradicted = TrustedClock::start(
                &Documents(Mutex::new(vec![last.clone(), first.clone()])),
                Duration::ZERO,
            );
            assert!(
                matches!(contradicted, Err(NoTime::Contradicted { apart_ms })
                    if apart_ms.abs_diff(wrong_ms.abs_diff(T0_UNIX_MS)) < 1000),
                "{contradicted:?}"
            );
            let clock = started(vec![right(), right(), last, first]).unwrap();
            assert!((T0_UNIX_MS..T0_UNIX_MS + 60_000).contains(&clock.now_unix_ms()));
        }
    }
}

/// The system clock does not matter, nor does a document without a time.
#[test]
fn it_starts_with_the_time_of_the_nsm() {
    let clock = started(vec![signed(T0_UNIX_MS), signed(T0_UNIX_MS), Vec::new()]).unwrap();
    let now = clock.now_unix_ms();
    assert!((T0_UNIX_MS..T0_UNIX_MS + 60_000).contains(&now), "{now}");
    std::thread::sleep(Duration::from_millis(20));
    assert!(clock.now_unix_ms() >= now + 20);
}

#[test]
fn what_goes_wrong_is_counted_each_time_and_logged_now_and_then() {
    let mut record = Record::new();
    let taken = |ahead_ms| Ok(Judged { ahead_ms, is_taken: true });
    let refused = Ok(Judged { ahead_ms: 60_000, is_taken: false });
    for fine in [0, 2000, -2000] {
        assert!(!record.add(taken(fine)));
    }
    assert!(record.add(taken(-2001)));
    assert!(record.add(refused));
    assert!(record.add(Err(NoTime::TooLate)));
    assert_eq!(MAX_LINES, 3);
    for _ in 0..100 {
        assert!(!record.add(taken(2001)) && !record.add(refused) && !record.add(Err(NoTime::TooLate)));
        assert!(!record.add(Err(NoTime::Unconfirmed { ahead_ms: DAY_MS })));
    }
    assert_eq!((record.disagreements, record.refusals, record.failures), (101, 201, 101));
}

#[tokio::test(start_paused = true)]
async fn it_is_anchored_each_minute() {
    let ahead = || signed(T0_UNIX_MS + 91_000);
    let nsm = Arc::new(Documents(Mutex::new(vec![ahead(), ahead(), signed(T0_UNIX_MS), signed(T0_UNIX_MS)])));
    let clock = Arc::new(TrustedClock::start(&*nsm, Duration::ZERO).unwrap());
    tokio::spawn(Arc::clone(&clock).keep_anchored(nsm));
    sleep(Duration::from_secs(59)).await;
    assert_eq!(clock.now_unix_ms(), T0_UNIX_MS + 59_000);
    sleep(Duration::from_secs(2)).await;
    let now = clock.now_unix_ms();
    assert!((T0_UNIX_MS + 91_990..T0_UNIX_MS + 92_010).contains(&now), "{now}");
}

/// So a counter that is slow makes no ticket live longer.
#[tokio::test(start_paused = true)]
async fn without_documents_it_gets_ahead_each_minute() {
    let nsm = Arc::new(Documents(Mutex::new(vec![signed(T0_UNIX_MS); 2])));
    let clock = Arc::new(TrustedClock::start(&*nsm, Duration::ZERO).unwrap());
    tokio::spawn(Arc::clone(&clock).keep_anchored(nsm));
    sleep(Duration::from_secs(30)).await;
    for minutes in 0..60 {
        let passed_ms = clock.start.elapsed().as_secs() * 1000;
        assert_eq!(clock.now_unix_ms(), T0_UNIX_MS + passed_ms + 3 * minutes, "{minutes}");
        sleep(Duration::from_secs(60)).await;
    }
}

/// Answers with what the test sends, when it sends it, and counts the calls.
struct Hanging {
    calls: AtomicU32,
    answers: Mutex<mpsc::Receiver<Vec<u8>>>,
}

impl Nsm for Hanging {
    fn attest(&self, _: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.answers.lock().unwrap().recv().map_err(|_| SILENT)
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
        Err(SILENT)
    }

    fn describe_pcr(&self, _: u16) -> Result<Pcr, NsmUnavailable> {
        Err(SILENT)
    }
}

impl Hanging {
    /// Waits until the call number `calls` has begun, on another thread.
    fn is_asked(&self, calls: u32) {
        let patience = std::time::Instant::now() + Duration::from_secs(5);
        while self.calls.load(Ordering::Relaxed) < calls {
            assert!(std::time::Instant::now() < patience, "not asked");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn hanging() -> (mpsc::Sender<Vec<u8>>, Arc<Hanging>) {
    let (answer, answers) = mpsc::channel();
    (answer, Arc::new(Hanging { calls: AtomicU32::new(0), answers: Mutex::new(answers) }))
}

#[tokio::test(start_paused = true)]
async fn a_document_that_takes_more_than_a_second_is_too_late() {
    for (round_trip_ms, outcome) in [(1000, Ok(())), (1001, Err(NoTime::TooLate))] {
        let (answer, nsm) = hanging();
        let (asked, clock) = (Arc::clone(&nsm), clock());
        let call = spawn_blocking(move || clock.read(&*asked).map(drop));
        nsm.is_asked(1);
        advance(Duration::from_millis(round_trip_ms)).await;
        answer.send(signed(T0_UNIX_MS)).unwrap();
        assert_eq!(call.await.unwrap(), outcome, "{round_trip_ms}");
    }
}

/// The paused time does not go on by itself while a call blocks.
async fn pass(seconds: u64) {
    for _ in 0..seconds {
        advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_nsm_that_hangs_is_asked_once_and_the_clock_allows_for_drift() {
    let (answer, nsm) = hanging();
    for _ in 0..2 {
        answer.send(signed(T0_UNIX_MS)).unwrap();
    }
    let clock = Arc::new(TrustedClock::start(&*nsm, Duration::ZERO).unwrap());
    let hanging: Arc<dyn Nsm> = Arc::<Hanging>::clone(&nsm);
    tokio::spawn(Arc::clone(&clock).keep_anchored(hanging));
    // It has begun to wait for its minute before that passes.
    tokio::task::yield_now().await;
    let mut ahead = Vec::new();
    for seconds in [62, 4, 190] {
        pass(seconds).await;
        nsm.is_asked(3);
        ahead.push(clock.start_unix_ms.load(Ordering::Relaxed) - T0_UNIX_MS);
    }
    assert_eq!(ahead, [0, 3, 12], "3 ms a minute, as soon as the call has taken 2 s");
    assert_eq!(nsm.calls.load(Ordering::Relaxed), 3, "two at the start, and the one that hangs");

    answer.send(signed(T0_UNIX_MS + DAY_MS)).unwrap();
    drop(answer);
    sleep(Duration::from_secs(65)).await;
    assert_eq!(
        clock.start_unix_ms.load(Ordering::Relaxed),
        T0_UNIX_MS + 15,
        "the late answer does not count"
    );
    assert_eq!(nsm.calls.load(Ordering::Relaxed), 4, "it is asked again");
}
