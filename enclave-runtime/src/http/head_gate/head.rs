//! One request head: the strict scan of its bytes, and the body framing it declares.

use std::fmt;

use hyper::http::uri::Authority;
use hyper::{Method, Uri};

use super::octet;
use super::verdict::HeadVerdict;

/// Request line and headers, with the line ends and the empty line that closes them.
///
/// 16 KiB is the contract's limit; the head of a correct client is under 1 KiB. It is also the bound of the gate's
/// buffer.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Header lines in one head: the contract's limit, and hyper's default, so that both parse with as many slots.
pub const MAX_HEADERS: usize = 100;

/// hyper keeps the two largest values of a length for itself and would refuse such a head past the status table.
const MAX_CONTENT_LENGTH: u64 = u64::MAX - 2;

/// The part of `HTTP-version` that does not vary.
const VERSION_PREFIX: &[u8] = b"HTTP/1.";

/// How the body that follows a head is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// Exactly this many bytes; zero where the head declares no body.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeadError {
    /// More than [`MAX_HEAD_BYTES`].
    TooLong,
    /// More than [`MAX_HEADERS`].
    TooManyHeaders,
    /// An octet where the grammar has no place for it, or a head that is not complete.
    Syntax,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A target that is no URI, or that carries a fragment (which the router would not see).
    Target,
    /// HTTP/1.1 without `Host`, or more than one.
    Host,
    /// `Content-Length` repeated, or not a decimal number that fits.
    ContentLength,
    /// `Transfer-Encoding` repeated, in HTTP/1.0, beside `Content-Length`, or other than `chunked`.
    TransferEncoding,
}

impl HeadError {
    /// Which of the two refusals of the contract this error gets.
    #[must_use]
    pub const fn verdict(self) -> HeadVerdict {
        match self {
            Self::TooLong | Self::TooManyHeaders => HeadVerdict::TooLarge,
            Self::Syntax
            | Self::Version
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding => HeadVerdict::Malformed,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "request head too long",
            Self::TooManyHeaders => "too many headers",
            Self::Syntax => "request head malformed",
            Self::Version => "unknown http version",
            Self::Target => "request target malformed",
            Self::Host => "host missing or repeated",
            Self::ContentLength => "content-length malformed or repeated",
            Self::TransferEncoding => "transfer-encoding not acceptable",
        })
    }
}

impl std::error::Error for HeadError {}

/// Judges one complete head, from its first byte to the CRLF CRLF that must be its last.
///
/// # Errors
///
/// The first [`HeadError`] found, in the order of the bytes, and then of the rules that need the whole head.
pub fn inspect_head(head: &[u8]) -> Result<Framing, HeadError> {
    match HeadScan::new().advance(head)? {
        Some(end) if end == head.len() => framing_of(head),
        _ => Err(HeadError::Syntax),
    }
}

/// The incremental scan for the end of a head: every byte is looked at once, however the head is split.
///
/// A byte that cannot belong to a head is an error at once, so garbage is refused without waiting for a line end.
#[derive(Debug)]
pub struct HeadScan {
    state: ScanState,
    scanned_bytes: usize,
}

/// The kinds of the next byte.
#[derive(Clone, Copy, Debug)]
enum ScanState {
    /// The first byte of the method, or of an empty line before it (RFC 9112 section 2.2).
    Start,
    /// The LF of an empty line before the request line.
    StartLf,
    Method,
    TargetStart,
    Target,
    /// So many bytes of [`VERSION_PREFIX`] were seen.
    Version(usize),
    VersionCr,
    LineLf,
    /// The first byte of a field name, or the CR of the line that ends the head.
    LineStart,
    FieldName,
    FieldValue,
    EndLf,
    Complete,
}

impl HeadScan {
    /// A scan that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: ScanState::Start, scanned_bytes: 0 }
    }

    /// How many bytes the scan has accepted.
    #[must_use]
    pub const fn scanned_bytes(&self) -> usize {
        self.scanned_bytes
    }

    /// Looks at the bytes that follow those seen before; `Some(n)` when the head ends with the first `n` of them.
    ///
    /// # Errors
    ///
    /// The first byte that breaks the grammar, or the first past [`MAX_HEAD_BYTES`].
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        for (index, &octet) in bytes.iter().enumerate() {
            if matches!(self.state, ScanState::Complete) {
                return Ok(Some(index));
            }
            self.state = self.state.step(octet)?;
            self.scanned_bytes = self.scanned_bytes.saturating_add(1);
            if self.scanned_bytes >= MAX_HEAD_BYTES && !matches!(self.state, ScanState::Complete) {
                return Err(HeadError::TooLong);
            }
        }
        Ok(matches!(self.state, ScanState::Complete).then_some(bytes.len()))
    }
}

impl Default for HeadScan {
    fn default() -> Self {
        Self::new()
    }
}

impl ScanState {
    fn step(self, octet: u8) -> Result<Self, HeadError> {
        Ok(match (self, octet) {
            (Self::Start, b'\r') => Self::StartLf,
            (Self::StartLf, b'\n') => Self::Start,
            (Self::Start | Self::Method, _) if octet::is_token(octet) => Self::Method,
            (Self::Method, b' ') => Self::TargetStart,
            (Self::TargetStart | Self::Target, _) if octet::is_target(octet) => Self::Target,
            (Self::Target, b' ') => Self::Version(0),
            (Self::Version(seen), _) => match VERSION_PREFIX.get(seen) {
                Some(&expected) if octet == expected => Self::Version(seen.saturating_add(1)),
                None if matches!(octet, b'0' | b'1') => Self::VersionCr,
                _ => return Err(HeadError::Version),
            },
            (Self::VersionCr, b'\r') => Self::LineLf,
            (Self::VersionCr, _) => return Err(HeadError::Version),
            (Self::LineLf, b'\n') => Self::LineStart,
            (Self::LineStart, b'\r') => Self::EndLf,
            (Self::LineStart | Self::FieldName, _) if octet::is_token(octet) => Self::FieldName,
            (Self::FieldName, b':') => Self::FieldValue,
            (Self::FieldValue, b'\r') => Self::LineLf,
            (Self::FieldValue, _) if octet::is_field_value(octet) => Self::FieldValue,
            (Self::EndLf, b'\n') => Self::Complete,
            _ => return Err(HeadError::Syntax),
        })
    }
}

/// The rules that need the whole head. `head` has passed [`HeadScan`].
///
/// The parser and its slots are hyper's own, so that hyper finds in the head what is found here.
pub(super) fn framing_of(head: &[u8]) -> Result<Framing, HeadError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut slots);
    match request.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Ok(_) | Err(_) => return Err(HeadError::Syntax),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Syntax);
    };
    // hyper would answer a method that it cannot represent by itself, past the status table.
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err(HeadError::Syntax);
    }
    if target.contains('#') || !Uri::try_from(target).is_ok_and(|uri| is_request_target(target, &uri)) {
        return Err(HeadError::Target);
    }

    let mut hosts = 0_usize;
    let mut length = None;
    let mut chunked = false;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("host") {
            if !is_host(field.value) {
                return Err(HeadError::Host);
            }
            hosts = hosts.saturating_add(1);
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let declared = decimal(field.value).ok_or(HeadError::ContentLength)?;
            if length.replace(declared).is_some() {
                return Err(HeadError::ContentLength);
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || minor == 0 || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
            chunked = true;
        }
    }
    if hosts > 1 || (hosts == 0 && minor == 1) {
        return Err(HeadError::Host);
    }
    match (chunked, length) {
        (true, Some(_)) => Err(HeadError::TransferEncoding),
        (true, None) => Ok(Framing::Chunked),
        (false, declared) => Ok(Framing::Length(declared.unwrap_or(0))),
    }
}

/// `uri-host [ ":" port ]`, or nothing (RFC 9112 §3.2).
fn is_host(value: &[u8]) -> bool {
    value.is_empty() || !value.contains(&b'@') && Authority::try_from(value).is_ok()
}

/// Origin-form, absolute-form or asterisk-form (RFC 9112 §3.2). Authority-form is for tunnels, which are not made here.
fn is_request_target(target: &str, uri: &Uri) -> bool {
    target.starts_with('/') || uri.scheme().is_some() || target == "*"
}

/// `1*DIGIT`, nothing else: no sign, no list, no white space inside.
fn decimal(text: &[u8]) -> Option<u64> {
    let mut value = None;
    for &octet in text {
        let digit = octet.checked_sub(b'0').filter(|digit| *digit <= 9).map(u64::from)?;
        value = Some(value.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit)?);
    }
    value.filter(|value| *value <= MAX_CONTENT_LENGTH)
}
