//! `signerctl` as a process, and judges of what it makes that know nothing of it: AWS's own builder of images, Python
//! with PyPI's CBOR and cryptography, GNU cpio and OpenSSL. Python's packages are installed below the target folder.
//!
//! The tests beside AWS's builder are ignored unless asked for: it takes a minute to compile, and OpenSSL's headers.
//! `cargo install --locked --version 0.2.1 eif_build` puts it in `PATH`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws_builder;
mod command_line;
mod damage;
mod image_parts;
mod keys;
mod output;
mod policies;
mod process;
mod python;
mod ramdisks;
mod signatures;
