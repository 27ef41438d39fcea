//! Judges a history. It knows the contract and nothing of the product, the load or the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acceptance::bip340::{self, x_only};
use serde_json::Value;

use crate::history::{Exchange, History, Outcome, Request, Span, Way};
use crate::plan::Kind;

/// An answer that needs no KMS: the longest wait of `docs/api.md`, "11. Connections", is ten seconds, a signer is
/// stopped for two.
const DEADLINE: Duration = Duration::from_secs(15);

/// An answer that may need KMS: twenty seconds for a turn, three tries of five seconds, and the pauses between them.
const KEY_SERVICE_DEADLINE: Duration = Duration::from_secs(45);

/// So long after KMS is back, calls that began before may still fail: a try takes five seconds, and a failed call is
/// not repeated for one.
const KEY_SERVICE_RECOVERY: Duration = Duration::from_secs(8);

/// Bytes on the way through the proxy have not arrived. What was sent so long before a drain has.
const ARRIVAL: Duration = Duration::from_millis(150);

/// A signer that drains waits a second for a handshake, and for a head, and a busy machine takes a part of that.
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);

/// How many times the p99 without faults the p99 under faults may be.
const P99_FACTOR: u32 = 5;

/// A p99 under faults up to this is no fault. Without faults a p99 may be some ten milliseconds; a debug build that
/// waits for a core beside other processes takes more than five times that. Who waits for a place or a deadline waits
/// for seconds.
const P99_FLOOR: Duration = Duration::from_millis(400);

/// Of fewer samples, the p99 is decided by the five slowest, and these by other programs on the machine.
const P99_SAMPLES: usize = 500;

/// Of fewer than [`P99_SAMPLES`], the p90 is compared, and of fewer than these the median.
const P90_SAMPLES: usize = 100;

/// A run that lasts so long has [`MEDIAN_SAMPLES`] without faults, on a busy machine too.
const COMPARABLE_RUN: Duration = Duration::from_secs(60);

/// A client that starves gives few samples. From so many on, a median above the limit shows it.
const MEDIAN_SAMPLES: usize = 10;

const SLOW: &str = "the p99 under faults is under 5 times the p99 without";
const FEW_SAMPLES: &str = "a run of 60 s or more measures latency without faults";

/// Of one rule, so many violations are told one by one.
const TOLD: usize = 10;

/// Latencies that are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// On a kept connection, without KMS.
    Kept,
    /// On a new connection, without KMS.
    Fresh,
    /// Exports and imports while KMS works.
    Backup,
}

impl Group {
    /// As the report names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept connection",
            Self::Fresh => "new connection",
            Self::Backup => "export and import",
        }
    }
}

/// When a latency was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// Without faults.
    Quiet,
    /// Under any faults, while a signer ran.
    Faults,
    /// Under faults of this kind, while a signer ran.
    Fault(Kind),
}

impl Condition {
    /// As the report names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "no faults",
            Self::Faults => "all faults",
            Self::Fault(kind) => kind.name(),
        }
    }
}

/// Sorted latencies.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The latency that `percent` of the samples do not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// A latency under faults beside the p99 of the same group without faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// Of the latencies under faults: 99, or 50 where they are few.
    pub(crate) percent: usize,
    /// How many times the p99 without faults it is.
    pub(crate) ratio: f64,
}

/// The verdict on a history.
#[derive(Default)]
pub(crate) struct Verdict {
    /// How often each operation had each outcome: a status, or `cut`.
    pub(crate) outcomes: BTreeMap<(&'static str, String), usize>,
    pub(crate) latencies: BTreeMap<(Group, Condition), Latencies>,
    pub(crate) comparisons: BTreeMap<(Group, Condition), Comparison>,
    /// A line for each group and condition that was not compared, with the reason.
    pub(crate) not_compared: Vec<String>,
    /// Signatures that verify.
    pub(crate) signatures: usize,
    /// Tickets that were sent again and refused.
    pub(crate) replays_refused: usize,
    violations: BTreeMap<&'static str, Vec<String>>,
}

impl Verdict {
    fn broken(&mut self, rule: &'static str, text: String) {
        self.violations.entry(rule).or_default().push(text);
    }

    /// A line for each violation; of a rule that is broken often, some lines and the number.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (rule, texts) in &self.violations {
            lines.extend(texts.iter().take(TOLD).map(|text| format!("{rule}: {text}")));
            if texts.len() > TOLD {
                lines.push(format!("{rule}: and {} more", texts.len() - TOLD));
            }
        }
        lines
    }
}

/// Judges all of `history`, in which faults were made for `lasted`.
pub(crate) fn judge(history: &History, lasted: Duration) -> Verdict {
    let mut verdict = Verdict::default();
    for (rule, text) in &history.noticed {
        verdict.broken(rule, text.clone());
    }
    let honest = |exchange: &&Exchange| exchange.way != Way::Hostile;
    for exchange in &history.exchanges {
        let outcome = exchange.outcome.status().map_or("cut".to_owned(), |status| status.to_string());
        *verdict.outcomes.entry((exchange.request.name(), outcome)).or_default() += 1;
    }
    for exchange in history.exchanges.iter().filter(honest) {
        in_time(exchange, &mut verdict);
        match &exchange.outcome {
            Outcome::Cut(reason) => may_be_cut(history, exchange, reason, &mut verdict),
            Outcome::Answered { status, body } => {
                has_a_right_status(history, exchange, *status, body, &mut verdict);
            }
        }
    }
    signatures_verify(history, &mut verdict);
    tickets_are_used_once(history, &mut verdict);
    keys_stay(history, &mut verdict);
    measure(history, &mut verdict);
    compare(history, lasted, &mut verdict);
    verdict
}

fn shown(exchange: &Exchange) -> String {
    let Exchange { request, way, began, connected, sent, ended, .. } = exchange;
    let after = |time: &Option<Duration>| match time {
        Some(time) => format!("{} ms", time.saturating_sub(*began).as_millis()),
        None => "never".to_owned(),
    };
    format!(
        "{} at {:.3} s ({way:?}; connected after {}, sent after {}, over after {} ms)",
        request.name(),
        began.as_secs_f64(),
        after(connected),
        after(sent),
        ended.saturating_sub(*began).as_millis()
    )
}

fn in_time(exchange: &Exchange, verdict: &mut Verdict) {
    let deadline = if exchange.request.needs_key_service() { KEY_SERVICE_DEADLINE } else { DEADLINE };
    if exchange.ended.saturating_sub(exchange.began) > deadline {
        let text = format!("{} was not over within {} s", shown(exchange), deadline.as_secs());
        verdict.broken("an answer or an end within the deadline", text);
    }
}

/// A request may be lost with the process that had it. A drain is no such loss: it answers what has arrived.
fn may_be_cut(history: &History, exchange: &Exchange, reason: &str, verdict: &mut Verdict) {
    let Exchange { began, ended, sent, connected, .. } = *exchange;
    let drains = history.windows.iter().filter(|window| window.span == Span::Drain);
    for drain in drains.filter(|drain| drain.from <= ended && drain.to >= began) {
        let had_arrived = sent.is_some_and(|sent| sent + ARRIVAL < drain.from);
        // Only a signer that has accepted the connection ends a handshake.
        let was_accepted = exchange.way == Way::Fresh
            && connected.is_some_and(|connected| connected > drain.from && connected < drain.to)
            && sent.is_some_and(|sent| sent < drain.to && sent.saturating_sub(began) < DRAIN_PATIENCE);
        if had_arrived || was_accepted {
            let what =
                if had_arrived { "had arrived before the drain" } else { "was accepted while draining" };
            let text = format!(
                "{} {what} of {:.3} to {:.3} s, and was cut: {reason}",
                shown(exchange),
                drain.from.as_secs_f64(),
                drain.to.as_secs_f64()
            );
            return verdict.broken("a drain answers what it accepted", text);
        }
    }
    let is_down = |span| matches!(span, Span::Down | Span::Drain);
    if !history.was(is_down, began, ended, Duration::ZERO) {
        verdict.broken(
            "no honest request is cut while signer and proxy run",
            format!("{}: {reason}", shown(exchange)),
        );
    }
}

fn has_a_right_status(
    history: &History,
    exchange: &Exchange,
    status: u16,
    body: &str,
    verdict: &mut Verdict,
) {
    let Exchange { request, began, ended, .. } = exchange;
    let is_down =
        || history.was(|span| matches!(span, Span::Down | Span::Drain), *began, *ended, Duration::ZERO);
    let key_service_is_down =
        || history.was(|span| span == Span::KeyServiceDown, *began, *ended, KEY_SERVICE_RECOVERY);
    let is_right = match (request, status) {
        (Request::Sign { has_expired: true, .. }, status) => {
            // Its identity may be gone with a signer, which is told first.
            matches!(status, 401 | 404) || (matches!(status, 502 | 503) && is_down())
        }
        (Request::Generate { .. }, 201) => true,
        (Request::Generate { .. }, 200) => false,
        // Whether the key may be gone is judged by `keys_stay`.
        (_, 200) | (Request::Sign { .. } | Request::Export { .. } | Request::Destroy { .. }, 404) => true,
        (Request::Sign { nonce, .. }, 409) => was_sent_before(history, exchange, nonce),
        (Request::Export { .. } | Request::Import { .. }, 502 | 503) => key_service_is_down() || is_down(),
        // A signer that is starting waits for its secrets from KMS.
        (_, 502 | 503) => is_down(),
        _ => false,
    };
    if !is_right {
        verdict
            .broken("an honest request gets a right answer", format!("{}: {status} {body}", shown(exchange)));
    }
}

fn was_sent_before(history: &History, exchange: &Exchange, wanted: &str) -> bool {
    let sends = history.exchanges.iter().filter(|other| {
        let has_nonce = matches!(&other.request, Request::Sign { nonce, .. } if nonce == wanted);
        has_nonce && other.began <= exchange.ended
    });
    // Itself is one of them.
    sends.count() > 1
}

fn member(body: &str, name: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.get(name)?.as_str().map(str::to_owned)
}

/// The public key of each identity, as it was told when the key was made.
pub(crate) fn public_keys(history: &History) -> BTreeMap<String, String> {
    let generated =
        history.exchanges.iter().filter_map(|exchange| match (&exchange.request, &exchange.outcome) {
            (Request::Generate { identity }, Outcome::Answered { status: 201, body }) => {
                Some((identity.clone(), member(body, "public_key")?))
            }
            _ => None,
        });
    history.known_keys.clone().into_iter().chain(generated).collect()
}

fn signatures_verify(history: &History, verdict: &mut Verdict) {
    let keys = public_keys(history);
    for exchange in &history.exchanges {
        let (Request::Sign { identity, digest, .. }, Outcome::Answered { status: 200, body }) =
            (&exchange.request, &exchange.outcome)
        else {
            continue;
        };
        let verified = match (member(body, "signature"), keys.get(identity)) {
            (Some(signature), Some(key)) if key.len() == 66 => {
                bip340::verify(&signature, digest, x_only(key)).map_err(|failure| failure.to_string())
            }
            (signature, key) => Err(format!("signature {signature:?}, public key {key:?}")),
        };
        match verified {
            Ok(()) => verdict.signatures += 1,
            Err(why) => {
                verdict.broken("every answered signature verifies", format!("{}: {why}", shown(exchange)));
            }
        }
    }
}

/// A signer knows the tickets that it has seen; one that is started again does not know those of the one before.
fn tickets_are_used_once(history: &History, verdict: &mut Verdict) {
    let mut uses: BTreeMap<(&str, usize), Vec<&Exchange>> = BTreeMap::new();
    for exchange in &history.exchanges {
        let Request::Sign { nonce, .. } = &exchange.request else { continue };
        match exchange.outcome.status() {
            // An exchange during which a signer was replaced is one of either.
            Some(200) => {
                if let [life] = history.lives_between(exchange.began, exchange.ended)[..] {
                    uses.entry((nonce, life)).or_default().push(exchange);
                }
            }
            Some(409) => verdict.replays_refused += 1,
            _ => {}
        }
    }
    for ((nonce, life), uses) in uses.into_iter().filter(|(_, uses)| uses.len() > 1) {
        let uses: Vec<String> = uses.into_iter().map(shown).collect();
        let text = format!("nonce {nonce}, {} times by signer {life}: {}", uses.len(), uses.join("; "));
        verdict.broken("no ticket is answered 200 twice within one life of a signer", text);
    }
}

/// A key that a signer has had stays until it is destroyed or the signer ends.
fn keys_stay(history: &History, verdict: &mut Verdict) {
    // The signer that surely has the key, by identity. Requests about one identity come one after the other; only the
    // two copies of a sign request come together.
    let mut has: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    let mut exchanges: Vec<&Exchange> = history.exchanges.iter().collect();
    exchanges.sort_by_key(|exchange| exchange.ended);
    for exchange in exchanges {
        let Some(identity) = exchange.request.identity() else { continue };
        let lives = history.lives_between(exchange.began, exchange.ended);
        let life = if let [life] = lives[..] { Some(life) } else { None };
        match (&exchange.request, exchange.outcome.status()) {
            (Request::Destroy { .. }, status) if status != Some(404) => {
                has.insert(identity, None);
            }
            (_, Some(200 | 201)) => {
                has.insert(identity, life);
            }
            (_, Some(404)) => {
                let had = has.insert(identity, None).flatten();
                if had.is_some() && had == life {
                    let text = format!("{}: the signer had the key, and answers 404", shown(exchange));
                    verdict.broken("a key stays until it is destroyed", text);
                }
            }
            _ => {}
        }
    }
}

fn measure(history: &History, verdict: &mut Verdict) {
    for exchange in &history.exchanges {
        let Exchange { request, way, began, ended, .. } = exchange;
        let group = match (way, request.needs_key_service()) {
            // Slow on purpose.
            (Way::Hostile | Way::Begun, _) => continue,
            (_, true) => Group::Backup,
            (Way::Kept, false) => Group::Kept,
            (Way::Fresh, false) => Group::Fresh,
        };
        let is_down = |span| matches!(span, Span::Down | Span::Drain);
        let waits_for_kms = group == Group::Backup
            && history.was(|span| span == Span::KeyServiceDown, *began, *ended, KEY_SERVICE_RECOVERY);
        let was_answered = exchange.outcome.status().is_some();
        if !was_answered || waits_for_kms || history.was(is_down, *began, *ended, Duration::ZERO) {
            continue;
        }
        let mut conditions = Vec::new();
        for window in history.windows.iter().filter(|window| window.from <= *ended && window.to >= *began) {
            if let Span::Fault(kind) = window.span {
                conditions.push(Condition::Fault(kind));
            }
        }
        if conditions.is_empty() {
            if history.was(|span| span == Span::Quiet, *began, *ended, Duration::ZERO) {
                conditions.push(Condition::Quiet);
            }
        } else {
            conditions.push(Condition::Faults);
        }
        for condition in conditions {
            verdict.latencies.entry((group, condition)).or_default().0.push(ended.saturating_sub(*began));
        }
    }
    for latencies in verdict.latencies.values_mut() {
        latencies.0.sort();
    }
}

fn compare(history: &History, lasted: Duration, verdict: &mut Verdict) {
    let of_windows = history.windows.iter().filter_map(|window| match window.span {
        Span::Fault(kind) => Some(Condition::Fault(kind)),
        _ => None,
    });
    let conditions: BTreeSet<Condition> = of_windows.chain([Condition::Faults]).collect();
    let mut slow = Vec::new();
    for group in [Group::Kept, Group::Fresh, Group::Backup] {
        let count = |condition| verdict.latencies.get(&(group, condition)).map_or(0, Latencies::count);
        let quiet_count = count(Condition::Quiet);
        let Some(quiet) =
            verdict.latencies.get(&(group, Condition::Quiet)).filter(|_| quiet_count >= MEDIAN_SAMPLES)
        else {
            let text = format!(
                "{}: {quiet_count} samples without faults, {MEDIAN_SAMPLES} are needed",
                group.name()
            );
            if lasted >= COMPARABLE_RUN {
                slow.push((FEW_SAMPLES, text.clone()));
            }
            verdict.not_compared.push(text);
            continue;
        };
        let quiet_p99 = quiet.percentile(99);
        let limit = (quiet_p99 * P99_FACTOR).max(P99_FLOOR);
        for condition in &conditions {
            let count = count(*condition);
            // The slowest of a few is compared with a median only.
            let percent = match count {
                P99_SAMPLES.. if quiet_count >= P99_SAMPLES => 99,
                P90_SAMPLES.. if quiet_count >= P90_SAMPLES => 90,
                MEDIAN_SAMPLES.. => 50,
                _ => {
                    let (group, condition) = (group.name(), condition.name());
                    verdict
                        .not_compared
                        .push(format!("{group}, {condition}: {count} samples, {MEDIAN_SAMPLES} are needed"));
                    continue;
                }
            };
            let found = verdict.latencies[&(group, *condition)].percentile(percent);
            let ratio = found.as_secs_f64() / quiet_p99.as_secs_f64();
            verdict.comparisons.insert((group, *condition), Comparison { percent, ratio });
            if found > limit {
                slow.push((
                    SLOW,
                    format!(
                        "{}, {}: p{percent} of {count} is {} ms, p99 without faults {} ms; at most {} ms are allowed",
                        group.name(),
                        condition.name(),
                        found.as_millis(),
                        quiet_p99.as_millis(),
                        limit.as_millis()
                    ),
                ));
            }
        }
    }
    for (rule, text) in slow {
        verdict.broken(rule, text);
    }
}

#[cfg(test)]
mod tests;
