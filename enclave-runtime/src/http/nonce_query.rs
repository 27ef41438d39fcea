//! The query of the attestation endpoint: `?nonce=<hex or base64url>`.

use enclave_core::AttestationNonce;

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
/// Nothing is percent-decoded: neither alphabet of [`AttestationNonce::from_text`] needs it.
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
    let nonce = AttestationNonce::from_text(text.as_bytes()).ok_or(InvalidNonce)?;
    Ok(Some(nonce.as_bytes().to_vec()))
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
    fn it_is_found_among_others() {
        for (query, nonce) in [
            ("nonce=00", &[0][..]),
            ("nonce=Zm9v", b"foo"),
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
            "nonce=Zg==",
            "nonce=%5F-8",
            "nonce=00%30",
            "nonce=00=",
        ] {
            assert_eq!(nonce_of(Some(query)), Err(InvalidNonce), "{query}");
        }
    }
}
