//! Values that stand for all values that a policy does not name. They are chosen for each policy, because its author
//! could name a value that is known before.

use super::condition::Condition;
use super::document::Statement;
use crate::eif::Pcr;
use crate::wildcard;

/// Digits of a register.
pub(super) const PCR_DIGITS: usize = 96;

/// Registers that are counted up to; KMS's limit of bytes leaves room for the names of some 300.
const MAX_TRIED: u32 = 512;

/// More than one, because a policy may treat one of them unlike others.
const STAND_INS: usize = 2;

/// Longest pattern of nothing but wildcards that a text is made to evade.
const MAX_TEXT_CHARS: usize = 64;

/// Names that no policy uses.
#[derive(Clone, Debug)]
pub(super) struct StandIns {
    /// Two that are in no value and described by no pattern; fewer if none are left.
    registers: Vec<String>,
    /// In no value and no pattern; none if all are.
    char: Option<char>,
    named_registers: Vec<String>,
}

impl StandIns {
    pub(super) fn of(statements: &[Statement]) -> Self {
        let conditions = || statements.iter().flat_map(|statement| &statement.conditions);
        let named =
            |it: &Condition| it.wanted.iter().map(|text| text.to_ascii_lowercase()).collect::<Vec<_>>();
        let all: Vec<String> = conditions().flat_map(named).collect();
        // One that has no case, or the lower one.
        let mut chars = ('!'..='\u{7f}').chain('\u{1}'..='\u{1f}');
        let is_free = |char: &char| {
            !char.is_ascii_uppercase()
                && !matches!(char, '*' | '?')
                && !all.iter().any(|text| text.contains(*char))
        };
        let char = chars.find(is_free);
        let named_registers: Vec<String> =
            conditions().filter(|it| it.is_of_attestation()).flat_map(named).collect();
        // A pattern that matches every register cannot be evaded.
        let is_wild = |pattern: &&String| pattern.bytes().all(|byte| matches!(byte, b'*' | b'?'));
        let evaded: Vec<&String> = named_registers.iter().filter(|pattern| !is_wild(pattern)).collect();
        let is_evading =
            |register: &String| !evaded.iter().any(|pattern| wildcard::matches(pattern, register));
        let registers = candidates().filter(is_evading).take(STAND_INS).collect();
        Self { registers, char, named_registers }
    }

    /// Whether there are values to try for all that is not named.
    pub(super) fn are_enough(&self) -> bool {
        self.registers.len() == STAND_INS && self.char.is_some()
    }

    pub(super) fn registers(&self) -> &[String] {
        &self.registers
    }

    /// The text that replaces a wildcard in an example.
    pub(super) fn filler(&self) -> String {
        self.char.unwrap_or('-').to_string()
    }

    /// A text that these conditions neither name nor describe, if there is one.
    pub(super) fn text<'c>(&self, conditions: impl Iterator<Item = &'c Condition>) -> String {
        let patterns: Vec<&String> = conditions.flat_map(|condition| &condition.wanted).collect();
        let filler = self.filler();
        (1..=MAX_TEXT_CHARS)
            .map(|chars| filler.repeat(chars))
            .find(|text| !patterns.iter().any(|pattern| wildcard::matches(pattern, text)))
            .unwrap_or(filler)
    }

    /// A register that a pattern describes and nothing names, or that is the pattern.
    pub(super) fn register_like(&self, pattern: &str) -> Option<String> {
        let is_register =
            |text: &str| text.len() == PCR_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_register(pattern) {
            return Some(pattern.to_owned());
        }
        if !pattern.contains(['*', '?']) {
            return None;
        }
        candidates()
            .filter_map(|digits| {
                let mut digits = digits.chars();
                let one: String = pattern
                    .chars()
                    .map(|char| if char == '?' { digits.next().unwrap_or('e') } else { char })
                    .collect();
                let fixed_chars = one.chars().filter(|char| *char != '*').count();
                let filler: String = digits.take(PCR_DIGITS.saturating_sub(fixed_chars)).collect();
                Some(one.replacen('*', &filler, 1).replace('*', "")).filter(|text| is_register(text))
            })
            .find(|register| !self.named_registers.contains(&register.to_ascii_lowercase()))
    }
}

/// Registers, none of zeros: most of no order, and those of one digit.
fn candidates() -> impl Iterator<Item = String> {
    let counted = (0..MAX_TRIED).map(|number| Pcr::of(&[b"stand-in", &number.to_be_bytes()]).to_string());
    counted.chain("123456789abcdef".chars().map(|digit| digit.to_string().repeat(PCR_DIGITS)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::document::{Of, statements};
    use super::{PCR_DIGITS, StandIns, candidates};

    fn of(condition: &Value) -> StandIns {
        let policy = json!({ "Statement": {
            "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", "Condition": condition,
        } });
        StandIns::of(&statements(&policy.to_string(), Of::Key).unwrap())
    }

    fn of_pcr0(operator: &str, wanted: &[String]) -> StandIns {
        of(&json!({ operator: { "kms:RecipientAttestation:PCR0": wanted } }))
    }

    #[test]
    fn nothing_named_stands_for_what_is_not() {
        let first: Vec<String> = candidates().take(5).collect();
        let plain = of(&json!({}));
        assert_eq!(plain.registers(), &first[..2]);
        let named: Vec<String> = first[..3].iter().map(|it| it.to_uppercase()).collect();
        assert_eq!(of_pcr0("StringEqualsIgnoreCase", &named).registers(), &first[3..]);
        let patterns: Vec<String> = first[..3].iter().map(|it| format!("{}*", &it[..20])).collect();
        assert_eq!(of_pcr0("StringNotLike", &patterns).registers(), &first[3..]);
        assert!(of_pcr0("StringLike", &["*".to_owned(), "?".repeat(PCR_DIGITS)]).are_enough());
        let all: Vec<String> = "0123456789abcdef".chars().map(|digit| format!("{digit}*")).collect();
        assert!(!of_pcr0("StringNotLike", &all).are_enough());

        let text = plain.text(std::iter::empty());
        let other = of(&json!({ "StringEquals": { "aws:UserAgent": format!("a{text}") } }));
        assert!(!other.text(std::iter::empty()).contains(&text));
    }

    #[test]
    fn what_a_pattern_describes_is_not_named() {
        let pattern = "0123*";
        let first = of(&json!({})).register_like(pattern).unwrap();
        assert!(first.len() == PCR_DIGITS && first.starts_with("0123"), "{first}");
        let other = of_pcr0("StringEquals", std::slice::from_ref(&first)).register_like(pattern).unwrap();
        assert!(other != first && other.starts_with("0123"), "{other}");
        assert_eq!(of(&json!({})).register_like(&first), Some(first.clone()));
        for none in ["", "x*", "0123", &"0".repeat(97)] {
            assert_eq!(of(&json!({})).register_like(none), None, "{none}");
        }
    }
}
