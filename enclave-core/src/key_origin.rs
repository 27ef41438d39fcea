//! Where a key came from.

/// How a key came to be in this store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOrigin {
    /// It came out of a backup. Someone may have known the key before.
    Imported,
    /// It was made here, since this store was.
    Generated,
}

impl KeyOrigin {
    /// The word for it in replies and in a [`KeyBinding`](crate::KeyBinding)'s hash.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Generated => "generated",
        }
    }
}
