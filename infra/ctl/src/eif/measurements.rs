//! The measurements that the platform makes of an image (AWS, Nitro Enclaves user guide, "Cryptographic attestation").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha384};

use super::Image;

const PCR_BYTES: usize = 48;

/// The text that AWS's tools print there. Nothing compares it.
const HASH_ALGORITHM: &str = "Sha384 { ... }";

/// One platform configuration register: a chain of SHA-384, here of one link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pcr([u8; PCR_BYTES]);

/// The measurements of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasurementSet {
    /// The whole image.
    pub pcr0: Pcr,
    /// Kernel, command line, first ramdisk.
    pub pcr1: Pcr,
    /// The application.
    pub pcr2: Pcr,
    /// The certificate of the signature, if there is one.
    pub pcr8: Option<Pcr>,
}

/// Why a text is no set of measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidMeasurements {
    /// Not the JSON that `nitro-cli build-enclave` and `signerctl eif build` print.
    Json(String),
    /// This register is not 96 hex digits.
    NotHex(&'static str),
    /// This register is all zeros, as in debug mode: a policy that allows it allows every debugged enclave.
    Zero(&'static str),
}

impl fmt::Display for InvalidMeasurements {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(reason) => write!(formatter, "no measurements: {reason}"),
            Self::NotHex(register) => write!(formatter, "{register} is not 96 hex digits"),
            Self::Zero(register) => write!(formatter, "{register} is all zeros, as in debug mode"),
        }
    }
}

impl std::error::Error for InvalidMeasurements {}

impl Pcr {
    /// The register after its first extension, by the digest of `content`.
    #[must_use]
    pub fn of(content: &[&[u8]]) -> Self {
        let mut measured = Sha384::new();
        content.iter().for_each(|part| measured.update(part));
        let extended = Sha384::new().chain_update([0; PCR_BYTES]).chain_update(measured.finalize());
        Self(extended.finalize().into())
    }

    /// The register after its first extension by `text` itself, and not by its digest.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(Sha384::new().chain_update([0; PCR_BYTES]).chain_update(text).finalize().into())
    }

    /// The register with this value.
    #[must_use]
    pub const fn of_bytes(bytes: [u8; PCR_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PCR_BYTES] {
        &self.0
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, InvalidMeasurements> {
        let mut bytes = [0; PCR_BYTES];
        match base16ct::mixed::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == PCR_BYTES => {}
            _ => return Err(InvalidMeasurements::NotHex(name)),
        }
        if bytes == [0; PCR_BYTES] {
            return Err(InvalidMeasurements::Zero(name));
        }
        Ok(Self(bytes))
    }
}

/// 96 lower-case hex digits.
impl fmt::Display for Pcr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl fmt::Debug for Pcr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pcr({self})")
    }
}

impl MeasurementSet {
    /// The measurements that the platform will make. `certificate` is the DER of the signing certificate.
    #[must_use]
    pub fn of(image: &Image<'_>, certificate: Option<&[u8]>) -> Self {
        let kernel_and_cmdline = [image.kernel, image.cmdline];
        Self {
            pcr0: Pcr::of(&[&kernel_and_cmdline, &image.ramdisks[..]].concat()),
            pcr1: Pcr::of(&[&kernel_and_cmdline, &image.ramdisks[..1]].concat()),
            pcr2: Pcr::of(&image.ramdisks[1..]),
            pcr8: certificate.map(|der| Pcr::of(&[der])),
        }
    }

    /// As `nitro-cli` prints them: `{"Measurements": {"HashAlgorithm": …, "PCR0": …}}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "Measurements": Registers::from(self) })
    }
}

impl FromStr for MeasurementSet {
    type Err = InvalidMeasurements;

    fn from_str(json: &str) -> Result<Self, InvalidMeasurements> {
        // Its reason quotes names and no values.
        let printed: Printed =
            serde_json::from_str(json).map_err(|error| InvalidMeasurements::Json(error.to_string()))?;
        let registers = printed.measurements;
        Ok(Self {
            pcr0: Pcr::parse("PCR0", &registers.pcr0)?,
            pcr1: Pcr::parse("PCR1", &registers.pcr1)?,
            pcr2: Pcr::parse("PCR2", &registers.pcr2)?,
            pcr8: registers.pcr8.map(|text| Pcr::parse("PCR8", &text)).transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct Printed {
    #[serde(rename = "Measurements")]
    measurements: Registers,
}

/// As they are printed.
#[derive(Serialize, Deserialize)]
pub(super) struct Registers {
    #[serde(rename = "HashAlgorithm", default)]
    hash_algorithm: String,
    #[serde(rename = "PCR0")]
    pcr0: String,
    #[serde(rename = "PCR1")]
    pcr1: String,
    #[serde(rename = "PCR2")]
    pcr2: String,
    #[serde(rename = "PCR8", default, skip_serializing_if = "Option::is_none")]
    pcr8: Option<String>,
}

impl From<&MeasurementSet> for Registers {
    fn from(set: &MeasurementSet) -> Self {
        Self {
            hash_algorithm: HASH_ALGORITHM.to_owned(),
            pcr0: set.pcr0.to_string(),
            pcr1: set.pcr1.to_string(),
            pcr2: set.pcr2.to_string(),
            pcr8: set.pcr8.map(|pcr| pcr.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidMeasurements, MeasurementSet, Pcr};
    use crate::eif::Image;

    /// PCR2 of every image with one ramdisk: an extension by the digest of nothing.
    const PCR_OF_NOTHING: &str =
        "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a";

    #[test]
    fn an_image_without_an_application_has_the_known_pcr2() {
        assert_eq!(Pcr::of(&[]).to_string(), PCR_OF_NOTHING);
    }

    #[test]
    fn each_register_covers_what_it_has_to() {
        let image = |kernel, cmdline, ramdisks| Image {
            is_arm64: false,
            kernel,
            cmdline,
            metadata: None,
            ramdisks,
            signature: None,
        };
        let base = MeasurementSet::of(&image(b"k", b"c", vec![b"1", b"2"]), None);
        let changed = |kernel: &'static [u8], cmdline: &'static [u8], ramdisks| {
            let other = MeasurementSet::of(&image(kernel, cmdline, ramdisks), None);
            [other.pcr0 != base.pcr0, other.pcr1 != base.pcr1, other.pcr2 != base.pcr2]
        };
        assert_eq!(changed(b"k", b"c", vec![b"1", b"2"]), [false, false, false]);
        assert_eq!(changed(b"K", b"c", vec![b"1", b"2"]), [true, true, false]);
        assert_eq!(changed(b"k", b"C", vec![b"1", b"2"]), [true, true, false]);
        assert_eq!(changed(b"k", b"c", vec![b"!", b"2"]), [true, true, false]);
        assert_eq!(changed(b"k", b"c", vec![b"1", b"?"]), [true, false, true]);
        assert_eq!(changed(b"k", b"c", vec![b"1", b"2", b"3"]), [true, false, true]);
    }

    #[test]
    fn printed_measurements_are_read_again_and_zeros_are_not() {
        let set = MeasurementSet {
            pcr0: Pcr::of(&[b"0"]),
            pcr1: Pcr::of(&[b"1"]),
            pcr2: Pcr::of(&[b"2"]),
            pcr8: Some(Pcr::of(&[b"8"])),
        };
        let json = set.to_json().to_string();
        assert_eq!(json.parse(), Ok(set.clone()));
        let without = |pcr: &Pcr, replacement: &str| {
            json.replace(&pcr.to_string(), replacement).parse::<MeasurementSet>().unwrap_err()
        };
        assert_eq!(without(&set.pcr1, &"0".repeat(96)), InvalidMeasurements::Zero("PCR1"));
        assert_eq!(without(&set.pcr0, &"a".repeat(95)), InvalidMeasurements::NotHex("PCR0"));
        assert_eq!(without(&set.pcr2, &"+a".repeat(48)), InvalidMeasurements::NotHex("PCR2"));
        assert_eq!(without(&set.pcr2, "PCR2-of-the-image"), InvalidMeasurements::NotHex("PCR2"));
        for text in ["", "{}", "[]", r#"{"Measurements":{"PCR0":"aa"}}"#] {
            assert!(matches!(text.parse::<MeasurementSet>(), Err(InvalidMeasurements::Json(_))), "{text}");
        }
    }
}
