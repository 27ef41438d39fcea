//! Checks that a statement lets only images use the key, by operators that cannot be evaded.

use serde_json::Value;

use super::{PCR_KEY, is_pcr_key};
use crate::wildcard::matches;

/// The actions that reveal what the key protects, or give a right to it (AWS KMS, "Actions").
const USES: [&str; 10] = [
    "kms:decrypt",
    "kms:reencryptfrom",
    "kms:reencryptto",
    "kms:generatedatakey",
    "kms:generatedatakeywithoutplaintext",
    "kms:generatedatakeypair",
    "kms:generatedatakeypairwithoutplaintext",
    "kms:derivesharedsecret",
    "kms:creategrant",
    "kms:replicatekey",
];

/// Each of these has to be asked for.
const REGISTERS: [&str; 3] = ["0", "1", "2"];

/// The statement after rendering.
///
/// # Errors
/// Refuses a statement, with the reason.
pub(super) fn check(statement: &Value) -> Result<(), &'static str> {
    let mut asked_for = [false; REGISTERS.len()];
    let operators = statement.get("Condition").and_then(Value::as_object).into_iter().flatten();
    for (operator, keys) in operators {
        for (key, value) in keys.as_object().into_iter().flatten().filter(|(key, _)| is_pcr_key(key)) {
            let is_test = is_one_of(value, &["true", "false"]);
            match operator.as_str() {
                // Whether there is a document at all.
                "Null" if is_test => {}
                "Null" => return Err("asks with Null for something else than true or false"),
                "StringEquals" | "StringEqualsIgnoreCase" if is_test => {
                    return Err("asks for true or false where a PCR has a value");
                }
                "StringEquals" | "StringEqualsIgnoreCase" => {
                    for (register, asked_for) in REGISTERS.iter().zip(&mut asked_for) {
                        *asked_for |= key[PCR_KEY.len()..] == **register;
                    }
                }
                // Negated, or content with a document that lacks it, or with parts of a value.
                _ => {
                    return Err(
                        "asks for a PCR by another operator than StringEquals or StringEqualsIgnoreCase",
                    );
                }
            }
        }
    }
    if statement.get("Effect").and_then(Value::as_str) == Some("Deny") {
        return Ok(());
    }
    if statement.get("NotAction").is_some() || statement.get("NotPrincipal").is_some() {
        return Err("allows whatever, or whomever, it does not name");
    }
    let actions = texts(statement.get("Action"));
    let uses_the_key =
        actions.iter().any(|action| USES.iter().any(|used| matches(&action.to_ascii_lowercase(), used)));
    if uses_the_key && asked_for.contains(&false) {
        return Err("allows to use the key without asking for PCR0, PCR1 and PCR2");
    }
    Ok(())
}

fn is_one_of(value: &Value, known: &[&str]) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::String(text) => known.contains(&text.as_str()),
        Value::Array(values) => values.iter().any(|value| is_one_of(value, known)),
        _ => false,
    }
}

/// A text, or each of a list.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;

    fn statement(action: &Value, condition: &Value) -> Value {
        json!({ "Effect": "Allow", "Principal": "*", "Action": action, "Resource": "*", "Condition": condition })
    }

    #[test]
    fn the_key_is_used_by_images_only() {
        let pcrs = |operator: &str, registers: &[u8]| {
            let keys = registers.iter().map(|register| {
                (format!("kms:RecipientAttestation:PCR{register}"), Value::from("a0".repeat(48)))
            });
            json!({ operator: keys.collect::<serde_json::Map<_, _>>() })
        };
        let all = pcrs("StringEquals", &[0, 1, 2]);
        check(&statement(&json!("kms:Decrypt"), &all)).unwrap();
        check(&statement(&json!("kms:Decrypt"), &pcrs("StringEqualsIgnoreCase", &[0, 1, 2, 8]))).unwrap();
        check(&statement(&json!(["kms:DescribeKey", "kms:Encrypt"]), &json!({}))).unwrap();
        for action in
            ["kms:Decrypt", "kms:decrypt", "kms:*", "*", "kms:GenerateDataKey*", "kms:Re*", "kms:CreateGran?"]
        {
            for condition in [json!({}), pcrs("StringEquals", &[0, 1]), pcrs("StringEquals", &[8])] {
                let error = check(&statement(&json!([action]), &condition)).unwrap_err();
                assert_eq!(error, "allows to use the key without asking for PCR0, PCR1 and PCR2", "{action}");
            }
        }
        for operator in
            ["StringNotEquals", "StringEqualsIfExists", "StringLike", "ForAllValues:StringEquals", "Null"]
        {
            check(&statement(&json!("kms:Decrypt"), &pcrs(operator, &[0, 1, 2]))).unwrap_err();
        }
        let null = json!({ "StringEquals": { "kms:RecipientAttestation:PCR0": "true" } });
        check(&statement(&json!("kms:Decrypt"), &null)).unwrap_err();
        for member in ["NotAction", "NotPrincipal"] {
            let mut statement = statement(&json!("kms:DescribeKey"), &json!({}));
            statement[member] = json!("x");
            check(&statement).unwrap_err();
        }
    }

    #[test]
    fn what_is_denied_needs_no_image() {
        let deny = json!({
            "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
            "Condition": { "Null": { "kms:RecipientAttestation:PCR0": "true" } }
        });
        check(&deny).unwrap();
    }
}
