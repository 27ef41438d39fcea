//! Randomness: the kernel's.

/// The kernel gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntropyUnavailable;

/// Fills `bytes` from getrandom(2), which waits for the kernel's pool to be seeded once after boot.
///
/// # Errors
/// [`EntropyUnavailable`]
pub(crate) fn fill<const N: usize>(bytes: &mut [u8; N]) -> Result<(), EntropyUnavailable> {
    getrandom::fill(bytes).map_err(|_| EntropyUnavailable)
}
