//! The measurements of one image, as its builder noted them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use attestation::{PCR_BYTES, Pcrs};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::exposure::Exposure;

/// Longest text with measurements: `nitro.toml` is 64 KiB at most, and a `measurements.json` has half a kilobyte.
pub const MAX_MEASUREMENTS_BYTES: usize = 64 * 1024;

/// Registers of a module.
const PCR_COUNT: u8 = 32;

/// The name of a register, before its index.
const PREFIX: &str = "PCR";

/// The one member of `Measurements` that is no register; its value is a constant.
const HASH_ALGORITHM: &str = "HashAlgorithm";

/// The registers of one image: enough of them to know what runs. And what it gives away, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedPcrs {
    registers: BTreeMap<u8, [u8; PCR_BYTES]>,
    exposures: Vec<Exposure>,
}

/// One register and its value: `INDEX=HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedPcr {
    index: u8,
    value: [u8; PCR_BYTES],
}

/// Why a text or a list is no expectation of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidPcrs {
    /// Longer than [`MAX_MEASUREMENTS_BYTES`].
    TooLong,
    /// Not TOML.
    NotToml,
    /// TOML without `[pcr]`, or something else under that name.
    NoTable,
    /// Not the JSON that `signerctl eif build` and `nitro-cli` print.
    NotJson,
    /// A register has another name than `PCR0` to `PCR31`.
    UnknownRegister,
    /// This register occurs twice.
    Twice(u8),
    /// This register is not 96 hex digits.
    NotHex(u8),
    /// This register is all zeros, as in debug mode for every image.
    Zero(u8),
    /// The image gives trust away by a setting that this version does not know.
    UnknownExposure,
    /// These registers do not identify a program.
    NoImage,
}

impl fmt::Display for InvalidPcrs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "measurements are longer than {MAX_MEASUREMENTS_BYTES} bytes"),
            Self::NotToml => formatter.write_str("not toml"),
            Self::NoTable => {
                formatter.write_str("no measurements under [pcr]; building the image notes them")
            }
            Self::NotJson => formatter.write_str("not the json of an image's measurements"),
            Self::UnknownRegister => formatter.write_str("a measurement that is not named pcr0 to pcr31"),
            Self::Twice(index) => write!(formatter, "pcr{index} occurs twice"),
            Self::NotHex(index) => write!(formatter, "pcr{index} is not 96 hex digits"),
            Self::Zero(index) => write!(formatter, "pcr{index} is all zeros, as in debug mode"),
            Self::UnknownExposure => {
                formatter.write_str("the image has a setting for tests that is unknown here")
            }
            Self::NoImage => formatter
                .write_str("these registers do not identify a program: give pcr0, pcr1 with pcr2, or pcr8"),
        }
    }
}

impl std::error::Error for InvalidPcrs {}

impl ExpectedPcrs {
    /// The table `[pcr]` of an operator's `nitro.toml`, and what the file gives away. The rest is for the signer to
    /// judge.
    ///
    /// # Errors
    /// [`InvalidPcrs`]
    pub fn from_nitro_toml(text: &str) -> Result<Self, InvalidPcrs> {
        check_length(text)?;
        let mut file: toml::Table = text.parse().map_err(|_| InvalidPcrs::NotToml)?;
        let exposures = Exposure::all_in(&file);
        let Some(toml::Value::Table(table)) = file.remove("pcr") else { return Err(InvalidPcrs::NoTable) };
        let registers = table.iter().map(|(name, value)| {
            let index = index_of(name)?;
            read(index, value.as_str().ok_or(InvalidPcrs::NotHex(index))?)
        });
        Ok(Self { exposures, ..Self::from_registers(registers.collect::<Result<Vec<_>, _>>()?)? })
    }

    /// Reads the output of `signerctl eif build` or `nitro-cli build-enclave`. The first also lists settings that give
    /// trust away.
    ///
    /// # Errors
    /// [`InvalidPcrs`]
    pub fn from_measurements_json(text: &str) -> Result<Self, InvalidPcrs> {
        check_length(text)?;
        // To serde, a list of one is such an object, too.
        if !is_object(text) {
            return Err(InvalidPcrs::NotJson);
        }
        let printed: Printed = serde_json::from_str(text).map_err(|_| InvalidPcrs::NotJson)?;
        let registers = printed.measurements.0.iter().filter(|(name, _)| name != HASH_ALGORITHM);
        let registers = registers.map(|(name, value)| read(index_of(name)?, value));
        let exposures = printed.gives_away.iter().map(|key| Exposure::of_setting(key));
        let exposures = exposures.collect::<Option<_>>().ok_or(InvalidPcrs::UnknownExposure)?;
        Ok(Self { exposures, ..Self::from_registers(registers.collect::<Result<Vec<_>, _>>()?)? })
    }

    /// Either of them: what begins with a brace is JSON, which no TOML does.
    ///
    /// # Errors
    /// [`InvalidPcrs`]
    pub fn from_text(text: &str) -> Result<Self, InvalidPcrs> {
        if is_object(text) { Self::from_measurements_json(text) } else { Self::from_nitro_toml(text) }
    }

    /// Registers that somebody names one by one.
    ///
    /// # Errors
    /// [`InvalidPcrs::Twice`], and [`InvalidPcrs::NoImage`] if they do not identify a program: any image has the PCR3
    /// of its instance's role and the PCR4 of its instance; PCR1 leaves out the application, PCR2 the kernel under it.
    pub fn from_registers(registers: impl IntoIterator<Item = ExpectedPcr>) -> Result<Self, InvalidPcrs> {
        let mut expected = BTreeMap::new();
        for ExpectedPcr { index, value } in registers {
            if expected.insert(index, value).is_some() {
                return Err(InvalidPcrs::Twice(index));
            }
        }
        let has = |index: u8| expected.contains_key(&index);
        if has(0) || (has(1) && has(2)) || has(8) {
            Ok(Self { registers: expected, exposures: Vec::new() })
        } else {
            Err(InvalidPcrs::NoImage)
        }
    }

    /// Indices and values, in the order of the indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u8, &[u8; PCR_BYTES])> {
        self.registers.iter().map(|(index, value)| (*index, value))
    }

    /// The settings by which the image gives trust away, if the source of the registers has them.
    #[must_use]
    pub fn exposures(&self) -> &[Exposure] {
        &self.exposures
    }

    /// The first register that is another one, or not there. Nothing here is secret.
    pub(crate) fn first_difference(&self, pcrs: &Pcrs) -> Option<Difference> {
        self.iter().find_map(|(index, expected)| match pcrs.get(index) {
            None => Some(Difference::Missing(index)),
            Some(value) if value != expected => Some(Difference::Other(index)),
            Some(_) => None,
        })
    }
}

/// How a document's registers depart from the expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    Missing(u8),
    Other(u8),
}

impl FromStr for ExpectedPcr {
    type Err = InvalidPcrs;

    fn from_str(text: &str) -> Result<Self, InvalidPcrs> {
        let (index, value) = text.split_once('=').ok_or(InvalidPcrs::UnknownRegister)?;
        read(index_in(index)?, value)
    }
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn check_length(text: &str) -> Result<(), InvalidPcrs> {
    if text.len() > MAX_MEASUREMENTS_BYTES { Err(InvalidPcrs::TooLong) } else { Ok(()) }
}

fn index_of(name: &str) -> Result<u8, InvalidPcrs> {
    index_in(name.strip_prefix(PREFIX).ok_or(InvalidPcrs::UnknownRegister)?)
}

/// Decimal digits, without zeros before them: one name for one register.
fn index_in(digits: &str) -> Result<u8, InvalidPcrs> {
    let index = digits.parse().ok().filter(|index: &u8| *index < PCR_COUNT && index.to_string() == digits);
    index.ok_or(InvalidPcrs::UnknownRegister)
}

fn read(index: u8, hex: &str) -> Result<ExpectedPcr, InvalidPcrs> {
    let mut value = [0; PCR_BYTES];
    match base16ct::mixed::decode(hex, &mut value) {
        Ok(decoded) if decoded.len() == PCR_BYTES => {}
        _ => return Err(InvalidPcrs::NotHex(index)),
    }
    if value == [0; PCR_BYTES] {
        return Err(InvalidPcrs::Zero(index));
    }
    Ok(ExpectedPcr { index, value })
}

#[derive(Deserialize)]
struct Printed {
    #[serde(rename = "Measurements")]
    measurements: Registers,
    /// Keys of settings, of an image that our build made.
    #[serde(rename = "GivesAway", default)]
    gives_away: Vec<String>,
}

/// Names and values as they came. A name that comes twice is found where registers are counted.
struct Registers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Registers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Registers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("measurements")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Registers, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    // And the name of the digest.
                    if members.len() > usize::from(PCR_COUNT) {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push(member);
                }
                Ok(Registers(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use attestation::Document;

    use super::{Difference, ExpectedPcr, ExpectedPcrs, Exposure, InvalidPcrs, MAX_MEASUREMENTS_BYTES};

    fn hex(digit: char) -> String {
        digit.to_string().repeat(96)
    }

    fn toml(lines: &str) -> Result<ExpectedPcrs, InvalidPcrs> {
        ExpectedPcrs::from_nitro_toml(&format!("version = 1\n[tls]\nmode = \"off\"\n\n[pcr]\n{lines}"))
    }

    fn json(members: &str) -> Result<ExpectedPcrs, InvalidPcrs> {
        ExpectedPcrs::from_measurements_json(&format!(r#"{{"Measurements": {{{members}}}}}"#))
    }

    #[test]
    fn both_notations_say_the_same() {
        let (a, b, c) = (hex('a'), hex('b'), hex('C'));
        let noted = toml(&format!("PCR0 = \"{a}\"\nPCR1 = \"{b}\"\nPCR2 = \"{c}\"\n")).unwrap();
        let members =
            format!(r#""HashAlgorithm": "Sha384 {{ ... }}", "PCR0": "{a}", "PCR1": "{b}", "PCR2": "{c}""#);
        assert_eq!(json(&members), Ok(noted.clone()));
        let text = format!("\n {{\"Measurements\": {{{members}}}, \"EifVersion\": 4}}");
        assert_eq!(ExpectedPcrs::from_text(&text), Ok(noted.clone()));
        assert_eq!(
            ExpectedPcrs::from_text(&format!("[pcr]\nPCR0 = '{a}'\nPCR1='{b}'\nPCR2='{c}'")),
            Ok(noted)
        );
    }

    #[test]
    fn what_the_image_gives_away_is_noted_beside_its_registers() {
        let with = |more: &str| {
            let text = format!(r#"{{"Measurements": {{"PCR0": "{}"}}{more}}}"#, hex('a'));
            ExpectedPcrs::from_measurements_json(&text).map(|pcrs| pcrs.exposures().to_vec())
        };
        assert_eq!(with(""), Ok(Vec::new()));
        assert_eq!(with(r#", "GivesAway": []"#), Ok(Vec::new()));
        let all = Exposure::ALL.map(|exposure| format!("\"{}\"", exposure.setting())).join(", ");
        assert_eq!(with(&format!(r#", "GivesAway": [{all}]"#)), Ok(Exposure::ALL.to_vec()));
        assert_eq!(with(r#", "GivesAway": ["tls.later"]"#), Err(InvalidPcrs::UnknownExposure));
        assert_eq!(with(r#", "GivesAway": true"#), Err(InvalidPcrs::NotJson));
    }

    #[test]
    fn registers_have_one_name_and_a_value() {
        let a = hex('a');
        for (lines, error) in [
            (format!("PCR0 = \"{}\"", hex('0')), InvalidPcrs::Zero(0)),
            (format!("PCR0 = \"{}\"", &a[1..]), InvalidPcrs::NotHex(0)),
            (format!("PCR8 = \"{a}a\""), InvalidPcrs::NotHex(8)),
            (format!("PCR0 = \"{}\"", "+a".repeat(48)), InvalidPcrs::NotHex(0)),
            ("PCR0 = 1".to_owned(), InvalidPcrs::NotHex(0)),
            (format!("PCR00 = \"{a}\""), InvalidPcrs::UnknownRegister),
            (format!("\"PCR+1\" = \"{a}\""), InvalidPcrs::UnknownRegister),
            (format!("pcr0 = \"{a}\""), InvalidPcrs::UnknownRegister),
            (format!("PCR32 = \"{a}\""), InvalidPcrs::UnknownRegister),
            (format!("PCR = \"{a}\""), InvalidPcrs::UnknownRegister),
            (format!("PCR0 = \"{a}\"\nPCR0 = \"{a}\""), InvalidPcrs::NotToml),
            (String::new(), InvalidPcrs::NoImage),
        ] {
            assert_eq!(toml(&lines), Err(error), "{lines}");
        }
        assert_eq!(json(&format!(r#""PCR0": "{a}", "PCR0": "{a}""#)), Err(InvalidPcrs::Twice(0)));
        assert_eq!(json(r#""PCR0": 1"#), Err(InvalidPcrs::NotJson));
        assert_eq!(json(&format!(r#""PCR0": "{a}", "Comment": """#)), Err(InvalidPcrs::UnknownRegister));
        for text in [
            "",
            "{}",
            "[]",
            r#"[{"PCR0": ""}]"#,
            r#"{"Measurements": []}"#,
            r#"{"Measurements":{},"Measurements":{}}"#,
        ] {
            assert_eq!(ExpectedPcrs::from_measurements_json(text), Err(InvalidPcrs::NotJson), "{text}");
        }
        for text in ["", "version = 1", "pcr = 1", "[[pcr]]"] {
            assert_eq!(ExpectedPcrs::from_nitro_toml(text), Err(InvalidPcrs::NoTable), "{text}");
        }
        let long = " ".repeat(MAX_MEASUREMENTS_BYTES + 1);
        assert_eq!(ExpectedPcrs::from_text(&long), Err(InvalidPcrs::TooLong));
    }

    #[test]
    fn what_says_nothing_of_the_program_is_no_expectation() {
        let registers = |indices: &[u8]| {
            let register = |index: &u8| format!("{index}={}", hex('a')).parse::<ExpectedPcr>().unwrap();
            ExpectedPcrs::from_registers(indices.iter().map(register)).map(|_| ())
        };
        for enough in [&[0][..], &[8], &[1, 2], &[0, 1, 2], &[8, 3]] {
            assert_eq!(registers(enough), Ok(()), "{enough:?}");
        }
        for short in [&[][..], &[1], &[2], &[3], &[4], &[1, 3, 4], &[16, 31]] {
            assert_eq!(registers(short), Err(InvalidPcrs::NoImage), "{short:?}");
        }
        assert_eq!(registers(&[0, 0]), Err(InvalidPcrs::Twice(0)));
        for text in ["", "0", "=", "PCR0=aa", "32=aa", "-1=aa", " 0=aa", "00=aa"] {
            assert_eq!(text.parse::<ExpectedPcr>(), Err(InvalidPcrs::UnknownRegister), "{text}");
        }
        assert_eq!("0=aa".parse::<ExpectedPcr>(), Err(InvalidPcrs::NotHex(0)));
    }

    #[test]
    fn the_first_difference_is_told() {
        let document = include_bytes!("../../attestation/tests/data/attestation-doc-2022.cose");
        let pcrs = Document::parse(document).unwrap().pcrs;
        let right = |index: u8| {
            let value = pcrs.get(index).unwrap().try_into().unwrap();
            ExpectedPcr { index, value }
        };
        let difference = |registers: &[ExpectedPcr]| {
            ExpectedPcrs::from_registers(registers.iter().copied()).unwrap().first_difference(&pcrs)
        };
        assert_eq!(difference(&[right(0), right(1), right(2), right(4)]), None);
        let other = ExpectedPcr { index: 2, ..right(1) };
        assert_eq!(difference(&[right(0), other]), Some(Difference::Other(2)));
        let missing = ExpectedPcr { index: 16, ..right(0) };
        assert_eq!(difference(&[right(0), missing]), Some(Difference::Missing(16)));
    }
}
