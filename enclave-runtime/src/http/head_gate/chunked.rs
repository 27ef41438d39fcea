//! The framing of a chunked body: where it ends, and whether it keeps to the grammar.

use std::{error, fmt, io};

use super::octet;

/// Digits of a chunk size: what a `u64` can need. Leading zeros count, or a size line would have no end.
pub const MAX_CHUNK_SIZE_DIGITS: u32 = 16;

/// Chunk extensions in one body, all chunks together. Nobody sends any; they are skipped unread, so they get little.
pub const MAX_CHUNK_EXTENSION_BYTES: usize = 1024;

/// The trailer section with its line ends. It is never used; 4 KiB is a quarter of what a head may take.
pub const MAX_TRAILER_BYTES: usize = 4 * 1024;

/// Trailer lines. Under hyper's own limit, so that the error is found here and has one meaning.
pub const MAX_TRAILER_FIELDS: usize = 32;

/// Largest chunk: the largest body. One that declares more is refused before it is sent.
pub const MAX_CHUNK_BYTES: u64 = 32_768;

/// Why the framing of a chunked body is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyError {
    /// A size line that is not `1*HEXDIG [ ";" extensions ] CRLF`.
    ChunkSize,
    /// A size of more than [`MAX_CHUNK_SIZE_DIGITS`] digits.
    ChunkSizeTooLong,
    /// More than [`MAX_CHUNK_BYTES`] in one chunk.
    ChunkTooLarge,
    /// More than [`MAX_CHUNK_EXTENSION_BYTES`] of extensions.
    ExtensionsTooLong,
    /// Chunk data not followed by CRLF.
    ChunkEnd,
    /// A trailer line that a head could not hold either.
    Trailer,
    /// More than [`MAX_TRAILER_BYTES`] or [`MAX_TRAILER_FIELDS`].
    TrailersTooLarge,
}

impl BodyError {
    /// Finds a framing error among the causes of an error that hyper's body gave; `None` when something else failed.
    #[must_use]
    pub fn find(error: &(dyn error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(current) = cause {
            if let Some(error) = current.downcast_ref::<Self>() {
                return Some(*error);
            }
            // An `io::Error` names the source of what it holds as its own, and so hides what it holds.
            let held = current
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .and_then(|inner| inner.downcast_ref::<Self>());
            if let Some(error) = held {
                return Some(*error);
            }
            cause = current.source();
        }
        None
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ChunkSize => "chunk size line malformed",
            Self::ChunkSizeTooLong => "chunk size too long",
            Self::ChunkTooLarge => "chunk too large",
            Self::ExtensionsTooLong => "chunk extensions too long",
            Self::ChunkEnd => "chunk data not closed",
            Self::Trailer => "trailer malformed",
            Self::TrailersTooLarge => "trailers too large",
        })
    }
}

impl error::Error for BodyError {}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Follows a chunked body byte by byte; keeps nothing of it.
///
/// How the body is split over calls changes neither its end nor its error.
#[derive(Debug)]
pub struct ChunkedFraming {
    state: ChunkState,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

/// The kinds of the next byte.
#[derive(Clone, Copy, Debug)]
enum ChunkState {
    SizeStart,
    Size { value: u64, digits: u32 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { remaining: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Complete,
}

impl ChunkedFraming {
    /// The framing before the first byte of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: ChunkState::SizeStart, extension_bytes: 0, trailer_bytes: 0, trailer_fields: 0 }
    }

    /// Whether the body, its trailers included, has ended.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, ChunkState::Complete)
    }

    /// Looks at the bytes that follow those seen before, and tells how many of them belong to the body.
    ///
    /// Fewer than all: the body [is complete](Self::is_complete), or the next byte is the error the next call reports.
    ///
    /// # Errors
    ///
    /// The [`BodyError`] of the first of `bytes`; the same again when called again.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let mut rest = bytes;
        let mut taken = 0_usize;
        while let Some((&octet, after)) = rest.split_first() {
            if self.is_complete() {
                break;
            }
            if let ChunkState::Data { remaining } = self.state {
                let (data, after) = rest.split_at(within(remaining, rest.len()));
                self.state = match remaining.saturating_sub(as_u64(data.len())) {
                    0 => ChunkState::DataCr,
                    remaining => ChunkState::Data { remaining },
                };
                taken = taken.saturating_add(data.len());
                rest = after;
                continue;
            }
            match self.step(octet) {
                Ok(state) => self.state = state,
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
            taken = taken.saturating_add(1);
            rest = after;
        }
        Ok(taken)
    }

    fn step(&mut self, octet: u8) -> Result<ChunkState, BodyError> {
        if matches!(
            self.state,
            ChunkState::TrailerStart
                | ChunkState::TrailerName
                | ChunkState::TrailerValue
                | ChunkState::TrailerLf
                | ChunkState::EndLf
        ) {
            count(&mut self.trailer_bytes, MAX_TRAILER_BYTES).ok_or(BodyError::TrailersTooLarge)?;
        }
        match (self.state, octet) {
            (ChunkState::SizeStart, _) => {
                let value = hex_digit(octet).ok_or(BodyError::ChunkSize)?;
                Ok(ChunkState::Size { value, digits: 1 })
            }
            (ChunkState::Size { value, .. }, b'\r' | b';') if value > MAX_CHUNK_BYTES => {
                Err(BodyError::ChunkTooLarge)
            }
            (ChunkState::Size { value: size, .. }, b'\r') => Ok(ChunkState::SizeLf { size }),
            (ChunkState::Size { value: size, .. }, b';') => Ok(ChunkState::Extension { size }),
            (ChunkState::Size { value, digits }, _) => {
                let digit = hex_digit(octet).ok_or(BodyError::ChunkSize)?;
                if digits >= MAX_CHUNK_SIZE_DIGITS {
                    return Err(BodyError::ChunkSizeTooLong);
                }
                Ok(ChunkState::Size { value: (value << 4) | digit, digits: digits.saturating_add(1) })
            }
            (ChunkState::Extension { size }, b'\r') => Ok(ChunkState::SizeLf { size }),
            (ChunkState::Extension { size }, _) if octet::is_field_value(octet) => {
                count(&mut self.extension_bytes, MAX_CHUNK_EXTENSION_BYTES)
                    .ok_or(BodyError::ExtensionsTooLong)?;
                Ok(ChunkState::Extension { size })
            }
            (ChunkState::SizeLf { size: 0 }, b'\n') => Ok(ChunkState::TrailerStart),
            (ChunkState::SizeLf { size }, b'\n') => Ok(ChunkState::Data { remaining: size }),
            (ChunkState::Extension { .. } | ChunkState::SizeLf { .. }, _) => Err(BodyError::ChunkSize),
            (ChunkState::DataCr, b'\r') => Ok(ChunkState::DataLf),
            (ChunkState::DataLf, b'\n') => Ok(ChunkState::SizeStart),
            (ChunkState::Data { .. } | ChunkState::DataCr | ChunkState::DataLf, _) => {
                Err(BodyError::ChunkEnd)
            }
            (ChunkState::TrailerStart, b'\r') => Ok(ChunkState::EndLf),
            (ChunkState::TrailerStart, _) if octet::is_token(octet) => {
                count(&mut self.trailer_fields, MAX_TRAILER_FIELDS).ok_or(BodyError::TrailersTooLarge)?;
                Ok(ChunkState::TrailerName)
            }
            (ChunkState::TrailerName, _) if octet::is_token(octet) => Ok(ChunkState::TrailerName),
            (ChunkState::TrailerName, b':') => Ok(ChunkState::TrailerValue),
            (ChunkState::TrailerValue, b'\r') => Ok(ChunkState::TrailerLf),
            (ChunkState::TrailerValue, _) if octet::is_field_value(octet) => Ok(ChunkState::TrailerValue),
            (ChunkState::TrailerLf, b'\n') => Ok(ChunkState::TrailerStart),
            (ChunkState::EndLf, b'\n') => Ok(ChunkState::Complete),
            _ => Err(BodyError::Trailer),
        }
    }
}

impl Default for ChunkedFraming {
    fn default() -> Self {
        Self::new()
    }
}

/// The smaller of a length of the protocol and a length in memory.
pub(super) fn within(remaining: u64, available: usize) -> usize {
    usize::try_from(remaining).map_or(available, |remaining| remaining.min(available))
}

/// A length in memory as a length of the protocol.
pub(super) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// One more, or `None` at the limit; the counter stays at the limit, so the error stays too.
fn count(counter: &mut usize, limit: usize) -> Option<()> {
    *counter = counter.checked_add(1).filter(|count| *count <= limit)?;
    Some(())
}

fn hex_digit(octet: u8) -> Option<u64> {
    char::from(octet).to_digit(16).map(u64::from)
}
