//! Replies and measurements, as `base64` and members in their order read them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest document.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024;

/// Names and the JSON of their values, in their order; none for what is no object.
fn members(text: &str) -> Option<Vec<(String, Box<RawValue>)>> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, Box<RawValue>)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok().map(|()| members)
}

/// The value of the one member of this name.
fn member(text: &str, name: &str) -> Option<Box<RawValue>> {
    let mut named = members(text)?.into_iter().filter(|(other, _)| other == name);
    let (_, value) = named.next()?;
    named.next().is_none().then_some(value)
}

/// The document in a file: itself, or in base64, or that in JSON.
#[must_use]
pub fn document(file: &[u8]) -> Option<Vec<u8>> {
    if matches!(file, [0x84 | 0xd2, ..]) {
        return (file.len() <= MAX_DOCUMENT_BYTES).then(|| file.to_vec());
    }
    let text = std::str::from_utf8(file).ok()?;
    let base64 = if text.trim_start().starts_with('{') {
        serde_json::from_str(member(text, "attestation_doc")?.get()).ok()?
    } else {
        let base64: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        (!base64.is_empty()).then_some(base64)?
    };
    STANDARD.decode(base64).ok().filter(|document| document.len() <= MAX_DOCUMENT_BYTES)
}

/// The settings of an image that may be noted as giving trust away.
const SETTINGS: [&str; 4] =
    ["kms.trust_anchors", "acme.trust_anchors", "secrets.ticket_signing_secret", "tls.mode"];

/// The registers in printed measurements, if they say what runs.
#[must_use]
pub fn registers(json: &str) -> Option<BTreeMap<u8, Vec<u8>>> {
    let mut registers = BTreeMap::new();
    let measurements = members(member(json, "Measurements")?.get())?;
    if measurements.len() > 33 {
        return None;
    }
    for (name, value) in measurements {
        let value: String = serde_json::from_str(value.get()).ok()?;
        if name == "HashAlgorithm" {
            continue;
        }
        let index = (0..32_u8).find(|index| name == format!("PCR{index}"))?;
        let digits: Option<Vec<u8>> = value
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit)).collect();
        let is_register = digits.len() == 96 && bytes.iter().any(|byte| *byte != 0);
        if !is_register || registers.insert(index, bytes).is_some() {
            return None;
        }
    }
    if members(json)?.iter().any(|(name, _)| name == "GivesAway") {
        let settings: Vec<String> = serde_json::from_str(member(json, "GivesAway")?.get()).ok()?;
        if !settings.iter().all(|setting| SETTINGS.contains(&setting.as_str())) {
            return None;
        }
    }
    let has = |index: u8| registers.contains_key(&index);
    (has(0) || has(1) && has(2) || has(8)).then_some(registers)
}
