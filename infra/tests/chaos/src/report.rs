//! The result of a run, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checker::{Comparison, Verdict};
use crate::plan::Episode;
use crate::resources::Resources;

/// The result of a run.
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) duration_s: u64,
    pub(crate) plan: Vec<Episode>,
    pub(crate) verdict: Verdict,
    /// How many signers there were.
    pub(crate) lives: usize,
    /// Keys that were restored from their backups at the end.
    pub(crate) restored: usize,
    pub(crate) holdings: Vec<Holding>,
}

/// The resources of a process at a moment.
pub(crate) struct Holding {
    pub(crate) process: &'static str,
    /// Before the faults, without clients: descriptors before the rehearsal, memory after it.
    pub(crate) began: Resources,
    /// After the faults, without clients.
    pub(crate) ended: Resources,
    /// The most after an episode, without clients; more than at first only when that broke the rule.
    pub(crate) most: Resources,
}

fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

/// To one decimal place.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let requests: Vec<Value> = self
            .verdict
            .outcomes
            .iter()
            .map(|((operation, outcome), count)| {
                json!({"operation": operation, "outcome": outcome, "count": count})
            })
            .collect();
        let latencies: Vec<Value> = self
            .verdict
            .latencies
            .iter()
            .map(|((group, condition), latencies)| {
                json!({
                    "group": group.name(),
                    "condition": condition.name(),
                    "count": latencies.count(),
                    "p50_ms": ms(latencies.percentile(50)),
                    "p90_ms": ms(latencies.percentile(90)),
                    "p99_ms": ms(latencies.percentile(99)),
                    "max_ms": ms(latencies.percentile(100)),
                    "compared": self.verdict.comparisons.get(&(*group, *condition)).map(|it| {
                        json!({"percentile": it.percent, "times_the_p99_without_faults": rounded(it.ratio)})
                    }),
                })
            })
            .collect();
        let resources =
            |held: &Resources| json!({"resident_kib": held.resident_kib, "descriptors": held.descriptors});
        let holdings: Vec<Value> = self
            .holdings
            .iter()
            .map(|holding| {
                json!({
                    "process": holding.process,
                    "began": resources(&holding.began),
                    "ended": resources(&holding.ended),
                    "most": resources(&holding.most),
                })
            })
            .collect();
        let episodes: Vec<Value> = self
            .plan
            .iter()
            .map(|episode| {
                let kinds: Vec<_> = episode.kinds.iter().map(|kind| kind.name()).collect();
                json!({"quiet_ms": ms(episode.quiet), "lasts_ms": ms(episode.lasts), "faults": kinds})
            })
            .collect();
        json!({
            "seed": self.seed,
            "duration_s": self.duration_s,
            "episodes": episodes,
            "signers": self.lives,
            "requests": requests,
            "signatures_verified": self.verdict.signatures,
            "replays_refused": self.verdict.replays_refused,
            "keys_restored_at_the_end": self.restored,
            "latencies": latencies,
            "not_compared": self.verdict.not_compared,
            "resources": holdings,
            "violations": self.verdict.violations(),
        })
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "seed {}, {} s, {} episodes, {} signers; {} signatures verify, {} replays refused, {} keys restored",
            self.seed,
            self.duration_s,
            self.plan.len(),
            self.lives,
            self.verdict.signatures,
            self.verdict.replays_refused,
            self.restored
        )?;
        writeln!(text, "\n{:<12}{:<10}{:>8}", "operation", "outcome", "count")?;
        for ((operation, outcome), count) in &self.verdict.outcomes {
            writeln!(text, "{operation:<12}{outcome:<10}{count:>8}")?;
        }
        writeln!(
            text,
            "\n{:<20}{:<32}{:>8}{:>10}{:>10}{:>10}{:>10}{:>22}",
            "honest clients",
            "while a signer runs",
            "count",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "times the quiet p99"
        )?;
        for ((group, condition), latencies) in &self.verdict.latencies {
            write!(text, "{:<20}{:<32}{:>8}", group.name(), condition.name(), latencies.count())?;
            for percent in [50, 90, 99, 100] {
                write!(text, "{:>10.1}", ms(latencies.percentile(percent)))?;
            }
            if let Some(Comparison { percent, ratio }) = self.verdict.comparisons.get(&(*group, *condition)) {
                write!(text, "{:>22}", format!("p{percent}: {ratio:.1}"))?;
            }
            writeln!(text)?;
        }
        for line in &self.verdict.not_compared {
            writeln!(text, "not compared: {line}")?;
        }
        writeln!(
            text,
            "\n{:<10}{:>15}{:>14}{:>19}{:>14}{:>13}{:>18}",
            "process",
            "open at first",
            "open at last",
            "most after faults",
            "KiB at first",
            "KiB at last",
            "most after faults"
        )?;
        for Holding { process, began, ended, most } in &self.holdings {
            writeln!(
                text,
                "{process:<10}{:>15}{:>14}{:>19}{:>14}{:>13}{:>18}",
                began.descriptors,
                ended.descriptors,
                most.descriptors,
                began.resident_kib,
                ended.resident_kib,
                most.resident_kib
            )?;
        }
        writeln!(text)?;
        for violation in self.verdict.violations() {
            writeln!(text, "VIOLATION {violation}")?;
        }
        Ok(())
    }
}
