//! The operations of KMS.

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Decrypt,
    DescribeKey,
    Encrypt,
    GenerateDataKey,
    GenerateRandom,
    ReEncrypt,
}

impl Operation {
    const ALL: [Self; 6] = [
        Self::Decrypt,
        Self::DescribeKey,
        Self::Encrypt,
        Self::GenerateDataKey,
        Self::GenerateRandom,
        Self::ReEncrypt,
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decrypt => "Decrypt",
            Self::DescribeKey => "DescribeKey",
            Self::Encrypt => "Encrypt",
            Self::GenerateDataKey => "GenerateDataKey",
            Self::GenerateRandom => "GenerateRandom",
            Self::ReEncrypt => "ReEncrypt",
        }
    }
}
