//! Evaluates a condition on a request (AWS IAM, "Condition operators").

use std::collections::BTreeMap;

use crate::wildcard;

/// One operator over one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// As it is written.
    pub(super) operator: String,
    /// As it is written.
    pub(super) key: String,
    pub(super) wanted: Vec<String>,
    /// The names of condition keys have no case.
    pub(super) key_in_lower_case: String,
    quantifier: Quantifier,
    test: Test,
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    Single,
    All,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Null,
    Text {
        comparison: Comparison,
        negated: bool,
    },
    /// An operator of IAM over something else than text.
    NotText,
    /// No operator of IAM.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equals,
    EqualsIgnoreCase,
    Like,
    Arn,
}

/// Whether something is so, as far as can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

/// The values of condition keys, by their names in lower case; `None` where the request has none. What a request may
/// have for a key that is not here is not known. It has none of the keys of attestation.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) values: BTreeMap<String, Option<String>>,
}

/// Condition keys that only an attestation document gives a value.
pub(super) const ATTESTATION: &str = "kms:recipientattestation:";

impl Request {
    fn value(&self, key: &str) -> Option<Option<&str>> {
        match self.values.get(key) {
            Some(value) => Some(value.as_deref()),
            None if key.starts_with(ATTESTATION) => Some(None),
            None => None,
        }
    }
}

/// The operators that do not compare text.
const NOT_TEXT: [&str; 16] = [
    "Bool",
    "BinaryEquals",
    "DateEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateNotEquals",
    "IpAddress",
    "NotIpAddress",
    "NumericEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericNotEquals",
];

impl Condition {
    pub(super) fn new(operator: &str, key: &str, wanted: Vec<String>) -> Self {
        let (quantifier, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Quantifier::All, name),
            Some(("ForAnyValue", name)) => (Quantifier::Any, name),
            _ => (Quantifier::Single, operator),
        };
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        let text = |comparison, negated| Test::Text { comparison, negated };
        let test = match name {
            "Null" if if_exists || quantifier != Quantifier::Single => Test::Unknown,
            "Null" => Test::Null,
            "StringEquals" => text(Comparison::Equals, false),
            "StringNotEquals" => text(Comparison::Equals, true),
            "StringEqualsIgnoreCase" => text(Comparison::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => text(Comparison::EqualsIgnoreCase, true),
            "StringLike" => text(Comparison::Like, false),
            "StringNotLike" => text(Comparison::Like, true),
            "ArnEquals" | "ArnLike" => text(Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => text(Comparison::Arn, true),
            _ if NOT_TEXT.contains(&name) => Test::NotText,
            _ => Test::Unknown,
        };
        let (operator, key, key_in_lower_case) = (operator.to_owned(), key.to_owned(), key.to_lowercase());
        Self { operator, key, wanted, key_in_lower_case, quantifier, test, if_exists }
    }

    pub(super) fn is_of_attestation(&self) -> bool {
        self.key_in_lower_case.starts_with(ATTESTATION)
    }

    /// Whether it is about this register.
    pub(super) fn is_of_register(&self, register: u8) -> bool {
        let name = self.key_in_lower_case.strip_prefix(ATTESTATION);
        name.is_some_and(|name| name == format!("pcr{register}"))
    }

    /// Whether IAM has the operator.
    pub(super) fn is_known(&self) -> bool {
        self.test != Test::Unknown
    }

    /// The values of which the key has to have one; none for other conditions.
    pub(super) fn asked_for(&self) -> &[String] {
        match self.test {
            Test::Text { negated: false, .. } => &self.wanted,
            _ => &[],
        }
    }

    /// Whether it compares with a pattern.
    pub(super) fn has_wildcards(&self) -> bool {
        let wild = matches!(self.test, Test::Text { comparison: Comparison::Like | Comparison::Arn, .. });
        wild && self.wanted.iter().any(|wanted| wanted.contains(['*', '?']))
    }

    /// Values that requests are tried with: each that it names, in several cases where these do not matter, and one for
    /// each pattern in which `filler`, of one character, stands for what a wildcard does.
    pub(super) fn examples(&self, filler: &str) -> Vec<String> {
        let Test::Text { comparison, .. } = self.test else { return Vec::new() };
        let of_one = |wanted: &String| match comparison {
            Comparison::Equals => vec![wanted.clone()],
            Comparison::EqualsIgnoreCase => {
                vec![wanted.clone(), wanted.to_ascii_lowercase(), wanted.to_ascii_uppercase()]
            }
            Comparison::Like | Comparison::Arn => {
                vec![wanted.replace('*', "").replace('?', filler), wanted.replace(['*', '?'], filler)]
            }
        };
        self.wanted.iter().flat_map(of_one).collect()
    }

    pub(super) fn truth(&self, request: &Request) -> Truth {
        let Some(value) = request.value(&self.key_in_lower_case) else { return Truth::Unknown };
        let truth = |is_so: bool| if is_so { Truth::Yes } else { Truth::No };
        let (comparison, negated) = match self.test {
            Test::Null => {
                return match (&self.wanted[..], value) {
                    ([one], value) if one == "true" || one == "false" => {
                        truth((one == "true") == value.is_none())
                    }
                    _ => Truth::Unknown,
                };
            }
            Test::Text { comparison, negated } => (comparison, negated),
            Test::NotText | Test::Unknown => return Truth::Unknown,
        };
        match (value, self.quantifier) {
            (None, _) if self.if_exists => Truth::Yes,
            (None, Quantifier::Single) => truth(negated),
            (None, Quantifier::All) => Truth::Yes,
            (None, Quantifier::Any) => Truth::No,
            (Some(_), _) if comparison == Comparison::Arn && self.has_wildcards() => Truth::Unknown,
            (Some(value), _) => {
                let holds = |wanted: &String| match comparison {
                    Comparison::Equals | Comparison::Arn => wanted == value,
                    Comparison::EqualsIgnoreCase => wanted.to_lowercase() == value.to_lowercase(),
                    Comparison::Like => wildcard::matches(wanted, value),
                };
                truth(self.wanted.iter().any(holds) != negated)
            }
        }
    }

    /// Whether it holds, as far as can be known.
    pub(super) fn may_hold(&self, request: &Request) -> bool {
        self.truth(request) != Truth::No
    }

    /// Whether it surely holds, also of requests that are like this one and were not tried.
    pub(super) fn is_certain(&self, request: &Request) -> bool {
        // Whether a pattern describes an example does not say whether it describes others.
        let is_open = match self.test {
            Test::Text { negated: true, .. } => self.has_wildcards(),
            Test::Text { negated: false, .. } => {
                let value = request.value(&self.key_in_lower_case).flatten();
                let is_closed = |wanted: &String| wanted == "*" || Some(&wanted[..]) == value;
                self.has_wildcards() && value.is_some() && !self.wanted.iter().any(is_closed)
            }
            _ => false,
        };
        !is_open && self.truth(request) == Truth::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Request, Truth};

    /// Of a key with no value, with `x`, and with `Y`.
    fn truths(operator: &str, wanted: &[&str]) -> [Truth; 3] {
        let condition = Condition::new(
            operator,
            "kms:EncryptionContext:A",
            wanted.iter().map(|it| (*it).into()).collect(),
        );
        [None, Some("x"), Some("Y")].map(|value| {
            let values = [("kms:encryptioncontext:a".to_owned(), value.map(str::to_owned))].into();
            condition.truth(&Request { values })
        })
    }

    #[test]
    fn operators_are_those_of_iam() {
        use Truth::{No, Unknown, Yes};
        for (operator, wanted, expected) in [
            ("StringEquals", &["x"][..], [No, Yes, No]),
            ("StringEqualsIfExists", &["x"], [Yes, Yes, No]),
            ("StringEqualsIgnoreCase", &["X", "y"], [No, Yes, Yes]),
            ("StringNotEquals", &["x"], [Yes, No, Yes]),
            ("StringNotEqualsIgnoreCase", &["y"], [Yes, Yes, No]),
            ("StringLike", &["?"], [No, Yes, Yes]),
            ("StringNotLike", &["*x*"], [Yes, No, Yes]),
            ("ForAllValues:StringEquals", &["x"], [Yes, Yes, No]),
            ("ForAnyValue:StringEquals", &["x"], [No, Yes, No]),
            ("ForAnyValue:StringEqualsIfExists", &["x"], [Yes, Yes, No]),
            ("ForAllValues:StringNotEquals", &["x"], [Yes, No, Yes]),
            ("ForAnyValue:StringNotEquals", &["x"], [No, No, Yes]),
            ("Null", &["true"], [Yes, No, No]),
            ("Null", &["false"], [No, Yes, Yes]),
            ("Null", &["maybe"], [Unknown; 3]),
            ("ArnLike", &["x"], [No, Yes, No]),
            ("ArnNotLike", &["*"], [Yes, Unknown, Unknown]),
            ("NumericEquals", &["1"], [Unknown; 3]),
            ("StringEqual", &["x"], [Unknown; 3]),
            ("NullIfExists", &["true"], [Unknown; 3]),
        ] {
            assert_eq!(truths(operator, wanted), expected, "{operator}");
        }
        assert!(!Condition::new("StringEqual", "a", Vec::new()).is_known());
        let other_key = Condition::new("StringEquals", "aws:SourceIp", vec!["x".to_owned()]);
        assert_eq!(other_key.truth(&Request::default()), Unknown);
        let pcr = Condition::new("StringNotEquals", "kms:RecipientAttestation:PCR0", vec!["x".to_owned()]);
        assert!(pcr.is_certain(&Request::default()));
        let open = Condition::new("StringNotLike", "kms:RecipientAttestation:PCR0", vec!["x*".to_owned()]);
        assert!(!open.is_certain(&Request::default()));
        let request = Request { values: [("a".to_owned(), Some("xxxx".to_owned()))].into() };
        for (wanted, is_certain) in [
            (&["*"][..], true),
            (&["xxxx"], true),
            (&["????*"], false),
            (&["?*", "xxxx"], true),
            (&["**"], false),
        ] {
            let wanted: Vec<String> = wanted.iter().map(|it| (*it).to_owned()).collect();
            let like = Condition::new("StringLike", "a", wanted.clone());
            assert!(like.may_hold(&request) && like.is_certain(&request) == is_certain, "{wanted:?}");
        }
    }
}
