//! What an ACME server says is wrong (RFC 7807, RFC 8555 §6.7).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Of a server's own words, as much as an operator reads.
const MAX_DETAIL_CHARS: usize = 300;

/// Longer than any kind that is registered.
const MAX_KIND_CHARS: usize = 60;

const PREFIX: &str = "urn:ietf:params:acme:error:";

/// An error of the server, for people. Nothing in it can forge a line of a log, or flood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: String,
    detail: String,
    /// How long the server asks not to be asked again.
    pub retry_after: Option<Duration>,
}

/// As the server writes it.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct ProblemMessage {
    r#type: Option<String>,
    detail: Option<String>,
    subproblems: Vec<Subproblem>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Subproblem {
    r#type: Option<String>,
    detail: Option<String>,
}

impl Problem {
    /// What `message` says.
    pub(crate) fn of(message: &ProblemMessage, retry_after: Option<Duration>) -> Self {
        let mut detail = message.detail.clone().unwrap_or_default();
        for part in &message.subproblems {
            let kind = part.r#type.as_deref().unwrap_or_default();
            let kind = kind.strip_prefix(PREFIX).unwrap_or(kind);
            detail.push_str("; ");
            detail.push_str(kind);
            detail.push(' ');
            detail.push_str(part.detail.as_deref().unwrap_or_default());
        }
        let kind = message.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix(PREFIX).unwrap_or(kind);
        Self {
            kind: printable(kind, MAX_KIND_CHARS),
            detail: printable(&detail, MAX_DETAIL_CHARS),
            retry_after,
        }
    }

    /// An answer whose body is no problem document.
    pub(crate) fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        Self { kind: format!("status {status}"), detail: String::new(), retry_after }
    }

    /// Whether it is of this kind, without the prefix that all have.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "for no reason that it names" } else { &self.kind };
        formatter.write_str(kind)?;
        if !self.detail.is_empty() {
            write!(formatter, ": {}", self.detail)?;
        }
        Ok(())
    }
}

fn printable(text: &str, max_chars: usize) -> String {
    let is_printable = |character: char| character.is_ascii_graphic() || character == ' ';
    text.chars().take(max_chars).map(|it| if is_printable(it) { it } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Problem, ProblemMessage};

    fn problem(json: &str) -> Problem {
        Problem::of(&serde_json::from_str::<ProblemMessage>(json).unwrap(), None)
    }

    #[test]
    fn is_told_in_one_line() {
        let refused = problem(
            r#"{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids it","status":403,
                "subproblems":[{"type":"urn:ietf:params:acme:error:dns","detail":"SERVFAIL","identifier":{}}]}"#,
        );
        assert!(refused.is("caa"));
        assert_eq!(refused.to_string(), "caa: CAA forbids it; dns SERVFAIL");
        assert_eq!(problem("{}").to_string(), "for no reason that it names");
        assert_eq!(Problem::of_status(503, None).to_string(), "status 503");
        let hostile =
            format!(r#"{{"type":"{}","detail":"a\nb\u001b[31m{}"}}"#, "k".repeat(99), "d".repeat(999));
        let text = problem(&hostile).to_string();
        assert_eq!(text.len(), 60 + 2 + 300);
        assert!(text.contains("a?b?[31md"), "{text}");
    }
}
