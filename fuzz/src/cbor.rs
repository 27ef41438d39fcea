//! A reader of CBOR (RFC 8949, appendix C) that builds the whole tree first.

/// Deepest nesting, tags included: what `serde_cbor` takes.
const MAX_DEPTH: usize = 127;

/// A data item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Major type 0.
    Unsigned(u64),
    /// Major type 2, its pieces joined.
    Bytes(Vec<u8>),
    /// Major type 3, its pieces joined.
    Text(String),
    /// Major type 4.
    Array(Vec<Item>),
    /// Major type 5.
    Map(Vec<(Item, Item)>),
    /// Major type 6, without the number.
    Tagged(Box<Item>),
    /// Simple value 22.
    Null,
    /// Negative integers, floats and the other simple values.
    Other,
}

/// Not well-formed, or nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Item {
    /// Reads `input` to its end.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(input: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: input };
        match reader.item(0)? {
            Some(item) if reader.rest.is_empty() => Ok(item),
            _ => Err(Malformed),
        }
    }

    /// The item below its tags.
    #[must_use]
    pub fn untagged(&self) -> &Self {
        let mut item = self;
        while let Self::Tagged(inner) = item {
            item = inner;
        }
        item
    }
}

/// Writes a byte string, its length in the shortest spelling.
#[must_use]
pub fn byte_string(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u64;
    let bytes = length.to_be_bytes();
    let head: &[u8] = match length {
        0..0x18 => &[0x40 | bytes[7]],
        0x18..0x100 => &[0x58, bytes[7]],
        0x100..0x1_0000 => &[0x59, bytes[6], bytes[7]],
        _ => &[0x5a, bytes[4], bytes[5], bytes[6], bytes[7]],
    };
    [head, content].concat()
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    /// None for a break.
    fn item(&mut self, depth: usize) -> Result<Option<Item>, Malformed> {
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 0x1f);
        let argument = match short {
            0..=23 => Some(u64::from(short)),
            24..=27 => {
                let bytes = self.take(1 << (short - 24))?;
                Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            31 if !matches!(major, 0 | 1 | 6) => None,
            _ => return Err(Malformed),
        };
        if depth == MAX_DEPTH && matches!(major, 4..=6) {
            return Err(Malformed);
        }
        Ok(Some(match (major, argument) {
            (0, Some(value)) => Item::Unsigned(value),
            (2, length) => Item::Bytes(self.string(2, length)?),
            (3, length) => Item::Text(String::from_utf8(self.string(3, length)?).map_err(|_| Malformed)?),
            (4, count) => Item::Array(self.items(count, |reader| reader.item(depth + 1))?),
            (5, count) => Item::Map(self.items(count, |reader| {
                let Some(key) = reader.item(depth + 1)? else { return Ok(None) };
                let value = reader.item(depth + 1)?.ok_or(Malformed)?;
                Ok(Some((key, value)))
            })?),
            (6, Some(_)) => Item::Tagged(Box::new(self.item(depth + 1)?.ok_or(Malformed)?)),
            (7, Some(22)) if short == 22 => Item::Null,
            (7, None) => return Ok(None),
            _ => Item::Other,
        }))
    }

    /// `count` things, or as many as come before a break.
    fn items<T>(
        &mut self,
        count: Option<u64>,
        mut one: impl FnMut(&mut Self) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut items = Vec::new();
        while count.is_none_or(|count| (items.len() as u64) < count) {
            match one(self)? {
                Some(item) => items.push(item),
                None if count.is_none() => break,
                None => return Err(Malformed),
            }
        }
        Ok(items)
    }

    /// A string of so many bytes, or of pieces of the same kind up to a break.
    fn string(&mut self, major: u8, length: Option<u64>) -> Result<Vec<u8>, Malformed> {
        if let Some(length) = length {
            return Ok(self.take(usize::try_from(length).map_err(|_| Malformed)?)?.to_vec());
        }
        let mut joined = Vec::new();
        loop {
            let first = self.take(1)?[0];
            if first == 0xff {
                return Ok(joined);
            }
            let short = first & 0x1f;
            let length = match short {
                0..=23 => usize::from(short),
                24..=27 => {
                    let bytes = self.take(1 << (short - 24))?;
                    let length = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
                    usize::try_from(length).map_err(|_| Malformed)?
                }
                _ => return Err(Malformed),
            };
            if first >> 5 != major {
                return Err(Malformed);
            }
            joined.extend_from_slice(self.take(length)?);
        }
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}
