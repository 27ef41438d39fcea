//! The counters of one client.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::keys::Key;
use crate::bip340::is_signed;
use crate::connection::Unreachable;
use crate::printable::{MAX_WORDS_CHARS, printable};

/// The longest time that is told from longer ones: over each deadline of a client.
const MAX_LATENCY_US: u64 = 120_000_000;

/// The resolution of a time: a thousandth of it.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Kinds of errors that are counted apart. Who answers with a new text each time fills no memory.
const MAX_ERROR_KINDS: usize = 64;

/// Signatures of a client that are kept to be verified.
const MAX_SAMPLES: usize = 32;

/// A signature that is verified when all is over.
struct Sample {
    key: usize,
    digest: [u8; 32],
    signature: [u8; 64],
}

/// The counters of one client, or of all.
pub(super) struct Tally {
    /// Of requests that were answered with a signature, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// Of connections, TCP and TLS, in microseconds.
    pub(super) connecting: Histogram<u64>,
    pub(super) successes: u64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) sent_body_bytes: u64,
    pub(super) received_body_bytes: u64,
    samples: Vec<Sample>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_max(MAX_LATENCY_US, SIGNIFICANT_DIGITS)
                .expect("bounds are in order, and digits few")
        };
        Self {
            latency: histogram(),
            connecting: histogram(),
            successes: 0,
            errors: BTreeMap::new(),
            sent_body_bytes: 0,
            received_body_bytes: 0,
            samples: Vec::new(),
        }
    }

    pub(super) fn connected(&mut self, took: Duration) {
        self.connecting.saturating_record(microseconds(took));
    }

    /// Counts an answer that is a signature. `random` is for deciding which ones are kept.
    pub(super) fn signed(
        &mut self,
        took: Duration,
        key: usize,
        digest: [u8; 32],
        signature: [u8; 64],
        random: u64,
    ) {
        self.latency.saturating_record(microseconds(took));
        self.successes += 1;
        let sample = Sample { key, digest, signature };
        // Each signature is kept with the same probability (Vitter's algorithm R).
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(sample);
        } else if let Ok(place) = usize::try_from(random % self.successes)
            && place < MAX_SAMPLES
        {
            self.samples[place] = sample;
        }
    }

    pub(super) fn refused(&mut self, status: u16, words: Option<String>) {
        let words = printable(&words.unwrap_or_default(), MAX_WORDS_CHARS);
        self.count(format!("{status} {words}").trim_end().to_owned(), 1);
    }

    pub(super) fn unanswered(&mut self, error: &Unreachable) {
        self.count(error.to_string(), 1);
    }

    fn count(&mut self, kind: String, times: u64) {
        let is_new = !self.errors.contains_key(&kind);
        let kind = if is_new && self.errors.len() >= MAX_ERROR_KINDS { "others".to_owned() } else { kind };
        *self.errors.entry(kind).or_default() += times;
    }

    pub(super) fn add(&mut self, other: Self) {
        for (ours, theirs) in [(&mut self.latency, &other.latency), (&mut self.connecting, &other.connecting)]
        {
            ours.add(theirs).expect("they have the same bounds");
        }
        self.successes += other.successes;
        self.sent_body_bytes += other.sent_body_bytes;
        self.received_body_bytes += other.received_body_bytes;
        self.samples.extend(other.samples);
        for (kind, times) in other.errors {
            self.count(kind, times);
        }
    }

    /// How many signatures were verified, and how many of them are none.
    pub(super) fn verify(&self, keys: &[Key]) -> (usize, usize) {
        let is_good =
            |sample: &&Sample| is_signed(&keys[sample.key].public_key, &sample.digest, &sample.signature);
        let good = self.samples.iter().filter(is_good).count();
        (self.samples.len(), self.samples.len() - good)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(MAX_LATENCY_US)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX_ERROR_KINDS, MAX_SAMPLES, Tally};

    #[test]
    fn what_two_count_is_the_sum() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        for (tally, times) in [(&mut one, 100), (&mut other, 50)] {
            for random in 0..times {
                tally.signed(Duration::from_millis(random), 0, [0; 32], [0; 64], random);
                tally.refused(503, Some("Signer is at\ncapacity".to_owned()));
            }
            tally.refused(500, None);
            tally.connected(Duration::from_secs(1000));
        }
        one.add(other);
        assert_eq!((one.successes, one.latency.len(), one.errors.values().sum::<u64>()), (150, 150, 152));
        assert_eq!(one.errors[r"503 Signer is at\ncapacity"], 150);
        assert_eq!(one.errors["500"], 2);
        assert_eq!(one.connecting.len(), 2);
        assert_eq!(one.samples.len(), 2 * MAX_SAMPLES);
        // Within a thousandth of 99 ms.
        assert!((98_900..99_200).contains(&one.latency.max()), "{}", one.latency.max());
    }

    #[test]
    fn kinds_of_errors_are_few() {
        let mut tally = Tally::new();
        for number in 0..1000 {
            tally.refused(500, Some(number.to_string()));
        }
        assert_eq!((tally.errors.values().sum::<u64>(), tally.errors.len()), (1000, MAX_ERROR_KINDS + 1));
    }
}
