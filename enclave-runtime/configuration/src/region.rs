//! The AWS regions that have a KMS, with their partitions and endpoints.

use std::fmt;
use std::str::FromStr;

/// A region's name, such as `us-east-1`, in a partition whose endpoints are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    name: String,
    partition: Partition,
}

/// The AWS partitions that this signer runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// `aws`
    Commercial,
    /// `aws-cn`
    China,
    /// `aws-us-gov`
    GovCloud,
    /// `aws-eusc`
    EuropeanSovereign,
}

/// Why a text is not a known region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownRegion {
    /// The text does not look like the name of a region.
    NotARegion,
    /// The region is in an isolated partition, which has other endpoints and roots of trust.
    Isolated,
}

impl fmt::Display for UnknownRegion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotARegion => "not the name of an AWS region",
            Self::Isolated => "of an isolated partition, whose endpoints this version does not know",
        })
    }
}

impl std::error::Error for UnknownRegion {}

/// A limit above all names: the longest is `ap-southeast-1`, with 14 bytes. A DNS label has at most 63.
const MAX_REGION_BYTES: usize = 32;

/// The first words of regions in isolated partitions.
const ISOLATED: [&str; 4] = ["us-iso-", "us-isob-", "us-isof-", "eu-isoe-"];

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        let mut words: Vec<&str> = text.split('-').collect();
        let number = words.pop().unwrap_or_default();
        let is_word = |word: &&str| word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase());
        if text.len() > MAX_REGION_BYTES
            || words.len() < 2
            || !words.iter().all(is_word)
            || !matches!(number.as_bytes(), [b'1'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'])
        {
            return Err(UnknownRegion::NotARegion);
        }
        if ISOLATED.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(UnknownRegion::Isolated);
        }
        let partition = if text.starts_with("cn-") {
            Partition::China
        } else if text.starts_with("us-gov-") {
            Partition::GovCloud
        } else if text.starts_with("eusc-") {
            Partition::EuropeanSovereign
        } else {
            Partition::Commercial
        };
        Ok(Self { name: text.to_owned(), partition })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Region {
    /// The name of the region.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The partition of the region.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.partition
    }
}

impl Partition {
    /// The partition's name in ARNs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commercial => "aws",
            Self::China => "aws-cn",
            Self::GovCloud => "aws-us-gov",
            Self::EuropeanSovereign => "aws-eusc",
        }
    }

    /// The DNS suffix of the partition's endpoints.
    #[must_use]
    pub const fn dns_suffix(self) -> &'static str {
        match self {
            Self::Commercial | Self::GovCloud => "amazonaws.com",
            Self::China => "amazonaws.com.cn",
            Self::EuropeanSovereign => "amazonaws.eu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Region, UnknownRegion};

    /// The regions of botocore's `partitions.json` (1.43), with partition and DNS suffix.
    const BOTOCORE: &[(&str, &str, &str)] = &[
        ("af-south-1", "aws", "amazonaws.com"),
        ("ap-east-1", "aws", "amazonaws.com"),
        ("ap-east-2", "aws", "amazonaws.com"),
        ("ap-northeast-1", "aws", "amazonaws.com"),
        ("ap-northeast-2", "aws", "amazonaws.com"),
        ("ap-northeast-3", "aws", "amazonaws.com"),
        ("ap-south-1", "aws", "amazonaws.com"),
        ("ap-south-2", "aws", "amazonaws.com"),
        ("ap-southeast-1", "aws", "amazonaws.com"),
        ("ap-southeast-2", "aws", "amazonaws.com"),
        ("ap-southeast-3", "aws", "amazonaws.com"),
        ("ap-southeast-4", "aws", "amazonaws.com"),
        ("ap-southeast-5", "aws", "amazonaws.com"),
        ("ap-southeast-6", "aws", "amazonaws.com"),
        ("ap-southeast-7", "aws", "amazonaws.com"),
        ("ca-central-1", "aws", "amazonaws.com"),
        ("ca-west-1", "aws", "amazonaws.com"),
        ("eu-central-1", "aws", "amazonaws.com"),
        ("eu-central-2", "aws", "amazonaws.com"),
        ("eu-north-1", "aws", "amazonaws.com"),
        ("eu-south-1", "aws", "amazonaws.com"),
        ("eu-south-2", "aws", "amazonaws.com"),
        ("eu-west-1", "aws", "amazonaws.com"),
        ("eu-west-2", "aws", "amazonaws.com"),
        ("eu-west-3", "aws", "amazonaws.com"),
        ("il-central-1", "aws", "amazonaws.com"),
        ("me-central-1", "aws", "amazonaws.com"),
        ("me-south-1", "aws", "amazonaws.com"),
        ("mx-central-1", "aws", "amazonaws.com"),
        ("sa-east-1", "aws", "amazonaws.com"),
        ("us-east-1", "aws", "amazonaws.com"),
        ("us-east-2", "aws", "amazonaws.com"),
        ("us-west-1", "aws", "amazonaws.com"),
        ("us-west-2", "aws", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("cn-northwest-1", "aws-cn", "amazonaws.com.cn"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
    ];

    #[test]
    fn knows_the_regions_of_the_aws_sdks() {
        for (name, partition, suffix) in BOTOCORE {
            let region: Region = name.parse().unwrap();
            assert_eq!(region.to_string(), *name);
            assert_eq!(region.partition().name(), *partition, "{name}");
            assert_eq!(region.partition().dns_suffix(), *suffix, "{name}");
        }
    }

    #[test]
    fn refuses_other_names() {
        for bad in [
            "",
            "-",
            "--1",
            "us-1",
            "us-east",
            "us-east-",
            "us-east-0",
            "us-east-01",
            "us-east-100",
            "us-east-1a",
            "US-EAST-1",
            "us-east-1 ",
            "us--east-1",
            "us_east_1",
            "us-east-1.evil.example",
            "us-east-1/",
            "aws-global",
            "us-eastéé-1",
            "us-eastttttttttttttttttttttttttt-1",
        ] {
            assert_eq!(bad.parse::<Region>(), Err(UnknownRegion::NotARegion), "{bad}");
        }
        for isolated in
            ["us-iso-east-1", "us-iso-west-1", "us-isob-east-1", "us-isof-south-1", "eu-isoe-west-1"]
        {
            assert_eq!(isolated.parse::<Region>(), Err(UnknownRegion::Isolated), "{isolated}");
        }
    }
}
