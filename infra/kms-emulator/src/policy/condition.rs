//! The conditions under which a statement applies.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::policy::condition_key::ConditionKey;
use crate::policy::facts::Facts;
use crate::policy::one_or_many::OneOrMany;
use crate::policy::wildcard;

/// One operator over one key.
#[derive(Debug)]
pub(crate) struct Condition {
    operator: Operator,
    key: ConditionKey,
    wanted: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Operator {
    quantifier: Quantifier,
    test: Test,
    if_exists: bool,
}

/// Of how many values of a request the test must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    /// There is at most one.
    Single,
    All,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    /// Whether there is no value at all.
    Null,
    Text {
        comparison: Comparison,
        negated: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equals,
    EqualsIgnoreCase,
    Like,
}

/// Operator names and, for each, condition keys and their values.
pub(crate) type RawConditions = Entries<Entries<OneOrMany>>;

/// The statements of a `Condition` element.
pub(crate) fn conditions(raw: RawConditions) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    for (operator_name, keys) in raw.0 {
        let operator = Operator::parse(&operator_name)
            .ok_or_else(|| format!("unknown condition operator '{operator_name}'"))?;
        for (key_name, OneOrMany(wanted)) in keys.0 {
            let key = ConditionKey::parse(&key_name)
                .ok_or_else(|| format!("unknown condition key '{key_name}'"))?;
            if key.is_multivalued()
                && operator.quantifier == Quantifier::Single
                && operator.test != Test::Null
            {
                return Err(format!(
                    "'{key_name}' has several values: {operator_name} needs ForAllValues or ForAnyValue"
                ));
            }
            if operator.test == Test::Null && !matches!(&wanted[..], [one] if one == "true" || one == "false")
            {
                return Err(format!("Null of '{key_name}' is neither true nor false"));
            }
            if key.is_measurement()
                && operator.test != Test::Null
                && let Some(wrong) = wanted.iter().find(|wanted| !is_pcr(wanted))
            {
                return Err(format!("'{wrong}' is no PCR of 96 hexadecimal digits"));
            }
            conditions.push(Condition { operator, key, wanted });
        }
    }
    Ok(conditions)
}

/// Anything else equals no PCR: it is a placeholder, or a mistake.
fn is_pcr(text: &str) -> bool {
    text.len() == 96 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Condition {
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        let values = facts.values(self.key.lower_case_name());
        let Test::Text { comparison, negated } = self.operator.test else {
            return self.wanted.iter().all(|wanted| (wanted == "true") == values.is_empty());
        };
        // A negated test holds of a value that equals none of the wanted ones.
        let test =
            |value: &String| self.wanted.iter().any(|wanted| comparison.holds(wanted, value)) != negated;
        match self.operator.quantifier {
            _ if values.is_empty() && self.operator.if_exists => true,
            // Absent, so equal to nothing.
            Quantifier::Single if values.is_empty() => negated,
            Quantifier::Single | Quantifier::All => values.iter().all(test),
            Quantifier::Any => values.iter().any(test),
        }
    }
}

impl Comparison {
    fn holds(self, wanted: &str, value: &str) -> bool {
        match self {
            Self::Equals => wanted == value,
            Self::EqualsIgnoreCase => wanted.to_lowercase() == value.to_lowercase(),
            Self::Like => wildcard::matches(wanted, value),
        }
    }
}

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        let (quantifier, name) = match name.split_once(':') {
            None => (Quantifier::Single, name),
            Some(("ForAllValues", name)) => (Quantifier::All, name),
            Some(("ForAnyValue", name)) => (Quantifier::Any, name),
            Some(_) => return None,
        };
        if name == "Null" {
            let alone = quantifier == Quantifier::Single;
            return alone.then_some(Self { quantifier, test: Test::Null, if_exists: false });
        }
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        let (comparison, negated) = match name {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            _ => return None,
        };
        Some(Self { quantifier, test: Test::Text { comparison, negated }, if_exists })
    }
}

/// The entries of a JSON object, no two of one name: of a name given twice, most readers would silently use one.
#[derive(Debug)]
pub(crate) struct Entries<V>(Vec<(String, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
    type Value = Entries<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<V>, A::Error> {
        let mut entries: Vec<(String, V)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            if entries.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom(format!("'{name}' occurs twice")));
            }
            entries.push((name, value));
        }
        Ok(Entries(entries))
    }
}
