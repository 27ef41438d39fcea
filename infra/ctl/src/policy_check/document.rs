//! A policy in JSON, read strictly: an unknown member may be one that its author relies on.

use std::fmt;

use serde_json::{Map, Value};

use super::condition::Condition;
use super::json;
use super::principal::{Principal, Principals};
use crate::key_policy::stands_for_something;
use crate::printable::printable;
use crate::wildcard;

/// Twice the limit of KMS.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;

/// KMS's own limit of bytes leaves room for some 300 of the shortest.
const MAX_STATEMENTS: usize = 128;

/// Longest name of a statement that is repeated.
const MAX_SID_CHARS: usize = 64;

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidPolicy {
    /// Longer than [`MAX_POLICY_BYTES`].
    TooLong,
    /// No JSON, or with a member twice.
    Json(String),
    /// This place has something in it that was to be replaced.
    Placeholder(String),
    /// The value at this place has another form than a policy's.
    Member(String),
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "longer than {MAX_POLICY_BYTES} bytes"),
            Self::Json(reason) => write!(formatter, "no policy: {reason}"),
            Self::Placeholder(place) => write!(formatter, "{place} still holds a placeholder"),
            Self::Member(place) => write!(formatter, "{place} is not what a policy has there"),
        }
    }
}

impl std::error::Error for InvalidPolicy {}

/// The owner of the policy, which decides whether statements name principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Key,
    Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// The elements `Action` and `Resource`, or their opposites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patterns {
    These(Vec<String>),
    AllBut(Vec<String>),
}

impl Patterns {
    pub(super) fn cover(&self, text: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| wildcard::matches(pattern, text));
        match self {
            Self::These(patterns) => any(patterns),
            Self::AllBut(patterns) => !any(patterns),
        }
    }

    /// Whether it is `*`, alone or among others.
    pub(super) fn are_all(&self) -> bool {
        matches!(self, Self::These(patterns) if patterns.iter().any(|pattern| pattern == "*"))
    }

    /// Whether `pattern` matches only values that are surely among them.
    pub(super) fn cover_pattern(&self, pattern: &str) -> bool {
        match self {
            // A `?` does not cover the texts of a `*`.
            Self::These(patterns) => patterns.iter().any(|it| {
                it == pattern
                    || !pattern.contains(['*', '?']) && wildcard::matches(it, pattern)
                    || !it.contains('?') && wildcard::matches(it, pattern)
            }),
            Self::AllBut(patterns) => !patterns.iter().any(|it| may_meet(it, pattern)),
        }
    }

    /// Whether nothing that is described by `pattern` is among them.
    pub(super) fn is_without(&self, pattern: &str) -> bool {
        match self {
            Self::These(patterns) => !patterns.iter().any(|it| may_meet(it, pattern)),
            Self::AllBut(patterns) => Self::These(patterns.clone()).cover_pattern(pattern),
        }
    }

    fn in_lower_case(self) -> Self {
        let lower = |patterns: Vec<String>| patterns.iter().map(|pattern| pattern.to_lowercase()).collect();
        match self {
            Self::These(patterns) => Self::These(lower(patterns)),
            Self::AllBut(patterns) => Self::AllBut(lower(patterns)),
        }
    }
}

/// Whether both patterns may describe one text: as far as their beginnings say.
fn may_meet(one: &str, other: &str) -> bool {
    let fixed = |pattern: &str| pattern.split(['*', '?']).next().unwrap_or_default().to_owned();
    let (one, other) = (fixed(one), fixed(other));
    one.starts_with(&other) || other.starts_with(&one)
}

#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) index: usize,
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    /// Of a role's policy: every holder of the role.
    pub(super) principals: Option<Principals>,
    /// In lower case.
    pub(super) actions: Patterns,
    pub(super) actions_as_written: Patterns,
    pub(super) resources: Patterns,
    pub(super) conditions: Vec<Condition>,
}

/// Reads a policy.
///
/// # Errors
/// [`InvalidPolicy`]
pub(super) fn statements(text: &str, of: Of) -> Result<Vec<Statement>, InvalidPolicy> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(InvalidPolicy::TooLong);
    }
    let policy = json::read(text).map_err(|error| InvalidPolicy::Json(error.to_string()))?;
    if let Some(place) = placeholder(&policy, "") {
        return Err(InvalidPolicy::Placeholder(place));
    }
    let policy = policy.as_object().ok_or_else(|| wrong("the policy"))?;
    known(policy, &["Version", "Id", "Statement"], "")?;
    match policy.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => return Err(wrong("Version")),
    }
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) => &statements[..],
        // IAM takes one without a list.
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => return Err(wrong("Statement")),
    };
    if statements.is_empty() || statements.len() > MAX_STATEMENTS {
        return Err(wrong("Statement"));
    }
    statements.iter().enumerate().map(|(index, value)| statement(index, value, of)).collect()
}

fn wrong(place: &str) -> InvalidPolicy {
    InvalidPolicy::Member(place.to_owned())
}

fn known(members: &Map<String, Value>, names: &[&str], place: &str) -> Result<(), InvalidPolicy> {
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(wrong(&format!("{place}{}", printable(name, MAX_SID_CHARS)))),
    }
}

const MEMBERS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

fn statement(index: usize, value: &Value, of: Of) -> Result<Statement, InvalidPolicy> {
    let place = format!("Statement[{index}]");
    let at = |member: &str| wrong(&format!("{place}.{member}"));
    let members = value.as_object().ok_or_else(|| wrong(&place))?;
    known(members, &MEMBERS, &format!("{place}."))?;
    let effect = match members.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(at("Effect")),
    };
    let sid = match members.get("Sid") {
        None => None,
        Some(Value::String(sid)) if sid.is_empty() => None,
        Some(Value::String(sid)) => Some(printable(sid, MAX_SID_CHARS)),
        Some(_) => return Err(at("Sid")),
    };
    let patterns = |name: &str, opposite: &str| match (members.get(name), members.get(opposite)) {
        (Some(value), None) => texts(value).map(Patterns::These).ok_or_else(|| at(name)),
        (None, Some(value)) => texts(value).map(Patterns::AllBut).ok_or_else(|| at(opposite)),
        _ => Err(at(name)),
    };
    let principals = match (of, members.get("Principal"), members.get("NotPrincipal")) {
        (Of::Key, Some(value), None) => {
            Some(Principals::These(principals(value).ok_or_else(|| at("Principal"))?))
        }
        (Of::Key, None, Some(value)) => {
            Some(Principals::AllBut(principals(value).ok_or_else(|| at("NotPrincipal"))?))
        }
        (Of::Role, None, None) => None,
        _ => return Err(at("Principal")),
    };
    let actions_as_written = patterns("Action", "NotAction")?;
    Ok(Statement {
        index,
        sid,
        effect,
        principals,
        actions: actions_as_written.clone().in_lower_case(),
        actions_as_written,
        resources: patterns("Resource", "NotResource")?,
        conditions: members
            .get("Condition")
            .map_or(Some(Vec::new()), conditions)
            .ok_or_else(|| at("Condition"))?,
    })
}

/// A text, or each of a list of one or more.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) if !values.is_empty() => {
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

fn principals(value: &Value) -> Option<Vec<Principal>> {
    match value {
        Value::String(text) if text == "*" => Some(vec![Principal::Anyone]),
        Value::Object(kinds) if !kinds.is_empty() => {
            let mut found = Vec::new();
            for (kind, names) in kinds {
                for name in texts(names)? {
                    found.push(match kind.as_str() {
                        "AWS" => Principal::of_aws(&name),
                        "Service" | "Federated" | "CanonicalUser" => Principal::Other(name),
                        _ => return None,
                    });
                }
            }
            Some(found)
        }
        _ => None,
    }
}

fn conditions(value: &Value) -> Option<Vec<Condition>> {
    let mut found = Vec::new();
    for (operator, keys) in value.as_object()? {
        for (key, wanted) in keys.as_object()? {
            let wanted = match wanted {
                Value::Array(values) => values.iter().map(scalar).collect::<Option<_>>()?,
                one => vec![scalar(one)?],
            };
            found.push(Condition::new(operator, key, wanted));
        }
    }
    Some(found)
}

/// Truth values and numbers count as texts.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Where something was to be replaced.
fn placeholder(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::String(text) => stands_for_something(text).then(|| place.to_owned()),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| placeholder(value, &format!("{place}[{index}]"))),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let separator = if place.is_empty() { "" } else { "." };
            let place = format!("{place}{separator}{}", printable(name, MAX_SID_CHARS));
            if stands_for_something(name) { Some(place) } else { placeholder(value, &place) }
        }),
        _ => None,
    }
}
