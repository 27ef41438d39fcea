//! The errors in a body that is JSON, in the words that existing clients read.

use crate::json::Value;

/// A JSON value's kind, under the name that JavaScript's validators give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not there.
    Undefined,
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl From<&Value> for Kind {
    fn from(value: &Value) -> Self {
        match value {
            Value::Undefined => Self::Undefined,
            Value::Null => Self::Null,
            Value::Boolean => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array => Self::Array,
            Value::Object => Self::Object,
        }
    }
}

/// The error of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldError {
    /// A string was expected.
    NotAString(Kind),
    /// `alg` is not `secp256k1`.
    UnknownAlgorithm,
    /// `identity_id` is not an accepted UUID.
    InvalidUuid,
    /// `digest` is not 32 bytes of hex.
    InvalidDigest,
    /// `nonce` is not 1 to 512 bytes of hex or base64url.
    InvalidNonce,
    /// Fewer UTF-16 code units than this.
    TooSmall(usize),
    /// More UTF-16 code units than this.
    TooBig(usize),
}

/// A body's errors, in the order of the request's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValidationErrors {
    /// The body is not an object but this.
    NotAnObject(Kind),
    /// Fields by name.
    Fields([Option<(&'static str, FieldError)>; MAX_FIELDS]),
}

/// The most fields that a request has.
pub const MAX_FIELDS: usize = 3;
