//! Platform configuration registers.

use std::collections::BTreeMap;

/// Registers of a module.
pub(crate) const PCR_COUNT: u8 = 32;

/// Length of a register. A document names its digest, which has to be SHA384, so AWS's 32 and 64 do not occur.
pub const PCR_BYTES: usize = 48;

/// The registers that a document tells: the locked ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcrs(pub(crate) BTreeMap<u8, [u8; PCR_BYTES]>);

impl Pcrs {
    /// The value of register `index`, if the document tells it.
    #[must_use]
    pub fn get(&self, index: u8) -> Option<&[u8]> {
        self.0.get(&index).map(|value| value.as_slice())
    }

    /// Indices and values, in the order of the indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(index, value)| (*index, value.as_slice()))
    }
}
