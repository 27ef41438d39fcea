//! Replies: compact JSON in a buffer that the caller lends.

use crate::attestation_nonce::AttestationNonce;
use crate::refusal::Refusal;
use crate::schnorr::Signature;
use crate::secret_key::PublicKey;
use crate::validation::{FieldError, ValidationErrors};

/// Room for every reply but [`Reply::SealedKey`]: the longest lists three field errors and takes 293 bytes.
pub const MAX_REPLY_BYTES: usize = 512;

/// The content of a response body.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'r> {
    /// A key was made.
    PublicKey(&'r PublicKey),
    /// A digest was signed.
    Signature(&'r Signature),
    /// A sealed copy of a key, of characters that JSON does not escape.
    SealedKey(&'r str),
    /// Nothing more to tell.
    Done,
    /// The request was not done.
    Refused(&'r Refusal),
}

/// The buffer cannot hold the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferTooSmall;

impl Reply<'_> {
    /// Writes the reply at the start of `buffer`.
    ///
    /// # Errors
    /// [`BufferTooSmall`]
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], BufferTooSmall> {
        let mut writer = Writer { buffer, length: 0 };
        match self {
            Self::PublicKey(key) => {
                writer.text("{\"public_key\":\"")?;
                writer.hex(key.as_bytes())?;
                writer.text("\"}")?;
            }
            Self::Signature(signature) => {
                writer.text("{\"signature\":\"")?;
                writer.hex(signature.as_bytes())?;
                writer.text("\"}")?;
            }
            Self::SealedKey(sealed_key) => {
                writer.text("{\"alg\":\"secp256k1\",\"sealed_key\":\"")?;
                writer.text(sealed_key)?;
                writer.text("\"}")?;
            }
            Self::Done => writer.text("{\"ok\":true}")?,
            Self::Refused(refusal) => writer.refusal(refusal)?,
        }
        let Writer { buffer, length } = writer;
        buffer.get(..length).ok_or(BufferTooSmall)
    }
}

impl Refusal {
    /// The text of the reply's `error`.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        match self {
            Self::InvalidJson => "Invalid JSON body",
            Self::Invalid(_) => "Validation error",
            Self::KeyExists => "Identity key already exists in enclave",
            Self::KeyNotFound => "Identity key not found",
            Self::InvalidTicket => "Invalid ticket signature or expiry",
            Self::WrongScope => "Invalid ticket scope",
            Self::IdentityMismatch => "Ticket identity mismatch",
            Self::DigestMismatch => "Ticket digest mismatch",
            Self::Replay => "Replay detected for ticket nonce",
            Self::AtCapacity => "Signer is at capacity",
            Self::TooManyRequests { .. } => "Too many requests",
        }
    }
}

struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) -> Result<(), BufferTooSmall> {
        let end = self.length + text.len();
        self.buffer.get_mut(self.length..end).ok_or(BufferTooSmall)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }

    fn hex(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        let free = self.buffer.get_mut(self.length..).ok_or(BufferTooSmall)?;
        self.length += base16ct::lower::encode(bytes, free).map_err(|_| BufferTooSmall)?.len();
        Ok(())
    }

    fn decimal(&mut self, number: usize) -> Result<(), BufferTooSmall> {
        let mut divisor = 1;
        while number / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            let digit = u8::try_from(number / divisor % 10).map_err(|_| BufferTooSmall)?;
            let byte = [b'0' + digit];
            self.text(core::str::from_utf8(&byte).map_err(|_| BufferTooSmall)?)?;
            divisor /= 10;
        }
        Ok(())
    }

    fn refusal(&mut self, refusal: &Refusal) -> Result<(), BufferTooSmall> {
        self.text("{\"error\":\"")?;
        self.text(refusal.text())?;
        self.text("\"")?;
        if let Refusal::Invalid(errors) = refusal {
            self.errors(errors)?;
        }
        self.text("}")
    }

    fn errors(&mut self, errors: &ValidationErrors) -> Result<(), BufferTooSmall> {
        self.text(",\"details\":{\"formErrors\":[")?;
        if let ValidationErrors::NotAnObject(kind) = errors {
            self.text("\"Invalid input: expected object, received ")?;
            self.text(kind.name())?;
            self.text("\"")?;
        }
        self.text("],\"fieldErrors\":{")?;
        if let ValidationErrors::Fields(fields) = errors {
            let mut separator = "\"";
            for (name, error) in fields.iter().flatten() {
                self.text(separator)?;
                self.text(name)?;
                self.text("\":[\"")?;
                self.field_error(*error)?;
                self.text("\"]")?;
                separator = ",\"";
            }
        }
        self.text("}}")
    }

    fn field_error(&mut self, error: FieldError) -> Result<(), BufferTooSmall> {
        match error {
            FieldError::NotAString(kind) => {
                self.text("Invalid input: expected string, received ")?;
                self.text(kind.name())
            }
            FieldError::UnknownAlgorithm => self.text("Invalid input: expected \\\"secp256k1\\\""),
            FieldError::InvalidUuid => self.text("Invalid UUID"),
            FieldError::InvalidDigest => {
                self.text("Invalid string: must match pattern /^([a-fA-F0-9]{64}|0x[a-fA-F0-9]{64})$/")
            }
            FieldError::InvalidNonce => {
                self.text("Invalid string: must be hex or base64url, 1 to ")?;
                self.decimal(AttestationNonce::MAX_BYTES)?;
                self.text(" bytes")
            }
            FieldError::TooSmall(minimum) => {
                self.text("Too small: expected string to have >=")?;
                self.decimal(minimum)?;
                self.text(" characters")
            }
            FieldError::TooBig(maximum) => {
                self.text("Too big: expected string to have <=")?;
                self.decimal(maximum)?;
                self.text(" characters")
            }
        }
    }
}
