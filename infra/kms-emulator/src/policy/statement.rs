//! One statement of a policy.

use serde::Deserialize;

use crate::policy::action::ActionPattern;
use crate::policy::condition::{Condition, RawConditions, conditions};
use crate::policy::facts::Facts;
use crate::policy::one_or_many::OneOrMany;
use crate::policy::principals::{Principals, RawPrincipals};
use crate::policy::wildcard;

/// A statement.
#[derive(Debug)]
pub(crate) struct Statement {
    effect: Effect,
    principals: Principals,
    actions: Vec<ActionPattern>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

/// The effect of a statement that applies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStatement {
    #[serde(rename = "Sid")]
    pub(crate) sid: Option<String>,
    #[serde(rename = "Effect")]
    effect: Effect,
    #[serde(rename = "Principal")]
    principal: RawPrincipals,
    #[serde(rename = "Action")]
    action: OneOrMany,
    #[serde(rename = "Resource")]
    resource: OneOrMany,
    #[serde(rename = "Condition", default)]
    condition: RawConditions,
}

impl Statement {
    pub(crate) fn effect(&self) -> Effect {
        self.effect
    }

    pub(crate) fn applies(&self, facts: &Facts<'_>) -> bool {
        self.principals.include(facts.principal)
            && self.actions.iter().any(|pattern| pattern.matches(facts.action))
            && self.resources.iter().any(|pattern| wildcard::matches(pattern, facts.key_arn.as_str()))
            && self.conditions.iter().all(|condition| condition.holds(facts))
    }
}

impl TryFrom<RawStatement> for Statement {
    type Error = String;

    fn try_from(raw: RawStatement) -> Result<Self, String> {
        let action =
            |text: &String| ActionPattern::parse(text).ok_or_else(|| format!("'{text}' is no action of KMS"));
        Ok(Self {
            effect: raw.effect,
            principals: raw.principal.try_into()?,
            actions: raw.action.0.iter().map(action).collect::<Result<_, _>>()?,
            resources: raw.resource.0,
            conditions: conditions(raw.condition)?,
        })
    }
}
