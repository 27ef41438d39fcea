//! JSON as `serde_json` reads it, and the contract's few rules beyond that.
//!
//! `serde_json` is stricter than the grammar where a Rust type could not hold the value: lone surrogates, and numbers
//! beyond `f64`. Read as bytes, and as text, they pass.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The contract's depth of nesting.
const MAX_DEPTH: usize = 32;

/// The reader's documented limit; a ticket or body is far below.
const MAX_TEXT_BYTES: usize = 65_535;

/// A JSON text.
#[derive(Debug)]
pub enum Text {
    /// Names in WTF-8, none twice, and the JSON of their values.
    Object(Vec<(Vec<u8>, Box<RawValue>)>),
    /// The kind of value that stands where an object should.
    Other(&'static str),
}

impl Text {
    /// Reads a text, or says that it is none.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        if text.len() > MAX_TEXT_BYTES || depth(text) > MAX_DEPTH {
            return None;
        }
        if kind(text) != "object" {
            return Some(Self::Other(kind(text)));
        }
        let members = serde_json::Deserializer::from_str(text)
            .deserialize_map(Members)
            .expect("a text that was read once, whatever its strings and numbers");
        let mut names: Vec<&[u8]> = members.iter().map(|(name, _)| name.as_slice()).collect();
        names.sort_unstable();
        names.is_sorted_by(|left, right| left < right).then_some(Self::Object(members))
    }

    /// The member of this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Member {
        let Self::Object(members) = self else { return Member::Undefined };
        let Some((_, value)) = members.iter().find(|(found, _)| found == name.as_bytes()) else {
            return Member::Undefined;
        };
        match kind(value.get()) {
            "string" => Member::String(unescape(value.get())),
            "number" => Member::Number(value.get().to_owned()),
            other => Member::Other(other),
        }
    }
}

/// A member's value.
#[derive(Debug)]
pub enum Member {
    /// Not there.
    Undefined,
    /// WTF-8.
    String(Vec<u8>),
    /// Its literal.
    Number(String),
    /// Another kind.
    Other(&'static str),
}

impl Member {
    /// The name that JavaScript's validators give its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::String(_) => "string",
            Self::Number(_) => "number",
            Self::Other(kind) => kind,
        }
    }
}

/// UTF-16 code units of WTF-8.
#[must_use]
pub fn utf16_length(wtf8: &[u8]) -> usize {
    let (mut units, mut surrogate_bytes) = (0, 0);
    for chunk in wtf8.utf8_chunks() {
        units += chunk.valid().encode_utf16().count();
        surrogate_bytes += chunk.invalid().len();
    }
    units + surrogate_bytes / 3
}

fn kind(json: &str) -> &'static str {
    match json.trim_start_matches([' ', '\t', '\n', '\r']).as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn unescape(json: &str) -> Vec<u8> {
    serde_json::Deserializer::from_str(json)
        .deserialize_bytes(Wtf8)
        .expect("a string of a text that was read")
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Vec<u8>, Box<RawValue>)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

struct Name(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Wtf8).map(Self)
    }
}

struct Wtf8;

impl Visitor<'_> for Wtf8 {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.as_bytes().to_vec())
    }
}
