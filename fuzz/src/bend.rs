//! Changes that can happen to a text on its way.

use arbitrary::Arbitrary;

/// One change. A position is taken modulo the length.
#[derive(Arbitrary, Debug)]
#[allow(missing_docs, reason = "named for what they do")]
pub enum Bend<'a> {
    Capital(u16),
    Replace(u16, u8),
    Remove(u16),
    Insert(u16, u8),
    Cut(u16),
    Prepend(&'a [u8]),
    Append(&'a [u8]),
    Quote,
}

impl Bend<'_> {
    /// Makes the change.
    pub fn apply(&self, text: &mut Vec<u8>) {
        let position = |at: &u16| usize::from(*at).checked_rem(text.len());
        match self {
            Self::Capital(at) => {
                if let Some(at) = position(at) {
                    text[at].make_ascii_uppercase();
                }
            }
            Self::Replace(at, byte) => {
                if let Some(at) = position(at) {
                    text[at] = *byte;
                }
            }
            Self::Remove(at) => {
                if let Some(at) = position(at) {
                    text.remove(at);
                }
            }
            Self::Insert(at, byte) => text.insert(position(at).unwrap_or(0), *byte),
            Self::Cut(at) => text.truncate(position(at).unwrap_or(0)),
            Self::Prepend(bytes) => {
                text.splice(..0, bytes.iter().copied());
            }
            Self::Append(bytes) => text.extend_from_slice(bytes),
            Self::Quote => {
                text.insert(0, b'"');
                text.push(b'"');
            }
        }
    }
}
