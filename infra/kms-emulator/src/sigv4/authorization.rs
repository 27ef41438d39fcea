//! The `Authorization` header.

use crate::api_error::{ApiError, ErrorKind};

/// A parsed `Authorization` header of the scheme `AWS4-HMAC-SHA256`.
#[derive(Debug)]
pub(crate) struct Authorization<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// Lower-case names separated by `;`.
    pub(crate) signed_headers: &'a str,
    /// In hexadecimal digits, as sent.
    pub(crate) signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// # Errors
    ///
    /// When the header is of another scheme or lacks a part.
    pub(crate) fn parse(header: &'a str) -> Result<Self, ApiError> {
        let incomplete = |part: &str| {
            let message = format!("Authorization header requires '{part}' parameter. Authorization={header}");
            ApiError::new(ErrorKind::IncompleteSignature, message)
        };
        let parameters = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| incomplete("Credential"))?;
        let parameter = |name: &str| {
            let mut found = parameters
                .split(',')
                .filter_map(|parameter| parameter.trim().strip_prefix(name)?.strip_prefix('='));
            found
                .next()
                .filter(|value| !value.is_empty() && found.next().is_none())
                .ok_or_else(|| incomplete(name))
        };
        let (credential, signed_headers) = (parameter("Credential")?, parameter("SignedHeaders")?);
        let signature = parameter("Signature")?;
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope[..] else {
            let message = format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{credential}'"
            );
            return Err(ApiError::new(ErrorKind::IncompleteSignature, message));
        };
        Ok(Self { access_key_id, date, region, service, signed_headers, signature })
    }

    /// # Errors
    ///
    /// When the signature is meant for another region or service.
    pub(crate) fn check_scope(&self, region: &str, service: &str) -> Result<(), ApiError> {
        let message = if self.region != region {
            format!("Credential should be scoped to a valid region, not '{}'.", self.region)
        } else if self.service != service {
            format!("Credential should be scoped to correct service: '{service}'.")
        } else {
            return Ok(());
        };
        Err(ApiError::new(ErrorKind::InvalidSignature, message))
    }

    pub(crate) fn signs(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }
}
