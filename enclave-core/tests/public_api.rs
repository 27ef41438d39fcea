//! The core through its public API, as the runtime uses it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "public_api/order_of_checks.rs"]
mod order_of_checks;
#[path = "public_api/replies.rs"]
mod replies;
#[path = "public_api/secret_type.rs"]
mod secret_type;
#[path = "public_api/secrets.rs"]
mod secrets;
#[path = "public_api/signatures.rs"]
mod signatures;
#[path = "public_api/small_signer.rs"]
mod small_signer;
