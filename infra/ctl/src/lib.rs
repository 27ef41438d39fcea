//! An operator's work before and around an enclave: makes its image, prints the image's measurements, and writes the
//! policies that name them.
//!
//! ```text
//! kernel, cmdline ────────────────────────────┐
//! nsm.ko ─▶ ramdisk (bootstrap) ──────────────┼▶ eif::Image ─▶ file
//! enclave, nitro_toml ─▶ ramdisk (application)┘       │
//!                                                     ▼
//!                         eif::MeasurementSet ─▶ nitro.toml [pcr], key_policy
//!
//! endpoint, tls_trust ─▶ connection ─▶ a signer: reseal (backup_table), bench (ticket, bip340)
//! ```
//!
//! Invariants:
//!
//! * The same inputs give the same image, byte for byte, on any machine and at any time; a signature excepted.
//! * An image whose configuration the signer would refuse is not made: the signer's own code reads it.
//! * A file is written whole or not at all.
//! * A new backup replaces the old one only if both were seen to hold the same key.

#![forbid(unsafe_code)]

pub mod api_key;
pub mod attestation;
pub mod aws_credentials;
pub mod backup_table;
pub mod bench;
pub mod bip340;
pub mod boot_secret;
pub mod certificate;
pub mod connection;
pub mod digest;
pub mod eif;
pub mod enclave_image;
pub mod endpoint;
pub mod identity;
pub mod image_difference;
pub mod kernel;
pub mod key_policy;
pub mod kms;
pub mod nitro_toml;
pub mod output_file;
pub mod parent;
pub mod parent_pin;
pub mod policy_check;
pub mod printable;
pub mod ramdisk;
pub mod reseal;
pub mod ticket;
pub mod time;
pub mod tls_trust;
mod wildcard;
