//! The texts of `docs/api.md`, "3. Statuses and texts", and its limits, copied once.

/// 200 of `/health`, once the signer can sign.
pub const HEALTHY: &str = r#"{"ok":true,"service":"nitro-enclave"}"#;
/// 503 of `/health`, before that.
pub const NOT_READY: &str = r#"{"ok":false,"service":"nitro-enclave"}"#;
/// 200 of destroy and import.
pub const OK: &str = r#"{"ok":true}"#;

/// 401: the API key.
pub const UNAUTHORIZED: &str = "Invalid internal API key";
/// 403: the role of the API key.
pub const NOT_ALLOWED: &str = "Not allowed for this API key";
/// 404: the path.
pub const NOT_FOUND: &str = "Not found";
/// 405: the method.
pub const METHOD_NOT_ALLOWED: &str = "Method not allowed";
/// 413: the body's size.
pub const TOO_LARGE: &str = "Request body too large";
/// 415: the body's type.
pub const CONTENT_TYPE: &str = "Content-Type must be application/json";
/// 415: the body's coding.
pub const CONTENT_ENCODING: &str = "Content-Encoding is not supported";
/// 400: the body is not the JSON we take.
pub const INVALID_JSON: &str = "Invalid JSON body";
/// 409: generate, or import of another key, over a live identity.
pub const EXISTS: &str = "Identity key already exists in enclave";
/// 404: no such identity; the client reads it as "key not loaded".
pub const KEY_NOT_FOUND: &str = "Identity key not found";
/// 503: a full store or ledger, or too many requests at once.
pub const AT_CAPACITY: &str = "Signer is at capacity";
/// 401: the ticket's form, MAC or times.
pub const TICKET: &str = "Invalid ticket signature or expiry";
/// 403: the ticket's scope.
pub const SCOPE: &str = "Invalid ticket scope";
/// 403: the ticket's identity.
pub const IDENTITY_MISMATCH: &str = "Ticket identity mismatch";
/// 403: the ticket's digest hash.
pub const DIGEST_MISMATCH: &str = "Ticket digest mismatch";
/// 409: the ticket's nonce was used.
pub const REPLAY: &str = "Replay detected for ticket nonce";
/// 429: a rate limit.
pub const TOO_MANY_REQUESTS: &str = "Too many requests";
/// 400: a sealed key of no known form.
pub const MALFORMED_SEALED_KEY: &str = "Malformed sealed key";
/// 500: a sealed key that does not open.
pub const UNABLE_TO_OPEN: &str = "Unable to open sealed key";
/// 502: KMS or the NSM.
pub const KEY_SERVICE: &str = "Key service unavailable";

/// The largest body that is read.
pub const MAX_BODY_BYTES: usize = 32_768;
/// The largest request line and headers, blank line included.
pub const MAX_HEAD_BYTES: usize = 16_384;
/// The most header lines.
pub const MAX_HEADERS: usize = 100;

/// 400: the nonce of an attestation request, in the query or in the body.
pub const NONCE: &str = "Invalid string: must be hex or base64url, 1 to 512 bytes";

/// The internal routes, each with its fields in the order of its schema. Only `nonce` may be absent.
pub const ROUTES: [(&str, &[&str]); 6] = [
    ("/internal/generate", &["identity_id", "alg"]),
    ("/internal/sign", &["identity_id", "digest", "ticket"]),
    ("/internal/destroy", &["identity_id"]),
    ("/internal/backup/export", &["identity_id"]),
    ("/internal/backup/import", &["identity_id", "alg", "sealed_key"]),
    ("/internal/attest", &["identity_id", "nonce"]),
];

/// The body of an error.
#[must_use]
pub fn error_body(text: &str) -> String {
    format!(r#"{{"error":"{text}"}}"#)
}

/// The body of a validation error; `fields` are name and message, in schema order.
#[must_use]
pub fn validation_body(fields: &[(&str, &str)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, message)| {
            let message = serde_json::Value::from(*message);
            format!(r#""{name}":[{message}]"#)
        })
        .collect::<Vec<_>>()
        .join(",");
    format!(r#"{{"error":"Validation error","details":{{"formErrors":[],"fieldErrors":{{{fields}}}}}}}"#)
}

/// The body of the error for a body which is not an object.
#[must_use]
pub fn not_an_object_body(received: &str) -> String {
    format!(
        r#"{{"error":"Validation error","details":{{"formErrors":["Invalid input: expected object, received {received}"],"fieldErrors":{{}}}}}}"#
    )
}
