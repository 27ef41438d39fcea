//! The fields of an attestation document.

/// A field of the payload's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `module_id`
    ModuleId,
    /// `digest`
    Digest,
    /// `timestamp`
    Timestamp,
    /// `pcrs`
    Pcrs,
    /// `certificate`
    Certificate,
    /// `cabundle`
    Cabundle,
    /// `public_key`
    PublicKey,
    /// `user_data`
    UserData,
    /// `nonce`
    Nonce,
}

impl Field {
    const ALL: [Self; 9] = [
        Self::ModuleId,
        Self::Digest,
        Self::Timestamp,
        Self::Pcrs,
        Self::Certificate,
        Self::Cabundle,
        Self::PublicKey,
        Self::UserData,
        Self::Nonce,
    ];

    /// The key of this field.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModuleId => "module_id",
            Self::Digest => "digest",
            Self::Timestamp => "timestamp",
            Self::Pcrs => "pcrs",
            Self::Certificate => "certificate",
            Self::Cabundle => "cabundle",
            Self::PublicKey => "public_key",
            Self::UserData => "user_data",
            Self::Nonce => "nonce",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}
