//! The secret that keeps table positions from being chosen by clients.

/// 128 random bits, drawn once at start, for SipHash. An attacker who learns it can slow the tables
/// down and no more.
pub struct HashSeed([u8; 16]);

impl HashSeed {
    /// Takes fresh random bytes.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl core::fmt::Debug for HashSeed {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("HashSeed").finish_non_exhaustive()
    }
}
