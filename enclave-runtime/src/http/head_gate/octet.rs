//! The three sets of octets that RFC 9110 and RFC 9112 let into a head.

/// `tchar`: what methods, field names and nothing else are made of.
pub(super) const fn is_token(octet: u8) -> bool {
    matches!(
        octet,
        b'0'..=b'9'
            | b'a'..=b'z'
            | b'A'..=b'Z'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
            | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    )
}

/// The octets of a request target: visible ASCII.
pub(super) const fn is_target(octet: u8) -> bool {
    matches!(octet, 0x21..=0x7e)
}

/// The octets of a field value or a chunk extension: tab, space, visible ASCII, and `obs-text` as opaque data.
pub(super) const fn is_field_value(octet: u8) -> bool {
    matches!(octet, b'\t' | 0x20..=0x7e | 0x80..=0xff)
}
