//! The identities that the contract accepts.

/// The sixteen bytes that a `UUID` text stands for, if it is one that the contract accepts.
#[must_use]
pub fn identity_bytes(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text).ok()?;
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = groups.concat();
    let bytes = hex(digits.as_bytes())?.try_into().ok()?;
    let (version, variant) = (digits.as_bytes()[12], digits.as_bytes()[16].to_ascii_lowercase());
    let known = matches!(version, b'1'..=b'8') && matches!(variant, b'8' | b'9' | b'a' | b'b');
    let nil = digits.bytes().all(|digit| digit == b'0');
    let max = digits.bytes().all(|digit| digit == b'f');
    (known || nil || max).then_some(bytes)
}

/// The bytes that pairs of hex digits in either case stand for.
#[must_use]
pub fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    if digits.len() % 2 == 1 {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(digit(&pair[0])? * 16 + digit(&pair[1])?).ok()).collect()
}

/// Lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
