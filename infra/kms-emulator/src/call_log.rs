//! The calls and their results.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

/// More than any test makes; the oldest go first.
const CALLS_MAX: usize = 10_000;

/// One request whose signature was good.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    /// Unless no key was found.
    pub(crate) key_arn: Option<String>,
    /// As policies name it.
    pub(crate) principal: String,
    pub(crate) encryption_context: BTreeMap<String, String>,
    pub(crate) with_recipient: bool,
    /// `ok`, the type of the error, or the fault that was made.
    pub(crate) outcome: &'static str,
}

/// The latest calls, in the order of their answers.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    calls: Mutex<VecDeque<Call>>,
}

impl CallLog {
    pub(crate) fn add(&self, call: Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CALLS_MAX {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    pub(crate) fn clear(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The calls, and how many there were of each operation and outcome.
    pub(crate) fn to_json(&self) -> Value {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for call in calls.iter() {
            *counts.entry(call.operation).or_default().entry(call.outcome).or_default() += 1;
        }
        json!({ "calls": *calls, "counts": counts })
    }
}
