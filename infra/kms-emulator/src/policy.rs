//! Key policies: the part of IAM's language that key policies of this project use, and an error for the rest.

mod action;
mod condition;
mod condition_key;
mod facts;
mod one_or_many;
mod principals;
mod statement;
mod wildcard;

use std::fmt;

use serde::Deserialize;

pub(crate) use crate::policy::facts::Facts;
use crate::policy::statement::{Effect, RawStatement, Statement};

/// A key policy, understood entirely.
#[derive(Debug)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

/// The decision of a policy on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it, whatever others allow.
    Denied,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "Id")]
    _id: Option<String>,
    #[serde(rename = "Statement")]
    statements: Vec<RawStatement>,
}

impl Policy {
    /// # Errors
    ///
    /// When there is anything in the text that would not be evaluated as AWS evaluates it.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        if let Some(start) = text.find("${") {
            let placeholder = text[start..].split_inclusive('}').next().unwrap_or_default();
            let shown: String = placeholder.chars().take(40).collect();
            return Err(InvalidPolicy(format!("placeholder {shown} is not replaced")));
        }
        let raw: RawPolicy = serde_json::from_str(text).map_err(|error| InvalidPolicy(error.to_string()))?;
        if raw.version != "2012-10-17" {
            return Err(InvalidPolicy(format!("unknown version '{}'", raw.version)));
        }
        if raw.statements.is_empty() {
            return Err(InvalidPolicy("no statement".into()));
        }
        let statements = raw.statements.into_iter().enumerate().map(|(index, raw)| {
            let name = raw.sid.clone().unwrap_or_else(|| format!("number {}", index + 1));
            Statement::try_from(raw).map_err(|error| InvalidPolicy(format!("statement {name}: {error}")))
        });
        Ok(Self { statements: statements.collect::<Result<_, _>>()? })
    }

    pub(crate) fn decide(&self, facts: &Facts<'_>) -> Decision {
        let mut decision = Decision::NotAllowed;
        for statement in self.statements.iter().filter(|statement| statement.applies(facts)) {
            match statement.effect() {
                Effect::Deny => return Decision::Denied,
                Effect::Allow => decision = Decision::Allowed,
            }
        }
        decision
    }
}

/// Why a policy is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPolicy(String);

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidPolicy {}

#[cfg(test)]
mod tests;
