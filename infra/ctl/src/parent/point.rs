//! The points that were examined on the parent, one line each.

use std::fmt;

use serde_json::{Value, json};

/// The outcome of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it should be.
    Pass,
    /// It is not.
    Fail,
    /// This machine cannot tell.
    Unknown,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The subject, in one to three words.
    pub name: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// The finding.
    pub finding: String,
    /// The remedy, if there is one.
    pub remedy: Option<String>,
}

impl Point {
    /// It is as it should be.
    #[must_use]
    pub fn pass(name: &'static str, finding: impl fmt::Display) -> Self {
        Self { name, outcome: Outcome::Pass, finding: finding.to_string(), remedy: None }
    }

    /// It is not.
    #[must_use]
    pub fn fail(name: &'static str, finding: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Fail, ..Self::pass(name, finding) }
    }

    /// This machine cannot tell.
    #[must_use]
    pub fn unknown(name: &'static str, finding: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Unknown, ..Self::pass(name, finding) }
    }

    /// It is as `good` words it, unless there are errors.
    #[must_use]
    pub fn unless(errors: &[String], name: &'static str, good: impl fmt::Display) -> Self {
        if errors.is_empty() { Self::pass(name, good) } else { Self::fail(name, errors.join("; ")) }
    }

    /// The same, with a remedy.
    #[must_use]
    pub fn with_remedy(self, remedy: impl fmt::Display) -> Self {
        Self { remedy: Some(remedy.to_string()), ..self }
    }

    /// A line for people, with this label for an unknown outcome.
    #[must_use]
    pub fn line(&self, unknown: &str) -> String {
        let outcome = match self.outcome {
            Outcome::Pass => "PASS",
            Outcome::Fail => "FAIL",
            Outcome::Unknown => unknown,
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{outcome} {}: {}{remedy}", self.name, self.finding)
    }

    /// As a report for scripts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let outcome = match self.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Unknown => "cannot tell",
        };
        json!({ "name": self.name, "outcome": outcome, "finding": self.finding, "remedy": self.remedy })
    }
}

/// `PASS name: finding`, `FAIL name: finding; remedy` or `cannot tell name: finding; remedy`.
impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line("cannot tell"))
    }
}
