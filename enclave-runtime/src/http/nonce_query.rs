//! The query of the attestation endpoint: `?nonce=<hex or base64url>`.

use base64ct::{Base64UrlUnpadded, Encoding as _};

use crate::nsm::MAX_NONCE_BYTES;

/// The query has a nonce that is none: empty, over 512 bytes, in neither encoding, or there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidNonce;

impl std::fmt::Display for InvalidNonce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the nonce must be 1 to 512 bytes in hex or unpadded base64url")
    }
}

impl std::error::Error for InvalidNonce {}

/// The nonce that `query` asks for, if any. Other parameters are ignored.
///
/// An even number of hex digits, in either case, is hex, also where it is base64url at the same time: a client that
/// sends base64url of 16 random bytes meets that once in 2^34 times, and then finds another nonce in its
/// document; one that must never meet it sends hex. Everything else is base64url without padding. Nothing is
/// percent-decoded: neither alphabet needs it.
///
/// # Errors
/// [`InvalidNonce`]
pub fn nonce_of(query: Option<&str>) -> Result<Option<Vec<u8>>, InvalidNonce> {
    let parameters = query.unwrap_or_default().split('&');
    let mut nonces = parameters.filter_map(|parameter| match parameter.split_once('=') {
        Some(("nonce", value)) => Some(value),
        None if parameter == "nonce" => Some(""),
        _ => None,
    });
    let Some(text) = nonces.next() else { return Ok(None) };
    if nonces.next().is_some() {
        return Err(InvalidNonce);
    }
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let nonce = if is_hex {
        base16ct::mixed::decode_vec(text).map_err(|_| InvalidNonce)?
    } else {
        Base64UrlUnpadded::decode_vec(text).map_err(|_| InvalidNonce)?
    };
    if nonce.is_empty() || nonce.len() > MAX_NONCE_BYTES {
        return Err(InvalidNonce);
    }
    Ok(Some(nonce))
}

#[cfg(test)]
mod tests {
    use super::{InvalidNonce, nonce_of};

    #[test]
    fn no_nonce_is_none() {
        for query in
            [None, Some(""), Some("&"), Some("x=1"), Some("Nonce=00"), Some("nonces=00"), Some("=00")]
        {
            assert_eq!(nonce_of(query), Ok(None), "{query:?}");
        }
    }

    #[test]
    fn hex_and_base64url_are_read() {
        for (query, nonce) in [
            ("nonce=00", &[0][..]),
            ("nonce=dEAdbEef", &[0xde, 0xad, 0xbe, 0xef]),
            // The test vectors of RFC 4648 §10.
            ("nonce=Zg", b"f"),
            ("nonce=Zm8", b"fo"),
            ("nonce=Zm9v", b"foo"),
            ("nonce=Zm9vYmFy", b"foobar"),
            ("nonce=_-8", &[0xff, 0xef]),
            // Hex digits, but an odd number of them.
            ("nonce=abc", &[0x69, 0xb7]),
            // No hex digit is `x`.
            ("nonce=0x00", &[0xd3, 0x1d, 0x34]),
            // Both: hex.
            ("nonce=abcd", &[0xab, 0xcd]),
            ("x=1&nonce=00&y", &[0]),
            ("&nonce=00&", &[0]),
            ("x=nonce=11&nonce=00", &[0]),
        ] {
            assert_eq!(nonce_of(Some(query)), Ok(Some(nonce.to_vec())), "{query}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for query in [
            "nonce",
            "nonce=",
            "nonce&nonce=00",
            "nonce=00&nonce=00",
            "nonce=00&x=1&nonce=11",
            "nonce=0",
            // Padded.
            "nonce=Zg==",
            "nonce=Zm8=",
            // Bits left over that are not zero.
            "nonce=Zh",
            "nonce=Zm9",
            // A length that base64 does not have.
            "nonce=Zm9vY",
            // The other base64 alphabet.
            "nonce=+/8",
            "nonce=%5F-8",
            "nonce=00%30",
            "nonce= 00",
            "nonce=00 ",
            "nonce=00\n",
            "nonce=Zm9v\n",
            "nonce=Zm9v.",
            "nonce=00,11",
            "nonce=é",
            "nonce=０0",
            "nonce=00=",
        ] {
            assert_eq!(nonce_of(Some(query)), Err(InvalidNonce), "{query}");
        }
    }

    #[test]
    fn it_has_512_bytes_at_most() {
        // The fourth byte of each block of base64url is no hex digit.
        for (unit, bytes, most) in [("ab", 1, 512), ("abc_", 3, 170)] {
            let longest = format!("nonce={}", unit.repeat(most));
            assert_eq!(nonce_of(Some(&longest)).unwrap().unwrap().len(), bytes * most);
            let too_long = format!("nonce={}", unit.repeat(most + 1));
            assert_eq!(nonce_of(Some(&too_long)), Err(InvalidNonce), "{unit}");
        }
        // 512 bytes, and 513.
        assert_eq!(nonce_of(Some(&format!("nonce={}ab8", "abc_".repeat(170)))).unwrap().unwrap().len(), 512);
        assert_eq!(nonce_of(Some(&format!("nonce={}", "abc_".repeat(171)))), Err(InvalidNonce));
    }
}
