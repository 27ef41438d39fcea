//! Failures on request.

use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use serde::Deserialize;

use crate::operation::Operation;

/// A failure to be made, of the next calls that it is about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// The name of an operation, or `*`.
    operation: String,
    kind: FaultKind,
    #[serde(default = "once")]
    count: u64,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    answer: Answer,
}

/// The answer for [`FaultKind::Answer`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Answer {
    status: u16,
    body: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: StatusCode::BAD_REQUEST.as_u16(), body: String::new() }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// `ThrottlingException`.
    Throttle,
    /// The answer, later.
    Delay,
    /// The end of the connection instead of an answer.
    Drop,
    /// `KMSInternalException`.
    Internal,
    /// No answer, on a connection that stays open.
    Hang,
    /// An answer that is given.
    Answer,
}

fn once() -> u64 {
    1
}

impl Fault {
    /// Whether it is about an operation that exists, and answers with a status that does.
    pub(crate) fn is_possible(&self) -> bool {
        (self.operation == "*" || Operation::from_name(&self.operation).is_some())
            && StatusCode::from_u16(self.answer.status).is_ok()
    }

    /// Status and body for [`FaultKind::Answer`].
    pub(crate) fn into_answer(self) -> (StatusCode, String) {
        (StatusCode::from_u16(self.answer.status).unwrap_or(StatusCode::BAD_REQUEST), self.answer.body)
    }

    pub(crate) fn kind(&self) -> FaultKind {
        self.kind
    }
}

/// Faults that are still to be made, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Mutex<Vec<Fault>>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(crate) fn clear(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault for a call of this operation, which is then one less.
    pub(crate) fn take(&self, operation: Operation) -> Option<Fault> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|fault| fault.count > 0);
        let fault =
            waiting.iter_mut().find(|fault| fault.operation == "*" || fault.operation == operation.name())?;
        fault.count -= 1;
        Some(fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_made_as_often_as_asked_for() {
        let faults = Faults::default();
        let add = |json: &str| faults.add(serde_json::from_str(json).unwrap());
        add(r#"{"operation":"Decrypt","kind":"throttle","count":2}"#);
        add(r#"{"operation":"*","kind":"drop"}"#);
        let kinds = |operation| faults.take(operation).map(|fault| fault.kind());
        assert_eq!(kinds(Operation::Decrypt), Some(FaultKind::Throttle));
        assert_eq!(kinds(Operation::Encrypt), Some(FaultKind::Drop));
        assert_eq!(kinds(Operation::Encrypt), None);
        assert_eq!(kinds(Operation::Decrypt), Some(FaultKind::Throttle));
        assert_eq!(kinds(Operation::Decrypt), None);
    }
}
