//! `signerctl` as a process: what an operator does with it, beside processes and programs that know nothing of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod image_difference;
#[path = "../eif/image_parts.rs"]
#[allow(dead_code, reason = "of the tests of images")]
mod image_parts;
mod manual;
mod policies;
mod policy_check;
mod policy_judge;
#[path = "../eif/process.rs"]
#[allow(dead_code, reason = "no Python from PyPI is needed")]
mod process;
mod sealed_secrets;
mod tls_key;

/// How the KMS emulator decides: a second reader of policies, which shares nothing with ours. Its own tests come along.
#[path = "../../../kms-emulator/src"]
#[allow(dead_code, unreachable_pub, reason = "of the emulator")]
mod emulator {
    pub(crate) mod key_arn;
    pub(crate) mod policy;
    pub(crate) mod principal;
}

// As it names them itself.
use emulator::{key_arn, policy, principal};
