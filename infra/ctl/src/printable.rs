//! What strangers write, for a terminal.

/// Most characters of a name or a sentence: the names in AWS's certificates have about 120, what a signer says 50.
pub const MAX_WORDS_CHARS: usize = 200;

/// A stranger's text as part of one line: what does not print is escaped, and what is over `max_chars` is left out.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    for (place, char) in text.chars().enumerate() {
        if place == max_chars {
            shown.push_str("...");
            break;
        }
        match char {
            // They print, and this is no literal of Rust's.
            '"' | '\'' | '\\' => shown.push(char),
            _ => shown.extend(char.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(printable("a\x1b[2J\r\nb\tc\u{9b}d", 20), r"a\u{1b}[2J\r\nb\tc\u{9b}d");
        // Nor does whoever reads it: these turn the direction of text, or are not seen.
        assert_eq!(printable("a\u{202e}b\u{200b}c", 20), r"a\u{202e}b\u{200b}c");
        assert_eq!(printable(r#"for "ä" in 'C:\✓'"#, 20), r#"for "ä" in 'C:\✓'"#);
    }

    #[test]
    fn a_line_is_of_bounded_length() {
        assert_eq!(printable("12345", 5), "12345");
        assert_eq!(printable("123456", 5), "12345...");
        assert_eq!(printable(&"é".repeat(1000), 2), "éé...");
    }
}
