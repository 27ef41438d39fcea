//! The result of a load.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::keys::Key;
use super::tally::Tally;

/// The reported percentiles, and their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The result of a load, without its warm-up.
pub struct Report {
    took: Duration,
    successes: u64,
    /// Each error and its count; the most frequent first.
    errors: Vec<(String, u64)>,
    latency: Times,
    connecting: Times,
    sent_body_bytes: u64,
    received_body_bytes: u64,
    verified: usize,
    not_verified: usize,
}

/// How long something took, in microseconds.
struct Times {
    count: u64,
    quantiles: [(&'static str, u64); QUANTILES.len()],
    max_us: u64,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            quantiles: QUANTILES.map(|(name, quantile)| (name, histogram.value_at_quantile(quantile))),
            max_us: histogram.max(),
        }
    }

    fn to_json(&self) -> Value {
        let mut times: serde_json::Map<String, Value> =
            self.quantiles.iter().map(|(name, us)| ((*name).to_owned(), (*us).into())).collect();
        times.insert("max".to_owned(), self.max_us.into());
        times.into()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, us) in self.quantiles.iter().chain(&[("max", self.max_us)]) {
            let separator = if *name == "p50" { "" } else { ", " };
            write!(formatter, "{separator}{name} {}.{:03} ms", us / 1000, us % 1000)?;
        }
        Ok(())
    }
}

impl Report {
    pub(super) fn new(tally: &Tally, keys: &[Key], took: Duration) -> Self {
        let mut errors: Vec<_> = tally.errors.clone().into_iter().collect();
        errors.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let (verified, not_verified) = tally.verify(keys);
        Self {
            took,
            successes: tally.successes,
            errors,
            latency: Times::of(&tally.latency),
            connecting: Times::of(&tally.connecting),
            sent_body_bytes: tally.sent_body_bytes,
            received_body_bytes: tally.received_body_bytes,
            verified,
            not_verified,
        }
    }

    /// Requests that were answered with something else, or not at all.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.iter().map(|(_, times)| times).sum()
    }

    /// Signatures of the sample that are none.
    #[must_use]
    pub const fn not_verified(&self) -> usize {
        self.not_verified
    }

    /// All requests, failed ones too.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.successes + self.error_count()
    }

    /// Whether some were refused for want of room: of places for requests, or for nonces.
    #[must_use]
    pub fn found_no_room(&self) -> bool {
        self.errors.iter().any(|(kind, _)| kind.starts_with("503"))
    }

    fn signatures_per_second(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { self.successes as f64 / seconds } else { 0.0 }
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let errors: serde_json::Map<String, Value> =
            self.errors.iter().map(|(kind, times)| (kind.clone(), (*times).into())).collect();
        json!({
            "seconds": (self.took.as_secs_f64() * 1000.0).round() / 1000.0,
            "requests": self.requests(),
            "signatures": self.successes,
            "errors": self.error_count(),
            "signatures_per_second": (self.signatures_per_second() * 10.0).round() / 10.0,
            "latency_us": self.latency.to_json(),
            "connections_opened": self.connecting.count,
            "connecting_us": self.connecting.to_json(),
            "sent_body_bytes": self.sent_body_bytes,
            "received_body_bytes": self.received_body_bytes,
            "verified": self.verified,
            "not_verified": self.not_verified,
            "errors_by_kind": errors,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, seconds) = (self.requests(), self.took.as_secs_f64());
        writeln!(
            formatter,
            "{requests} requests in {seconds:.3} s: {} signatures, {} errors",
            self.successes,
            self.error_count()
        )?;
        writeln!(formatter, "signatures: {:.1} a second", self.signatures_per_second())?;
        if self.latency.count > 0 {
            writeln!(formatter, "latency:    {}", self.latency)?;
        }
        if self.connecting.count > 0 {
            let Times { count, .. } = self.connecting;
            writeln!(formatter, "connecting: {} ({count} times)", self.connecting)?;
        }
        writeln!(
            formatter,
            "bodies:     {} bytes sent, {} received",
            self.sent_body_bytes, self.received_body_bytes
        )?;
        for (kind, times) in &self.errors {
            writeln!(formatter, "error:      {times} times {kind}")?;
        }
        write!(formatter, "verified:   {} signatures, {} of them wrong", self.verified, self.not_verified)
    }
}
