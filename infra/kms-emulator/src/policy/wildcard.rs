//! `*` and `?`.

/// Whether the pattern, in which `*` stands for any text and `?` for one character, describes all of the text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` has to stand for one character more.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, start)) = retry else { return false };
                retry = Some((star, start + 1));
                p = star + 1;
                t = start + 1;
            }
        }
    }
    pattern[p..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_text() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("kms:De*", "kms:Decrypt"),
            ("*rypt", "kms:Decrypt"),
            ("a*b*c", "a-b-b-c"),
            ("a?c", "abc"),
            ("a*?", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("kms:De*", "kms:Encrypt"),
            ("a*b", "a-b-c"),
            ("a?c", "ac"),
            ("abc", "ABC"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
