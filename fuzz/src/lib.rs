//! The judges: simple, independent models that the fuzz targets hold the product against.
//!
//! They follow the API's contract, `docs/api.md`, not the product's code, and use other libraries where there is a
//! choice. None of them is made to be fast, small or constant-time.

pub mod acme;
pub mod attestation;
pub mod bend;
pub mod boot_file;
pub mod cbor;
pub mod core_signer;
pub mod eif;
pub mod envelope;
pub mod head;
pub mod identity;
pub mod json;
pub mod ledger;
pub mod request;
pub mod script;
pub mod sealed_certificate;
pub mod sealed_key;
pub mod sealed_key_v1;
pub mod signer;
pub mod ticket;
pub mod verification;
