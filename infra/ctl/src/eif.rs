//! Enclave image files: what `nitro-cli run-enclave` starts (aws-nitro-enclaves-image-format, README and `src/defs`).
//!
//! ```text
//! header (548 bytes: magic, version, flags, offsets and sizes of up to 32 sections, CRC)
//! kernel ‖ cmdline ‖ metadata ‖ ramdisk … ‖ signature        each behind 12 bytes of type, flags, size
//! ```
//!
//! `Measurements` are PCR0 (kernel, command line, all ramdisks), PCR1 (kernel, command line, first ramdisk), PCR2 (the
//! other ramdisks) and PCR8 (the certificate of the signature). Metadata is in none of them.
//!
//! Written here instead of using AWS's library, which brings OpenSSL and the AWS SDK, and panics. `tests/eif` compares
//! every byte with the image that AWS's `eif_build` makes of the same parts.

mod image;
mod measurements;
mod metadata;
mod signature;

pub use image::{Image, MAX_IMAGE_BYTES, MalformedImage};
pub use measurements::{InvalidMeasurements, MeasurementSet, Pcr};
pub use metadata::{BuildMetadata, Metadata};
pub use signature::{CertificateFacts, MalformedSignature, NotSigned, SigningKey, examine, verify};
