//! A payload in the making.

use crate::cbor;
use crate::chain::{Chain, NOW_UNIX_S};

pub(crate) const NONCE: &[u8] = b"challenge";

/// Keys and values, in CBOR, in the order of the module.
#[derive(Clone)]
pub(crate) struct Draft(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Draft {
    /// A draft that verifies at [`NOW_UNIX_S`].
    pub(crate) fn good(chain: &Chain) -> Self {
        let issuers: Vec<_> = chain.cabundle().iter().map(|der| cbor::bytes(der)).collect();
        let fields = [
            ("module_id", cbor::text("i-0-enc0")),
            ("digest", cbor::text("SHA384")),
            ("timestamp", cbor::uint(NOW_UNIX_S * 1000)),
            ("pcrs", pcrs(&[(0, 48), (1, 48), (2, 48), (16, 48)])),
            ("certificate", cbor::bytes(chain.leaf())),
            ("cabundle", cbor::array(&issuers)),
            ("public_key", cbor::bytes(b"key")),
            ("user_data", cbor::NULL.to_vec()),
            ("nonce", cbor::bytes(NONCE)),
        ];
        Self(fields.map(|(name, value)| (cbor::text(name), value)).to_vec())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        let at = self.position(name);
        self.0[at].1 = value.into();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        let at = self.position(name);
        self.0.remove(at);
        self
    }

    pub(crate) fn and(mut self, key: Vec<u8>, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((key, value.into()));
        self
    }

    pub(crate) fn value(&self, name: &str) -> &[u8] {
        &self.0[self.position(name)].1
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        cbor::map(&self.0)
    }

    fn position(&self, name: &str) -> usize {
        let key = cbor::text(name);
        self.0.iter().position(|(other, _)| *other == key).unwrap()
    }
}

/// Registers of these indices and lengths, each filled with its index and one.
pub(crate) fn pcrs(registers: &[(u8, usize)]) -> Vec<u8> {
    let pair =
        |&(index, length): &(u8, usize)| (cbor::uint(index.into()), cbor::bytes(&vec![index + 1; length]));
    cbor::map(&registers.iter().map(pair).collect::<Vec<_>>())
}
