//! The signed map, read with `serde_cbor` into types.
//!
//! A map's keys may come in any order; none is unknown, none comes twice. What may be absent may also be null, as the
//! module writes it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::document::Document;
use crate::field::Field;
use crate::pcrs::{PCR_BYTES, PCR_COUNT, Pcrs};
use crate::refused::Refused;

/// Longest certificate; AWS's own limit.
const MAX_CERTIFICATE_BYTES: usize = 1024;

/// Most issuers: the root's place and the six CAs that webpki goes through. AWS's documents have four.
const MAX_ISSUERS: usize = 7;

/// Longest public key, user data and nonce. AWS's texts say 512 in one place and 1024 in another.
const MAX_OPTIONAL_BYTES: usize = 1024;

/// The digest of AWS's measurements.
const DIGEST: &str = "SHA384";

pub(crate) fn read(payload: &[u8]) -> Result<Document, Refused> {
    let mut refused = None;
    let mut deserializer = serde_cbor::Deserializer::from_slice(payload);
    match (Payload { refused: &mut refused }).deserialize(&mut deserializer) {
        Ok(document) => deserializer.end().map(|()| document).map_err(|_| Refused::MalformedPayload),
        Err(error) if error.is_eof() => Err(Refused::MalformedPayload),
        Err(_) => Err(refused.unwrap_or(Refused::MalformedPayload)),
    }
}

/// Reads the map. The refusal goes into `refused`, because serde's errors carry texts only.
struct Payload<'r> {
    refused: &'r mut Option<Refused>,
}

impl<'de> DeserializeSeed<'de> for Payload<'_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Payload<'_> {
    type Value = Document;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the map of an attestation document")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
        let mut fields = Fields::default();
        let read = fields.read(map, self.refused)?;
        read.and_then(|()| fields.into_document()).map_err(|why| {
            *self.refused = Some(why);
            A::Error::custom(why)
        })
    }
}

#[derive(Default)]
struct Fields {
    module_id: Option<String>,
    digest: Option<()>,
    timestamp_unix_ms: Option<u64>,
    pcrs: Option<Pcrs>,
    certificate: Option<Vec<u8>>,
    cabundle: Option<Vec<Vec<u8>>>,
    public_key: Option<Option<Vec<u8>>>,
    user_data: Option<Option<Vec<u8>>>,
    nonce: Option<Option<Vec<u8>>>,
}

impl Fields {
    /// The outer error is the decoder's.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        refused: &mut Option<Refused>,
    ) -> Result<Result<(), Refused>, A::Error> {
        while let Some(field) = map.next_key_seed(Key)? {
            let Some(field) = field else { return Ok(Err(Refused::UnknownField)) };
            // Errors of the decoder from here on concern this field, except the end of the payload.
            *refused = Some(Refused::InvalidField(field));
            let once = match field {
                Field::ModuleId => put(&mut self.module_id, map.next_value_seed(ModuleId)?),
                Field::Digest => put(&mut self.digest, map.next_value_seed(Digest)?),
                Field::Timestamp => put(&mut self.timestamp_unix_ms, map.next_value_seed(Timestamp)?),
                Field::Pcrs => put(&mut self.pcrs, map.next_value_seed(PcrMap)?),
                Field::Certificate => put(&mut self.certificate, map.next_value_seed(CERTIFICATE)?),
                Field::Cabundle => put(&mut self.cabundle, map.next_value_seed(Cabundle)?),
                Field::PublicKey => put(&mut self.public_key, map.next_value_seed(Optional)?),
                Field::UserData => put(&mut self.user_data, map.next_value_seed(Optional)?),
                Field::Nonce => put(&mut self.nonce, map.next_value_seed(Optional)?),
            };
            *refused = None;
            if !once {
                return Ok(Err(Refused::DuplicateField(field)));
            }
        }
        Ok(Ok(()))
    }

    fn into_document(self) -> Result<Document, Refused> {
        let missing = |field| move || Refused::MissingField(field);
        self.digest.ok_or_else(missing(Field::Digest))?;
        Ok(Document {
            module_id: self.module_id.ok_or_else(missing(Field::ModuleId))?,
            timestamp_unix_ms: self.timestamp_unix_ms.ok_or_else(missing(Field::Timestamp))?,
            pcrs: self.pcrs.ok_or_else(missing(Field::Pcrs))?,
            certificate: self.certificate.ok_or_else(missing(Field::Certificate))?,
            cabundle: self.cabundle.ok_or_else(missing(Field::Cabundle))?,
            public_key: self.public_key.flatten(),
            user_data: self.user_data.flatten(),
            nonce: self.nonce.flatten(),
        })
    }
}

/// Whether the field occurs for the first time.
fn put<T>(place: &mut Option<T>, value: T) -> bool {
    place.replace(value).is_none()
}

/// A key of the map; none for an unknown one.
struct Key;

/// A text that is not empty.
struct ModuleId;

/// The text [`DIGEST`].
struct Digest;

/// An integer above 0.
struct Timestamp;

/// 1 to [`PCR_COUNT`] registers.
struct PcrMap;

/// The index of a register.
struct PcrIndex;

/// A list of 1 to [`MAX_ISSUERS`] certificates.
struct Cabundle;

/// Bytes that may be absent.
struct Optional;

/// A byte string of so many bytes.
struct Bytes {
    min: usize,
    max: usize,
}

const CERTIFICATE: Bytes = Bytes { min: 1, max: MAX_CERTIFICATE_BYTES };
const OPTIONAL: Bytes = Bytes { min: 0, max: MAX_OPTIONAL_BYTES };
const PCR: Bytes = Bytes { min: PCR_BYTES, max: PCR_BYTES };

/// A seed that asks the decoder for `$hint` and has itself as the visitor.
macro_rules! seed {
    ($seed:ty, $value:ty, $hint:ident, $expected:literal, { $($visit:tt)* }) => {
        impl<'de> DeserializeSeed<'de> for $seed {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.$hint(self)
            }
        }

        impl<'de> Visitor<'de> for $seed {
            type Value = $value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str($expected)
            }

            $($visit)*
        }
    };
}

seed!(Key, Option<Field>, deserialize_str, "the name of a field", {
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<Field>, E> {
        Ok(Field::from_name(name))
    }
});

seed!(ModuleId, String, deserialize_str, "a text", {
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        if text.is_empty() {
            return Err(E::custom("an empty text"));
        }
        Ok(text.to_owned())
    }
});

seed!(Digest, (), deserialize_str, "the name of the digest", {
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text == DIGEST { Ok(()) } else { Err(E::custom("another digest")) }
    }
});

seed!(Timestamp, u64, deserialize_u64, "a time", {
    fn visit_u64<E: serde::de::Error>(self, unix_ms: u64) -> Result<u64, E> {
        if unix_ms == 0 { Err(E::custom("no time")) } else { Ok(unix_ms) }
    }
});

seed!(PcrIndex, u8, deserialize_u64, "an index", {
    fn visit_u64<E: serde::de::Error>(self, index: u64) -> Result<u8, E> {
        let index = u8::try_from(index).ok().filter(|index| *index < PCR_COUNT);
        index.ok_or_else(|| E::custom("no such register"))
    }
});

seed!(PcrMap, Pcrs, deserialize_map, "registers", {
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pcrs, A::Error> {
        let mut pcrs = BTreeMap::new();
        while let Some(index) = map.next_key_seed(PcrIndex)? {
            let value = map.next_value_seed(PCR)?;
            let value = <[u8; PCR_BYTES]>::try_from(value).map_err(|_| A::Error::custom("another length"))?;
            match pcrs.entry(index) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(_) => return Err(A::Error::custom("a register twice")),
            };
        }
        if pcrs.is_empty() {
            return Err(A::Error::custom("no registers"));
        }
        Ok(Pcrs(pcrs))
    }
});

seed!(Cabundle, Vec<Vec<u8>>, deserialize_seq, "certificates", {
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<Vec<u8>>, A::Error> {
        let mut issuers = Vec::new();
        while let Some(issuer) = sequence.next_element_seed(CERTIFICATE)? {
            if issuers.len() == MAX_ISSUERS {
                return Err(A::Error::custom("too many certificates"));
            }
            issuers.push(issuer);
        }
        if issuers.is_empty() {
            return Err(A::Error::custom("no certificate"));
        }
        Ok(issuers)
    }
});

seed!(Optional, Option<Vec<u8>>, deserialize_option, "bytes or null", {
    fn visit_none<E: serde::de::Error>(self) -> Result<Option<Vec<u8>>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        OPTIONAL.deserialize(deserializer).map(Some)
    }
});

seed!(Bytes, Vec<u8>, deserialize_bytes, "bytes", {
    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        if (self.min..=self.max).contains(&bytes.len()) {
            Ok(bytes.to_vec())
        } else {
            Err(E::custom("another length"))
        }
    }
});
