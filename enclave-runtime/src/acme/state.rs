//! The state that outlives a restart: the account at the ACME server, and the certificate with its key.
//!
//! ```text
//! u16 ‖ directory │ u16 ‖ account URL │ u16 ‖ account key │ 0, or
//! 1 │ u64 when obtained │ u8 names, each u8 ‖ name │ u16 ‖ chain in PEM │ u16 ‖ key
//! ```
//!
//! Lengths are in bytes, integers are big-endian, keys are PKCS#8. The state is stored only sealed.

use zeroize::Zeroizing;

/// The maximum of a state. A chain has up to 32 KiB, and the rest is small, so it fits into one blob of the store.
pub const MAX_STATE_BYTES: usize = 48 * 1024;

/// The limit of `acme.directory`.
const MAX_URL_BYTES: usize = 1024;

/// PKCS#8 of a P-256 key has 138 bytes.
const MAX_KEY_BYTES: usize = 512;

/// The limit of a TLS chain.
const MAX_CHAIN_BYTES: usize = 32 * 1024;

/// The limit of `tls.server_names`.
const MAX_NAMES: usize = 16;

/// The limit of a DNS name (RFC 1035).
const MAX_NAME_BYTES: usize = 253;

/// The state that outlives a restart.
pub struct AcmeState {
    /// The URL of the directory.
    pub directory: String,
    /// The URL of the account.
    pub account_url: String,
    /// PKCS#8.
    pub account_key: Zeroizing<Vec<u8>>,
    /// The last certificate, if any.
    pub certificate: Option<KeptCertificate>,
}

/// A certificate and its key.
pub struct KeptCertificate {
    /// The requested names, in the order of the configuration.
    pub names: Vec<String>,
    /// When the certificate was obtained.
    pub obtained_unix_s: u64,
    /// The chain as the server sent it.
    pub chain_pem: String,
    /// PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for AcmeState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AcmeState").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for KeptCertificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeptCertificate").finish_non_exhaustive()
    }
}

impl AcmeState {
    /// Parses the output of [`AcmeState::write`], which is the only encoding. `None` for anything else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_STATE_BYTES {
            return None;
        }
        let mut reader = Reader(bytes);
        let state = Self {
            directory: reader.text(2, MAX_URL_BYTES)?,
            account_url: reader.text(2, MAX_URL_BYTES)?,
            account_key: reader.secret()?,
            certificate: match reader.number(1)? {
                0 => None,
                1 => Some(KeptCertificate::read(&mut reader)?),
                _ => return None,
            },
        };
        reader.0.is_empty().then_some(state)
    }

    /// Encodes the state. `None` if [`AcmeState::read`] would refuse the result.
    #[must_use]
    pub fn write(&self) -> Option<Zeroizing<Vec<u8>>> {
        // The full capacity at once: growing would leave copies of the keys in freed memory.
        let mut writer = Writer(Zeroizing::new(Vec::with_capacity(MAX_STATE_BYTES)));
        writer.text(2, MAX_URL_BYTES, self.directory.as_bytes())?;
        writer.text(2, MAX_URL_BYTES, self.account_url.as_bytes())?;
        writer.text(2, MAX_KEY_BYTES, &self.account_key)?;
        match &self.certificate {
            None => writer.bytes(&[0])?,
            Some(certificate) => {
                writer.bytes(&[1])?;
                certificate.write(&mut writer)?;
            }
        }
        Some(writer.0)
    }
}

impl KeptCertificate {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let obtained_unix_s = reader.number(8)?;
        let count = usize::try_from(reader.number(1)?).ok()?;
        if count == 0 || count > MAX_NAMES {
            return None;
        }
        let names = (0..count).map(|_| reader.text(1, MAX_NAME_BYTES)).collect::<Option<_>>()?;
        Some(Self {
            names,
            obtained_unix_s,
            chain_pem: reader.text(2, MAX_CHAIN_BYTES)?,
            key: reader.secret()?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Option<()> {
        if self.names.is_empty() || self.names.len() > MAX_NAMES {
            return None;
        }
        writer.bytes(&self.obtained_unix_s.to_be_bytes())?;
        writer.bytes(&[u8::try_from(self.names.len()).ok()?])?;
        for name in &self.names {
            writer.text(1, MAX_NAME_BYTES, name.as_bytes())?;
        }
        writer.text(2, MAX_CHAIN_BYTES, self.chain_pem.as_bytes())?;
        writer.text(2, MAX_KEY_BYTES, &self.key)
    }
}

/// The bytes that remain to be read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// 1 to `max_bytes` bytes, after their length.
    fn bytes(&mut self, length_bytes: usize, max_bytes: usize) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number(length_bytes)?).ok()?;
        (1..=max_bytes).contains(&length).then(|| self.take(length))?
    }

    fn text(&mut self, length_bytes: usize, max_bytes: usize) -> Option<String> {
        let bytes = self.bytes(length_bytes, max_bytes)?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn secret(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.bytes(2, MAX_KEY_BYTES).map(|bytes| Zeroizing::new(bytes.to_vec()))
    }
}

/// The bytes written so far, within their capacity.
struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let fits = self.0.len() + bytes.len() <= MAX_STATE_BYTES;
        fits.then(|| self.0.extend_from_slice(bytes))
    }

    fn text(&mut self, length_bytes: usize, max_bytes: usize, bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() || bytes.len() > max_bytes {
            return None;
        }
        let length = u16::try_from(bytes.len()).ok()?.to_be_bytes();
        self.bytes(length.get(2 - length_bytes..)?)?;
        self.bytes(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use zeroize::Zeroizing;

    use super::{AcmeState, KeptCertificate, MAX_STATE_BYTES};

    pub(crate) fn state() -> AcmeState {
        AcmeState {
            directory: "https://a.b/dir".to_owned(),
            account_url: "https://a.b/acct/1".to_owned(),
            account_key: Zeroizing::new(vec![1; 138]),
            certificate: Some(KeptCertificate {
                names: vec!["x.y".to_owned(), "z".to_owned()],
                obtained_unix_s: 0x0102_0304_0506_0708,
                chain_pem: "-----BEGIN".to_owned(),
                key: Zeroizing::new(vec![2; 138]),
            }),
        }
    }

    fn same(one: &AcmeState, other: &AcmeState) -> bool {
        one.write().unwrap() == other.write().unwrap()
    }

    #[test]
    fn an_encoded_state_is_read_back() {
        let with = state();
        let without = AcmeState { certificate: None, ..state() };
        for state in [&with, &without] {
            let bytes = state.write().unwrap();
            let read = AcmeState::read(&bytes).unwrap();
            assert!(same(state, &read));
            assert_eq!(read.directory, "https://a.b/dir");
            assert_eq!(read.certificate.is_some(), state.certificate.is_some());
            for length in 0..bytes.len() {
                assert!(AcmeState::read(&bytes[..length]).is_none(), "{length}");
            }
            assert!(AcmeState::read(&[&bytes[..], b"x"].concat()).is_none());
        }
        let bytes = with.write().unwrap();
        assert_eq!(bytes.capacity(), MAX_STATE_BYTES);
        let certificate = AcmeState::read(&bytes).unwrap().certificate.unwrap();
        assert_eq!(certificate.names, ["x.y", "z"]);
        assert_eq!(certificate.obtained_unix_s, 0x0102_0304_0506_0708);
        assert_eq!(*certificate.key, [2; 138]);
    }

    #[test]
    fn a_state_that_read_would_refuse_is_not_encoded() {
        let certificate = |change: fn(&mut KeptCertificate)| {
            let mut state = state();
            change(state.certificate.as_mut().unwrap());
            state
        };
        for bad in [
            AcmeState { directory: String::new(), ..state() },
            AcmeState { account_url: "u".repeat(1025), ..state() },
            AcmeState { account_key: Zeroizing::new(vec![1; 513]), ..state() },
            certificate(|it| it.names.clear()),
            certificate(|it| it.names = vec!["n".to_owned(); 17]),
            certificate(|it| it.names = vec!["n".repeat(254)]),
            certificate(|it| it.chain_pem = "c".repeat(32 * 1024 + 1)),
            certificate(|it| it.key.clear()),
        ] {
            assert!(bad.write().is_none());
        }
        let largest = certificate(|it| {
            it.names = vec!["n".repeat(253); 16];
            it.chain_pem = "c".repeat(32 * 1024);
            it.key = Zeroizing::new(vec![3; 512]);
        });
        let largest = AcmeState { account_url: "u".repeat(1024), directory: "d".repeat(1024), ..largest };
        assert!(same(&AcmeState::read(&largest.write().unwrap()).unwrap(), &largest));
    }

    #[test]
    fn invalid_text_and_numbers_are_refused() {
        let bytes = state().write().unwrap();
        let bent = |index: usize, byte: u8| {
            let mut bytes = bytes.to_vec();
            bytes[index] = byte;
            AcmeState::read(&bytes).is_none()
        };
        assert!(bent(2, 0xff), "not UTF-8");
        assert!(bent(1, 0), "nothing");
        let flag = 2 + 15 + 2 + 18 + 2 + 138;
        assert_eq!(bytes[flag], 1);
        assert!(bent(flag, 2) && bent(flag, 0));
        assert!(bent(flag + 9, 0) && bent(flag + 9, 17));
        assert!(AcmeState::read(&vec![0; MAX_STATE_BYTES + 1]).is_none());
    }
}
