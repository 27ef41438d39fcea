//! The problem document of an ACME server (RFC 7807, RFC 8555 §6.7).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// The longest detail that is repeated from the server.
const MAX_DETAIL_CHARS: usize = 300;

/// Longer than every registered type.
const MAX_KIND_CHARS: usize = 60;

const PREFIX: &str = "urn:ietf:params:acme:error:";

/// An error of the server, for operators. Its text cannot forge or flood a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: String,
    detail: String,
    /// How long the server asks the client to wait.
    pub retry_after: Option<Duration>,
}

/// The wire form.
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
    /// The problem in `message`.
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

    /// The problem of an answer without a problem document.
    pub(crate) fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        Self { kind: format!("status {status}"), detail: String::new(), retry_after }
    }

    /// Whether the problem has this type, given without the prefix of all types.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "without a type" } else { &self.kind };
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
    fn a_problem_is_one_line() {
        let refused = problem(
            r#"{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids it","status":403,
                "subproblems":[{"type":"urn:ietf:params:acme:error:dns","detail":"SERVFAIL","identifier":{}}]}"#,
        );
        assert!(refused.is("caa"));
        assert_eq!(refused.to_string(), "caa: CAA forbids it; dns SERVFAIL");
        assert_eq!(problem("{}").to_string(), "without a type");
        assert_eq!(Problem::of_status(503, None).to_string(), "status 503");
        let hostile =
            format!(r#"{{"type":"{}","detail":"a\nb\u001b[31m{}"}}"#, "k".repeat(99), "d".repeat(999));
        let text = problem(&hostile).to_string();
        assert_eq!(text.len(), 60 + 2 + 300);
        assert!(text.contains("a?b?[31md"), "{text}");
    }
}
