//! The API key that a client of the signer presents.

use std::fmt;

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

/// The value of the header `x-internal-api-key`; at least a byte.
pub struct ApiKey(Zeroizing<Vec<u8>>);

/// It is empty, or cannot stand in a header as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidApiKey;

impl fmt::Display for InvalidApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the API key is empty, or has control characters or blanks around it")
    }
}

impl std::error::Error for InvalidApiKey {}

impl ApiKey {
    /// Takes it as it is.
    ///
    /// # Errors
    /// [`InvalidApiKey`]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, InvalidApiKey> {
        let is_blank = |byte: Option<&u8>| matches!(byte, None | Some(b' ' | b'\t'));
        if is_blank(bytes.first()) || is_blank(bytes.last()) || HeaderValue::from_bytes(&bytes).is_err() {
            return Err(InvalidApiKey);
        }
        Ok(Self(bytes))
    }

    /// A copy for one request. hyper does not wipe it.
    pub(crate) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::ApiKey;

    #[test]
    fn what_no_header_can_carry_is_refused() {
        let read = |text: &str| ApiKey::new(Zeroizing::new(text.as_bytes().to_vec())).is_ok();
        assert!(read("0123456789abcdef") && read("with a blank inside"));
        for wrong in ["", " key", "key ", "\tkey", "two\nlines", "nul\0"] {
            assert!(!read(wrong), "{wrong:?}");
        }
    }
}
