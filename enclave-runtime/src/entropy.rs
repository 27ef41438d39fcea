//! Randomness: the kernel's, whose pool the NSM seeds.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use enclave_core::with_burnt_stack;
use nix::errno::Errno;

use crate::nsm::{Nsm, NsmUnavailable};

/// The seed of the kernel's pool: one answer of the NSM, and as much as the pool can hold.
const SEED_BYTES: usize = 256;

/// Shortest answer of the NSM that is worth mixing: a whole seed of the kernel's generator.
const MIN_ANSWER_BYTES: usize = 32;

/// Why there is no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntropyUnavailable {
    /// getrandom(2) fails.
    Kernel,
    /// getrandom(2) waits for longer than we do: the kernel's pool is not seeded.
    KernelSilent,
    /// The NSM gave none.
    Nsm(NsmUnavailable),
    /// The NSM gave fewer than 32 bytes.
    NsmTooShort,
    /// The NSM gave one byte over and over, or the same bytes again.
    NsmStuck,
    /// `/dev/urandom` does not take what is to be mixed in.
    NotMixed(Errno),
}

impl std::fmt::Display for EntropyUnavailable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kernel => formatter.write_str("the kernel gives no randomness"),
            Self::KernelSilent => formatter.write_str("the kernel's pool is not seeded in time"),
            Self::Nsm(unavailable) => write!(formatter, "no randomness of the nsm: {unavailable}"),
            Self::NsmTooShort => formatter.write_str("the nsm gives too little randomness"),
            Self::NsmStuck => formatter.write_str("the nsm's randomness is stuck"),
            Self::NotMixed(errno) => write!(formatter, "/dev/urandom cannot be written: {errno}"),
        }
    }
}

impl std::error::Error for EntropyUnavailable {}

/// Fills `bytes` from getrandom(2), which waits for the kernel's pool to be seeded once after boot.
///
/// # Errors
/// [`EntropyUnavailable::Kernel`]
pub(crate) fn fill<const N: usize>(bytes: &mut [u8; N]) -> Result<(), EntropyUnavailable> {
    getrandom::fill(bytes).map_err(|_| EntropyUnavailable::Kernel)
}

/// Mixes randomness of the NSM into the kernel's pool, and waits for the kernel to give some. Blocks, for `patience`
/// and for as long as the NSM takes. To be called before any key is made.
///
/// The kernel does not count these bytes as entropy, because that takes a privileged ioctl. Its own driver of the NSM
/// feeds the pool too, and counts it, so the wait ends.
///
/// # Errors
/// [`EntropyUnavailable`]
pub(crate) fn seed_kernel_pool(nsm: &dyn Nsm, patience: Duration) -> Result<(), EntropyUnavailable> {
    let pool = File::options().write(true).open("/dev/urandom");
    let mut pool = pool.map_err(not_mixed)?;
    // nsm-api leaves the answer on the stack.
    with_burnt_stack(|| mix(nsm, &mut pool))?;
    within(patience, || fill(&mut [0]))
}

/// Writes at least [`SEED_BYTES`] of the NSM into `pool`.
fn mix(nsm: &dyn Nsm, pool: &mut impl Write) -> Result<(), EntropyUnavailable> {
    let mut mixed_bytes = 0;
    let mut last = None;
    // Ends: every answer that is mixed in has MIN_ANSWER_BYTES.
    while mixed_bytes < SEED_BYTES {
        let random = nsm.random().map_err(EntropyUnavailable::Nsm)?;
        if random.len() < MIN_ANSWER_BYTES {
            return Err(EntropyUnavailable::NsmTooShort);
        }
        if random.iter().all(|byte| *byte == random[0]) || last.as_ref() == Some(&random) {
            return Err(EntropyUnavailable::NsmStuck);
        }
        pool.write_all(&random).map_err(not_mixed)?;
        mixed_bytes += random.len();
        last = Some(random);
    }
    Ok(())
}

/// The result of `wait`, or an error after `patience`. Then its thread stays behind, because nothing ends a
/// getrandom(2) that waits.
fn within(
    patience: Duration,
    wait: impl FnOnce() -> Result<(), EntropyUnavailable> + Send + 'static,
) -> Result<(), EntropyUnavailable> {
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::Builder::new().name("entropy".to_owned());
    let waiter = waiter.spawn(move || {
        // The receiver is gone if it took too long.
        let _ = sender.send(wait());
    });
    waiter.map_err(|_| EntropyUnavailable::Kernel)?;
    receiver.recv_timeout(patience).unwrap_or(Err(EntropyUnavailable::KernelSilent))
}

fn not_mixed(error: std::io::Error) -> EntropyUnavailable {
    EntropyUnavailable::NotMixed(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use zeroize::Zeroizing;

    use super::{EntropyUnavailable, mix, mpsc, seed_kernel_pool, within};
    use crate::nsm::{AttestationRequest, Nsm, NsmUnavailable, Pcr};

    /// Gives these answers, the last one first, and then none.
    struct Answers(Mutex<Vec<Vec<u8>>>);

    const SILENT: NsmUnavailable = NsmUnavailable::Refused("InternalError");

    impl Answers {
        fn new(answers: &[&[u8]]) -> Self {
            Self(Mutex::new(answers.iter().rev().map(|answer| answer.to_vec()).collect()))
        }
    }

    impl Nsm for Answers {
        fn attest(&self, _request: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable> {
            Err(SILENT)
        }

        fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
            self.0.lock().unwrap().pop().map(Zeroizing::new).ok_or(SILENT)
        }

        fn describe_pcr(&self, _index: u16) -> Result<Pcr, NsmUnavailable> {
            Err(SILENT)
        }
    }

    /// As if random, and different for each `start`.
    fn noise(start: u8, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|place| start.wrapping_add(place.to_le_bytes()[0])).collect()
    }

    fn mixed(answers: &[&[u8]]) -> (Result<(), EntropyUnavailable>, Vec<u8>) {
        let mut pool = Vec::new();
        let result = mix(&Answers::new(answers), &mut pool);
        (result, pool)
    }

    #[test]
    fn a_whole_answer_is_mixed_in() {
        let whole = noise(3, 256);
        assert_eq!(mixed(&[&whole]), (Ok(()), whole));
    }

    #[test]
    fn short_answers_are_collected() {
        let answers: Vec<_> = (0..8).map(|start| noise(start, 32)).collect();
        let answers: Vec<_> = answers.iter().map(Vec::as_slice).collect();
        assert_eq!(mixed(&answers), (Ok(()), answers.concat()));
        assert_eq!(mixed(&answers[..7]).0, Err(EntropyUnavailable::Nsm(SILENT)));
    }

    #[test]
    fn an_nsm_without_randomness_is_refused() {
        let good = noise(1, 64);
        let mut almost_stuck = vec![0; 255];
        almost_stuck.push(1);
        for (answers, expected) in [
            (vec![], Err(EntropyUnavailable::Nsm(SILENT))),
            (vec![vec![]], Err(EntropyUnavailable::NsmTooShort)),
            (vec![noise(1, 31)], Err(EntropyUnavailable::NsmTooShort)),
            (vec![vec![0; 256]], Err(EntropyUnavailable::NsmStuck)),
            (vec![vec![0xff; 256]], Err(EntropyUnavailable::NsmStuck)),
            (vec![good.clone(), good.clone()], Err(EntropyUnavailable::NsmStuck)),
            (vec![good.clone(), vec![0; 256]], Err(EntropyUnavailable::NsmStuck)),
            (vec![almost_stuck], Ok(())),
        ] {
            let answers: Vec<_> = answers.iter().map(Vec::as_slice).collect();
            assert_eq!(mixed(&answers).0, expected, "{answers:?}");
        }
    }

    #[test]
    fn a_kernel_that_answers_is_enough() {
        let nsm = Answers::new(&[&noise(9, 256)]);
        assert_eq!(seed_kernel_pool(&nsm, Duration::from_secs(60)), Ok(()));
        // It took the one answer there was.
        assert_eq!(seed_kernel_pool(&nsm, Duration::from_secs(60)), Err(EntropyUnavailable::Nsm(SILENT)));
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_not_waited_for() {
        let (release, stuck) = mpsc::channel::<()>();
        let patience = Duration::from_millis(50);
        let asked = Instant::now();
        let result = within(patience, move || {
            let _ = stuck.recv();
            Ok(())
        });
        assert_eq!(result, Err(EntropyUnavailable::KernelSilent));
        assert!(asked.elapsed() >= patience);
        drop(release);
        let failing = || Err(EntropyUnavailable::Kernel);
        assert_eq!(within(Duration::from_secs(60), failing), Err(EntropyUnavailable::Kernel));
    }
}
