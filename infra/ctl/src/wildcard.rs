//! Patterns of IAM.

/// Whether a pattern covers the whole text. `*` stands for any characters and `?` for one.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut position) = (0, 0);
    // The position behind the last `*`, and the text that it has covered so far.
    let mut last_star = None;
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at + 1, position));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[position] => {
                at += 1;
                position += 1;
            }
            _ => {
                let Some((behind, covered)) = last_star else { return false };
                last_star = Some((behind, covered + 1));
                (at, position) = (behind, covered + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_are_those_of_iam() {
        for (pattern, is_covered) in [
            ("kms:decrypt", true),
            ("kms:*", true),
            ("*", true),
            ("kms:decryp?", true),
            ("*:dec*t", true),
            ("**e*r*pt**", true),
        ] {
            assert_eq!(matches(pattern, "kms:decrypt"), is_covered, "{pattern}");
        }
        for pattern in ["", "kms:decryp", "kms:decrypt?", "kms:encrypt", "k?:decrypt", "kms:*x"] {
            assert!(!matches(pattern, "kms:decrypt"), "{pattern}");
        }
    }
}
