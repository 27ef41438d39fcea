//! Text of strangers, made safe for a terminal.

use serde_json::Value;

/// The most characters of a name or a sentence: the names in AWS's certificates have about 120, a signer's words 50.
pub const MAX_WORDS_CHARS: usize = 200;

/// A stranger's text as part of one line: unprintable characters are escaped, and those over `max_chars` left out.
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

/// JSON with strangers' text, in ASCII: other readers get the same text of it, and a terminal gets no control codes.
#[must_use]
pub fn json_in_ascii(json: &Value) -> String {
    let mut shown = String::new();
    for char in json.to_string().chars() {
        match char {
            // JSON escapes the other control characters already.
            ' '..='~' => shown.push(char),
            _ => shown.extend(char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{json_in_ascii, printable};

    #[test]
    fn json_is_the_same_in_ascii() {
        let said = json!({ "a\u{202e}": "b\u{9b}\u{7f}\x1b[2J\n\u{1f600}ä\"\\" });
        let shown = json_in_ascii(&said);
        assert!(shown.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), said);
    }

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(printable("a\x1b[2J\r\nb\tc\u{9b}d", 20), r"a\u{1b}[2J\r\nb\tc\u{9b}d");
        // A reader cannot see these: they turn the direction of text, or have no width.
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
