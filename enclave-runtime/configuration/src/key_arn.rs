//! The name of a KMS key.

use std::fmt;
use std::str::FromStr;

use super::region::Region;

/// The ARN of a KMS key, such as `arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab`.
///
/// The ARN of an alias is refused, because a principal that may move the alias could choose the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArn {
    text: String,
    region: Region,
}

/// The text is not the canonical ARN of a KMS key in a known region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKeyArn;

impl fmt::Display for InvalidKeyArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not the ARN of a KMS key")
    }
}

impl std::error::Error for InvalidKeyArn {}

/// The resource type, before the key's ID.
const RESOURCE: &str = "key/";

/// The prefix of a multi-region key, before its 32 digits.
const MULTI_REGION: &str = "mrk-";

/// The number of digits in each group of a UUID.
const UUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

const ACCOUNT_DIGITS: usize = 12;

impl FromStr for KeyArn {
    type Err = InvalidKeyArn;

    fn from_str(text: &str) -> Result<Self, InvalidKeyArn> {
        let mut parts = text.split(':');
        let mut part = || parts.next().ok_or(InvalidKeyArn);
        let (arn, partition, service, region) = (part()?, part()?, part()?, part()?);
        let (account, resource) = (part()?, part()?);
        let region: Region = region.parse().map_err(|_| InvalidKeyArn)?;
        let is_key = parts.next().is_none()
            && arn == "arn"
            && service == "kms"
            && partition == region.partition().name()
            && account.len() == ACCOUNT_DIGITS
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && resource.strip_prefix(RESOURCE).is_some_and(is_key_id);
        if is_key { Ok(Self { text: text.to_owned(), region }) } else { Err(InvalidKeyArn) }
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl KeyArn {
    /// The text of the ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region of the key.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// Whether this is the placeholder of the committed `nitro.toml`, whose digits are all zero.
    pub(super) fn is_the_examples(&self) -> bool {
        let id = self.text.rsplit('/').next().unwrap_or_default();
        let id = id.strip_prefix(MULTI_REGION).unwrap_or(id);
        id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
    }
}

fn is_key_id(id: &str) -> bool {
    if let Some(digits) = id.strip_prefix(MULTI_REGION) {
        return digits.len() == 32 && is_lower_hex(digits);
    }
    let groups: Vec<&str> = id.split('-').collect();
    groups.iter().map(|group| group.len()).eq(UUID_GROUPS) && groups.iter().all(|group| is_lower_hex(group))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{InvalidKeyArn, KeyArn};

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn reads_the_arns_of_keys() {
        for (arn, region) in [
            (format!("arn:aws:kms:us-east-1:111122223333:key/{ID}"), "us-east-1"),
            (format!("arn:aws-cn:kms:cn-northwest-1:111122223333:key/{ID}"), "cn-northwest-1"),
            (format!("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/{ID}"), "us-gov-west-1"),
            (format!("arn:aws-eusc:kms:eusc-de-east-1:111122223333:key/{ID}"), "eusc-de-east-1"),
            (
                "arn:aws:kms:eu-west-1:000000000000:key/mrk-1234abcd12ab34cd56ef1234567890ab".to_owned(),
                "eu-west-1",
            ),
        ] {
            let key: KeyArn = arn.parse().unwrap();
            assert_eq!(key.to_string(), arn);
            assert_eq!(key.as_str(), arn);
            assert_eq!(key.region().as_str(), region);
            assert!(!key.is_the_examples());
        }
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            String::new(),
            ID.to_owned(),
            "alias/sealing".to_owned(),
            "arn:aws:kms:us-east-1:111122223333:alias/sealing".to_owned(),
            format!("arn:aws:kms:us-east-1:111122223333:key/{ID} "),
            format!(" arn:aws:kms:us-east-1:111122223333:key/{ID}"),
            format!("arn:aws:kms:us-east-1:111122223333:key/{ID}:"),
            format!("arn:aws:kms:us-east-1:111122223333:key/{ID}\n"),
            format!("arn:aws:kms:us-east-1:111122223333:key/{}", ID.to_uppercase()),
            format!("arn:aws:kms:us-east-1:111122223333:key/{}", ID.replace('-', "")),
            format!("arn:aws:kms:us-east-1:111122223333:key/{}", &ID[1..]),
            "arn:aws:kms:us-east-1:111122223333:key/".to_owned(),
            "arn:aws:kms:us-east-1:111122223333:key/*".to_owned(),
            "arn:aws:kms:us-east-1:111122223333:key/mrk-1234".to_owned(),
            format!("arn:aws:kms:us-east-1:11112222333:key/{ID}"),
            format!("arn:aws:kms:us-east-1:11112222333a:key/{ID}"),
            format!("arn:aws:kms::111122223333:key/{ID}"),
            format!("arn:aws:kms:us-east-1::key/{ID}"),
            format!("arn:aws:s3:us-east-1:111122223333:key/{ID}"),
            format!("ARN:aws:kms:us-east-1:111122223333:key/{ID}"),
            // A partition that does not match the region.
            format!("arn:aws-cn:kms:us-east-1:111122223333:key/{ID}"),
            format!("arn:aws:kms:cn-north-1:111122223333:key/{ID}"),
            format!("arn:aws:kms:us-gov-west-1:111122223333:key/{ID}"),
            format!("arn:aws-iso:kms:us-iso-east-1:111122223333:key/{ID}"),
        ] {
            assert_eq!(bad.parse::<KeyArn>(), Err(InvalidKeyArn), "{bad}");
        }
    }

    #[test]
    fn knows_the_examples() {
        for example in ["00000000-0000-0000-0000-000000000000", "mrk-00000000000000000000000000000000"] {
            let arn = format!("arn:aws:kms:us-east-1:111122223333:key/{example}");
            assert!(arn.parse::<KeyArn>().unwrap().is_the_examples(), "{arn}");
        }
    }
}
