//! The ARN of a key.

use std::fmt;
use std::str::FromStr;

/// `arn:aws:kms:REGION:ACCOUNT:key/ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyArn {
    text: String,
    region: String,
    account: String,
    id: String,
}

impl KeyArn {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl FromStr for KeyArn {
    type Err = InvalidKeyArn;

    fn from_str(text: &str) -> Result<Self, InvalidKeyArn> {
        let fields: Vec<&str> = text.split(':').collect();
        let ["arn", "aws", "kms", region, account, resource] = fields[..] else {
            return Err(InvalidKeyArn);
        };
        let id = resource.strip_prefix("key/").ok_or(InvalidKeyArn)?;
        if region.is_empty() || id.is_empty() || !is_account(account) {
            return Err(InvalidKeyArn);
        }
        Ok(Self { text: text.into(), region: region.into(), account: account.into(), id: id.into() })
    }
}

/// Whether the text is the number of an AWS account.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for KeyArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The text is no key's ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidKeyArn;

impl fmt::Display for InvalidKeyArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not of the form arn:aws:kms:REGION:ACCOUNT:key/ID")
    }
}

impl std::error::Error for InvalidKeyArn {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arns_of_keys_are_taken() {
        let arn: KeyArn = "arn:aws:kms:eu-central-1:111122223333:key/a-b".parse().unwrap();
        assert_eq!((arn.region(), arn.account(), arn.id()), ("eu-central-1", "111122223333", "a-b"));
        for wrong in [
            "",
            "a-b",
            "arn:aws:kms:eu-central-1:111122223333:alias/a",
            "arn:aws:kms:eu-central-1:11112222333:key/a",
            "arn:aws:kms::111122223333:key/a",
            "arn:aws:kms:eu-central-1:111122223333:key/",
            "arn:aws:iam:eu-central-1:111122223333:key/a",
            "arn:aws:kms:eu-central-1:111122223333:key/a:b",
        ] {
            assert_eq!(wrong.parse::<KeyArn>(), Err(InvalidKeyArn), "{wrong}");
        }
    }
}
