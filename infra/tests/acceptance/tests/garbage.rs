//! A holder of the API key sends backups that KMS does not open, while others restore.
//!
//! The answers are those of `docs/api.md`, "9. Backups".

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acceptance::attested::Parent;
use acceptance::contract::{KEY_SERVICE, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::signer::new_identity;
use acceptance::{Failure, Server, bip340};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

/// Connections on which garbage comes all the time.
const GARBAGE_CLIENTS: usize = 256;

/// The duration of a call to KMS.
const KMS_LATENCY_MS: u32 = 60;

/// Refusals that the signer lets KMS make in a second.
const REFUSALS_A_SECOND: f64 = 64.0;

/// Keys to restore, which were sealed under one data key.
const KEYS: usize = 10_000;

/// Keys to restore, each of which KMS has to open.
const LEGACY_KEYS: usize = 500;

/// Clients that restore.
const RESTORERS: usize = 16;

/// The longest time until the first key is back. All the garbage that waits was before it once: 4 s of it, by the
/// refusals in a second, and 15 s if one call waited for the other.
const FIRST_KEY: Duration = Duration::from_secs(10);

/// The longest restore of the legacy backups: it takes 4 s without garbage, and took two minutes when each backup
/// waited with the garbage.
const LEGACY_RESTORE: Duration = Duration::from_secs(40);

/// Before the bytes of a wrapped data key: a version and the length.
const HEAD_BYTES: usize = 3;

/// After them: nonce, ciphertext and tag.
const SEALED_BYTES: usize = 12 + 32 + 16;

/// A backup of today's form with this wrapped data key, and with nothing else that is right.
fn with_data_key(wrapped: &[u8]) -> Result<String, Failure> {
    let length = u16::try_from(wrapped.len())?.to_be_bytes();
    let bytes = [&[1], &length[..], wrapped, &[7; SEALED_BYTES]].concat();
    Ok(format!("ns1.{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A backup that looks good and that KMS does not open, of one form or the other.
fn garbage() -> Result<String, Failure> {
    let wrapped: [u8; 150] = rand::random();
    if rand::random() { with_data_key(&wrapped) } else { Ok(format!("kms:{}", STANDARD.encode(wrapped))) }
}

fn import(server: &Server, sealed: &str, status: u16, error: &str) -> Result<(), Failure> {
    server.signer().import(&new_identity(), sealed).is_error(status, error)
}

/// The result of a restore beside garbage.
#[derive(Debug)]
struct Restored {
    took: Duration,
    first_key: Duration,
    /// Garbage that was refused meanwhile.
    refused: usize,
    /// From the first garbage to the last.
    lasted: Duration,
}

/// Shares `backups`, which are sealed keys with their identities, among clients that restore them. Meanwhile KMS takes
/// its time for a call, and other clients send garbage.
fn restore_beside_garbage(
    parent: &Parent,
    server: &Server,
    backups: &[(String, String)],
) -> Result<Restored, Failure> {
    parent.kms.fail_next("Decrypt", "delay", u32::MAX, KMS_LATENCY_MS)?;
    parent.kms.forget_calls()?;
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let first_key = OnceLock::new();
    let began = Instant::now();
    let took = thread::scope(|scope| {
        let send_garbage = || -> Result<(), Failure> {
            let mut signer = server.signer();
            while !stop.load(Ordering::Relaxed) {
                let status = signer.import(&new_identity(), &garbage()?).response()?.status;
                ensure([500, 503].contains(&status), || format!("status {status}"))?;
                refused.fetch_add(usize::from(status == 500), Ordering::Relaxed);
            }
            Ok(())
        };
        let sending: Vec<_> = (0..GARBAGE_CLIENTS).map(|_| scope.spawn(send_garbage)).collect();
        // Until garbage is all that KMS hears.
        thread::sleep(Duration::from_secs(2));
        let started = Instant::now();
        let restoring: Vec<_> = backups
            .chunks(backups.len().div_ceil(RESTORERS))
            .map(|share| {
                let first_key = &first_key;
                scope.spawn(move || -> Result<(), Failure> {
                    let mut signer = server.signer();
                    for (sealed, identity) in share {
                        signer.imported(identity, sealed)?;
                        first_key.get_or_init(|| started.elapsed());
                    }
                    Ok(())
                })
            })
            .collect();
        let restored: Result<Vec<()>, Failure> =
            restoring.into_iter().map(|client| client.join().expect("no panic")).collect();
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        sending.into_iter().try_for_each(|client| client.join().expect("no panic"))?;
        restored.map(|_| took)
    })?;
    let lasted = began.elapsed();
    let first_key = *first_key.get().expect("a key was restored");
    let refused = refused.load(Ordering::Relaxed);
    Ok(Restored { took, first_key, refused, lasted })
}

#[test]
fn ten_thousand_keys_are_restored_beside_garbage() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let mut backups = Vec::new();
    {
        let attested = parent.ready()?;
        let server = attested.server();
        let mut signer = server.signer();
        for _ in 0..KEYS {
            let identity = new_identity();
            signer.generated(&identity)?;
            backups.push((signer.exported(&identity)?, identity));
        }
    }
    let attested = parent.ready()?;
    let restored = restore_beside_garbage(&parent, &attested.server(), &backups)?;
    println!("{KEYS} keys: {restored:?}");
    let (calls, lasted) = (parent.kms.calls()?.len(), restored.lasted);
    ensure(restored.first_key < FIRST_KEY, || format!("it took {:?}", restored.first_key))?;
    ensure(restored.refused > 0, || "nothing was refused".to_owned())?;
    // The first second begins with all places free.
    let limit = REFUSALS_A_SECOND * (lasted.as_secs_f64() + 1.0);
    ensure(f64::from(u32::try_from(calls)?) < limit, || format!("{calls} calls in {lasted:?}"))
}

/// KMS has to open each of them by itself. Only the first of each client waits beside garbage.
#[test]
fn five_hundred_legacy_backups_are_restored_beside_garbage() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let mut backups = Vec::new();
    for _ in 0..LEGACY_KEYS {
        let blob = parent.kms.encrypt(&parent.key, &json!({}), &bip340::random_scalar())?;
        backups.push((format!("kms:{blob}"), new_identity()));
    }
    let attested = parent.ready()?;
    let restored = restore_beside_garbage(&parent, &attested.server(), &backups)?;
    println!("{LEGACY_KEYS} legacy backups: {restored:?}");
    ensure(restored.took < LEGACY_RESTORE, || format!("it took {:?}", restored.took))
}

/// However many wait for KMS, a backup whose data key is at hand is restored.
#[test]
fn a_data_key_at_hand_waits_for_nobody() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.max_requests_in_flight = 8;
    let attested = parent.ready()?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generated(&identity)?;
    let sealed = server.signer().exported(&identity)?;
    server.signer().destroyed(&identity)?;
    parent.kms.fail_next("Decrypt", "hang", 1000, 0)?;
    thread::scope(|scope| {
        let send_garbage = || -> Result<u16, Failure> {
            Ok(server.signer().import(&new_identity(), &garbage()?).response()?.status)
        };
        let waiting: Vec<_> = (0..8).map(|_| scope.spawn(send_garbage)).collect();
        thread::sleep(Duration::from_millis(500));
        let outcome = server.signer().imported(&identity, &sealed);
        let statuses: Result<Vec<u16>, Failure> =
            waiting.into_iter().map(|waited| waited.join().expect("no panic")).collect();
        outcome?;
        let mut statuses = statuses?;
        statuses.sort_unstable();
        ensure(statuses == [502, 502, 503, 503, 503, 503, 503, 503], || format!("{statuses:?}"))
    })
}

#[test]
fn garbage_that_is_repeated_costs_one_call() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    for sealed in [with_data_key(&[1; 150])?, format!("kms:{}", STANDARD.encode([1; 150]))] {
        for _ in 0..20 {
            import(&attested.server(), &sealed, 500, UNABLE_TO_OPEN)?;
        }
    }
    let calls = parent.kms.calls()?;
    ensure(calls == ["Decrypt"; 2], || format!("{calls:?}"))
}

/// A good ciphertext in a backup of the other form is refused, as its context is another. That is no word on the good
/// backup.
#[test]
fn a_good_backup_cannot_be_made_out_to_be_garbage() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let identity = new_identity();
    let sealed = {
        let attested = parent.ready()?;
        attested.server().signer().generated(&identity)?;
        attested.server().signer().exported(&identity)?
    };
    let bytes = URL_SAFE_NO_PAD.decode(sealed.trim_start_matches("ns1."))?;
    let wrapped = &bytes[HEAD_BYTES..bytes.len() - SEALED_BYTES];
    let blob = parent.kms.encrypt(&parent.key, &json!({}), &bip340::random_scalar())?;

    let attested = parent.ready()?;
    let server = attested.server();
    import(&server, &format!("kms:{}", STANDARD.encode(wrapped)), 500, UNABLE_TO_OPEN)?;
    server.signer().imported(&identity, &sealed)?;
    import(&server, &with_data_key(&STANDARD.decode(&blob)?)?, 500, UNABLE_TO_OPEN)?;
    server.signer().imported(&new_identity(), &format!("kms:{blob}"))
}

/// KMS denies now, and no longer in a moment.
#[test]
fn a_denial_is_not_remembered() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let blob = parent.kms.encrypt(&parent.key, &json!({}), &bip340::random_scalar())?;
    let sealed = format!("kms:{blob}");
    let key = json!({"key": parent.key.arn});
    parent.kms.tell("POST", "/forget", &key)?;
    import(&attested.server(), &sealed, 502, KEY_SERVICE)?;
    parent.kms.tell("POST", "/restore", &key)?;
    attested.server().signer().imported(&new_identity(), &sealed)
}
